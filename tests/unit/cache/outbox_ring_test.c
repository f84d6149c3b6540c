// The ring of what is acknowledged in memory alone: what a start finds in its file, whatever was
// cut off and wherever, and through the writer, what a start makes of it where the cache is gone,
// in another boot, damaged, old, deleted, or without room.

#include "cache/writer_state.h"
#include "unit/cache/raw_outbox.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { RING_BYTES = 8192, FILE_BYTES = RING_HEADER_BYTES + RING_BYTES };

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    *state = rig;
    return 0;
}

static void lose_machine(struct rig *rig)
{
    static int boots = 1;
    rig_crash(rig);
    rig_boot(rig, ++boots);
}

static void path_of(const struct rig *rig, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", rig->outbox_dir, name);
}

static void load_file(const struct rig *rig, const char *name, uint8_t *bytes, size_t len)
{
    char path[160];
    path_of(rig, name, path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, bytes, len, 0), (ssize_t)len);
    close(fd);
}

static void store_file(const struct rig *rig, const char *name, const uint8_t *bytes, size_t len)
{
    char path[160];
    path_of(rig, name, path);
    int fd = open(path, O_WRONLY | O_CREAT, 0640);
    assert_int_equal(pwrite(fd, bytes, len, 0), (ssize_t)len);
    close(fd);
}

// ---- the file alone

static const struct outbox_ring_owner OWNER = {.node = "node", .boot_id = "boot"};

struct bench {
    struct rig *rig;
    struct directory directory;
    struct outbox_ring ring;
    uint64_t last_seq;
    uint64_t seen_first;
    uint64_t seen_last;
    size_t seen;
};

static void bench_open(struct bench *bench, struct rig *rig)
{
    struct failure failure;
    *bench = (struct bench){.rig = rig};
    assert_int_equal(
        directory_open(&bench->directory, rig->outbox_dir, DIRECTORY_DURABLE, &failure),
        ERROR_NONE);
    assert_int_equal(outbox_ring_make(&bench->ring, &bench->directory, RING_BYTES), ERROR_NONE);
    outbox_ring_begin(&bench->ring, &OWNER);
}

static void bench_close(struct bench *bench)
{
    outbox_ring_close(&bench->ring);
    directory_close(&bench->directory);
}

static enum error add_filled(struct bench *bench, int count, size_t value_bytes, uint8_t fill)
{
    static uint8_t value[RING_BYTES];
    memset(value, fill, sizeof value);
    struct pair pair = {.key = rig_text("k"), .value = slice_of(value, value_bytes)};
    struct call call = rig_call(METHOD_SET, ACK_MEMORY, &pair);
    struct buffer pairs = {0};
    struct rows rows = {0};
    struct entry entry;
    entry_of_call(&call, &entry, &pairs);
    for (int i = 0; i < count; i++) {
        entry.seq = bench->last_seq + (uint64_t)i + 1;
        rows_add(&rows, &entry);
    }
    enum error error = outbox_ring_add(&bench->ring, bench->last_seq, rows_cursor_of(&rows));
    bench->last_seq += error == ERROR_NONE ? (uint64_t)count : 0;
    rows_deinit(&rows);
    buffer_deinit(&pairs);
    return error;
}

static enum error add(struct bench *bench, int count, size_t value_bytes)
{
    return add_filled(bench, count, value_bytes, 0);
}

static enum error note_record(void *context, uint64_t before_seq, uint64_t seq, struct slice entry)
{
    struct bench *bench = context;
    struct entry decoded;
    assert_int_equal(before_seq, seq - 1);
    assert_int_equal(entry_decode(seq, entry, &decoded), ERROR_NONE);
    assert_true(bench->seen == 0 || seq == bench->seen_last + 1);
    bench->seen_first = bench->seen++ == 0 ? seq : bench->seen_first;
    bench->seen_last = seq;
    return ERROR_NONE;
}

static size_t replay(struct bench *bench)
{
    bench->seen = 0;
    bench->seen_first = bench->seen_last = 0;
    assert_int_equal(outbox_ring_replay(&bench->directory, note_record, bench), ERROR_NONE);
    return bench->seen;
}

static enum outbox_ring_state look(struct bench *bench, const struct outbox_ring_owner *owner)
{
    struct outbox_ring_found found;
    assert_int_equal(outbox_ring_look(&bench->directory, owner, &found), ERROR_NONE);
    return found.state;
}

