// What a start makes of the ring beside the outbox, through the writer: where the cache is gone, in
// another boot, damaged, old, deleted, or without room.

#include "unit/cache/ring_files.h"

#include <sys/mman.h>

// How many lines of the log of that start have these words.
static int open_and_count(struct rig *rig, const char *words)
{
    static char text[1 << 16];
    int count = 0;
    int fd = memfd_create("log", MFD_CLOEXEC);
    int true_stderr = dup(STDERR_FILENO);
    assert_true(fd >= 0 && true_stderr >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    rig_open(rig);
    dup2(true_stderr, STDERR_FILENO);
    close(true_stderr);
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    close(fd);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        count += strstr(line, words) != NULL;
    }
    return count;
}

static void no_cache_is_needed(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    ring_files_set(rig, "a", "1");
    ring_files_set(rig, "b", "2");
    ring_files_set(rig, "a", "3");
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, "...");
    rig_assert_pending(rig, "a", "3");
    rig_assert_pending(rig, "b", "2");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
    // And once only.
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, "...");
}

static void another_boot_is_counted(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "kept", "1");
    ring_files_set(rig, "a", "1");
    ring_files_set(rig, "b", "2");
    ring_files_lose_machine(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_miss(rig, "a");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    ring_files_lose_machine(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
}

static void damage_in_its_midst_ends_what_counts(void **state)
{
    static uint8_t bytes[FILE_BYTES];
    struct rig *rig = *state;
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    size_t second = RING_HEADER_BYTES + rig->writer->outbox.ring.end;
    ring_files_set(rig, "b", "2");
    ring_files_set(rig, "c", "3");
    rig_crash(rig);
    ring_files_load(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    bytes[second + 50] ^= 1;
    ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_pending(rig, "a", "1");
    rig_assert_miss(rig, "b");
    rig_assert_miss(rig, "c");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    // It is kept as it was.
    static uint8_t kept[FILE_BYTES];
    ring_files_load(rig, "outbox.ring.old", kept, FILE_BYTES);
    assert_memory_equal(kept, bytes, FILE_BYTES);
}

// The outbox as it is now, to be put back; how much of it there is.
static size_t load_outbox(const struct rig *rig, uint8_t *bytes, size_t capacity_bytes)
{
    struct stat status;
    char path[160];
    ring_files_path(rig, "outbox.mdb", path);
    assert_int_equal(stat(path, &status), 0);
    size_t len = (size_t)status.st_size < capacity_bytes ? (size_t)status.st_size : capacity_bytes;
    ring_files_load(rig, "outbox.mdb", bytes, len);
    return len;
}

// An older outbox beside it: what came in between is missing, so nothing goes on behind it.
static void an_old_copy_of_the_outbox_is_not_gone_on_with(void **state)
{
    static uint8_t old[1 << 20];
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_crash(rig);
    size_t len = load_outbox(rig, old, sizeof old);
    rig_open(rig);
    rig_set(rig, "b", "2");
    ring_files_set(rig, "c", "3");
    rig_crash(rig);
    ring_files_store(rig, "outbox.mdb", old, len);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_miss(rig, "c");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 1);
}

// Put back from a stop in order: what it knows is all there, but its next numbers have been used.
static void numbers_are_not_used_again_after_an_old_copy_of_the_outbox(void **state)
{
    static uint8_t old[1 << 20];
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "1");
    rig_stop(rig);
    size_t len = load_outbox(rig, old, sizeof old);
    rig_open(rig);
    ring_files_set(rig, "c", "3");
    ring_files_set(rig, "d", "3");
    rig_crash(rig);
    ring_files_store(rig, "outbox.mdb", old, len);
    assert_int_equal(open_and_count(rig, "newer than the outbox"), 1);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    assert_true(rig->writer->outbox.next_seq > rig->writer->outbox.state.last_seq);
    assert_true(ring_files_have(rig, "outbox.ring.old"));
    ring_files_set(rig, "e", "4");
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "e", "4");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
}

// It is never synced: what the disk has of it may be of any moment, or nothing.
static void a_machine_that_went_down_is_told_whatever_the_disk_has(void **state)
{
    static uint8_t bytes[FILE_BYTES];
    static const char WORDS[] = "machine went down: writes acknowledged in memory";
    struct rig *rig = *state;
    for (int is_blank = 0; is_blank < 2; is_blank++) {
        rig_open(rig);
        ring_files_set(rig, "a", "1");
        ring_files_load(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
        rig_set(rig, "b", "1");
        ring_files_set(rig, "c", "1");
        ring_files_lose_machine(rig);
        if (is_blank == 1) {
            memset(bytes, 0, sizeof bytes);
        }
        ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
        assert_int_equal(open_and_count(rig, WORDS), 1);
        rig_stop(rig);
        // A stop in order has left nothing there, even where the disk has a header of before it.
        ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
        rig_boot(rig, 50 + is_blank);
        assert_int_equal(open_and_count(rig, "level=w") + rig_status(rig, STATUS_OUTBOX_LOST), 0);
        rig_stop(rig);
    }
    rig_open(rig);
}

static void a_loss_is_counted_once_without_room_for_another(void **state)
{
    static uint8_t bytes[FILE_BYTES];
    struct rig *rig = *state;
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    ring_files_set(rig, "b", "1");
    ring_files_lose_machine(rig);
    rig_arm("outbox.ring_room=fail");
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    assert_false(ring_files_have(rig, OUTBOX_RING_FILE));
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    rig_arm(NULL);
    rig_crash(rig);
    rig_open(rig);
    ring_files_set(rig, "c", "1");
    rig_crash(rig);
    ring_files_load(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    bytes[RING_HEADER_BYTES + 50] ^= 1;
    ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_arm("outbox.ring_room=fail");
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 3);
    assert_true(ring_files_have(rig, "outbox.ring.old"));
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 3);
    rig_arm(NULL);
}

