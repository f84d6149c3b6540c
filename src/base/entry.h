// One accepted write as the outbox holds it, between the thread that journals it and the one that
// flushes it.
#pragma once

#include "base/buffer.h"
#include "base/request.h"

enum entry_op { ENTRY_SET, ENTRY_DELETE, ENTRY_INCR, ENTRY_MERGE, ENTRY_TOUCH };

struct entry {
    uint64_t seq;
    enum entry_op op;
    enum ack ack;
    enum condition condition;
    bool retired; // parked, withdrawn or cancelled: it flushes as nothing
    int64_t if_version;
    uint64_t held_seq;     // of an if_version: when the node took it on, it held that very version
                           // of the key, and its writes up to here were applied; 0: not known
    int64_t accepted_us;   // when it was acknowledged or queued, by PostgreSQL's clock
    int64_t expires_at_us; // set, touch: by PostgreSQL's clock; 0: none
    uint64_t letter_seq;   // of the dead letter that it tries again; 0: none
    bool is_guarded;       // to be applied only where every key has the version of `guards`
    struct slice guards;   // encoded; read with entry_next_guard
    struct slice id;       // opts.id; empty: none
    uint32_t pairs_count;  // 1, or those of an mset or of a delete of several keys: one unit
    struct slice pairs;    // encoded; read with entry_next_pair
};

// Writes whose answer is decided in PostgreSQL; never coalesced, and known only once flushed.
static inline bool entry_returns_result(const struct entry *entry)
{
    return entry->op == ENTRY_INCR || entry->op == ENTRY_MERGE || entry->op == ENTRY_TOUCH ||
           entry->condition != CONDITION_NONE || entry->letter_seq != 0;
}

// The entry of a call that writes. Slices are the call's; the pairs are encoded into `pairs`.
void entry_of_call(const struct call *call, struct entry *entry, struct buffer *pairs);
// The same of a request, whose pairs are encoded already. All slices are the request's.
void entry_of_request(const struct request *request, struct entry *entry);

// How many bytes the encoded pairs of a call take.
size_t entry_pairs_bytes(const struct call *call);
// Encodes them at `at`, where so many bytes are free. `copies` may be NULL, and gets the same pairs
// with slices into those bytes.
void entry_copy_pairs(const struct call *call, uint8_t *at, struct pair *copies);

void entry_encode(const struct entry *entry, struct buffer *out);

// Slices point into `bytes`. ERROR_CORRUPT where the bytes are not an entry.
enum error entry_decode(uint64_t seq, struct slice bytes, struct entry *entry);

struct entry_cursor {
    struct slice rest;
};

static inline struct entry_cursor entry_cursor_of(const struct entry *entry)
{
    return (struct entry_cursor){.rest = entry->pairs};
}

// False at the end. The pairs of a decoded entry are known to be well-formed.
bool entry_next_pair(struct entry_cursor *cursor, struct pair *pair);

// What a key held at some moment, as the guard of a later write: a version, or absence. Guards
// stand one after another, in the order of the pairs they are for.
struct guard {
    bool present;
    int64_t version;
};

void entry_append_guard(struct buffer *guards, const struct guard *guard);

// False at the end. The guards of a decoded entry are as many as its pairs.
bool entry_next_guard(struct slice *guards, struct guard *guard);
// Whether the bytes are `count` guards.
bool entry_guards_are_well_formed(struct slice guards, uint32_t count);