static void what_was_added_is_found(void **state)
{
    struct bench bench;
    bench_open(&bench, *state);
    assert_int_equal(replay(&bench), 0);
    assert_int_equal(add(&bench, 3, 10), ERROR_NONE);
    assert_int_equal(add(&bench, 1, 100), ERROR_NONE);
    assert_int_equal(replay(&bench), 4);
    const struct outbox_ring_owner other_boot = {.node = "node", .boot_id = "other"};
    const struct outbox_ring_owner other_node = {.node = "other", .boot_id = "boot"};
    assert_int_equal(look(&bench, &OWNER), OUTBOX_RING_PRESENT);
    assert_int_equal(look(&bench, &other_boot), OUTBOX_RING_PAST);
    assert_int_equal(look(&bench, &other_node), OUTBOX_RING_FOREIGN);
    outbox_ring_clear(&bench.ring);
    assert_int_equal(replay(&bench), 0);
    // What a new life begins with is nothing, though the old records lie where it began.
    assert_int_equal(add(&bench, 2, 10), ERROR_NONE);
    outbox_ring_begin(&bench.ring, &OWNER);
    assert_int_equal(replay(&bench), 0);
    bench_close(&bench);
}

// Whatever part of the last record is there: it is found where all of it is, and the others always.
static void a_torn_tail_is_none_at_every_offset(void **state)
{
    static uint8_t before[FILE_BYTES], after[FILE_BYTES], torn[FILE_BYTES];
    struct bench bench;
    bench_open(&bench, *state);
    // The tail lies where an earlier lap has left whole records.
    assert_int_equal(add(&bench, 20, 200), ERROR_NONE);
    outbox_ring_clear(&bench.ring);
    assert_int_equal(add(&bench, 2, 90), ERROR_NONE);
    load_file(bench.rig, OUTBOX_RING_FILE, before, FILE_BYTES);
    size_t from = RING_HEADER_BYTES + bench.ring.end % RING_BYTES;
    assert_int_equal(add(&bench, 1, 70), ERROR_NONE);
    size_t to = RING_HEADER_BYTES + bench.ring.end % RING_BYTES;
    load_file(bench.rig, OUTBOX_RING_FILE, after, FILE_BYTES);
    for (size_t cut = from; cut <= to; cut++) {
        for (int part = 0; part < 2; part++) {
            memcpy(torn, before, sizeof torn);
            size_t first = part == 0 ? from : cut;
            size_t last = part == 0 ? cut : to;
            memcpy(torn + first, after + first, last - first);
            bool is_whole = memcmp(torn + from, after + from, to - from) == 0;
            store_file(bench.rig, OUTBOX_RING_FILE, torn, FILE_BYTES);
            assert_int_equal(replay(&bench), is_whole ? 3 : 2);
            assert_int_equal(bench.seen_first, 21);
        }
    }
    bench_close(&bench);
}

// Any byte of it may be another one: what comes before is found, nothing that is not what was
// added.
static void any_damage_ends_it(void **state)
{
    static uint8_t whole[FILE_BYTES];
    struct bench bench;
    bench_open(&bench, *state);
    assert_int_equal(add(&bench, 8, 50), ERROR_NONE);
    load_file(bench.rig, OUTBOX_RING_FILE, whole, FILE_BYTES);
    size_t used = RING_HEADER_BYTES + bench.ring.end;
    size_t record = bench.ring.end / 8;
    for (size_t at = RING_HEADER_BYTES; at < used; at++) {
        whole[at] ^= 0x5a;
        store_file(bench.rig, OUTBOX_RING_FILE, whole, FILE_BYTES);
        size_t found = replay(&bench);
        size_t hit = (at - RING_HEADER_BYTES) / record;
        // The padding behind an entry is of no account.
        assert_true(found == hit || (found == 8 && (at + 1 - RING_HEADER_BYTES) % record == 0) ||
                    (found == 8 && (at - RING_HEADER_BYTES) % record > record - 8));
        whole[at] ^= 0x5a;
    }
    bench_close(&bench);
}

