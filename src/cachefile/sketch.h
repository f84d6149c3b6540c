// Which keys were read of late: one byte for each of many hash slots, in the file `sketch` beside
// the cache. Readers, those of other processes included, set a slot only when it is cold, so hot
// keys share clean cache lines; the hand of the eviction cools what it passes. Keys that share a
// slot keep each other warm, which costs room, not correctness.
#pragma once

#include <stdatomic.h>

#include "base/slice.h"
#include "cachefile/directory.h"

// Passes of the hand that a key survives after a hit, and after it was written here. A fill leaves
// its key cold until it is read again: else what only comes in once would cool what is read again
// and again (docs/decisions/0013-cold-fills.md). SKETCH_HOT is as
// warm as a read, and was made by one since the hot tier was last looked after.
enum { SKETCH_HOT = 3, SKETCH_WARM = 2, SKETCH_STORED = 1 };

struct sketch {
    _Atomic uint8_t *slots; // mapped
    size_t slots_count;     // a power of two, the size of the file
};

// Room for about one slot for each 128 bytes of a cache of `cache_bytes`, or more where the file is
// there and larger: it never shrinks, since readers have it mapped. `group_writes`: the file's
// group may, too.
enum error sketch_open(struct sketch *sketch, const struct directory *directory, size_t cache_bytes,
                       bool group_writes, struct failure *failure);

// A direct reader's: maps what is there. False, and an empty sketch, where there is no right to it.
bool sketch_map(struct sketch *sketch, int directory_fd);
void sketch_close(struct sketch *sketch);

// Part of the layout that direct readers share.
uint64_t sketch_hash(struct slice key);

// Has the slot fetched while something else is done: at a million keys it is in no cache.
static inline void sketch_prefetch(const struct sketch *sketch, uint64_t hash)
{
    if (sketch->slots_count > 0) {
        __builtin_prefetch((const void *)&sketch->slots[hash & (sketch->slots_count - 1)]);
    }
}

// The key whose hash that is, is at least as warm as that from now on. Any thread or process. An
// empty sketch notes nothing.
static inline void sketch_warm_hash(const struct sketch *sketch, uint64_t hash, uint8_t warmth)
{
    if (sketch->slots_count == 0) {
        return;
    }
    _Atomic uint8_t *slot = &sketch->slots[hash & (sketch->slots_count - 1)];
    if (atomic_load_explicit(slot, memory_order_relaxed) < warmth) {
        atomic_store_explicit(slot, warmth, memory_order_relaxed);
    }
}

// The key is at least as warm as that from now on. Any thread or process.
static inline void sketch_warm(const struct sketch *sketch, struct slice key, uint8_t warmth)
{
    sketch_warm_hash(sketch, sketch_hash(key), warmth);
}

// How warm the key with that hash is.
static inline uint8_t sketch_warmth(const struct sketch *sketch, uint64_t hash)
{
    return atomic_load_explicit(&sketch->slots[hash & (sketch->slots_count - 1)],
                                memory_order_relaxed);
}

// Was hot, and is warm from now on.
static inline bool sketch_take_heat(const struct sketch *sketch, uint64_t hash)
{
    bool hot = sketch_warmth(sketch, hash) >= SKETCH_HOT;
    if (hot) {
        atomic_store_explicit(&sketch->slots[hash & (sketch->slots_count - 1)], SKETCH_WARM,
                              memory_order_relaxed);
    }
    return hot;
}

// The hand passes: true where the key was warm, and it is cooler then.
bool sketch_cool(const struct sketch *sketch, struct slice key);
