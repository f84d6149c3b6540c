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
    int64_t accepted_us;   // when it was acknowledged or queued, by PostgreSQL's clock
    int64_t expires_at_us; // set, touch: by PostgreSQL's clock; 0: none
    struct slice id;       // opts.id; empty: none
    uint32_t pairs_count;  // 1, or those of an mset or of a delete of several keys: one unit
    struct slice pairs;    // encoded; read with entry_next_pair
};

// Writes whose answer is decided in PostgreSQL; never coalesced, and known only once flushed.
static inline bool entry_returns_result(const struct entry *entry)
{
    return entry->op == ENTRY_INCR || entry->op == ENTRY_MERGE || entry->op == ENTRY_TOUCH ||
           entry->condition != CONDITION_NONE;
}

// The entry of a call that writes. Slices are the call's; the pairs are encoded into `pairs`.
void entry_of_call(const struct call *call, struct entry *entry, struct buffer *pairs);

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
