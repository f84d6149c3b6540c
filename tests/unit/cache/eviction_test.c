// A cache that is too small for what comes: clean records go, cold ones first; pending ones stay,
// and no write of a user's fails.

#include "cache/outbox.h"
#include "cache/writer_state.h"
#include "unit/cache/rig.h"

enum { KEYS = 60000, HOT_EVERY = 50, VALUE_BYTES = 120 };

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->settings.cache.size_bytes = 4 << 20;
    rig->settings.writes.outbox_bytes = 1 << 20;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    *state = rig;
    return 0;
}

static void key_of(unsigned i, char key[24])
{
    // Spread over the whole order of keys.
    snprintf(key, 24, "%08x-%u", i * 2654435761u, i);
}

static void fill_range(struct rig *rig, unsigned from, unsigned to)
{
    char value[VALUE_BYTES + 1];
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    for (unsigned i = from; i < to; i++) {
        char key[24];
        key_of(i, key);
        rig_push_fill(rig, key, value, (int64_t)i + 1, rig_epoch(rig));
        if (i % 100 == 99) {
            rig_turn(rig);
        }
    }
    rig_turn(rig);
}

static bool holds(struct rig *rig, unsigned i)
{
    char key[24];
    key_of(i, key);
    return rig_read(rig, key).lookup == LOOKUP_HIT;
}

static void what_is_read_stays_and_what_is_not_goes(void **state)
{
    struct rig *rig = *state;
    enum { HOT = 500 };
    fill_range(rig, 0, HOT);
    for (unsigned round = 0; HOT + round * 500 < KEYS; round++) {
        fill_range(rig, HOT + round * 500, HOT + (round + 1) * 500);
        for (unsigned i = 0; i < HOT; i++) {
            holds(rig, i);
        }
    }
    unsigned hot = 0;
    unsigned cold = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        bool held = holds(rig, i);
        hot += held && i < HOT;
        cold += held && i >= HOT;
    }
    print_message("hot %u of %u, cold %u of %u\n", hot, (unsigned)HOT, cold,
                  (unsigned)(KEYS - HOT));
    assert_true(hot > HOT * 3 / 4);
    assert_true(cold > 2000); // the room is used
    assert_true(cold < KEYS / 2);
    assert_true(rig_status(rig, STATUS_CACHE_EVICTIONS) > KEYS / 4);
    assert_true(rig_status(rig, STATUS_CACHE_BYTES) <= 4 << 20);
    assert_int_equal(rig->stops, 0);
}

static void warm_all(struct rig *rig)
{
    for (int touch = 0; touch < SKETCH_WARM; touch++) {
        for (unsigned i = 0; i < KEYS; i++) {
            holds(rig, i);
        }
    }
}

// Side by side: they need few pages.
static void push_rows(struct rig *rig, unsigned round)
{
    char value[VALUE_BYTES + 1];
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    for (unsigned i = 0; i < 300; i++) {
        char key[40];
        snprintf(key, sizeof key, "side by side %u %u", round, i);
        rig_push_fill(rig, key, value, 1, rig_epoch(rig));
    }
}

// More messages than a turn takes, so that some wait for the next one.
static void push_a_crowd(struct rig *rig)
{
    enum { CROWD = 5000 };
    for (int i = 0; i < CROWD; i++) {
        rig_push_change(rig, "nobody's", i, false);
    }
}

static uint64_t visits_of_turn(struct rig *rig)
{
    uint64_t before = rig->writer->eviction.visited_count;
    writer_turn(rig->writer);
    return rig->writer->eviction.visited_count - before;
}

