// What a start makes of the log in front of the outbox: of a damaged and of a missing one, of
// another outbox's and of an older one.

#include "base/checksum.h"
#include "cache/writer_state.h"
#include "unit/cache/log_rig.h"

#include <sys/stat.h>

static void a_torn_last_group_was_not_acknowledged(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_set(rig, "b", "2");
    lose_machine(rig);
    damage(rig, 2);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_pending(rig, "a", "1");
    rig_assert_miss(rig, "b");
    rig_set(rig, "c", "3");
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "c", "3");
}

static void one_that_is_damaged_in_its_midst_stops_the_start(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "moved", "0");
    rig_pass(rig, RIG_S);
    rig_set(rig, "a", "1");
    rig_set(rig, "b", "2");
    rig_set(rig, "c", "3");
    lose_machine(rig);
    damage(rig, 2);
    assert_refused(rig, "is damaged in its midst");
    assert_refused(rig, "is damaged in its midst");
    // What came before the damage is not given up.
    touch(rig, "outbox.log.lost");
    rig_open(rig);
    assert_false(exists(rig, "outbox.log.lost"));
    assert_true(exists(rig, "outbox.log.old"));
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "a", "1");
    rig_assert_miss(rig, "b");
    rig_set(rig, "d", "4");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 5);
}

static void one_that_is_put_aside_leaves_the_earlier(void **state)
{
    static const char *const NAMES[] = {"outbox.log.old", "outbox.log.old.2", "outbox.log.old.3"};
    struct rig *rig = *state;
    rig_open(rig);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        assert_false(exists(rig, NAMES[i]));
        rig_set(rig, "a", "1");
        rig_set(rig, "b", "2");
        lose_machine(rig);
        damage(rig, 1);
        touch(rig, "outbox.log.lost");
        rig_open(rig);
        for (size_t j = 0; j <= i; j++) {
            assert_true(exists(rig, NAMES[j]));
        }
    }
}

static void a_missing_one_stops_the_start(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "moved", "0");
    rig_pass(rig, RIG_S);
    rig_set(rig, "a", "1");
    lose_machine(rig);
    copy_file(rig, OUTBOX_LOG_FILE, rig, "kept");
    remove_file(rig, OUTBOX_LOG_FILE);
    assert_refused(rig, "is missing");
    touch(rig, OUTBOX_LOG_FILE);
    assert_refused(rig, "is damaged or another outbox's");
    copy_file(rig, "kept", rig, OUTBOX_LOG_FILE);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    lose_machine(rig);
    remove_file(rig, OUTBOX_LOG_FILE);
    touch(rig, "outbox.log.lost");
    rig_open(rig);
    rig_assert_entries(rig, "..");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
}

static void another_outboxs_stops_the_start(void **state)
{
    struct rig *rig = *state;
    struct rig other;
    rig_init(&other);
    other.has_log = true;
    rig_open(&other);
    rig_set(&other, "theirs", "v");
    rig_open(rig);
    rig_set(rig, "ours", "v");
    lose_machine(rig);
    copy_file(&other, OUTBOX_LOG_FILE, rig, OUTBOX_LOG_FILE);
    assert_refused(rig, "is damaged or another outbox's");
    rig_deinit(&other);
}

static void an_old_copy_of_the_outbox_beside_it_stops_the_start(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_crash(rig);
    rig_open(rig);
    rig_crash(rig);
    copy_file(rig, "outbox.mdb", rig, "kept");
    rig_open(rig);
    rig_set(rig, "b", "2");
    rig_pass(rig, RIG_S);
    rig_set(rig, "c", "3");
    lose_machine(rig);
    copy_file(rig, "kept", rig, "outbox.mdb");
    assert_refused(rig, "is newer than outbox.mdb");
}

// What the outbox knows to be used of its numbers is older than the log, for whatever reason.
static void numbers_of_the_log_are_not_used_again(void **state)
{
    struct rig *rig = *state;
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    rig_open(rig);
    rig_crash(rig);
    raw_outbox_open(&raw, rig);
    ssize_t bytes = raw_outbox_get(&raw, "ceiling", row, sizeof row);
    assert_true(bytes > 0);
    raw_outbox_close(&raw);
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_crash(rig);
    raw_outbox_open(&raw, rig);
    raw_outbox_put(&raw, "ceiling", row, (size_t)bytes);
    raw_outbox_close(&raw);
    assert_refused(rig, "is newer than outbox.mdb");
}

// The operator put back the outbox of an orderly stop, and forgot the log.
static void an_old_copy_from_an_orderly_stop_stops_the_start(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_stop(rig);
    copy_file(rig, "outbox.mdb", rig, "kept");
    rig_open(rig);
    rig_set(rig, "b", "2");
    rig_stop(rig);
    // Refusing changes nothing.
    for (int round = 0; round < 2; round++) {
        copy_file(rig, "kept", rig, "outbox.mdb");
        assert_refused(rig, "is newer than outbox.mdb");
    }
    // Somebody says that what came after it is lost: nothing of the old log is ever taken for more.
    touch(rig, "outbox.log.lost");
    rig_open(rig);
    assert_true(exists(rig, "outbox.log.old"));
    rig_set(rig, "c", "3");
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

static void an_orderly_stop_needs_none(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_stop(rig);
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_ALONE);
    remove_file(rig, OUTBOX_LOG_FILE);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_set(rig, "b", "2");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 2);
    rig_crash(rig);
    // A release that knows none does not open it now.
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_LOGGED_AND_RINGED);
    // The log that an orderly stop left is used again.
    rig_open(rig);
    rig_stop(rig);
    rig_open(rig);
    assert_false(exists(rig, "outbox.log.old"));
    rig_set(rig, "c", "3");
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "...");
}

