// A memtable in a directory of its own, and a reader that has it mapped as another process would.
#pragma once

#include "cachefile/memtable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "cachefile/sketch.h"
#include "remove_tree.h"

enum { RING_BYTES = 64 << 10, ROOM_WORDS = MEMTABLE_RECORD_BYTES_MAX / 8 };

struct place {
    char path[64];
    struct directory directory;
    struct memtable_writer writer;
    struct memtable reader; // as another process maps it
};

static inline void open_table(struct place *place)
{
    struct failure failure;
    assert_int_equal(memtable_open(&place->writer, &place->directory, RING_BYTES, &failure),
                     ERROR_NONE);
    if (place->reader.header == NULL) {
        assert_true(memtable_map(&place->reader, place->directory.fd));
    }
}

static inline int setup(void **state)
{
    struct place *place = memory_zeroed(1, sizeof *place);
    strcpy(place->path, "/var/tmp/pgnear-memtable-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    struct failure failure;
    assert_int_equal(directory_open(&place->directory, place->path, DIRECTORY_DISPOSABLE, &failure),
                     ERROR_NONE);
    open_table(place);
    memtable_begin(&place->writer, 1);
    *state = place;
    return 0;
}

static inline int teardown(void **state)
{
    struct place *place = *state;
    memtable_close(&place->writer);
    memtable_unmap(&place->reader);
    directory_close(&place->directory);
    remove_tree(place->path);
    free(place);
    return 0;
}

// ---- entries

static inline struct slice key_of(int number, char text[16])
{
    snprintf(text, 16, "key %d", number);
    return slice_of_string(text);
}

static inline bool put_bytes(struct place *place, int number, struct slice record)
{
    char text[16];
    struct slice key = key_of(number, text);
    return memtable_put(&place->writer, sketch_hash(key), key, record);
}

static inline void put(struct place *place, int number, const char *record)
{
    assert_true(put_bytes(place, number, slice_of_string(record)));
}

static inline bool take_out(struct place *place, int number)
{
    char text[16];
    struct slice key = key_of(number, text);
    return memtable_remove(&place->writer, sketch_hash(key), key);
}

static inline void commit(struct place *place)
{
    memtable_commit_begin(&place->writer, false);
    memtable_commit_end(&place->writer);
}

static inline enum memtable_found find(const struct memtable *table, int number, uint64_t *room,
                                       size_t *bytes, uint64_t *at)
{
    char text[16];
    struct slice key = key_of(number, text);
    return memtable_find(table, sketch_hash(key), key, room, bytes, at);
}

// What a reader finds; NULL: nothing.
static inline void expect_seen(struct place *place, int number, const char *record)
{
    uint64_t room[ROOM_WORDS], at;
    size_t bytes = 0;
    enum memtable_found found = find(&place->reader, number, room, &bytes, &at);
    assert_int_equal(found, record == NULL ? MEMTABLE_ABSENT : MEMTABLE_FOUND);
    if (record != NULL) {
        assert_int_equal(bytes, strlen(record));
        assert_memory_equal(room, record, bytes);
    }
}

// What the turn itself finds.
static inline void expect_own(struct place *place, int number, const char *record)
{
    char text[16];
    struct slice key = key_of(number, text);
    struct slice found;
    bool is_there = memtable_get(&place->writer, sketch_hash(key), key, &found);
    assert_int_equal(is_there, record != NULL);
    if (record != NULL) {
        assert_true(slice_equal(found, slice_of_string(record)));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
