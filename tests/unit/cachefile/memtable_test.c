// The memtable: a turn's entries come into sight together or not at all, an entry is found whole
// and no older than the last that was committed, and whatever the file holds harms nobody.

#include "cachefile/memtable.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "memtable_rig.h"

// ---- turns

static void a_turn_comes_into_sight_with_its_commit(void **state)
{
    struct place *place = *state;
    put(place, 1, "one");
    put(place, 2, "two");
    put(place, 2, "two again");
    expect_own(place, 2, "two again");
    expect_seen(place, 1, NULL);
    commit(place);
    expect_seen(place, 1, "one");
    expect_seen(place, 2, "two again");
    assert_int_equal(memtable_count(&place->writer), 2);
    put(place, 1, "one later");
    assert_true(take_out(place, 2));
    assert_false(take_out(place, 2));
    expect_own(place, 2, NULL);
    expect_seen(place, 1, "one");
    expect_seen(place, 2, "two again");
    commit(place);
    expect_seen(place, 1, "one later");
    expect_seen(place, 2, NULL);
    assert_int_equal(memtable_count(&place->writer), 1);
}

static void an_aborted_turn_leaves_nothing(void **state)
{
    struct place *place = *state;
    put(place, 1, "one");
    put(place, 2, "two");
    commit(place);
    for (int i = 0; i < 100; i++) {
        put(place, 1, "other");
        put(place, 3, "new");
        put(place, 3, "newer");
        take_out(place, 2);
        if (i % 2 == 0) {
            memtable_commit_begin(&place->writer, true);
        }
        memtable_abort(&place->writer);
        expect_own(place, 1, "one");
        expect_own(place, 2, "two");
        expect_own(place, 3, NULL);
    }
    commit(place);
    expect_seen(place, 1, "one");
    expect_seen(place, 2, "two");
    expect_seen(place, 3, NULL);
    assert_int_equal(memtable_count(&place->writer), 2);
    assert_int_equal(memtable_now(&place->reader).changes % 2, 0);
}

// ---- moments

static void what_goes_is_told_to_those_who_hold_a_snapshot(void **state)
{
    struct place *place = *state;
    put(place, 1, "one");
    commit(place);
    struct memtable_moment moment = memtable_now(&place->reader);
    put(place, 1, "later");
    commit(place);
    assert_false(memtable_is_still(&place->reader, moment));
    assert_false(memtable_has_lost(&place->reader, moment));
    uint64_t room[ROOM_WORDS], at = 0;
    size_t bytes;
    assert_int_equal(find(&place->reader, 1, room, &bytes, &at), MEMTABLE_FOUND);
    assert_true(at >= moment.end);
    moment = memtable_now(&place->reader);
    take_out(place, 1);
    assert_true(memtable_is_still(&place->reader, moment));
    memtable_commit_begin(&place->writer, false);
    assert_true(memtable_has_lost(&place->reader, moment));
    assert_true(memtable_has_lost(&place->reader, memtable_now(&place->reader)));
    memtable_commit_end(&place->writer);
    assert_true(memtable_has_lost(&place->reader, moment));
    assert_true(memtable_is_still(&place->reader, memtable_now(&place->reader)));
}

static void a_new_life_finds_nothing_of_the_old(void **state)
{
    struct place *place = *state;
    put(place, 1, "one");
    commit(place);
    put(place, 2, "of an unfinished turn");
    struct memtable_moment moment = memtable_now(&place->reader);
    memtable_close(&place->writer);
    open_table(place);
    // Until it begins anew, those who read while nobody serves find what was there.
    expect_seen(place, 1, "one");
    expect_own(place, 1, NULL);
    assert_false(put_bytes(place, 1, slice_of_string("too early")));
    assert_true(memtable_is_of(&place->reader, 1));
    memtable_begin(&place->writer, 2);
    assert_false(memtable_is_of(&place->reader, 1));
    assert_true(memtable_is_of(&place->reader, 2));
    expect_seen(place, 1, NULL);
    assert_true(memtable_has_lost(&place->reader, moment));
    assert_true(memtable_now(&place->reader).end > moment.end);
    put(place, 2, "new");
    commit(place);
    expect_seen(place, 2, "new");
}

// ---- beside readers

enum { KEYS = 16, TURNS = 20000 };

struct watcher {
    const struct memtable *table;
    int keys[KEYS]; // all in one chain, so that a reader is long on its way
    int keys_count; // that are watched
    atomic_bool stop;
    long found;
    long behind;
    long torn;
    long lost;
};

struct numbered {
    uint64_t number;
    uint64_t copies[20]; // of the number: one that is not whole is found out
};