static void a_later_layout_is_not_taken_for_damage(void **state)
{
    struct rig *rig = *state;
    struct failure failure;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_stop(rig);
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    const uint64_t later = OUTBOX_LAYOUT_MAX + 1;
    raw_outbox_open(&raw, rig);
    ssize_t bytes = raw_outbox_get(&raw, "layout", row, sizeof row);
    raw_outbox_put(&raw, "layout", (const uint8_t *)&later, sizeof later);
    raw_outbox_close(&raw);
    assert_int_equal(rig_try_open(rig, &failure), ERROR_CORRUPT);
    assert_non_null(strstr(failure.message, "written by a later release"));
    assert_null(strstr(failure.message, "move it away"));
    raw_outbox_open(&raw, rig);
    raw_outbox_put(&raw, "layout", row, (size_t)bytes);
    raw_outbox_close(&raw);
    rig_open(rig);
    rig_assert_entries(rig, ".");
}

static void put_layout(const struct rig *rig, uint64_t layout)
{
    struct raw_outbox raw;
    static const char NAME[] = "layout";
    uint64_t row[] = {
        layout, checksum(slice_of(&layout, sizeof layout), checksum(slice_of_string(NAME), 0))};
    raw_outbox_open(&raw, rig);
    raw_outbox_put(&raw, NAME, (const uint8_t *)row, sizeof row);
    raw_outbox_close(&raw);
}

// Where nothing of the log is in the outbox as well.
static void a_log_of_the_release_before_is_taken_over(void **state)
{
    struct rig *rig = *state;
    rig->moves_by_hand = true;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_set(rig, "b", "2");
    rig_crash(rig);
    put_layout(rig, OUTBOX_LAYOUT_APART);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    while (writer_move(rig->writer)) {
        rig_turn(rig);
    }
    rig_set(rig, "c", "3");
    rig->boot_us += MEMORY_AGE_US;
    rig_push_set(rig, "d", "4", ACK_JOURNAL);
    writer_turn(rig->writer);
    rig_expect_home(rig, ERROR_NONE);
    assert_true(writer_move(rig->writer));
    rig_crash(rig);
    // Something that is in both has not come about by its rules.
    put_layout(rig, OUTBOX_LAYOUT_APART);
    assert_refused(rig, "is older than outbox.mdb");
    put_layout(rig, OUTBOX_LAYOUT_LOGGED);
    rig_open(rig);
    rig_assert_entries(rig, "....");
}

static void an_outbox_without_one_gets_one(void **state)
{
    struct rig *rig = *state;
    rig->has_log = false;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_crash(rig);
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_RINGED);
    assert_false(exists(rig, OUTBOX_LOG_FILE));
    rig->has_log = true;
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_set(rig, "b", "2");
    rig_crash(rig);
    // And goes without it again: what is in it is taken over.
    rig->has_log = false;
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_set(rig, "c", "3");
    rig_crash(rig);
    rig->has_log = true;
    rig_open(rig);
    rig_assert_entries(rig, "...");
}

static void it_is_as_readable_as_the_outbox(void **state)
{
    struct rig *rig = *state;
    struct stat log, outbox;
    char path[160];
    rig_open(rig);
    path_of(rig, OUTBOX_LOG_FILE, path);
    assert_int_equal(stat(path, &log), 0);
    path_of(rig, "outbox.mdb", path);
    assert_int_equal(stat(path, &outbox), 0);
    assert_int_equal(log.st_mode, outbox.st_mode);
    assert_int_equal(log.st_mode & 0007, 0);
    assert_int_equal(log.st_size, rig->settings.writes.outbox_bytes / 8);
    assert_int_equal(log.st_blocks * 512, log.st_size);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, log_rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_torn_last_group_was_not_acknowledged),
        TEST(one_that_is_damaged_in_its_midst_stops_the_start),
        TEST(one_that_is_put_aside_leaves_the_earlier),
        TEST(a_missing_one_stops_the_start),
        TEST(another_outboxs_stops_the_start),
        TEST(an_old_copy_of_the_outbox_beside_it_stops_the_start),
        TEST(numbers_of_the_log_are_not_used_again),
        TEST(an_old_copy_from_an_orderly_stop_stops_the_start),
        TEST(an_orderly_stop_needs_none),
        TEST(a_later_layout_is_not_taken_for_damage),
        TEST(a_log_of_the_release_before_is_taken_over),
        TEST(an_outbox_without_one_gets_one),
        TEST(it_is_as_readable_as_the_outbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
