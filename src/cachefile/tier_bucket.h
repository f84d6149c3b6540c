// Within a bucket of the hot tier (tier.h): what its reading half and its writing half share.
#pragma once

#include "cachefile/tier.h"

#define TIER_ONES 0x0101010101010101ull

struct tier_entry {
    size_t place; // its first word, counted from the entries' first
    size_t words; // that it takes
    size_t key_bytes;
    size_t record_bytes;
};

static inline uint64_t tier_load(struct tier_bucket bucket, size_t at)
{
    return atomic_load_explicit(tier_word(bucket, at), memory_order_acquire);
}

static inline void tier_store(struct tier_bucket bucket, size_t at, uint64_t value)
{
    atomic_store_explicit(tier_word(bucket, at), value, memory_order_release);
}

static inline size_t tier_words(size_t bytes)
{
    return (bytes + 7) / 8;
}

// The byte by which a way is found; 0 is a way that is not taken. Of other bits than those that
// choose the bucket.
static inline uint64_t tier_tag(uint64_t hash)
{
    uint64_t tag = hash & 0xff;
    return tag == 0 ? 1 : tag;
}

static inline size_t tier_place(struct tier_bucket bucket, size_t way)
{
    return (size_t)(tier_load(bucket, TIER_AT_PLACES + way / 4) >> (way % 4 * 16) & 0xffff);
}

// What the first word of an entry says: 16 bits each of the lengths, and the hash's low half.
static inline struct tier_entry tier_entry_of(uint64_t head, size_t place)
{
    size_t key_bytes = head & 0xffff;
    size_t record_bytes = head >> 16 & 0xffff;
    return (struct tier_entry){
        .place = place,
        .words = 1 + tier_words(key_bytes) + tier_words(record_bytes),
        .key_bytes = key_bytes,
        .record_bytes = record_bytes,
    };
}

// The way of the key; its entry lies within the bucket, whatever the bucket holds.
bool tier_seek(struct tier_bucket bucket, uint64_t hash, struct slice key, size_t *way,
               struct tier_entry *entry);
