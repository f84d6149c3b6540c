// The hot tier: an entry is found whole or not at all, whatever its bucket holds and whoever is
// changing it.

#include "cachefile/tier.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "remove_tree.h"

enum { LIFE = 1 << 10, BUCKETS = 4, ROOM_WORDS = TIER_ENTRY_BYTES_MAX / 8 };

struct place {
    char path[64];
    struct directory directory;
    struct tier tier;
    struct tier reader; // as another process maps it
    uint64_t room[ROOM_WORDS];
};

static void open_tier(struct place *place, size_t buckets)
{
    struct failure failure;
    tier_close(&place->tier);
    tier_close(&place->reader);
    assert_int_equal(
        tier_open(&place->tier, &place->directory, buckets * TIER_BUCKET_BYTES, &failure),
        ERROR_NONE);
    assert_true(tier_map(&place->reader, place->directory.fd));
    assert_int_equal(place->reader.buckets_count, buckets);
}

static int setup(void **state)
{
    struct place *place = memory_zeroed(1, sizeof *place);
    strcpy(place->path, "/var/tmp/pgnear-tier-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    struct failure failure;
    assert_int_equal(directory_open(&place->directory, place->path, DIRECTORY_DISPOSABLE, &failure),
                     ERROR_NONE);
    open_tier(place, BUCKETS);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    tier_close(&place->tier);
    tier_close(&place->reader);
    directory_close(&place->directory);
    remove_tree(place->path);
    free(place);
    return 0;
}

// ---- entries

static bool all_may_leave(void *context, struct slice key)
{
    (void)context;
    return key.len > 0;
}

static bool none_may_leave(void *context, struct slice key)
{
    (void)context;
    (void)key;
    return false;
}

static bool put(struct place *place, uint64_t hash, const char *key, const char *record,
                tier_may_leave *may_leave)
{
    size_t left;
    return tier_put(&place->tier, LIFE, hash, slice_of_string(key), slice_of_string(record),
                    may_leave, NULL, &left);
}

static void expect(struct place *place, uint64_t hash, const char *key, const char *record)
{
    memset(place->room, 0xee, sizeof place->room);
    size_t bytes = tier_find(&place->reader, LIFE, hash, slice_of_string(key), place->room);
    if (record == NULL) {
        assert_int_equal(bytes, 0);
        return;
    }
    assert_int_equal(bytes, strlen(record));
    assert_memory_equal(place->room, record, bytes);
}

static void what_was_put_in_is_found_until_it_is_removed(void **state)
{
    static const char *const KEYS[] = {"a", "1234567", "12345678", "123456789", "key"};
    struct place *place = *state;
    for (uint64_t i = 0; i < 5; i++) {
        expect(place, i, KEYS[i], NULL);
        assert_true(put(place, i, KEYS[i], KEYS[4 - i], none_may_leave));
    }
    for (uint64_t i = 0; i < 5; i++) {
        expect(place, i, KEYS[i], KEYS[4 - i]);
    }
    // The others stay where they are found, however the removal moves them.
    for (uint64_t i = 1; i < 4; i++) {
        assert_true(tier_remove(&place->tier, LIFE, i, slice_of_string(KEYS[i])));
        assert_false(tier_remove(&place->tier, LIFE, i, slice_of_string(KEYS[i])));
        assert_false(tier_holds(&place->tier, LIFE, i, slice_of_string(KEYS[i])));
        for (uint64_t other = 0; other < 5; other++) {
            bool stays = other == 0 || other > i;
            expect(place, other, KEYS[other], stays ? KEYS[4 - other] : NULL);
        }
    }
    assert_true(put(place, 0, "a", "another", none_may_leave));
    expect(place, 0, "a", "another");
}

static void keys_of_one_hash_are_told_apart(void **state)
{
    struct place *place = *state;
    static const uint64_t HASH = 0x1234;
    assert_true(put(place, HASH, "one", "1", none_may_leave));
    assert_true(put(place, HASH, "two", "2", none_may_leave));
    expect(place, HASH, "one", "1");
    expect(place, HASH, "two", "2");
    expect(place, HASH, "tree", NULL);
    expect(place, HASH, "on", NULL);
    expect(place, HASH, "one\1", NULL);
    // The same byte in the table of tags, another hash.
    expect(place, HASH + 0x100, "one", NULL);
    assert_true(tier_remove(&place->tier, LIFE, HASH, slice_of_string("one")));
    expect(place, HASH, "two", "2");
}

static void a_new_life_finds_nothing_of_the_old(void **state)
{
    struct place *place = *state;
    assert_true(put(place, 7, "key", "old", none_may_leave));
    uint64_t next = LIFE + TIER_HALVINGS_MAX + 1;
    struct slice key = slice_of_string("key");
    assert_int_equal(tier_find(&place->reader, next, 7, key, place->room), 0);
    assert_false(tier_holds(&place->tier, next, 7, key));
    size_t left;
    assert_true(tier_put(&place->tier, next, 7, slice_of_string("other"), slice_of_string("new"),
                         none_may_leave, NULL, &left));
    assert_int_equal(tier_find(&place->reader, next, 7, key, place->room), 0);
    assert_int_equal(tier_find(&place->reader, next, 7, slice_of_string("other"), place->room), 3);
    expect(place, 7, "key", NULL);
}

static void a_full_bucket_lets_the_oldest_go_that_may(void **state)
{
    struct place *place = *state;
    char key[16];
    int count = 0;
    for (; count < 2 * TIER_WAYS; count++) {
        snprintf(key, sizeof key, "key-%d", count);
        if (!put(place, (uint64_t)count, key, "record", none_may_leave)) {
            break;
        }
    }
    assert_int_equal(count, TIER_WAYS);
    assert_true(put(place, 1000, "next", "record", all_may_leave));
    expect(place, 0, "key-0", NULL);
    expect(place, 1, "key-1", "record");
    expect(place, 1000, "next", "record");
}

static void room_is_counted_in_bytes_too(void **state)
{
    struct place *place = *state;
    char record[TIER_ENTRY_BYTES_MAX - 15];
    memset(record, 'r', sizeof record);
    record[sizeof record - 1] = '\0';
    char key[16];
    int count = 0;
    for (; count < TIER_WAYS; count++) {
        snprintf(key, sizeof key, "key-%03d", count);
        if (!put(place, (uint64_t)count, key, record, none_may_leave)) {
            break;
        }
        expect(place, (uint64_t)count, key, record);
    }
    assert_int_equal(count, 3);
    assert_false(tier_takes(8, sizeof record));
    record[sizeof record - 1] = 'r';
    size_t left;
    assert_false(tier_put(&place->tier, LIFE, 9, slice_of_string("key-009"),
                          slice_of(record, sizeof record + 0), all_may_leave, NULL, &left));
    expect(place, 0, "key-000", (record[sizeof record - 1] = '\0', record));
}

// ---- what must not be believed

static void a_bucket_left_in_the_middle_of_a_change_is_not_read(void **state)
{
    struct place *place = *state;
    assert_true(put(place, 7, "key", "record", none_may_leave));
    struct tier_bucket bucket = tier_bucket_of(&place->tier, LIFE, 7);
    atomic_fetch_add(tier_word(bucket, TIER_AT_SEQUENCE), 1);
    expect(place, 7, "key", NULL);
    // The next change makes it whole.
    assert_true(put(place, 8, "other", "record", none_may_leave));
    expect(place, 8, "other", "record");
    expect(place, 7, "key", "record");
}

static void any_content_is_harmless(void **state)
{
    struct place *place = *state;
    unsigned seed = 1;
    struct tier_bucket bucket = tier_bucket_of(&place->tier, LIFE, 7);
    for (unsigned round = 0; round < 20000; round++) {
        for (size_t i = 0; i < TIER_BUCKET_WORDS; i++) {
            uint64_t word = (uint64_t)rand_r(&seed) << 40 ^ (uint64_t)rand_r(&seed) << 20 ^
                            (uint64_t)rand_r(&seed);
            atomic_store_explicit(tier_word(bucket, i),
                                  round % 2 ? word : word & 0x01ff000f00ff0007u,
                                  memory_order_relaxed);
        }
        // The looks are not to be stopped by what is looked at first.
        atomic_store(tier_word(bucket, TIER_AT_SEQUENCE), 2);
        atomic_store(tier_word(bucket, TIER_AT_LIFE), LIFE);
        for (size_t i = 0; i < TIER_TAG_WORDS; i++) {
            atomic_store(tier_word(bucket, TIER_AT_TAGS + i), 0x0707070707070707u);
        }
        tier_prefetch_entry(&place->reader, LIFE, 7);
        size_t bytes =
            tier_find(&place->reader, LIFE, 7, slice_of("\0\0\0", round % 4), place->room);
        assert_true(bytes <= sizeof place->room);
        if (round % 3 == 0) {
            tier_remove(&place->tier, LIFE, 7, slice_of("\0\0\0", round % 4));
        }
        if (put(place, 7, "key", "record", round % 5 ? all_may_leave : none_may_leave)) {
            expect(place, 7, "key", "record");
        }
    }
}

static void a_file_of_another_size_is_made_anew(void **state)
{
    struct place *place = *state;
    struct tier old;
    assert_true(tier_map(&old, place->directory.fd));
    assert_true(put(place, 7, "key", "record", none_may_leave));
    open_tier(place, 1);
    expect(place, 7, "key", NULL);
    assert_true(put(place, 7, "key", "new", none_may_leave));
    expect(place, 7, "key", "new");
    // Who has the old one mapped still has it, whole.
    assert_int_equal(tier_find(&old, LIFE, 7, slice_of_string("key"), place->room), 6);
    tier_close(&old);
    open_tier(place, 1);
    expect(place, 7, "key", "new");
}

// ---- a writer and readers at once

enum { READERS = 2, CHANGES = 60000, SHARED_KEYS = 12, RECORD_WORDS = 24 };

struct crowd {
    struct place *place;
    atomic_bool stop;
    atomic_long found;
    atomic_long torn;
};

// A record says one number all over, after its key's.
static size_t make_record(uint64_t *words, uint64_t key, uint64_t number)
{
    size_t count = 2 + number % (RECORD_WORDS - 2);
    for (size_t i = 0; i < count; i++) {
        words[i] = key << 32 | number;
    }
    return count * sizeof *words;
}

static bool is_whole(const uint64_t *words, size_t bytes, uint64_t key)
{
    uint64_t expected[RECORD_WORDS];
    return bytes == make_record(expected, key, words[0] & UINT32_MAX) &&
           memcmp(words, expected, bytes) == 0;
}

static void *read_on(void *context)
{
    struct crowd *crowd = context;
    uint64_t room[ROOM_WORDS];
    uint64_t key = 0;
    while (!atomic_load(&crowd->stop)) {
        key = (key + 1) % SHARED_KEYS;
        size_t bytes =
            tier_find(&crowd->place->reader, LIFE, key, slice_of(&key, sizeof key), room);
        if (bytes > 0) {
            atomic_fetch_add_explicit(&crowd->found, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&crowd->torn, !is_whole(room, bytes, key),
                                      memory_order_relaxed);
        }
    }
    return NULL;
}

static void no_reader_sees_half_a_change(void **state)
{
    struct place *place = *state;
    struct crowd crowd = {.place = place};
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &crowd), 0);
    }
    // At least so many, and until something was found.
    for (uint64_t number = 1; number < CHANGES || atomic_load(&crowd.found) < 100; number++) {
        uint64_t key = number * 7 % SHARED_KEYS;
        uint64_t words[RECORD_WORDS];
        size_t left;
        struct slice name = slice_of(&key, sizeof key);
        tier_remove(&place->tier, LIFE, key, name);
        assert_true(tier_put(&place->tier, LIFE, key, name,
                             slice_of(words, make_record(words, key, number & UINT32_MAX)),
                             all_may_leave, NULL, &left));
    }
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    print_message("%ld found\n", atomic_load(&crowd.found));
    assert_int_equal(atomic_load(&crowd.torn), 0);
}

#define TIER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TIER_TEST(what_was_put_in_is_found_until_it_is_removed),
        TIER_TEST(keys_of_one_hash_are_told_apart),
        TIER_TEST(a_new_life_finds_nothing_of_the_old),
        TIER_TEST(a_full_bucket_lets_the_oldest_go_that_may),
        TIER_TEST(room_is_counted_in_bytes_too),
        TIER_TEST(a_bucket_left_in_the_middle_of_a_change_is_not_read),
        TIER_TEST(any_content_is_harmless),
        TIER_TEST(a_file_of_another_size_is_made_anew),
        TIER_TEST(no_reader_sees_half_a_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
