// The log in front of the outbox, through the writer: what is acknowledged from it, and what of it
// survives.

#include "cache/writer_state.h"
#include "unit/cache/log_rig.h"

static void a_write_is_in_the_log_and_soon_in_the_outbox(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
    int64_t commits = rig_status(rig, STATUS_OUTBOX_COMMITS);
    rig_set(rig, "a", "v");
    rig_assert_pending(rig, "a", "v");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 1);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits);
    rig_assert_entries(rig, "");
    rig_pass(rig, LOGGED_IDLE_US);
    rig_assert_entries(rig, ".");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits + 1);
    assert_int_equal(rig->writer->outbox.log.count, 0);
}

static void under_load_they_move_by_their_age(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    int64_t commits = rig_status(rig, STATUS_OUTBOX_COMMITS);
    for (int64_t us = 0; us < MEMORY_AGE_US; us += LOGGED_IDLE_US / 2) {
        rig_set(rig, "a", "v");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits);
        rig_pass(rig, LOGGED_IDLE_US / 2);
    }
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits + 1);
}

// As where a turn takes long because the disk does: who was answered is not idle.
static void a_write_that_is_there_is_no_idleness(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    int64_t commits = rig_status(rig, STATUS_OUTBOX_COMMITS);
    rig_set(rig, "a", "1");
    rig->boot_us += 5 * LOGGED_IDLE_US;
    rig_push_set(rig, "b", "2", ACK_JOURNAL);
    writer_turn(rig->writer);
    rig_expect_home(rig, ERROR_NONE);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 2);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits);
    assert_int_equal(writer_turn(rig->writer), LOGGED_IDLE_US / 1000);
    rig_pass(rig, LOGGED_IDLE_US);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits + 1);
}

static void what_is_in_the_log_survives_the_machine(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_push_set(rig, "b", "2", ACK_JOURNAL);
    rig_push_set(rig, "c", "3", ACK_JOURNAL);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "...");
    rig_assert_pending(rig, "a", "1");
    rig_assert_pending(rig, "b", "2");
    rig_assert_pending(rig, "c", "3");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LAST_SEQ), seq);
    assert_true(rig_set(rig, "d", "4") > seq);
    // Of what has been taken over, nothing comes again.
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "....");
}

static void a_group_covers_what_was_acknowledged_in_memory_before(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_push_set(rig, "before", "1", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_set(rig, "logged", "2");
    rig_push_set(rig, "after", "3", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "before", "1");
    rig_assert_pending(rig, "logged", "2");
    rig_assert_miss(rig, "after");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 1);
}

static void a_crash_of_the_process_keeps_both(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "logged", "1");
    rig_push_set(rig, "in memory", "2", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "logged", "1");
    rig_assert_pending(rig, "in memory", "2");
}

static void what_needs_more_takes_the_outbox(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    int64_t groups = rig_status(rig, STATUS_OUTBOX_LOG_GROUPS);
    struct pair pair = {.key = rig_text("b"), .value = rig_text("2")};
    struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
    call.id = rig_text("an id");
    rig_push(rig, &call);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    rig_assert_entries(rig, "..");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), groups);
    lose_machine(rig);
    rig_open(rig);
    rig_push(rig, &call);
    rig_turn(rig);
    assert_int_equal(rig_expect_home(rig, ERROR_NONE), seq);
    rig_assert_entries(rig, "..");
}

static bool count_one(void *context, const struct entry *entry)
{
    (void)entry;
    ++*(int *)context;
    return true;
}

static void what_is_not_in_the_outbox_yet_is_visited_as_accepted(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_pass(rig, RIG_S);
    rig_set(rig, "b", "2");
    int count = 0;
    assert_int_equal(rig->outbox.visit_accepted(rig->outbox.outbox, 0, count_one, &count),
                     ERROR_NONE);
    assert_int_equal(count, 2);
    rig_assert_entries(rig, ".");
}

static void a_full_log_is_a_commit_of_the_outbox(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    char value[BLOCK_BYTES];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    int64_t commits = rig_status(rig, STATUS_OUTBOX_COMMITS);
    int writes = 0;
    for (; rig_status(rig, STATUS_OUTBOX_COMMITS) == commits && writes < 1000; writes++) {
        rig_set(rig, "k", value);
    }
    size_t capacity = rig->writer->outbox.log.capacity_bytes;
    assert_int_equal((size_t)writes, capacity / (2 * (size_t)BLOCK_BYTES));
    uint64_t generation = rig->writer->outbox.log.generation;
    rig_set(rig, "k", "in the next generation");
    assert_int_equal(rig->writer->outbox.log.generation, generation);
    lose_machine(rig);
    rig_open(rig);
    rig_assert_pending(rig, "k", "in the next generation");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), writes + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, log_rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_write_is_in_the_log_and_soon_in_the_outbox),
        TEST(under_load_they_move_by_their_age),
        TEST(a_write_that_is_there_is_no_idleness),
        TEST(what_is_in_the_log_survives_the_machine),
        TEST(a_group_covers_what_was_acknowledged_in_memory_before),
        TEST(a_crash_of_the_process_keeps_both),
        TEST(what_needs_more_takes_the_outbox),
        TEST(what_is_not_in_the_outbox_yet_is_visited_as_accepted),
        TEST(a_full_log_is_a_commit_of_the_outbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