// Where nearly all is warm the hand looks at nearly everything before it has dropped enough. Who
// waits for the next turn waits for a step of that, not for all of it; and in the end it is done.
static void eviction_gives_way_to_what_waits(void **state)
{
    struct rig *rig = *state;
    enum { STEP_RECORDS = 4096, ROUNDS = 12 };
    for (unsigned i = 0; rig_status(rig, STATUS_CACHE_EVICTIONS) == 0; i += 500) {
        fill_range(rig, i, i + 500);
    }
    assert_true(rig_status(rig, STATUS_CACHE_ENTRIES) > 2 * STEP_RECORDS);
    uint64_t most = 0; // of a turn that others waited for
    for (unsigned round = 0; round < ROUNDS; round++) {
        warm_all(rig);
        push_rows(rig, round);
        push_a_crowd(rig);
        do {
            uint64_t visits = visits_of_turn(rig);
            most = visits > most && rig->writer->backlog != NULL ? visits : most;
        } while (rig->writer->backlog != NULL);
    }
    assert_in_range(most, 1, STEP_RECORDS);
    rig_change(rig, "nobody's", 1, false); // says what is used now
    assert_true(rig_status(rig, STATUS_CACHE_BYTES) < (4 << 20) / 100 * 92);
}

static void pending_records_are_never_evicted(void **state)
{
    struct rig *rig = *state;
    for (int i = 0; i < 500; i++) {
        char key[24];
        snprintf(key, sizeof key, "p%d", i);
        rig_set(rig, key, "mine");
    }
    fill_range(rig, 0, KEYS);
    for (int i = 0; i < 500; i++) {
        char key[24];
        snprintf(key, sizeof key, "p%d", i);
        rig_assert_pending(rig, key, "mine");
    }
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 500);
}

// Large values want pages in a row; the outbox is full of them, and the cache holds them all.
static void an_outbox_full_of_large_writes_fits_into_a_full_cache(void **state)
{
    struct rig *rig = *state;
    fill_range(rig, 0, KEYS / 2);
    char *large = memory_zeroed(1, 100001);
    memset(large, 'x', 100000);
    int accepted = 0;
    for (enum error error = ERROR_NONE; error == ERROR_NONE; accepted++) {
        char key[24];
        snprintf(key, sizeof key, "large%d", accepted);
        rig_push_set(rig, key, large, ACK_JOURNAL);
        rig_turn(rig);
        struct request *request = rig_homed(rig);
        error = request->reply.failure.error;
        assert_true(error == ERROR_NONE || error == ERROR_OVERLOADED);
        request_destroy(request);
    }
    free(large);
    assert_true(accepted > 8);
    for (int i = 0; i < accepted - 1; i++) {
        char key[24];
        snprintf(key, sizeof key, "large%d", i);
        assert_true(rig_read(rig, key).pending);
    }
    assert_int_equal(rig->stops, 0);
}

static void a_value_beyond_the_cache_is_not_held(void **state)
{
    struct rig *rig = *state;
    char *large = memory_zeroed(1, (1 << 20) + 1);
    memset(large, 'x', 1 << 20);
    rig_fill(rig, "large", "v", 1);
    rig_fill(rig, "large", large, 2);
    rig_assert_miss(rig, "large");
    free(large);
    rig_fill(rig, "small", "v", 1);
    rig_assert_clean(rig, "small", "v", 1);
}

RIG_UNUSED static void a_full_map_is_evicted_and_the_turn_done_again(void **state)
{
    struct rig *rig = *state;
    fill_range(rig, 0, 2000);
    uint64_t seq = rig_set(rig, "a", "v1");
    int64_t evicted = rig_status(rig, STATUS_CACHE_EVICTIONS);
    rig_arm("cache.map_full=fail:1");
    // All kinds in one turn, so that each is done twice.
    rig_push_set(rig, "b", "v", ACK_JOURNAL);
    rig_push_set(rig, "m", "v", ACK_MEMORY);
    rig_push_fill(rig, "c", "v", 1, rig_epoch(rig));
    rig_push_change(rig, "c", 2, false);
    struct feed_message *feed = message_create(MESSAGE_FEED, sizeof *feed);
    feed->event = FEED_REPLACED;
    feed->heartbeat_boot_us = rig->boot_us;
    uint64_t epoch = rig_epoch(rig);
    rig_push_message(rig, feed);
    rig_push_fill(rig, "d", "v", 1, epoch + 1);
    struct call call = rig_call(METHOD_INVALIDATE, ACK_JOURNAL, NULL);
    rig_push(rig, &call);
    rig_push_fill(rig, "e", "v", 1, epoch + 1);
    rig_turn(rig);
    rig_arm(NULL);
    assert_true(rig_status(rig, STATUS_CACHE_EVICTIONS) > evicted);
    assert_int_equal(rig_epoch(rig), epoch + 1);
    assert_true(rig_expect_home(rig, ERROR_NONE) > seq);
    rig_expect_home(rig, ERROR_NONE);
    struct request *request = rig_homed(rig);
    assert_int_equal(request->reply.integer, 1);
    request_destroy(request);
    rig_assert_pending(rig, "a", "v1");
    rig_assert_pending(rig, "b", "v");
    rig_assert_pending(rig, "m", "v");
    rig_assert_miss(rig, "c");
    rig_assert_miss(rig, "d");
    rig_assert_clean(rig, "e", "v", 1);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 3);
}