// Its room is used again and again, in whatever pieces it is moved on.
static void it_goes_on_for_ever(void **state)
{
    struct bench bench;
    uint64_t moving = 0, moved = 0;
    bench_open(&bench, *state);
    for (int i = 0; i < 4000; i++) {
        if (add(&bench, 1 + i % 5, (size_t)(i * 37 % 700)) == ERROR_FULL) {
            // It is full before it overwrites anything.
            assert_true(bench.last_seq > moved);
        }
        if (i % 7 == 0) {
            outbox_ring_note_moved(&bench.ring, i % 21 != 0);
            moved = i % 21 != 0 ? moving : moved;
            outbox_ring_note_moving(&bench.ring);
            moving = bench.last_seq;
        }
        assert_int_equal(replay(&bench), bench.last_seq - moved);
        assert_int_equal(bench.ring.count, bench.last_seq - moved);
        assert_true(bench.seen == 0 || bench.seen_first == moved + 1);
    }
    assert_true(bench.ring.end > 20 * RING_BYTES);
    assert_true(bench.last_seq > 4000);
    bench_close(&bench);
}

static void what_does_not_fit_leaves_it_as_it_was(void **state)
{
    struct bench bench;
    bench_open(&bench, *state);
    assert_int_equal(add(&bench, 1, RING_BYTES), ERROR_FULL);
    assert_int_equal(add(&bench, 2, 3000), ERROR_NONE);
    assert_int_equal(add(&bench, 2, 1000), ERROR_FULL);
    assert_int_equal(add(&bench, 1, 1000), ERROR_NONE);
    assert_int_equal(replay(&bench), 3);
    outbox_ring_clear(&bench.ring);
    assert_int_equal(add(&bench, 2, 3000), ERROR_NONE);
    assert_int_equal(replay(&bench), 2);
    bench_close(&bench);
}

// A copy that has holes gets its room, and one that is too large or too small is not used.
static void a_sparse_one_is_filled(void **state)
{
    struct bench bench;
    struct stat status;
    char path[160];
    bench_open(&bench, *state);
    outbox_ring_close(&bench.ring);
    path_of(bench.rig, OUTBOX_RING_FILE, path);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, FILE_BYTES), 0);
    assert_int_equal(outbox_ring_open(&bench.ring, &bench.directory, RING_BYTES), ERROR_NONE);
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_blocks * 512 >= FILE_BYTES);
    assert_int_equal(status.st_mode & 0777, 0640);
    outbox_ring_close(&bench.ring);
    assert_int_equal(outbox_ring_open(&bench.ring, &bench.directory, RING_BYTES / 2),
                     ERROR_NOT_FOUND);
    assert_int_equal(truncate(path, RING_HEADER_BYTES), 0);
    assert_int_equal(outbox_ring_open(&bench.ring, &bench.directory, RING_BYTES), ERROR_NOT_FOUND);
    bench_close(&bench);
}

// A copy of the file whose pages are of two moments: an old entry, whole as it is, behind the head
// of a new record is not what was added.
static void an_entry_of_an_earlier_lap_is_none(void **state)
{
    enum { PAGE_BYTES = 4096, HEAD_BYTES = 40 };
    static uint8_t old[FILE_BYTES], new[FILE_BYTES];
    struct bench bench;
    size_t first_bytes = PAGE_BYTES - 300;
    bench_open(&bench, *state);
    // Such that the head of the second one is the last thing on its page.
    do {
        outbox_ring_begin(&bench.ring, &OWNER);
        assert_int_equal(add(&bench, 1, ++first_bytes), ERROR_NONE);
        assert_true(bench.ring.end <= PAGE_BYTES - HEAD_BYTES);
    } while (bench.ring.end < PAGE_BYTES - HEAD_BYTES);
    assert_int_equal(add_filled(&bench, 1, 1000, 1), ERROR_NONE);
    load_file(bench.rig, OUTBOX_RING_FILE, old, FILE_BYTES);
    outbox_ring_clear(&bench.ring);
    assert_int_equal(bench.ring.end % RING_BYTES, 0);
    assert_int_equal(add(&bench, 1, first_bytes), ERROR_NONE);
    assert_int_equal(add_filled(&bench, 1, 1000, 2), ERROR_NONE);
    assert_int_equal(replay(&bench), 2);
    load_file(bench.rig, OUTBOX_RING_FILE, new, FILE_BYTES);
    size_t page = RING_HEADER_BYTES + PAGE_BYTES;
    memcpy(new + page, old + page, PAGE_BYTES);
    store_file(bench.rig, OUTBOX_RING_FILE, new, FILE_BYTES);
    assert_int_equal(replay(&bench), 1);
    bench_close(&bench);
}

// ---- through the writer

