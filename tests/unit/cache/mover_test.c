// Commits of the outbox that the mover does while the writer goes on: what is acknowledged
// meanwhile, what a start makes of what is in the outbox and in the log, a disk that fails under
// it.

#include "base/clock.h"
#include "cache/writer_state.h"
#include "unit/cache/rig.h"

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->has_log = true;
    rig->moves_by_hand = true;
    *state = rig;
    return 0;
}

// With nothing on its way.
static void open_at_rest(struct rig *rig)
{
    rig_open(rig);
    while (writer_move(rig->writer)) {
        rig_turn(rig);
    }
}

static void lose_machine(struct rig *rig)
{
    static int boots = 1;
    rig_crash(rig);
    rig_boot(rig, ++boots);
}

static void memory_set(struct rig *rig, const char *key, const char *value)
{
    rig_push_set(rig, key, value, ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
}

// What came before is due, and this write is there as well.
static void set_when_due(struct rig *rig, const char *key, const char *value, enum ack ack)
{
    rig->boot_us += MEMORY_AGE_US;
    rig_push_set(rig, key, value, ack);
    writer_turn(rig->writer);
    rig_expect_home(rig, ERROR_NONE);
    assert_true(mover_is_busy(&rig->writer->mover));
}

static size_t memory_rows(struct rig *rig)
{
    return rig->writer->mover.move.rows.count + rig->writer->memory.rows.count;
}

// ---- beside turns

static void who_writes_does_not_wait_for_it(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    int64_t commits = rig_status(rig, STATUS_OUTBOX_COMMITS);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_JOURNAL);
    rig_set(rig, "c", "3");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 2);
    assert_true(writer_move(rig->writer));
    // The flusher sees nothing before the writer has taken note.
    rig_assert_entries(rig, "");
    assert_int_equal(memory_rows(rig), 3);
    writer_turn(rig->writer);
    rig_assert_entries(rig, ".");
    assert_int_equal(memory_rows(rig), 2);
    assert_int_equal(rig->writer->memory.count, 2);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits + 1);
    rig_pass(rig, LOGGED_IDLE_US);
    rig_assert_entries(rig, "...");
    assert_int_equal(memory_rows(rig), 0);
    assert_int_equal(rig->writer->outbox.log.count, 0);
}

// What somebody waits for takes what the mover has with it.
static void who_needs_the_outbox_waits_for_it(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig_push_set(rig, "c", "3", ACK_POSTGRES);
    rig_turn(rig);
    assert_false(mover_is_busy(&rig->writer->mover));
    rig_assert_entries(rig, "...");
    assert_int_equal(memory_rows(rig), 0);
}

static void what_comes_meanwhile_is_bounded(void **state)
{
    struct rig *rig = *state;
    rig->settings.cache.size_bytes = 96 << 20;
    rig->settings.writes.outbox_bytes = 48 << 20;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    int writes = 1;
    while (mover_is_busy(&rig->writer->mover) && writes < 2 * MEMORY_COUNT_MAX) {
        rig_push_set(rig, "c", "3", ACK_MEMORY);
        writer_turn(rig->writer);
        rig_expect_home(rig, ERROR_NONE);
        writes++;
    }
    // By their number or by their bytes, a request of which is about a KiB.
    assert_in_range(writes, MEMORY_COUNT_MAX / 2, MEMORY_COUNT_MAX + 1);
    assert_int_equal(rig->writer->memory.count, 0);
}

static void a_stop_waits_for_it(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_JOURNAL);
    rig_stop(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "..");
}

// ---- what a start finds

static void what_it_has_is_not_lost_before_its_commit(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig_crash(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "a", "1");
    rig_assert_pending(rig, "b", "2");
}

// A turn that takes one order back may give the next at once: what came meanwhile goes with that.
static void what_moves_next_is_not_lost_either(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig->boot_us += MEMORY_AGE_MAX_US;
    assert_true(writer_move(rig->writer));
    writer_turn(rig->writer);
    assert_true(mover_is_busy(&rig->writer->mover));
    assert_int_equal(memory_rows(rig), 1);
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
    rig_assert_entries(rig, "..");
}

static void what_it_committed_is_there_once(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    rig_set(rig, "a", "1");
    rig_set(rig, "b", "2");
    set_when_due(rig, "c", "3", ACK_JOURNAL);
    assert_true(writer_move(rig->writer));
    rig_set(rig, "d", "4");
    lose_machine(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "....");
    rig_assert_pending(rig, "a", "1");
    rig_assert_pending(rig, "d", "4");
    // And again: what the start took over is in the log no more.
    rig_crash(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "....");
}

// An acknowledgement from the disk covers what the mover has not brought there yet.
static void a_group_covers_what_it_has(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig_set(rig, "c", "3");
    lose_machine(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "...");
    rig_assert_pending(rig, "a", "1");
    rig_assert_pending(rig, "b", "2");
}

