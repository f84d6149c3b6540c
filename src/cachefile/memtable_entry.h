// An entry of the memtable (memtable.h), for its reading and its writing half.
//
//   | words 32, state 32 (the writer's) | next | hash | key bytes 32, record bytes 32 | key |
//   record |
#pragma once

#include "cachefile/memtable.h"

#define MEMTABLE_MAGIC 0x31656c626174656dull // "metable1"

enum {
    MEMTABLE_AT_STATE = 0,
    MEMTABLE_AT_NEXT = 1,
    MEMTABLE_AT_HASH = 2,
    MEMTABLE_AT_BYTES = 3,
    MEMTABLE_AT_KEY = 4,
};

// With the largest key and record; so much may be left at a lap's end.
enum { MEMTABLE_ENTRY_WORDS_MAX = 256 };

bool memtable_is_whole(const struct memtable_header *header, size_t bytes);
// Of a whole one, mapped.
void memtable_place_parts(struct memtable *table, void *file, size_t bytes);

// At any place: it may hold anything.
static inline _Atomic uint64_t *memtable_word(const struct memtable *table, uint64_t place)
{
    return &table->ring[place % table->ring_words];
}

static inline uint64_t memtable_load(const struct memtable *table, uint64_t place)
{
    return atomic_load_explicit(memtable_word(table, place), memory_order_acquire);
}

static inline uint64_t memtable_words(uint64_t bytes)
{
    return (bytes + 7) / 8;
}
