// The reading half of the memtable. Whatever the file holds, nothing is read beyond it, and no
// chain is followed for ever: each link must lead to an older place.
//
// A reader may stand on an entry while the writer takes its room for another. What it has read then
// is checked by `begin`, which the writer raises before it writes over what is below.
#include "cachefile/memtable.h"

#include <string.h>

#include "base/limits.h"
#include "cachefile/memtable_entry.h"

enum { RESTARTS_MAX = 100 };

// ---- a look

static bool is_gone(const struct memtable *table, uint64_t place)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&table->header->begin, memory_order_acquire) > place;
}

static uint64_t end_of(const struct memtable *table)
{
    return atomic_load_explicit(&table->header->end, memory_order_acquire);
}

static bool key_equals(const struct memtable *table, uint64_t place, struct slice key)
{
    uint64_t word;
    for (size_t done = 0; done < key.len; done += sizeof word, place++) {
        size_t rest = key.len - done < sizeof word ? key.len - done : sizeof word;
        word = 0;
        memcpy(&word, key.at + done, rest);
        if (memtable_load(table, place) != word) {
            return false;
        }
    }
    return true;
}

struct look {
    const struct memtable *table;
    uint64_t hash;
    struct slice key;
    uint64_t *room;
    size_t bytes;
    uint64_t place;
};

// Whether the entry is the key's. What it says of itself may be torn, or anything.
static bool is_of(const struct look *look, uint64_t place, size_t *record_bytes)
{
    const struct memtable *table = look->table;
    uint64_t bytes = memtable_load(table, place + MEMTABLE_AT_BYTES);
    *record_bytes = bytes & UINT32_MAX;
    return memtable_load(table, place + MEMTABLE_AT_HASH) == look->hash &&
           bytes >> 32 == look->key.len && *record_bytes <= MEMTABLE_RECORD_BYTES_MAX &&
           key_equals(table, place + MEMTABLE_AT_KEY, look->key);
}

static void copy_record(struct look *look, uint64_t place, size_t bytes)
{
    place += MEMTABLE_AT_KEY + memtable_words(look->key.len);
    for (size_t i = 0; i < memtable_words(bytes); i++) {
        look->room[i] = memtable_load(look->table, place + i);
    }
    look->bytes = bytes;
}

// Goes along the chain once. UNKNOWN: to be done again. What counts is what was in sight at its
// begin: where a turn came into sight on the way, an entry may have been replaced by one that
// stands before those that were passed.
static enum memtable_found follow(struct look *look)
{
    const struct memtable *table = look->table;
    uint64_t end = end_of(table);
    uint64_t place =
        atomic_load_explicit(&table->heads[look->hash & table->heads_mask], memory_order_acquire);
    if (place == 0) {
        return MEMTABLE_ABSENT;
    }
    while (place != 0) {
        uint64_t next = memtable_load(table, place + MEMTABLE_AT_NEXT);
        size_t bytes;
        bool is_found = place < end && is_of(look, place, &bytes);
        if (is_found) {
            copy_record(look, place, bytes);
        }
        if (is_gone(table, place)) {
            return MEMTABLE_UNKNOWN;
        }
        if (is_found) {
            look->place = place;
            return MEMTABLE_FOUND;
        }
        if (next >= place) {
            return MEMTABLE_UNKNOWN;
        }
        place = next;
    }
    return end_of(table) == end ? MEMTABLE_ABSENT : MEMTABLE_UNKNOWN;
}

enum memtable_found memtable_find(const struct memtable *table, uint64_t hash, struct slice key,
                                  uint64_t *room, size_t *bytes, uint64_t *place)
{
    if (!memtable_has_entries(table) || key.len > KEY_BYTES_MAX) {
        return MEMTABLE_ABSENT;
    }
    struct look look = {.table = table, .hash = hash, .key = key, .room = room};
    enum memtable_found found = MEMTABLE_UNKNOWN;
    for (int i = 0; found == MEMTABLE_UNKNOWN && i < RESTARTS_MAX; i++) {
        found = follow(&look);
    }
    *bytes = look.bytes;
    *place = look.place;
    return found;
}