static void one_of_another_size_is_made_anew(void **state)
{
    struct rig *rig = *state;
    struct stat status;
    char path[160];
    ring_files_path(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    rig_stop(rig);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(truncate(path, status.st_size + 100), 0);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    ring_files_set(rig, "a", "1");
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
    rig_assert_pending(rig, "a", "1");
}

// What somebody made longer is read as far as it was written, whatever size it has.
static void one_that_grew_loses_nothing(void **state)
{
    struct rig *rig = *state;
    char path[160];
    ring_files_path(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    rig_crash(rig);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    rig_open(rig);
    rig_assert_pending(rig, "a", "1");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

// The number of the newest has no checksum; what is behind it has.
static void a_wrong_number_of_the_newest_hides_nothing(void **state)
{
    enum { LAST_SEQ_AT = 144 };
    static const uint8_t NOUGHT[8];
    static uint8_t bytes[FILE_BYTES];
    struct rig *rig = *state;
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    uint64_t last_seq = rig->writer->last_seq;
    rig_crash(rig);
    ring_files_load(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    assert_memory_equal(bytes + LAST_SEQ_AT, &last_seq, sizeof last_seq);
    memcpy(bytes + LAST_SEQ_AT, NOUGHT, sizeof NOUGHT);
    ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    rig_assert_pending(rig, "a", "1");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

static void one_that_cannot_be_read_stops_the_start(void **state)
{
    struct rig *rig = *state;
    struct failure failure;
    char path[160];
    ring_files_path(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    rig_crash(rig);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(OUTBOX_RING_FILE, path), 0);
    assert_int_equal(rig_try_open(rig, &failure), ERROR_SYSTEM);
    assert_non_null(strstr(failure.message, OUTBOX_RING_FILE));
    assert_int_equal(unlink(path), 0);
    rig_open(rig);
}

// Of another node, or a file that is none: put there by hand, and nothing of this outbox's.
static void a_strangers_is_not_taken(void **state)
{
    static uint8_t bytes[FILE_BYTES];
    struct rig *rig = *state;
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    rig_crash(rig);
    ring_files_load(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_remove_tree(rig->outbox_dir);
    rig_open(rig);
    rig_stop(rig);
    ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    rig_assert_entries(rig, "");
    rig_stop(rig);
    memset(bytes, 0x5a, sizeof bytes);
    ring_files_store(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    assert_true(ring_files_have(rig, "outbox.ring.old"));
    assert_true(ring_files_have(rig, "outbox.ring.old.2"));
    ring_files_set(rig, "b", "2");
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, ".");
}

static void an_orderly_stop_leaves_nothing_in_it(void **state)
{
    struct rig *rig = *state;
    char path[160];
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    rig_stop(rig);
    ring_files_path(rig, OUTBOX_RING_FILE, path);
    assert_int_equal(unlink(path), 0);
    rig_boot(rig, 99);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

// The release before kept them in the cache.
static void what_the_release_before_left_in_the_cache_is_taken_over(void **state)
{
    struct rig *rig = *state;
    MDB_txn *txn;
    MDB_dbi memory;
    rig_open(rig);
    uint64_t seq = rig_set(rig, "a", "1") + 1;
    struct pair pair = {.key = rig_text("b"), .value = rig_text("2")};
    struct call call = rig_call(METHOD_SET, ACK_MEMORY, &pair);
    struct buffer pairs = {0}, encoded = {0};
    struct entry entry;
    entry_of_call(&call, &entry, &pairs);
    entry.seq = seq;
    entry_encode(&entry, &encoded);
    assert_int_equal(mdb_txn_begin(rig->writer->store.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, STORE_MEMORY, MDB_CREATE | MDB_INTEGERKEY, &memory), 0);
    MDB_val key = environment_number(&seq), value = environment_value(buffer_slice(&encoded));
    assert_int_equal(mdb_put(txn, memory, &key, &value, MDB_APPEND), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    buffer_deinit(&pairs);
    buffer_deinit(&encoded);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_assert_pending(rig, "b", "2");
    assert_int_equal(mdb_txn_begin(rig->writer->store.env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, STORE_MEMORY, MDB_INTEGERKEY, &memory), MDB_NOTFOUND);
    mdb_txn_abort(txn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ring_files_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_cache_is_needed),
        TEST(another_boot_is_counted),
        TEST(damage_in_its_midst_ends_what_counts),
        TEST(an_old_copy_of_the_outbox_is_not_gone_on_with),
        TEST(numbers_are_not_used_again_after_an_old_copy_of_the_outbox),
        TEST(a_machine_that_went_down_is_told_whatever_the_disk_has),
        TEST(a_loss_is_counted_once_without_room_for_another),
        TEST(one_of_another_size_is_made_anew),
        TEST(one_that_grew_loses_nothing),
        TEST(a_wrong_number_of_the_newest_hides_nothing),
        TEST(one_that_cannot_be_read_stops_the_start),
        TEST(a_strangers_is_not_taken),
        TEST(an_orderly_stop_leaves_nothing_in_it),
        TEST(what_the_release_before_left_in_the_cache_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
