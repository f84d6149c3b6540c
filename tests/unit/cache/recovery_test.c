// What is there after a crash: the process killed at any of its fault points, or the machine gone
// down.

#include "unit/cache/rig.h"

#include "cache/outbox.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void a_warm_start_holds_what_was_held(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "clean", "v", 1);
    uint64_t flushed = rig_set(rig, "flushed", "v");
    rig_flush(rig, "flushed", flushed, 2);
    uint64_t seq = rig_set(rig, "mine", "v");
    rig_stop(rig);
    rig_open(rig);
    rig_assert_clean(rig, "clean", "v", 1);
    rig_assert_clean(rig, "flushed", "v", 2);
    rig_assert_pending(rig, "mine", "v");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 1);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 1);
    assert_int_equal(writer_identity(rig->writer)->applied_seq, flushed);
    assert_true(rig_set(rig, "next", "v") > seq);
    // The feed of the last run is over: what it held is good for max_stale and no longer.
    rig->boot_us += 61 * RIG_S;
    assert_int_equal(rig_read(rig, "clean").lookup, LOOKUP_SUSPECT);
}

static void a_crash_of_the_process_keeps_the_cache_warm(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "clean", "v", 1);
    rig_set(rig, "mine", "v");
    rig_crash(rig);
    rig_open(rig);
    rig_assert_clean(rig, "clean", "v", 1);
    rig_assert_pending(rig, "mine", "v");
    uint64_t epoch = rig_epoch(rig);
    rig_feed(rig, FEED_STARTED);
    assert_int_equal(rig_epoch(rig), epoch + 1);
}

static void a_flush_that_was_not_confirmed_is_pending_again(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    uint64_t seq = rig_set(rig, "k", "v");
    rig_flush(rig, "k", seq, 1);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_pending(rig, "k", "v");
    rig_feed(rig, FEED_STARTED);
    rig_flush(rig, "k", seq, 1);
    rig_pass(rig, 2 * RIG_S);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_clean(rig, "k", "v", 1);
    assert_int_equal(writer_identity(rig->writer)->applied_seq, seq);
}

static uint64_t incr(struct rig *rig, const char *key)
{
    struct pair pair = {.key = rig_text(key), .value = slice_of("\x01", 1)};
    struct call call = rig_call(METHOD_INCR, ACK_POSTGRES, &pair);
    rig_push(rig, &call);
    rig_turn(rig);
    struct request *request = rig_posted(rig);
    assert_non_null(request);
    uint64_t seq = request->seq;
    request_destroy(request);
    return seq;
}

// The incr may have been answered, which only PostgreSQL knows: what was pending before it is older
// than what was acknowledged, what came after it is not.
static void a_write_before_a_decided_one_is_not_believed(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    assert_int_equal(writer_identity(rig->writer)->decided_seq, 0);
    rig_set(rig, "before", "v");
    rig_set(rig, "other", "v");
    incr(rig, "before");
    uint64_t seq = incr(rig, "after");
    rig_set(rig, "after", "w");
    rig_crash(rig);
    rig_open(rig);
    rig_assert_miss(rig, "before");
    rig_assert_pending(rig, "other", "v");
    rig_assert_pending(rig, "after", "w");
    assert_int_equal(writer_identity(rig->writer)->decided_seq, seq);
}

static void memory_writes_survive_a_crash_of_the_process(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "a", "v");
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_push_set(rig, "c", "v", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_pending(rig, "b", "v");
    rig_assert_pending(rig, "c", "v");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), seq);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 3);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

static void memory_writes_lost_with_the_machine_are_counted(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "clean", "v", 1);
    rig_set(rig, "a", "v");
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_push_set(rig, "c", "v", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    uint64_t last = rig_expect_home(rig, ERROR_NONE);
    rig_crash(rig);
    rig_boot(rig, 2);
    rig_open(rig);
    rig_assert_miss(rig, "clean");
    rig_assert_pending(rig, "a", "v");
    rig_assert_miss(rig, "b");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 2);
    assert_true(rig_set(rig, "next", "v") > last);
}