// The first key is always there; no key's number ever falls.
static void *watch(void *context)
{
    struct watcher *watcher = context;
    uint64_t newest[KEYS] = {0};
    uint64_t room[ROOM_WORDS], at;
    for (int key = 0; !atomic_load(&watcher->stop); key = (key + 1) % watcher->keys_count) {
        struct numbered seen;
        size_t bytes = 0;
        enum memtable_found found = find(watcher->table, watcher->keys[key], room, &bytes, &at);
        watcher->lost += key == 0 && found != MEMTABLE_FOUND;
        if (found != MEMTABLE_FOUND) {
            continue;
        }
        memcpy(&seen, room, sizeof seen);
        watcher->found++;
        watcher->torn += bytes != sizeof seen;
        for (size_t i = 0; i < sizeof seen.copies / sizeof seen.copies[0]; i++) {
            watcher->torn += seen.copies[i] != seen.number;
        }
        watcher->behind += seen.number < newest[key];
        newest[key] = seen.number;
    }
    return NULL;
}

static void choose_keys(struct watcher *watcher)
{
    int count = 0;
    for (int number = 0; count < KEYS; number++) {
        char text[16];
        if ((sketch_hash(key_of(number, text)) & watcher->table->heads_mask) == 0) {
            watcher->keys[count++] = number;
        }
    }
    watcher->keys_count = KEYS;
}

static void put_number(struct place *place, int key, uint64_t number)
{
    struct numbered record = {.number = number};
    for (size_t i = 0; i < sizeof record.copies / sizeof record.copies[0]; i++) {
        record.copies[i] = number;
    }
    assert_true(put_bytes(place, key, slice_of(&record, sizeof record)));
}

