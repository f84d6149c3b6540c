// The ring of what is acknowledged in memory alone, its file by itself: what a start finds in it,
// whatever was cut off and wherever.

#include "unit/cache/ring_files.h"

#include <sys/stat.h>

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
    ring_files_load(bench.rig, OUTBOX_RING_FILE, before, FILE_BYTES);
    size_t from = RING_HEADER_BYTES + bench.ring.end % RING_BYTES;
    assert_int_equal(add(&bench, 1, 70), ERROR_NONE);
    size_t to = RING_HEADER_BYTES + bench.ring.end % RING_BYTES;
    ring_files_load(bench.rig, OUTBOX_RING_FILE, after, FILE_BYTES);
    for (size_t cut = from; cut <= to; cut++) {
        for (int part = 0; part < 2; part++) {
            memcpy(torn, before, sizeof torn);
            size_t first = part == 0 ? from : cut;
            size_t last = part == 0 ? cut : to;
            memcpy(torn + first, after + first, last - first);
            bool is_whole = memcmp(torn + from, after + from, to - from) == 0;
            ring_files_store(bench.rig, OUTBOX_RING_FILE, torn, FILE_BYTES);
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
    ring_files_load(bench.rig, OUTBOX_RING_FILE, whole, FILE_BYTES);
    size_t used = RING_HEADER_BYTES + bench.ring.end;
    size_t record = bench.ring.end / 8;
    for (size_t at = RING_HEADER_BYTES; at < used; at++) {
        whole[at] ^= 0x5a;
        ring_files_store(bench.rig, OUTBOX_RING_FILE, whole, FILE_BYTES);
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
    ring_files_path(bench.rig, OUTBOX_RING_FILE, path);
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
    ring_files_load(bench.rig, OUTBOX_RING_FILE, old, FILE_BYTES);
    outbox_ring_clear(&bench.ring);
    assert_int_equal(bench.ring.end % RING_BYTES, 0);
    assert_int_equal(add(&bench, 1, first_bytes), ERROR_NONE);
    assert_int_equal(add_filled(&bench, 1, 1000, 2), ERROR_NONE);
    assert_int_equal(replay(&bench), 2);
    ring_files_load(bench.rig, OUTBOX_RING_FILE, new, FILE_BYTES);
    size_t page = RING_HEADER_BYTES + PAGE_BYTES;
    memcpy(new + page, old + page, PAGE_BYTES);
    ring_files_store(bench.rig, OUTBOX_RING_FILE, new, FILE_BYTES);
    assert_int_equal(replay(&bench), 1);
    bench_close(&bench);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ring_files_setup, rig_teardown)

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