static void a_stop_in_order_keeps_the_cache_over_a_reboot(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "clean", "v", 1);
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_stop(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_boot(rig, 2);
    rig_open(rig);
    assert_int_not_equal(rig_read(rig, "clean").lookup, LOOKUP_MISS);
    rig_assert_pending(rig, "b", "v");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
}

// ---- kill -9

struct shared {
    _Atomic int acked; // keys 0 to acked-1 were acknowledged
};

static void key_of(int i, char key[16])
{
    snprintf(key, 16, "k%05d", i);
}

// Flushes the keys `from` to `to`, the last of which was written as `seq`.
static void flush_keys(struct rig *rig, int from, int to, const uint64_t *seqs)
{
    struct flushed_message *flushed = rig_flushed(rig, seqs[to], (size_t)(to - from + 1));
    for (int i = from; i <= to; i++) {
        char key[16];
        key_of(i, key);
        flushed->keys[i - from] = (struct flushed_key){
            .key = arena_copy(&flushed->arena, rig_text(key)),
            .seq = seqs[i],
            .present = true,
            .version = i,
        };
    }
    rig_push_message(rig, flushed);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
}

// In the child: acknowledged writes of all kinds, flushes and fills, until a fault point kills it.
static _Noreturn void write_until_killed(struct rig *rig, struct shared *shared)
{
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    uint64_t seqs[200];
    for (int i = 0; i < 200; i++) {
        char key[16];
        key_of(i, key);
        rig_push_set(rig, key, "v", i % 3 == 0 ? ACK_MEMORY : ACK_JOURNAL);
        rig_fill(rig, "filled", "v", i);
        seqs[i] = rig_expect_home(rig, ERROR_NONE);
        shared->acked = i + 1;
        if (i % 10 == 9) {
            flush_keys(rig, i < 10 ? 0 : i - 14, i - 5, seqs);
            rig_pass(rig, 2 * RIG_S);
        }
    }
    _exit(0);
}

struct seen {
    int count;
    uint64_t last_seq;
};

static bool expect_in_order(void *context, const struct entry *entry)
{
    struct seen *seen = context;
    assert_true(entry->seq > seen->last_seq);
    seen->last_seq = entry->seq;
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    assert_true(entry_next_pair(&cursor, &pair));
    char key[16];
    key_of(seen->count++, key);
    assert_true(slice_equal(pair.key, rig_text(key)));
    return true;
}

// Everything acknowledged is in the outbox, in order and without a gap, and can be read.
static void assert_acked(struct rig *rig, int acked)
{
    struct seen seen = {0};
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, expect_in_order, &seen), ERROR_NONE);
    assert_in_range(seen.count, acked, acked + 1);
    for (int i = 0; i < seen.count; i++) {
        char key[16];
        key_of(i, key);
        assert_string_equal(rig_read(rig, key).value, "v");
    }
    assert_true(rig_set(rig, "next", "v") > seen.last_seq);
}

RIG_UNUSED static void nothing_acknowledged_is_lost_by_kill_9(void **state)
{
    struct rig *first = *state;
    static const char *const POINTS[] = {
        "outbox.before_sync",
        "outbox.after_sync",
        "writer.between_commits",
        "writer.before_answers",
    };
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    for (size_t point = 0; point < 4; point++) {
        for (int pass = 2; pass < 130; pass += 9) {
            struct rig *rig = memory_zeroed(1, sizeof *rig);
            rig_init(rig);
            char fault[64];
            snprintf(fault, sizeof fault, "%s=crash:%d", POINTS[point], pass);
            rig_arm(fault);
            shared->acked = 0;
            pid_t child = fork();
            if (child == 0) {
                write_until_killed(rig, shared);
            }
            int result;
            assert_int_equal(waitpid(child, &result, 0), child);
            assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
            rig_arm(NULL);
            rig_open(rig);
            assert_acked(rig, shared->acked);
            rig_deinit(rig);
            free(rig);
        }
    }
    munmap(shared, sizeof *shared);
    rig_open(first);
}