RIG_UNUSED static void a_cache_that_cannot_be_written_stops_the_node_and_starts_cold(void **state)
{
    struct rig *rig = *state;
    fill_range(rig, 0, 10);
    uint64_t seq = rig_set(rig, "a", "v");
    rig_arm("cache.map_full=fail");
    rig_push_set(rig, "b", "v", ACK_JOURNAL);
    rig_turn(rig);
    rig_arm(NULL);
    assert_int_equal(rig->stops, 1);
    struct request *request = rig_homed(rig);
    assert_int_equal(request->reply.failure.error, ERROR_OUTCOME_UNKNOWN);
    assert_true(request->reply.failure.has_seq);
    assert_true(request->reply.failure.seq > seq);
    request_destroy(request);
    rig_push_set(rig, "c", "v", ACK_JOURNAL);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_INTERNAL);
    assert_int_equal(rig->stops, 1);
    rig_crash(rig);
    rig_open(rig);
    assert_false(holds(rig, 1));
    rig_assert_pending(rig, "a", "v");
    rig_assert_pending(rig, "b", "v"); // it was journaled
    rig_assert_miss(rig, "c");
}

RIG_UNUSED static void a_cache_that_fails_loses_no_write_of_ack_memory(void **state)
{
    static const char *const FAULTS[] = {"cache.begin=fail", "cache.put=fail", "cache.commit=fail"};
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        struct rig *rig = *state;
        rig_push_set(rig, "m", "v", ACK_MEMORY);
        rig_turn(rig);
        rig_expect_home(rig, ERROR_NONE);
        rig_arm(FAULTS[i]);
        rig_push_set(rig, "n", "v", ACK_MEMORY);
        rig_turn(rig);
        rig_arm(NULL);
        rig_expect_home(rig, ERROR_OUTCOME_UNKNOWN);
        rig_crash(rig);
        rig_open(rig);
        rig_assert_pending(rig, "m", "v");
        rig_assert_pending(rig, "n", "v");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
        rig_set(rig, "m", "again");
    }
}

static void a_start_with_more_to_lay_over_than_is_free_makes_room(void **state)
{
    struct rig *rig = *state;
    uint64_t last = 0;
    for (unsigned i = 0; i < 3000; i++) {
        char key[24];
        key_of(i, key);
        last = rig_set(rig, key, "pending");
    }
    fill_range(rig, 3000, KEYS / 2);
    rig_crash(rig);
    rig_open(rig);
    for (unsigned i = 0; i < 3000; i++) {
        char key[24];
        key_of(i, key);
        rig_assert_pending(rig, key, "pending");
    }
    assert_true(rig_set(rig, "next", "v") > last);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_read_stays_and_what_is_not_goes),
        TEST(eviction_gives_way_to_what_waits),
        TEST(pending_records_are_never_evicted),
        TEST(an_outbox_full_of_large_writes_fits_into_a_full_cache),
        TEST(a_value_beyond_the_cache_is_not_held),
        TEST(a_full_map_is_evicted_and_the_turn_done_again),
        TEST(a_cache_that_cannot_be_written_stops_the_node_and_starts_cold),
        TEST(a_cache_that_fails_loses_no_write_of_ack_memory),
        TEST(a_start_with_more_to_lay_over_than_is_free_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
