// What a handle was last told about recently read keys, so that it is never told what is older:
// PostgreSQL's answer to a miss may be ahead of the notification that has yet to reach the cache.
// Bounded: of keys that share a set, the last four that were read are remembered.
//
// One thread at a time. The memory of all zeroes remembers nothing and is valid.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEEN_SETS = 256, SEEN_WAYS = 4 };

#define SEEN_ABSENT INT64_MAX // the key did not exist

struct seen_slot {
    uint64_t hash; // of the key; 0: empty
    int64_t version;
};

// A cache line.
struct seen_set {
    struct seen_slot ways[SEEN_WAYS]; // the newest first
};

struct seen {
    struct seen_set *sets; // made when first needed
};

void seen_deinit(struct seen *seen);

// Remembers a key that its set does not hold yet.
void seen_add(struct seen *seen, uint64_t hash, int64_t version);
void seen_drop(struct seen *seen, uint64_t hash);

// What was remembered of a key.
struct seen_told {
    bool was_told; // the rest holds
    int64_t version;
};
// Takes it out.
struct seen_told seen_take(struct seen *seen, uint64_t hash);
// Remembers it again, unless something else was told meanwhile.
void seen_give_back(struct seen *seen, uint64_t hash, struct seen_told told);

static inline struct seen_slot *seen_slot_of(const struct seen *seen, uint64_t hash)
{
    if (seen->sets == NULL) {
        return NULL;
    }
    struct seen_set *set = &seen->sets[hash % SEEN_SETS];
    for (int way = 0; way < SEEN_WAYS; way++) {
        if (set->ways[way].hash == hash) {
            return &set->ways[way];
        }
    }
    return NULL;
}

static inline void seen_note(struct seen *seen, uint64_t hash, int64_t version)
{
    struct seen_slot *slot = seen_slot_of(seen, hash);
    if (slot == NULL) {
        seen_add(seen, hash, version);
    } else {
        slot->version = version;
    }
}

// The version, or SEEN_ABSENT, that was answered; false where nothing is remembered.
static inline bool seen_find(const struct seen *seen, uint64_t hash, int64_t *version)
{
    const struct seen_slot *slot = seen_slot_of(seen, hash);
    if (slot == NULL || hash == 0) {
        return false;
    }
    *version = slot->version;
    return true;
}
