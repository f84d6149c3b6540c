// The pairs of an object that is being built, as offsets from where the value begins, and jsonb's
// order of their keys: by length, then bytewise. Pure; any thread.
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

struct pair {
    uint64_t rank; // of its key: what comes earlier in order has none that is higher
    uint32_t at;
    uint32_t end; // known once the object is closed
    uint32_t key_at;
    uint32_t key_len;
};

enum {
    PAIR_RANK_LEN_SHIFT = 48,
    PAIR_RANK_BYTES = PAIR_RANK_LEN_SHIFT / 8, // of a key in its rank
};

// A key's length and its first bytes, as a number: most keys differ in them, and are told apart by
// one comparison. Up to 8 bytes are read, however short the key is.
static inline uint64_t pair_rank(const uint8_t *key, uint32_t len)
{
    uint64_t first;
    memcpy(&first, key, sizeof first);
    first = be64toh(first);
    if (len < sizeof first) {
        first &= ~(UINT64_MAX >> (8 * len));
    }
    uint64_t shown_len = len < UINT16_MAX ? len : UINT16_MAX;
    return shown_len << PAIR_RANK_LEN_SHIFT | first >> (64 - PAIR_RANK_LEN_SHIFT);
}

// `begin` is where the value begins.
static inline int pair_compare_keys(const uint8_t *begin, const struct pair *a,
                                    const struct pair *b)
{
    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    if (a->key_len <= PAIR_RANK_BYTES) {
        return 0; // the rank says all of it
    }
    if (a->key_len != b->key_len) {
        return a->key_len < b->key_len ? -1 : 1;
    }
    return memcmp(begin + a->key_at, begin + b->key_at, a->key_len);
}

// Equal keys stay in their order, so that the last of them is the one that came last.
void pairs_sort(struct pair *pairs, uint32_t count, const uint8_t *begin);
