// What one transaction of the flush writes: entries of the outbox, in order, put into groups that
// are one statement each. Pure: no I/O, no clock, no libpq.
//
// A key may be written several times in a batch. Writes that return nothing replace what they
// follow (coalescing), but never across a write that returns a result, and not where every version
// is wanted (versioning). What is left of a key stands on levels: its first write on level 0, the
// next on level 1. A group holds the writes of one kind on one level, so that no key is twice in
// it, sorted by key so that nodes lock in one order. Executing the groups in order of level
// executes each key's writes in theirs; keys do not depend on each other.
//
//      seq 1 set a   seq 2 set b   seq 3 incr a   seq 4 set a   seq 5 delete b
//
//      level 0: put {a}, delete {b}     level 1: incr {a}     level 2: put {a}
//
// An entry is never divided: an mset of any size is one transaction. A guarded one is a batch of
// its own, since it is all or nothing with what it expects of its keys.
#pragma once

#include "base/arena.h"
#include "base/entry.h"

enum {
    BATCH_BYTES_MAX = 8 << 20,     // of keys and values; the first entry always fits
    BATCH_LEVELS_MAX = 64,         // as many writes of a key whose results are wanted
    BATCH_GROUP_RESULTS_MAX = 100, // writes in a group of those that return a result
};

// In the order in which a level executes them.
enum batch_kind {
    BATCH_PUT,
    BATCH_DELETE,
    BATCH_PUT_IF_ABSENT,
    BATCH_PUT_IF_VERSION,
    BATCH_DELETE_IF_VERSION,
    BATCH_INCR,
    BATCH_MERGE,
    BATCH_TOUCH,
};

struct batch_entry;

// One write of one key.
struct batch_op {
    struct batch_entry *entry;
    enum batch_kind kind;
    bool returns;  // its result is wanted
    bool absorbed; // a later write replaced it: in no group
    uint32_t level;
    struct batch_op *before; // of the same key, in the order of seq; NULL: the first
    struct slice key;
    struct slice value; // canonical msgpack; of a put, an incr or a merge
    int64_t expires_at_us;
    int64_t if_version;
    // The outcome, filled by whoever executes the batch:
    bool is_known;       // the rest holds
    bool is_applied;     // false: the condition failed, or there was nothing to delete or touch
    bool has_version;    // it exists, or did before it was deleted
    bool is_altered;     // the row is not what was written: somebody's trigger
    int64_t version;     // of the row now; where not applied, the one that is in the way
    struct slice result; // of an incr or a merge: canonical msgpack
};

struct batch_entry {
    uint64_t seq;
    enum entry_op op;
    enum ack ack;
    enum condition condition;
    bool is_retired;
    bool returns; // its answer comes from the batch
    bool is_guarded;
    struct slice guards; // one a pair (base/entry.h)
    uint64_t letter_seq; // of the dead letter that it tries again; 0: none
    struct slice id;
    size_t ops_count;
    struct batch_op **ops;
};

// One statement.
struct batch_group {
    enum batch_kind kind;
    uint32_t level;
    bool returns;
    size_t ops_count;
    struct batch_op **ops; // by key, in byte order; no key twice
};

struct batch_key;

struct batch_limits {
    size_t rows_max;    // writes of single keys, after coalescing
    size_t entries_max; // SIZE_MAX but while looking for a poisoned entry
    bool is_unbounded;  // all that comes: what PostgreSQL is already known to hold
    bool versioning;
    int64_t now_us; // PostgreSQL's clock: a set that has expired by now is a delete
};

struct batch {
    struct arena arena;
    struct batch_limits limits;
    struct batch_entry **entries;
    size_t entries_count;
    size_t entries_capacity;
    struct batch_op **ops;
    size_t ops_count;
    size_t ops_capacity;
    size_t rows_count; // ops that are not absorbed
    size_t bytes;
    struct batch_key *keys; // the last write of each; uthash
    struct batch_group *groups;
    size_t groups_count;
    size_t groups_capacity;
    bool is_sealed;
};

void batch_init(struct batch *batch, const struct batch_limits *limits);
void batch_deinit(struct batch *batch);

// Copies the entry. False, and nothing taken, where it is for the next batch. Entries come in the
// order of seq.
bool batch_add(struct batch *batch, const struct entry *entry);

// Makes the groups. No batch_add afterwards.
void batch_seal(struct batch *batch);

// The seq of the last entry; the batch is not empty.
uint64_t batch_to_seq(const struct batch *batch);
// NULL where there is none of that seq.
struct batch_entry *batch_find(const struct batch *batch, uint64_t seq);
// The write of `key` in a group; NULL where there is none.
struct batch_op *batch_group_find(const struct batch_group *group, struct slice key);
// Whether an entry of the batch writes the key.
bool batch_has_key(const struct batch *batch, struct slice key);
// Distinct keys.
size_t batch_keys_count(const struct batch *batch);

// Calls `visit` with the last write of every key, retired and absorbed ones never.
void batch_visit_keys(const struct batch *batch, void *context,
                      void (*visit)(void *context, struct batch_op *last));
