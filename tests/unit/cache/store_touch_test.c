// The pages that a growing cache takes for the first time: the kernel makes many at a time, and
// what is in use is left alone.
#include <sys/resource.h>

#include "cache/writer_state.h"
#include "unit/cache/rig.h"

enum { RECORDS = 20000, RECORDS_PER_TURN = 500, VALUE_BYTES = 200 };

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    *state = rig;
    return 0;
}

static void name_record(unsigned i, char key[24], char value[VALUE_BYTES + 1])
{
    snprintf(key, 24, "key-%08u", i);
    memset(value, 'v', VALUE_BYTES);
    snprintf(value + VALUE_BYTES - 9, 10, "%09u", i);
}

static void fill(struct rig *rig, unsigned from, unsigned to)
{
    char key[24], value[VALUE_BYTES + 1];
    for (unsigned i = from; i < to; i++) {
        name_record(i, key, value);
        rig_push_fill(rig, key, value, (int64_t)i + 1, rig_epoch(rig));
        if (i % RECORDS_PER_TURN == 0) {
            rig_turn(rig);
        }
    }
    rig_turn(rig);
}

static void expect_all(struct rig *rig, unsigned count)
{
    char key[24], value[VALUE_BYTES + 1];
    for (unsigned i = 0; i < count; i++) {
        name_record(i, key, value);
        struct rig_read read = rig_read(rig, key);
        assert_int_equal(read.lookup, LOOKUP_HIT);
        assert_string_equal(read.value, value);
    }
}

static long faults_that_read(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_majflt;
}

static void a_page_is_not_read_before_it_is_first_written(void **state)
{
    struct rig *rig = *state;
    const struct store *store = &rig->writer->store;
    long before = faults_that_read();
    size_t room_bytes = store_room_bytes(store);
    fill(rig, 0, RECORDS);
    long pages = (long)((room_bytes - store_room_bytes(store)) / store->page_bytes);
    long faults = faults_that_read() - before;
    fprintf(stderr, "%ld pages, %ld faults that read one\n", pages, faults);
    assert_true(pages > 1000);
    assert_in_range(faults, 0, pages / 10);
    expect_all(rig, RECORDS);
}

static void what_is_in_use_is_left_alone(void **state)
{
    struct rig *rig = *state;
    struct store *store = &rig->writer->store;
    fill(rig, 0, RECORDS / 2);
    store->touched_bytes = 0; // as after a start
    for (size_t bytes = 1; bytes < 2 * store->map_bytes; bytes *= 3) {
        store_touch_ahead(store, bytes);
    }
    assert_true(store->touched_bytes > store->map_bytes - store_room_bytes(store));
    expect_all(rig, RECORDS / 2);
    fill(rig, RECORDS / 2, RECORDS);
    expect_all(rig, RECORDS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_page_is_not_read_before_it_is_first_written),
        TEST(what_is_in_use_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