static void memory_set(struct rig *rig, const char *key, const char *value)
{
    rig_push_set(rig, key, value, ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
}

static bool exists(const struct rig *rig, const char *name)
{
    char path[160];
    path_of(rig, name, path);
    return access(path, F_OK) == 0;
}

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
    memory_set(rig, "a", "1");
    memory_set(rig, "b", "2");
    memory_set(rig, "a", "3");
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
    memory_set(rig, "a", "1");
    memory_set(rig, "b", "2");
    lose_machine(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_miss(rig, "a");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    lose_machine(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
}

static void damage_in_its_midst_ends_what_counts(void **state)
{
    static uint8_t bytes[FILE_BYTES];
    struct rig *rig = *state;
    rig_open(rig);
    memory_set(rig, "a", "1");
    size_t second = RING_HEADER_BYTES + rig->writer->outbox.ring.end;
    memory_set(rig, "b", "2");
    memory_set(rig, "c", "3");
    rig_crash(rig);
    load_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    bytes[second + 50] ^= 1;
    store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    rig_assert_pending(rig, "a", "1");
    rig_assert_miss(rig, "b");
    rig_assert_miss(rig, "c");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    // It is kept as it was.
    static uint8_t kept[FILE_BYTES];
    load_file(rig, "outbox.ring.old", kept, FILE_BYTES);
    assert_memory_equal(kept, bytes, FILE_BYTES);
}

// The outbox as it is now, to be put back; how much of it there is.
static size_t load_outbox(const struct rig *rig, uint8_t *bytes, size_t capacity_bytes)
{
    struct stat status;
    char path[160];
    path_of(rig, "outbox.mdb", path);
    assert_int_equal(stat(path, &status), 0);
    size_t len = (size_t)status.st_size < capacity_bytes ? (size_t)status.st_size : capacity_bytes;
    load_file(rig, "outbox.mdb", bytes, len);
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
    memory_set(rig, "c", "3");
    rig_crash(rig);
    store_file(rig, "outbox.mdb", old, len);
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
    memory_set(rig, "c", "3");
    memory_set(rig, "d", "3");
    rig_crash(rig);
    store_file(rig, "outbox.mdb", old, len);
    assert_int_equal(open_and_count(rig, "newer than the outbox"), 1);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    assert_true(rig->writer->outbox.next_seq > rig->writer->outbox.state.last_seq);
    assert_true(exists(rig, "outbox.ring.old"));
    memory_set(rig, "e", "4");
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
        memory_set(rig, "a", "1");
        load_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
        rig_set(rig, "b", "1");
        memory_set(rig, "c", "1");
        lose_machine(rig);
        if (is_blank == 1) {
            memset(bytes, 0, sizeof bytes);
        }
        store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
        assert_int_equal(open_and_count(rig, WORDS), 1);
        rig_stop(rig);
        // A stop in order has left nothing there, even where the disk has a header of before it.
        store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
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
    memory_set(rig, "a", "1");
    memory_set(rig, "b", "1");
    lose_machine(rig);
    rig_arm("outbox.ring_room=fail");
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    assert_false(exists(rig, OUTBOX_RING_FILE));
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    rig_arm(NULL);
    rig_crash(rig);
    rig_open(rig);
    memory_set(rig, "c", "1");
    rig_crash(rig);
    load_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    bytes[RING_HEADER_BYTES + 50] ^= 1;
    store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_arm("outbox.ring_room=fail");
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 3);
    assert_true(exists(rig, "outbox.ring.old"));
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
    path_of(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    rig_stop(rig);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(truncate(path, status.st_size + 100), 0);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    memory_set(rig, "a", "1");
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
    path_of(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    memory_set(rig, "a", "1");
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
    memory_set(rig, "a", "1");
    uint64_t last_seq = rig->writer->last_seq;
    rig_crash(rig);
    load_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    assert_memory_equal(bytes + LAST_SEQ_AT, &last_seq, sizeof last_seq);
    memcpy(bytes + LAST_SEQ_AT, NOUGHT, sizeof NOUGHT);
    store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    rig_assert_pending(rig, "a", "1");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

static void one_that_is_moved_away_is_made_anew(void **state)
{
    struct rig *rig = *state;
    char path[160], other[160];
    path_of(rig, OUTBOX_RING_FILE, path);
    path_of(rig, "elsewhere", other);
    rig_open(rig);
    for (int is_linked = 0; is_linked < 2; is_linked++) {
        // A second name, so that it is not gone without the first.
        assert_int_equal(is_linked == 1 ? link(path, other) : rename(path, other), 0);
        assert_int_equal(is_linked == 1 ? unlink(path) : 0, 0);
        rig_pass(rig, 2 * RIG_S);
        rig_pass(rig, 2 * RIG_S);
        assert_true(exists(rig, OUTBOX_RING_FILE));
        assert_int_equal(unlink(other), 0);
    }
    // Another file in its place is none that a start would find.
    assert_int_equal(rename(path, other), 0);
    store_file(rig, OUTBOX_RING_FILE, (const uint8_t *)"", 1);
    rig_pass(rig, 2 * RIG_S);
    rig_pass(rig, 2 * RIG_S);
    memory_set(rig, "a", "1");
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
    rig_assert_pending(rig, "a", "1");
}

static void without_room_for_it_memory_acks_are_synced(void **state)
{
    struct rig *rig = *state;
    rig->has_log = true;
    rig_arm("outbox.ring_room=fail");
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 0);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
    memory_set(rig, "a", "1");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 1);
    lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    // Once there is room it is made, and in use once a start knows of it.
    rig_arm(NULL);
    rig_pass(rig, 2 * RIG_S);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    memory_set(rig, "b", "2");
    assert_int_equal(rig->writer->outbox.ring.count, 1);
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

static void a_full_one_is_a_group_or_a_commit(void **state)
{
    struct rig *rig = *state;
    for (int has_log = 0; has_log < 2; has_log++) {
        rig->has_log = has_log == 1;
        rig_open(rig);
        memory_set(rig, "a", "1");
        rig_arm("outbox.ring_full=fail:1");
        memory_set(rig, "b", "2");
        rig_arm(NULL);
        memory_set(rig, "c", "3");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), has_log);
        lose_machine(rig);
        rig_open(rig);
        // Synced, and what came before with it; what came after is lost with the machine.
        rig_assert_entries(rig, has_log == 0 ? ".." : "....");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 1 + has_log);
        rig_crash(rig);
    }
    rig_open(rig);
}

