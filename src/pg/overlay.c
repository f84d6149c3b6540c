#include "pg/overlay.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

struct overlay_key {
    UT_hash_handle hh;
    struct overlay_write write; // slices in the arena
};

void overlay_init(struct overlay *overlay, const struct key_range *range, size_t bytes_max)
{
    *overlay = (struct overlay){.range = *range, .bytes_max = bytes_max};
}

static void forget(struct overlay *overlay, struct overlay_key *key)
{
    HASH_DELETE(hh, overlay->keys, key);
    free(key);
}

void overlay_deinit(struct overlay *overlay)
{
    struct overlay_key *key, *following;
    HASH_ITER(hh, overlay->keys, key, following)
    {
        forget(overlay, key);
    }
    arena_deinit(&overlay->arena);
    *overlay = (struct overlay){0};
}

static int compare_keys(struct overlay_key *a, struct overlay_key *b)
{
    return slice_compare(a->write.key, b->write.key);
}

static size_t bytes_of(const struct overlay_key *key)
{
    return sizeof *key + key->write.key.len + key->write.value.len;
}

static void move_to(struct arena *arena, struct overlay_write *write)
{
    write->key = arena_copy(arena, write->key);
    write->value = arena_copy(arena, write->value);
}

// Keeps the first keys, in half of the room, and leaves behind what was overwritten.
static void shrink(struct overlay *overlay)
{
    struct arena kept = {0};
    struct overlay_key *key, *following;
    size_t bytes = 0;
    bool is_first = true;
    struct slice last = {0};
    bool has_dropped = false;
    HASH_SORT(overlay->keys, compare_keys);
    HASH_ITER(hh, overlay->keys, key, following)
    {
        bytes += bytes_of(key);
        if (!is_first && bytes > overlay->bytes_max / 2) {
            has_dropped = true;
            forget(overlay, key);
            continue;
        }
        is_first = false;
        move_to(&kept, &key->write);
        // HASH_ADD_KEYPTR keeps a pointer to the key.
        key->hh.key = key->write.key.at;
        last = key->write.key;
    }
    if (has_dropped || overlay->has_horizon) {
        overlay->horizon = arena_copy(&kept, has_dropped ? last : overlay->horizon);
        overlay->has_horizon = true;
    }
    arena_deinit(&overlay->arena);
    overlay->arena = kept;
}

static void put(struct overlay *overlay, const struct overlay_write *write)
{
    struct overlay_key *key;
    HASH_FIND(hh, overlay->keys, write->key.at, write->key.len, key);
    if (key == NULL) {
        key = memory_zeroed(1, sizeof *key);
        key->write.key = arena_copy(&overlay->arena, write->key);
        HASH_ADD_KEYPTR(hh, overlay->keys, key->write.key.at, key->write.key.len, key);
    }
    struct slice stored_key = key->write.key;
    key->write = *write;
    key->write.key = stored_key;
    key->write.value = arena_copy(&overlay->arena, write->value);
    size_t nodes_bytes = HASH_COUNT(overlay->keys) * sizeof *key;
    if (overlay->arena.bytes + nodes_bytes > overlay->bytes_max) {
        shrink(overlay);
    }
}

static bool is_known(const struct overlay *overlay, struct slice key)
{
    return key_range_has(&overlay->range, key) &&
           (!overlay->has_horizon || slice_compare(key, overlay->horizon) <= 0);
}

void overlay_add(struct overlay *overlay, const struct entry *entry)
{
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    CHECK(overlay->writes == NULL);
    while (!entry->retired && entry_next_pair(&cursor, &pair)) {
        if (!is_known(overlay, pair.key)) {
            continue;
        }
        if (entry_returns_result(entry)) {
            overlay->undecided_seq = entry->seq;
            continue;
        }
        const struct overlay_write write = {
            .key = pair.key,
            .value = pair.value,
            .is_present = entry->op == ENTRY_SET,
            .expires_at_us = entry->expires_at_us,
            .seq = entry->seq,
        };
        put(overlay, &write);
    }
}

void overlay_seal(struct overlay *overlay)
{
    struct overlay_key *key, *following;
    HASH_SORT(overlay->keys, compare_keys);
    size_t count = HASH_COUNT(overlay->keys);
    overlay->writes = arena_alloc(&overlay->arena, (count + 1) * sizeof *overlay->writes);
    HASH_ITER(hh, overlay->keys, key, following)
    {
        overlay->writes[overlay->writes_count++] = key->write;
        forget(overlay, key);
    }
}
