// Making room in the cache: CLOCK in key order. A hand sweeps over the records, cools the warm
// ones and drops the cold ones; pending records are never dropped. Of the writer thread.
#pragma once

#include "base/request.h"
#include "cache/store.h"

struct eviction {
    size_t hand_bytes; // 0: at the first key
    uint8_t hand[KEY_BYTES_MAX];
    uint64_t visited_count; // records that the hand has looked at
};

// Drops clean records until about `bytes` are freed, in transactions of its own. `freed_bytes` is
// what was freed: less than asked for where the hand passed `records_max` records, or came round
// often enough to have cooled everything. ERROR_FULL where not even that has room.
enum error eviction_run(struct eviction *eviction, struct store *store, size_t bytes,
                        size_t records_max, size_t *freed_bytes);