static void no_reader_sees_half_a_change(void **state)
{
    struct place *place = *state;
    struct watcher watcher = {.table = &place->reader};
    choose_keys(&watcher);
    put_number(place, watcher.keys[0], 1);
    commit(place);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
    unsigned seed = 7;
    for (uint64_t turn = 2; turn < TURNS; turn++) {
        for (int key = 0; key < KEYS; key++) {
            if (key > 0 && rand_r(&seed) % 3 == 0) {
                take_out(place, watcher.keys[key]);
            } else {
                put_number(place, watcher.keys[key], turn);
            }
        }
        memtable_commit_begin(&place->writer, true);
        memtable_commit_end(&place->writer);
    }
    atomic_store(&watcher.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%ld found\n", watcher.found);
    assert_true(watcher.found > 0);
    assert_int_equal(watcher.torn, 0);
    assert_int_equal(watcher.behind, 0);
    assert_int_equal(watcher.lost, 0);
}

// A key that is always there, behind those of its chain that are newer and stay, put again and
// again: whoever is on his way along them misses neither the old entry nor the new one.
static void what_replaces_an_entry_is_not_missed(void **state)
{
    struct place *place = *state;
    struct watcher watcher = {.table = &place->reader};
    choose_keys(&watcher);
    put_number(place, watcher.keys[0], 1);
    for (int key = 1; key < KEYS; key++) {
        put_number(place, watcher.keys[key], 1);
    }
    commit(place);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
    for (uint64_t turn = 2; turn < TURNS; turn++) {
        for (int key = 0; key < KEYS; key++) {
            put_number(place, watcher.keys[key], turn);
            commit(place);
        }
    }
    atomic_store(&watcher.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(watcher.torn, 0);
    assert_int_equal(watcher.behind, 0);
    assert_int_equal(watcher.lost, 0);
}

static void put_others(struct place *place, const struct watcher *watcher, uint64_t number)
{
    for (int key = 1; key < KEYS; key++) {
        put_number(place, watcher->keys[key], number);
    }
}

// A key that is put and goes to LMDB in the same turn: who found that write would find the one
// before it after it, which is the last to leave its chain.
static void what_goes_in_its_own_turn_is_not_seen(void **state)
{
    struct place *place = *state;
    struct watcher watcher = {.table = &place->reader};
    choose_keys(&watcher);
    watcher.keys_count = 1;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
    put_others(place, &watcher, 1);
    for (uint64_t turn = 2; turn < TURNS; turn += 2) {
        put_number(place, watcher.keys[0], turn);
        commit(place);
        put_number(place, watcher.keys[0], turn + 1);
        put_others(place, &watcher, turn);
        assert_true(take_out(place, watcher.keys[0]));
        put_others(place, &watcher, turn + 1);
        commit(place);
    }
    atomic_store(&watcher.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(watcher.found > 0);
    assert_int_equal(watcher.torn, 0);
    assert_int_equal(watcher.behind, 0);
}

// As a counter is, by many clients at once.
static void a_key_may_be_put_often_in_a_turn(void **state)
{
    struct place *place = *state;
    enum { PUTS = 200 };
    char record[16];
    put(place, 2, "beside it");
    put(place, 1, "before");
    commit(place);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PUTS; i++) {
            snprintf(record, sizeof record, "%d", i);
            put(place, 1, record);
        }
        if (round == 0) {
            memtable_abort(&place->writer);
            expect_seen(place, 1, "before");
        }
    }
    commit(place);
    expect_seen(place, 1, record);
    expect_own(place, 1, record);
    assert_int_equal(memtable_count(&place->writer), 2);
    take_out(place, 1);
    commit(place);
    expect_seen(place, 1, NULL);
    expect_seen(place, 2, "beside it");
}

// ---- its file

static void a_start_keeps_the_file_whatever_size_it_asks_for(void **state)
{
    struct place *place = *state;
    struct failure failure;
    size_t bytes = place->writer.table.file_bytes;
    memtable_close(&place->writer);
    assert_int_equal(memtable_open(&place->writer, &place->directory, 2 * bytes, &failure),
                     ERROR_NONE);
    assert_int_equal(place->writer.table.file_bytes, bytes);
    memtable_begin(&place->writer, 2);
    put(place, 1, "one");
    commit(place);
    expect_seen(place, 1, "one"); // by who has it mapped since before
    assert_true(memtable_is_of(&place->reader, 2));
}

static void what_is_no_memtable_is_made_anew(void **state)
{
    struct place *place = *state;
    struct failure failure;
    size_t bytes = place->writer.table.file_bytes;
    memtable_close(&place->writer);
    assert_int_equal(unlinkat(place->directory.fd, MEMTABLE_FILE, 0), 0);
    int fd = openat(place->directory.fd, MEMTABLE_FILE, O_RDWR | O_CREAT, 0640);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
    assert_int_equal(memtable_open(&place->writer, &place->directory, 2 * bytes, &failure),
                     ERROR_NONE);
    assert_true(place->writer.table.file_bytes > bytes);
    assert_int_equal(unlinkat(place->directory.fd, MEMTABLE_FILE, 0), 0);
    assert_int_equal(symlinkat("control", place->directory.fd, MEMTABLE_FILE), 0);
    memtable_close(&place->writer);
    assert_int_equal(memtable_open(&place->writer, &place->directory, bytes, &failure), ERROR_NONE);
}

// ---- whatever the file holds

static void any_content_is_harmless(void **state)
{
    struct place *place = *state;
    struct memtable_header *header = place->writer.table.header;
    size_t words = (place->writer.table.file_bytes - MEMTABLE_HEADER_BYTES) / 8;
    unsigned seed = 3;
    uint64_t room[ROOM_WORDS], at;
    size_t bytes;
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < words; i++) {
            uint64_t word = (uint64_t)rand_r(&seed) << (rand_r(&seed) % 2 == 0 ? 0 : 33);
            atomic_store(&place->writer.table.heads[i],
                         round % 2 == 0 ? word : word % place->writer.table.ring_words);
        }
        atomic_store(&header->count, 1);
        atomic_store(&header->begin, round % 3 == 0 ? 0 : (uint64_t)rand_r(&seed));
        atomic_store(&header->end, round % 4 == 0 ? UINT64_MAX : (uint64_t)rand_r(&seed));
        for (int key = 0; key < 200; key++) {
            find(&place->reader, key, room, &bytes, &at);
        }
    }
    header->ring_words *= 2;
    struct memtable mapped;
    assert_false(memtable_map(&mapped, place->directory.fd));
    header->ring_words /= 2;
    assert_true(memtable_map(&mapped, place->directory.fd));
    memtable_unmap(&mapped);
    header->magic++;
    assert_false(memtable_map(&mapped, place->directory.fd));
    // A start makes of it what it should be.
    memtable_close(&place->writer);
    open_table(place);
    memtable_begin(&place->writer, 2);
    put(place, 1, "one");
    commit(place);
    expect_seen(place, 1, "one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_turn_comes_into_sight_with_its_commit),
        TEST(an_aborted_turn_leaves_nothing),
        TEST(what_goes_is_told_to_those_who_hold_a_snapshot),
        TEST(a_new_life_finds_nothing_of_the_old),
        TEST(no_reader_sees_half_a_change),
        TEST(what_replaces_an_entry_is_not_missed),
        TEST(what_goes_in_its_own_turn_is_not_seen),
        TEST(a_key_may_be_put_often_in_a_turn),
        TEST(a_start_keeps_the_file_whatever_size_it_asks_for),
        TEST(what_is_no_memtable_is_made_anew),
        TEST(any_content_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