static void one_that_is_deleted_is_made_anew(void **state)
{
    struct rig *rig = *state;
    char path[160];
    rig->has_log = true;
    path_of(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    memory_set(rig, "a", "1");
    assert_int_equal(unlink(path), 0);
    rig_pass(rig, 2 * RIG_S);
    // What was in it alone is in the outbox.
    rig_assert_entries(rig, ".");
    rig_pass(rig, 2 * RIG_S);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    assert_int_equal(access(path, F_OK), 0);
    memory_set(rig, "b", "2");
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_crash(rig);
    // Where it is gone at a start, that goes on without what it held.
    assert_int_equal(unlink(path), 0);
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

static void one_that_cannot_be_read_stops_the_start(void **state)
{
    struct rig *rig = *state;
    struct failure failure;
    char path[160];
    path_of(rig, OUTBOX_RING_FILE, path);
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
    memory_set(rig, "a", "1");
    rig_crash(rig);
    load_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_remove_tree(rig->outbox_dir);
    rig_open(rig);
    rig_stop(rig);
    store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    rig_assert_entries(rig, "");
    rig_stop(rig);
    memset(bytes, 0x5a, sizeof bytes);
    store_file(rig, OUTBOX_RING_FILE, bytes, FILE_BYTES);
    rig_open(rig);
    assert_true(exists(rig, "outbox.ring.old"));
    assert_true(exists(rig, "outbox.ring.old.2"));
    memory_set(rig, "b", "2");
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, ".");
}

static void an_orderly_stop_leaves_nothing_in_it(void **state)
{
    struct rig *rig = *state;
    char path[160];
    rig_open(rig);
    memory_set(rig, "a", "1");
    rig_stop(rig);
    path_of(rig, OUTBOX_RING_FILE, path);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_added_is_found),
        TEST(a_torn_tail_is_none_at_every_offset),
        TEST(any_damage_ends_it),
        TEST(it_goes_on_for_ever),
        TEST(what_does_not_fit_leaves_it_as_it_was),
        TEST(a_sparse_one_is_filled),
        TEST(an_entry_of_an_earlier_lap_is_none),
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
        TEST(one_that_is_moved_away_is_made_anew),
        TEST(without_room_for_it_memory_acks_are_synced),
        TEST(a_full_one_is_a_group_or_a_commit),
        TEST(one_that_is_deleted_is_made_anew),
        TEST(one_that_cannot_be_read_stops_the_start),
        TEST(a_strangers_is_not_taken),
        TEST(an_orderly_stop_leaves_nothing_in_it),
        TEST(what_the_release_before_left_in_the_cache_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