static void a_group_that_came_before_its_commit_is_accounted_for(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig_set(rig, "c", "3");
    assert_int_equal(rig->writer->outbox.log.count, 3);
    assert_true(writer_move(rig->writer));
    rig_turn(rig);
    rig_set(rig, "d", "4");
    assert_int_equal(rig->writer->outbox.log.count, 4);
    rig_pass(rig, LOGGED_IDLE_US);
    rig_assert_entries(rig, "....");
    assert_int_equal(rig->writer->outbox.log.count, 0);
}

// ---- a disk that fails

static void a_full_disk_leaves_all_as_it_was(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    rig_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_JOURNAL);
    rig_arm("outbox.disk_full=fail:1");
    assert_true(writer_move(rig->writer));
    rig_arm(NULL);
    writer_turn(rig->writer);
    rig_assert_entries(rig, "");
    assert_int_equal(rig->writer->memory.count, 2);
    assert_int_equal(memory_rows(rig), 2);
    assert_true(rig->writer->retry_boot_us > 0);
    // The next that needs room tries by itself.
    rig_set(rig, "c", "3");
    rig_assert_entries(rig, "...");
    assert_int_equal(memory_rows(rig), 0);
    rig_crash(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "...");
}

static void a_full_disk_is_survived_by_a_crash(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig_arm("outbox.disk_full=fail");
    assert_true(writer_move(rig->writer));
    writer_turn(rig->writer);
    rig_crash(rig);
    rig_arm(NULL);
    open_at_rest(rig);
    rig_assert_entries(rig, "..");
}

static void a_disk_that_fails_ends_the_node(void **state)
{
    static const char *const FAILURES[] = {"outbox.sync=fail:1", "outbox.begin=fail:1",
                                           "outbox.put=fail:1", "outbox.move_memory=fail:1"};
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof FAILURES / sizeof FAILURES[0]; i++) {
        open_at_rest(rig);
        memory_set(rig, "a", "1");
        set_when_due(rig, "b", "2", ACK_JOURNAL);
        rig_arm(FAILURES[i]);
        assert_true(writer_move(rig->writer));
        rig_arm(NULL);
        writer_turn(rig->writer);
        assert_int_equal(rig->stops, (int)i + 1);
        rig_crash(rig);
    }
    open_at_rest(rig);
    rig_assert_entries(rig, "........");
    rig_assert_pending(rig, "b", "2");
}

static void a_cache_that_fails_meanwhile_loses_nothing(void **state)
{
    struct rig *rig = *state;
    open_at_rest(rig);
    rig_feed(rig, FEED_STARTED);
    memory_set(rig, "a", "1");
    set_when_due(rig, "b", "2", ACK_MEMORY);
    rig_arm("cache.commit=fail:1");
    rig_push_set(rig, "c", "3", ACK_MEMORY);
    writer_turn(rig->writer);
    rig_expect_home(rig, ERROR_OUTCOME_UNKNOWN);
    rig_arm(NULL);
    rig_crash(rig);
    open_at_rest(rig);
    rig_assert_entries(rig, "...");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

// ---- with its thread

static int64_t machines_boot_us(void *context)
{
    (void)context;
    return clock_boot_us();
}

// Whatever it does when, the acknowledged writes are there once and in order.
static void many_turns_go_on_beside_its_thread(void **state)
{
    struct rig *rig = *state;
    enum { WRITES = 3000 };
    uint64_t seq = 0;
    rig->moves_by_hand = false;
    open_at_rest(rig);
    rig->writer->mover.clock.boot_us = machines_boot_us; // the rig's is of this thread alone
    assert_int_equal(mover_start(&rig->writer->mover), ERROR_NONE);
    for (int i = 0; i < WRITES; i++) {
        rig->boot_us += i % 7 == 0 ? MEMORY_AGE_US : 1;
        rig_push_set(rig, "k", "v", i % 3 == 0 ? ACK_JOURNAL : ACK_MEMORY);
        writer_turn(rig->writer);
        seq = rig_expect_home(rig, ERROR_NONE);
    }
    assert_true(rig_status(rig, STATUS_OUTBOX_COMMITS) > 10);
    rig_stop(rig);
    open_at_rest(rig);
    assert_int_equal(outbox_count(&rig->writer->outbox, 0, UINT64_MAX), WRITES);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LAST_SEQ), seq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_writes_does_not_wait_for_it, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(who_needs_the_outbox_waits_for_it, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_comes_meanwhile_is_bounded, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_stop_waits_for_it, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_it_has_is_not_lost_before_its_commit, setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(what_moves_next_is_not_lost_either, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_it_committed_is_there_once, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_group_covers_what_it_has, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_group_that_came_before_its_commit_is_accounted_for, setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_all_as_it_was, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_survived_by_a_crash, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_ends_the_node, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_cache_that_fails_meanwhile_loses_nothing, setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(many_turns_go_on_beside_its_thread, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
