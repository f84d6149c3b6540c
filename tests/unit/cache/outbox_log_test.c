// The log in front of the outbox, through the writer: what is acknowledged from it, what a start
// makes of it, of a damaged and of a missing one, and a disk that fails under it.

#include "base/checksum.h"
#include "cache/writer_state.h"
#include "unit/cache/raw_outbox.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { BLOCK_BYTES = 4096, COPY_BYTES_MAX = 8 << 20, ROW_BYTES_MAX = 64 };

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->has_log = true;
    *state = rig;
    return 0;
}

static void path_of(const struct rig *rig, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", rig->outbox_dir, name);
}

static bool exists(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    return access(path, F_OK) == 0;
}

static void touch(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);
    assert_true(fd >= 0);
    close(fd);
}

static void remove_file(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    assert_int_equal(unlink(path), 0);
}

static void copy_file(const struct rig *from, const char *name, const struct rig *to,
                      const char *other_name)
{
    char path[160];
    path_of(from, name, path);
    uint8_t *bytes = memory_zeroed(1, COPY_BYTES_MAX);
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, bytes, COPY_BYTES_MAX);
    assert_true(fd >= 0 && len >= 0 && len < COPY_BYTES_MAX);
    close(fd);
    path_of(to, other_name, path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_int_equal(write(fd, bytes, (size_t)len), len);
    close(fd);
    free(bytes);
}

// Some bytes of a block of the log are others.
static void damage(const struct rig *rig, size_t block)
{
    char path[160];
    uint8_t bytes[64];
    path_of(rig, OUTBOX_LOG_FILE, path);
    int fd = open(path, O_RDWR);
    off_t at = (off_t)block * BLOCK_BYTES + 64;
    assert_int_equal(pread(fd, bytes, sizeof bytes, at), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x5a;
    }
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, at), sizeof bytes);
    close(fd);
}

// The layout as it stands in the file, while nobody has it open.
static uint64_t layout_of(const struct rig *rig)
{
    struct raw_outbox raw;
    uint8_t row[ROW_BYTES_MAX];
    uint64_t layout;
    raw_outbox_open(&raw, rig);
    assert_true(raw_outbox_get(&raw, "layout", row, sizeof row) >= (ssize_t)sizeof layout);
    raw_outbox_close(&raw);
    memcpy(&layout, row, sizeof layout);
    return layout;
}

static void lose_machine(struct rig *rig)
{
    static int boots = 1;
    rig_crash(rig);
    rig_boot(rig, ++boots);
}

static void assert_refused(struct rig *rig, const char *words)
{
    struct failure failure;
    assert_int_equal(rig_try_open(rig, &failure), ERROR_CORRUPT);
    if (strstr(failure.message, words) == NULL ||
        strstr(failure.message, "outbox.log.lost") == NULL) {
        fail_msg("%s", failure.message);
    }
}

// ---- what is acknowledged from it

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

// ---- what a start makes of it

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
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_LOGGED);
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
    const uint64_t later = OUTBOX_LAYOUT_LOGGED + 1;
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
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_ALONE);
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

// ---- a disk that fails

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
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_ALONE);
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
    assert_int_equal(layout_of(rig), OUTBOX_LAYOUT_ALONE);
    rig_boot(rig, 2);
    rig_open(rig);
    rig_assert_entries(rig, "...");
    rig_assert_pending(rig, "b", "2");
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

static void what_is_rescued_from_a_failed_cache_is_all_of_it(void **state)
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
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "logged", "1");
    rig_assert_pending(rig, "in memory", "2");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

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
        TEST(a_torn_last_group_was_not_acknowledged),
        TEST(one_that_is_damaged_in_its_midst_stops_the_start),
        TEST(one_that_is_put_aside_leaves_the_earlier),
        TEST(a_missing_one_stops_the_start),
        TEST(another_outboxs_stops_the_start),
        TEST(an_old_copy_of_the_outbox_beside_it_stops_the_start),
        TEST(an_old_copy_from_an_orderly_stop_stops_the_start),
        TEST(an_orderly_stop_needs_none),
        TEST(a_later_layout_is_not_taken_for_damage),
        TEST(a_log_of_the_release_before_is_taken_over),
        TEST(an_outbox_without_one_gets_one),
        TEST(it_is_as_readable_as_the_outbox),
        TEST(without_room_for_it_the_node_goes_without),
        TEST(a_failed_write_to_it_is_the_outboxs_to_keep),
        TEST(where_the_outbox_fails_as_well_the_outcome_is_unknown),
        TEST(a_full_disk_is_met_before_the_log),
        TEST(a_commit_that_fails_leaves_it_alone),
        TEST(a_cache_that_fails_loses_nothing_of_it),
        TEST(what_is_rescued_from_a_failed_cache_is_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
