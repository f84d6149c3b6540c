// What the socket last answered about recently read keys, so that a direct read of the same handle
// does not go back behind it: PostgreSQL's answer to a miss may be ahead of the notification that
// has yet to reach the cache. Bounded: of keys that share a slot the last one is remembered.
//
// One thread at a time. The memory of all zeroes remembers nothing and is valid.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEEN_SLOTS = 1024 };

#define SEEN_ABSENT INT64_MAX // the key did not exist

struct seen_slot {
    uint64_t hash; // of the key; 0: empty
    int64_t version;
};

struct seen {
    struct seen_slot *slots; // made when first needed
};

void seen_deinit(struct seen *seen);

void seen_note(struct seen *seen, uint64_t hash, int64_t version);

// The version, or SEEN_ABSENT, that was answered; false where nothing is remembered.
static inline bool seen_find(const struct seen *seen, uint64_t hash, int64_t *version)
{
    if (seen->slots == NULL) {
        return false;
    }
    const struct seen_slot *slot = &seen->slots[hash % SEEN_SLOTS];
    *version = slot->version;
    return slot->hash == hash && hash != 0;
}
