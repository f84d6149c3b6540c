// The log in front of the outbox on a disk that fails.

#include "cache/writer_state.h"
#include "unit/cache/log_rig.h"

#include <sys/stat.h>

static void without_room_for_it_the_node_goes_without(void **state)
{
    struct rig *rig = *state;
    char path[160];
    assert_int_equal(mkdir(rig->outbox_dir, 0750), 0);
    path_of(rig, "outbox.log.new", path);
    assert_int_equal(mkdir(path, 0750), 0);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 0);
    rig_set(rig, "a", "1");
    rig_assert_entries(rig, ".");
    rig_crash(rig);
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_RINGED);
    assert_int_equal(rmdir(path), 0);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
    rig_assert_entries(rig, ".");
}

static void a_failed_write_to_it_is_the_outboxs_to_keep(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_arm("outbox.log_sync=fail:1");
    rig_set(rig, "b", "2");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 0);
    rig_assert_entries(rig, "..");
    // Whatever it says from now on: it is not asked again.
    rig_set(rig, "c", "3");
    rig_assert_entries(rig, "...");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 1);
    rig_crash(rig);
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_RINGED);
    rig_boot(rig, 2);
    rig_open(rig);
    rig_assert_entries(rig, "...");
    rig_assert_pending(rig, "b", "2");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
}

// Deleted, or moved away by who makes room, while the daemon runs.
static void one_that_is_gone_is_done_without(void **state)
{
    struct rig *rig = *state;
    char path[160], other[160];
    path_of(rig, OUTBOX_LOG_FILE, path);
    path_of(rig, "elsewhere", other);
    for (int is_moved = 0; is_moved < 2; is_moved++) {
        rig_open(rig);
        rig_set(rig, "a", is_moved ? "3" : "1");
        assert_int_equal(is_moved ? rename(path, other) : unlink(path), 0);
        rig_pass(rig, 2 * RIG_S);
        rig_pass(rig, 2 * RIG_S);
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 0);
        rig_assert_entries(rig, is_moved ? "..." : ".");
        rig_set(rig, "b", is_moved ? "4" : "2");
        rig_crash(rig);
        assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_RINGED);
    }
    rig_open(rig); // without a word of what is missing
    rig_assert_entries(rig, "....");
    rig_assert_pending(rig, "a", "3");
    rig_assert_pending(rig, "b", "4");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
}

// The group may be on the disk: that nothing was done cannot be said.
static void where_the_outbox_fails_as_well_the_outcome_is_unknown(void **state)
{
    static const char *const FAILURES[] = {
        "outbox.log_sync=fail:1,outbox.disk_full=fail",
        "outbox.log_sync=fail:1,outbox.sync=fail",
        "outbox.log_sync=fail:1,outbox.begin=fail",
    };
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof FAILURES / sizeof FAILURES[0]; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%zu", i);
        rig_open(rig);
        rig_arm(FAILURES[i]);
        rig_push_set(rig, key, "v", ACK_JOURNAL);
        rig_turn(rig);
        rig_expect_home(rig, ERROR_OUTCOME_UNKNOWN);
        assert_int_equal(rig->stops, (int)i + 1);
        rig_arm(NULL);
        lose_machine(rig);
        rig_open(rig);
        rig_assert_pending(rig, key, "v");
        rig_crash(rig);
    }
    rig_open(rig);
    rig_assert_entries(rig, "...");
}

static void a_full_disk_is_met_before_the_log(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_arm("outbox.room=fail");
    rig_push_set(rig, "b", "2", ACK_JOURNAL);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_OVERLOADED);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 1);
    lose_machine(rig);
    rig_arm(NULL);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_pending(rig, "a", "1");
    rig_assert_miss(rig, "b");
}

// The commit that was to take it over comes to nothing: the log stays as it is.
static void a_commit_that_fails_leaves_it_alone(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    uint64_t generation = rig->writer->outbox.log.generation;
    rig_arm("outbox.disk_full=fail:1");
    rig_pass(rig, LOGGED_IDLE_US);
    rig_assert_entries(rig, "");
    assert_int_equal(rig->writer->outbox.log.generation, generation);
    assert_int_equal(rig->writer->outbox.log.count, 1);
    rig_arm(NULL);
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_pending(rig, "a", "1");
    rig_arm("outbox.disk_full=fail:1");
    rig_set(rig, "b", "2");
    rig_pass(rig, LOGGED_IDLE_US);
    rig_arm(NULL);
    rig_pass(rig, RIG_S);
    rig_assert_entries(rig, "..");
    assert_int_equal(rig->writer->outbox.log.count, 0);
}

static void a_cache_that_fails_loses_nothing_of_it(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_push_set(rig, "before", "1", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_arm("cache.commit=fail:1");
    rig_push_set(rig, "a", "2", ACK_JOURNAL);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_OUTCOME_UNKNOWN);
    assert_int_equal(seq, 0); // the error carries it
    rig_arm(NULL);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "before", "1");
    rig_assert_pending(rig, "a", "2");
}

static void a_cache_that_fails_loses_nothing_of_the_ring_either(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    rig_set(rig, "logged", "1");
    rig_push_set(rig, "in memory", "2", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_arm("cache.commit=fail:1");
    rig_push_fill(rig, "fetched", "3", 1, rig_epoch(rig));
    rig_turn(rig);
    assert_int_equal(rig->stops, 1);
    rig_arm(NULL);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "logged", "1");
    rig_assert_pending(rig, "in memory", "2");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, log_rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_room_for_it_the_node_goes_without),
        TEST(a_failed_write_to_it_is_the_outboxs_to_keep),
        TEST(one_that_is_gone_is_done_without),
        TEST(where_the_outbox_fails_as_well_the_outcome_is_unknown),
        TEST(a_full_disk_is_met_before_the_log),
        TEST(a_commit_that_fails_leaves_it_alone),
        TEST(a_cache_that_fails_loses_nothing_of_it),
        TEST(a_cache_that_fails_loses_nothing_of_the_ring_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
