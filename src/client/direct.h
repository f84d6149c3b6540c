// Direct reads: the node's cache, looked at in this process. No system call on a hit, no write to
// shared memory but to this handle's slot in LMDB's reader table, to its row of the tally, and to a
// byte of the sketch where that is cold.
//
// Whatever cannot be decided here is asked of the daemon over the socket. One thread at a time; the
// memory of all zeroes reads nothing and is valid.
#pragma once

#include <pgnear.h>

#include "base/buffer.h"
#include "client/reader.h"
#include "client/seen.h"

_Static_assert((int)MEMTABLE_RECORD_BYTES_MAX <= (int)TIER_ENTRY_BYTES_MAX, "room is for either");

struct direct {
    // What the node said of itself; "" where it did not, or direct reads are not wanted:
    char *directory;
    char node[BOOT_ID_BYTES];
    int64_t retry_boot_us; // the cache could not be opened, and is not tried again before
    struct direct_reader reader;
    struct direct_reader lender; // reading while something is lent
    // What the control page held when `sequence` was its number; 1: nothing yet.
    struct page_view view;
    uint64_t sequence;
    bool notes;  // direct reads are wanted: what the node answers is kept in `seen`
    bool guards; // a direct read was possible once: from then on the node is asked by it, too
    struct seen seen;
    struct buffer value; // copied out by the last get; or:
    // What was found in the hot tier or the memtable, in turns, since the key that is looked for
    // may lie in what the last call handed out.
    uint64_t hot[2][TIER_ENTRY_BYTES_MAX / sizeof(uint64_t)];
    unsigned hot_turn;
    uint64_t many_hot[TIER_ENTRY_BYTES_MAX / sizeof(uint64_t)]; // the last of several
    // Of the snapshot of several keys, in the memtable, which no snapshot holds still:
    struct memtable_moment moment;
    bool is_torn;        // a key was looked for that is not of that moment any more
    struct buffer lent;  // what came over the socket instead
    int64_t now_boot_us; // of the snapshot that is being read
};

// What a read asks of the record it finds; and what the daemon is to be asked besides, lest its
// answer lie behind what the handle was told before.
struct direct_wish {
    bool has_max_age;
    bool has_min_version;
    int64_t max_age_us;
    int64_t min_version;
    bool asks_fresh; // out
    bool has_floor;  // out
    int64_t floor;   // out: the version
};

// `wanted`: direct reads may come, once the node has said what it is.
void direct_init(struct direct *direct, bool wanted);
// Accepts one that is half made. In the process that opened it; ends a lend.
void direct_deinit(struct direct *direct);
// The same in a child after fork(), which leaves alone what is the parent's.
void direct_forget(struct direct *direct);

// What the node's hello said; closes what is open where that is another cache.
void direct_set_node(struct direct *direct, struct slice directory, struct slice node);

// One key. The value is copied and valid until the next call with `direct`. False: ask the daemon;
// `item` is undefined then, and what was copied before is still there.
bool direct_get(struct direct *direct, struct slice key, const struct direct_wish *wish,
                pgnear_item *item);

// The same while the daemon cannot be reached (promise 5): what was current at most cache.max_stale
// ago, and this node's writes on their way.
bool direct_get_cut_off(struct direct *direct, struct slice key, const struct direct_wish *wish,
                        pgnear_item *item);

// The same as direct_get with the value where it lies, valid until direct_take_back. Not while
// something is lent.
bool direct_lend(struct direct *direct, struct slice key, const struct direct_wish *wish,
                 pgnear_item *item);
// The same of a value that lies elsewhere.
void direct_lend_copy(struct direct *direct, pgnear_item *item);
void direct_take_back(struct direct *direct);

// Many keys of one moment: values point into the cache until direct_end, those of pending writes
// until the next look. direct_begin is false where nothing can be read, direct_holds where what was
// read is to be asked of the daemon instead.
bool direct_begin(struct direct *direct);
bool direct_look(struct direct *direct, struct slice key, const struct direct_wish *wish,
                 pgnear_item *item);
bool direct_holds(const struct direct *direct);
// After a look that was not good, of which `looks` counts the number, from 0: whether the control
// page changed meanwhile, as it does twice a second and with the feed, or pending writes came and
// went, and the cache is still served, so that another look may be good. A few times at most.
bool direct_looks_again(const struct direct *direct, int *looks);
// Moves what a look found to where direct_get leaves it.
void direct_copy(struct direct *direct, pgnear_item *item);
void direct_end(struct direct *direct);
// How many such looks answered, in the hot tier and otherwise, and how many are asked of the
// daemon; the others count themselves.
void direct_count(const struct direct *direct, size_t hot_hits, size_t other_hits, size_t misses);

// One of the keys in the hot tier, as it is now: the value is valid until the next one. All of them
// are of the snapshot's moment where it is of now after the last. False: look into the snapshot.
// `hash` is the sketch_hash of the key.
bool direct_look_hot(struct direct *direct, struct slice key, uint64_t hash,
                     const struct direct_wish *wish, pgnear_item *item);
// Whether nothing was committed since the snapshot began. No system call.
bool direct_is_of_now(const struct direct *direct);

// For who looks for `count` keys one after the other, before each: has what the hot tier holds of
// keys that come later come from memory meanwhile, so that they wait for it side by side.
// `first_hash` is the sketch_hash of the first key, that of each other lies `stride_bytes` behind.
void direct_fetch_ahead(const struct direct *direct, const uint64_t *first_hash,
                        size_t stride_bytes, size_t place, size_t count);

// What the daemon is to be asked besides about the key with that sketch_hash.
void direct_floor(const struct direct *direct, uint64_t key_hash, struct direct_wish *wish);
// The handle is about to write the key: what is read behind the write is not held against what it
// was told before. That is answered, for when the write is decided.
struct seen_told direct_write_begin(struct direct *direct, uint64_t key_hash);
// The write was `done`: what was told before does not matter any more. Or it was not, or nobody
// knows: nothing older is to be told.
void direct_write_end(struct direct *direct, uint64_t key_hash, struct seen_told told, bool done);
// What the node answered over the socket about the key with that sketch_hash, for later looks.
void direct_note(struct direct *direct, uint64_t key_hash, const pgnear_item *item);