static void slots_of_dead_readers_are_taken_back(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    pid_t child = fork();
    if (child == 0) {
        char path[128];
        rig_path(rig, "cache", "cache.mdb", path);
        MDB_env *env;
        MDB_txn *txn;
        if (environment_open(&env, path, MDB_RDONLY, 0, NULL) != ERROR_NONE ||
            mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0) {
            _exit(1);
        }
        kill(getpid(), SIGKILL);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result));
    // Were the dead one's snapshot still held, these would run the map full for ever.
    rig_feed(rig, FEED_STARTED);
    rig_pass(rig, 11 * RIG_S);
    rig_feed(rig, FEED_HEARTBEAT);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 1000; i++) {
            char key[16];
            key_of(i, key);
            rig_push_fill(rig, key, "another value of some length, for some pages", round,
                          rig_epoch(rig));
        }
        rig_turn(rig);
    }
    assert_int_equal(rig->stops, 0);
    rig_assert_clean(rig, "k00999", "another value of some length, for some pages", 39);
}

// What is retired says nothing of the write before it.
static void an_earlier_write_stays_under_a_retired_one(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    rig_set(rig, "k", "1");
    struct retire_message *retire = message_create(MESSAGE_RETIRE, sizeof *retire);
    retire->seq = rig_set(rig, "k", "2");
    retire->reason = RETIRE_CANCELLED;
    rig_push_message(rig, retire);
    rig_turn(rig);
    rig_assert_pending(rig, "k", "1");
    rig_crash(rig);
    rig_open(rig);
    rig_assert_pending(rig, "k", "1");
}

static void feed_of(struct rig *rig, enum feed_event event, int64_t started_us)
{
    struct feed_message *feed = message_create(MESSAGE_FEED, sizeof *feed);
    feed->event = event;
    feed->server = (struct server_start){.started_us = started_us, .timeline = "00000002"};
    rig_push_message(rig, feed);
    rig_turn(rig);
}

// What happened to PostgreSQL while no daemon ran is told by what the last one knew (rule 8).
static void the_server_is_known_to_the_next_start(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, 0);
    feed_of(rig, FEED_STARTED, 77);
    rig_feed(rig, FEED_LOST); // names none: the one before stays
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, 77);
    assert_string_equal(writer_identity(rig->writer)->server.timeline, "00000002");
    feed_of(rig, FEED_REPLACED, 78);
    rig_stop(rig);
    rig_boot(rig, 2);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, 78);
}

// Nor is it lost with the cache, once the outbox has been committed.
static void the_server_is_known_without_the_cache(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    feed_of(rig, FEED_STARTED, 77);
    rig_pass(rig, 2 * RIG_S);
    feed_of(rig, FEED_REPLACED, 78); // of which the outbox has not heard yet
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, 77);
    assert_string_equal(writer_identity(rig->writer)->server.timeline, "00000002");
    feed_of(rig, FEED_REPLACED, 78);
    rig_stop(rig);
    rig_remove_tree(rig->cache_dir);
    rig_boot(rig, 2);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, 78);
    // The first server is known with the binding already.
    struct bind_message *bind = message_create(MESSAGE_BIND, sizeof *bind);
    bind->server = (struct server_start){.started_us = 79, .timeline = "00000003"};
    rig_push_message(rig, bind);
    rig_turn(rig);
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(writer_identity(rig->writer)->server.started_us, 78);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_warm_start_holds_what_was_held),
        TEST(a_crash_of_the_process_keeps_the_cache_warm),
        TEST(a_flush_that_was_not_confirmed_is_pending_again),
        TEST(a_write_before_a_decided_one_is_not_believed),
        TEST(memory_writes_survive_a_crash_of_the_process),
        TEST(memory_writes_lost_with_the_machine_are_counted),
        TEST(a_stop_in_order_keeps_the_cache_over_a_reboot),
        TEST(nothing_acknowledged_is_lost_by_kill_9),
        TEST(slots_of_dead_readers_are_taken_back),
        TEST(an_earlier_write_stays_under_a_retired_one),
        TEST(the_server_is_known_to_the_next_start),
        TEST(the_server_is_known_without_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
