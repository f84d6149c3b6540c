// Power loss. A writer with its real outbox and the log in front of it works for a while on a disk
// that writes everything down (power_loss/disk.h); then the two are made again, thousands of times,
// as a loss of power at some moment of that time may have left it. Each must open, hold what was
// acknowledged before that moment, in order and nothing twice, and give out no number again.
// PGNEAR_TEST_ROUNDS sets how often.
//
// A disk that is not waited for must be found out by the same checks.

#include "unit/cache/rig.h"

#include "base/clock.h"
#include "cache/writer_state.h"
#include "system/harness/random.h"
#include "unit/cache/power_loss/disk.h"

enum {
    LOSSES = 600,
    HUNT_LOSSES = 100,
    FULL_STARTS = 10, // of them, by the whole writer
    LIVES = 4,        // of the daemon, each but the first after a crash of the process
    TURNS_A_LIFE = 60,
    WRITES_A_TURN = 6,
    WRITES_MAX = LIVES * TURNS_A_LIFE * WRITES_A_TURN,
    VALUE_BYTES_MAX = 500,
    LARGE_BYTES = 20000,
    NEAR_CEILING = 40,
    EARLY_MOMENTS = 40, // in which they are made
};

// One write, named by its number.
struct power_write {
    enum ack ack;
    bool has_id;  // else it takes the way of the log
    uint64_t seq; // 0: not acknowledged
    size_t acked; // the moment of it
};

struct power_run {
    struct rig rig;
    struct random random;
    int ids_percent;
    int64_t groups;        // of the log
    int64_t groups_before; // the mover was given something
    int moves;             // commits of the mover
    int overtaken;         // of them, those that a group of the log came before
    struct power_write writes[WRITES_MAX];
    int writes_count;
    // What PostgreSQL confirmed: all up to that write, from that moment on.
    struct {
        size_t moment;
        int write;
    } confirmed[LIVES * TURNS_A_LIFE];
    int confirmed_count;
    size_t pushed_at[WRITES_MAX];
};

static void key_of(int write, char key[16])
{
    snprintf(key, 16, "k%06d", write);
}

static int write_of(struct slice key)
{
    char digits[16] = "";
    assert_in_range(key.len, 2, sizeof digits);
    memcpy(digits, key.at + 1, key.len - 1);
    return (int)strtol(digits, NULL, 10);
}

// A value that tells whose it is, to its last byte.
static size_t value_of(int write, char *value)
{
    struct random random = random_of(7, (uint64_t)write);
    size_t len =
        8 + (random_below(&random, 50) == 0 ? LARGE_BYTES : random_below(&random, VALUE_BYTES_MAX));
    for (size_t i = 0; i < len; i++) {
        value[i] = (char)('a' + (write + (int)i) % 26);
    }
    return len;
}

static void push_write(struct power_run *run)
{
    char key[16];
    char value[LARGE_BYTES + 8];
    int write = run->writes_count++;
    key_of(write, key);
    struct pair pair = {.key = rig_text(key), .value = slice_of(value, value_of(write, value))};
    enum ack ack = random_below(&run->random, 4) == 0 ? ACK_MEMORY : ACK_JOURNAL;
    struct call call = rig_call(METHOD_SET, ack, &pair);
    run->writes[write].has_id = run->ids_percent > (int)random_below(&run->random, 100);
    call.id = run->writes[write].has_id ? rig_text(key) : slice_of(NULL, 0);
    run->writes[write].ack = ack;
    run->pushed_at[write] = disk_now();
    rig_push(&run->rig, &call);
}

static void take_acks(struct power_run *run)
{
    struct request *request;
    while ((request = rig_homed(&run->rig)) != NULL) {
        assert_int_equal(request->reply.failure.error, ERROR_NONE);
        int write = write_of(request->call.pairs[0].key);
        run->writes[write].seq = request->reply.seq;
        run->writes[write].acked = disk_now();
        request_destroy(request);
    }
}

// PostgreSQL has all but the newest few of those that it may have been sent, and says so.
static void confirm_some(struct power_run *run)
{
    int first = run->confirmed_count == 0 ? 0 : run->confirmed[run->confirmed_count - 1].write + 1;
    int open = run->writes_count - first;
    if (open < 2 || run->writes[run->writes_count - 1].seq == 0) {
        return;
    }
    int last = first + (int)random_below(&run->random, (uint64_t)open);
    uint64_t journaled_seq = (uint64_t)rig_status(&run->rig, STATUS_OUTBOX_JOURNALED_SEQ);
    while (last >= first && run->writes[last].seq > journaled_seq) {
        last--;
    }
    if (last < first) {
        return;
    }
    run->confirmed[run->confirmed_count].moment = disk_now();
    run->confirmed[run->confirmed_count++].write = last;
    struct flushed_message *flushed =
        rig_flushed(&run->rig, run->writes[last].seq, (size_t)(last - first + 1));
    for (int i = first; i <= last; i++) {
        char key[16];
        key_of(i, key);
        flushed->keys[i - first] = (struct flushed_key){
            .key = arena_copy(&flushed->arena, rig_text(key)),
            .seq = run->writes[i].seq,
            .present = true,
            .version = i + 1,
        };
    }
    rig_push_message(&run->rig, flushed);
    rig_turn(&run->rig);
    struct message *back;
    while ((back = rig_posted(&run->rig)) != NULL) {
        message_destroy(back);
    }
}

static void move_perhaps(struct power_run *run)
{
    struct writer *writer = run->rig.writer;
    int64_t groups = rig_status(&run->rig, STATUS_OUTBOX_LOG_GROUPS);
    if (!mover_is_busy(&writer->mover)) {
        run->groups_before = groups;
    } else if (random_below(&run->random, 3) == 0 && writer_move(writer)) {
        run->moves++;
        run->overtaken += groups > run->groups_before;
    }
}

static void live(struct power_run *run, unsigned lazy)
{
    struct rig *rig = &run->rig;
    rig_open(rig);
    if (lazy != 0) {
        assert_int_equal(mdb_env_set_flags(rig->writer->outbox.env, lazy, 1), MDB_SUCCESS);
    }
    rig_feed(rig, FEED_STARTED);
    // Numbers are reserved by the million; here the reserve runs out in every life.
    rig->writer->outbox.next_seq = rig->writer->outbox.committed.ceiling - NEAR_CEILING;
    for (int turn = 0; turn < TURNS_A_LIFE; turn++) {
        run->ids_percent = random_below(&run->random, 4) == 0 ? 30 : 0;
        // What came before is due, and for some turns on its way.
        rig->boot_us += random_below(&run->random, 4) == 0 ? MEMORY_AGE_US : 0;
        int writes = 1 + (int)random_below(&run->random, WRITES_A_TURN);
        for (int i = 0; i < writes; i++) {
            push_write(run);
        }
        rig_turn(rig);
        take_acks(run);
        move_perhaps(run);
        if (random_below(&run->random, 4) == 0) {
            confirm_some(run);
        }
        if (random_below(&run->random, 8) == 0) {
            rig_pass(rig, RIG_S);
            take_acks(run);
        }
    }
    run->groups = rig_status(rig, STATUS_OUTBOX_LOG_GROUPS);
    rig_crash(rig);
}

// `lazy`: flags of LMDB by which a commit does not wait for the disk.
static struct power_run *record_run(uint64_t stream, unsigned lazy)
{
    struct power_run *run = memory_zeroed(1, sizeof *run);
    run->random = random_of(random_seed(), stream);
    rig_init(&run->rig);
    run->rig.has_log = true;
    run->rig.moves_by_hand = true;
    run->rig.settings.writes.retain_us = 3 * RIG_S;
    disk_record(run->rig.outbox_dir);
    for (int i = 0; i < LIVES; i++) {
        live(run, lazy);
    }
    disk_stop();
    return run;
}

static void destroy_run(struct power_run *run)
{
    rig_deinit(&run->rig);
    free(run);
}

// ---- What a moment of the run promised

struct promise {
    int pushed;    // so many writes there were
    int durable;   // all up to this one must be there; -1: none
    int confirmed; // all up to this one may have been given up; -1: none
    uint64_t seq;  // the greatest number given out
};

static struct promise promise_at(const struct power_run *run, size_t moment)
{
    struct promise promise = {.durable = -1, .confirmed = -1};
    for (int i = 0; i < run->writes_count; i++) {
        const struct power_write *write = &run->writes[i];
        promise.pushed += run->pushed_at[i] <= moment ? 1 : 0;
        if (write->seq != 0 && write->acked <= moment) {
            promise.durable = write->ack == ACK_JOURNAL ? i : promise.durable;
            promise.seq = write->seq > promise.seq ? write->seq : promise.seq;
        }
    }
    for (int i = 0; i < run->confirmed_count && run->confirmed[i].moment <= moment; i++) {
        promise.confirmed = run->confirmed[i].write;
    }
    return promise;
}

// What the entries of an outbox turned out to be. The first thing that is wrong is kept.
struct findings {
    const struct power_run *run;
    int first; // -1: none
    int last;
    uint64_t last_seq;
    char wrong[160]; // "": nothing
};

__attribute__((format(printf, 2, 3))) static void find_wrong(struct findings *findings,
                                                             const char *format, ...)
{
    va_list values;
    va_start(values, format);
    if (findings->wrong[0] == '\0') {
        vsnprintf(findings->wrong, sizeof findings->wrong, format, values);
    }
    va_end(values);
}

static bool look_at_entry(void *context, const struct entry *entry)
{
    struct findings *findings = context;
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair = {0};
    static char value[LARGE_BYTES + 8];
    int write = -1;
    if (entry_next_pair(&cursor, &pair) && pair.key.len == 7) {
        write = write_of(pair.key);
    }
    if (write < 0 || write >= findings->run->writes_count ||
        !slice_equal(pair.value, slice_of(value, value_of(write, value)))) {
        find_wrong(findings, "seq %llu is no write of the run", (unsigned long long)entry->seq);
        return false;
    }
    uint64_t seq = findings->run->writes[write].seq;
    if (entry->seq <= findings->last_seq || (seq != 0 && entry->seq != seq)) {
        find_wrong(findings, "write %d has seq %llu, not %llu", write,
                   (unsigned long long)entry->seq, (unsigned long long)seq);
    }
    if (findings->first >= 0 && write != findings->last + 1) {
        find_wrong(findings, "write %d follows write %d", write, findings->last);
    }
    findings->first = findings->first < 0 ? write : findings->first;
    findings->last = write;
    findings->last_seq = entry->seq;
    return true;
}

static void judge_entries(struct findings *findings, const struct promise *promise)
{
    int first_needed = promise->confirmed + 1;
    bool is_needed = promise->durable >= first_needed;
    if (is_needed && (findings->first < 0 || findings->last < promise->durable)) {
        find_wrong(findings, "write %d was acknowledged, the last that is there is %d",
                   promise->durable, findings->last);
    }
    if (findings->first > first_needed) {
        find_wrong(findings, "write %d is there, but not %d", findings->first, first_needed);
    }
    if (findings->last >= promise->pushed) {
        find_wrong(findings, "write %d is there, but only %d were made", findings->last,
                   promise->pushed);
    }
}

// Every acknowledged write that has an id is known by it: a repeat is not done again.
static void judge_ids(struct findings *findings, struct outbox *outbox,
                      const struct promise *promise)
{
    assert_int_equal(outbox_begin(outbox, 0), ERROR_NONE);
    for (int i = 0; i <= promise->durable; i++) {
        char key[16];
        struct outbox_id id;
        if (!findings->run->writes[i].has_id) {
            continue;
        }
        key_of(i, key);
        enum error error = outbox_find_id(outbox, rig_text(key), findings->run->rig.real_us, &id);
        if (error != ERROR_NONE || id.seq != findings->run->writes[i].seq) {
            find_wrong(findings, "the id of write %d is forgotten", i);
        }
    }
    uint64_t next_seq = outbox_take_seq(outbox);
    if (next_seq <= promise->seq) {
        find_wrong(findings, "%llu is given out again", (unsigned long long)next_seq);
    }
    outbox_abort(outbox);
}

static void judge(struct findings *findings, const char *dir, const struct promise *promise)
{
    struct outbox outbox;
    struct failure failure = {0};
    const struct outbox_options options = {
        .dir = dir,
        .capacity_bytes = findings->run->rig.settings.writes.outbox_bytes,
    };
    if (outbox_open(&outbox, &options, &failure) != ERROR_NONE) {
        find_wrong(findings, "it does not open: %.100s", failure.message);
        return;
    }
    if (outbox_visit(&outbox, 0, UINT64_MAX, look_at_entry, findings) != ERROR_NONE) {
        find_wrong(findings, "an entry cannot be read");
    }
    judge_entries(findings, promise);
    judge_ids(findings, &outbox, promise);
    outbox_close(&outbox);
}

// The same in a child, where what is judged may be such that LMDB gives up on it.
static void judge_apart(struct findings *findings, const char *dir, const struct promise *promise)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        judge(findings, dir, promise);
        bool told = write(pipes[1], findings->wrong, sizeof findings->wrong) ==
                    (ssize_t)sizeof findings->wrong;
        _exit(told ? 0 : 1);
    }
    close(pipes[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (read(pipes[0], findings->wrong, sizeof findings->wrong) !=
        (ssize_t)sizeof findings->wrong) {
        find_wrong(findings, "whoever opened it ended with %d", status);
    }
    close(pipes[0]);
}

// ---- The whole writer on what was left, in the next boot of the machine

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "re");
    FILE *out = fopen(to, "we");
    assert_true(in != NULL && out != NULL);
    static char bytes[65536];
    size_t len;
    while ((len = fread(bytes, 1, sizeof bytes, in)) > 0) {
        assert_int_equal(fwrite(bytes, 1, len, out), len);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

// The cache's files, and the ring's, which is not synced either, are whatever the crash left; here,
// as they were at the end.
static void copy_unsynced(const struct power_run *run, const struct rig *rig)
{
    static const char *const NAMES[] = {"cache.mdb", "control", "sketch"};
    assert_int_equal(mkdir(rig->cache_dir, 0750), 0);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char from[128];
        char to[128];
        snprintf(from, sizeof from, "%s/%s", run->rig.cache_dir, NAMES[i]);
        snprintf(to, sizeof to, "%s/%s", rig->cache_dir, NAMES[i]);
        copy_file(from, to);
    }
    char from[128];
    char to[128];
    snprintf(from, sizeof from, "%s/%s", run->rig.outbox_dir, OUTBOX_RING_FILE);
    snprintf(to, sizeof to, "%s/%s", rig->outbox_dir, OUTBOX_RING_FILE);
    copy_file(from, to);
}

static void start_fully(const struct power_run *run, const struct disk_replay *replay,
                        struct random *random, const struct promise *promise)
{
    struct rig rig;
    rig_init(&rig);
    rig.has_log = true;
    disk_replay_lose_power(replay, random, rig.outbox_dir);
    copy_unsynced(run, &rig);
    rig_boot(&rig, 2);
    rig_open(&rig);
    for (int i = 0; i < run->writes_count; i++) {
        char key[16];
        key_of(i, key);
        struct rig_read read = rig_read(&rig, key);
        bool is_needed = i > promise->confirmed && i <= promise->durable;
        // Nothing is left of the cache of before, and nothing is there but by the outbox.
        bool is_there = read.lookup != LOOKUP_MISS;
        if ((is_needed && !is_there) || (is_there && (!read.pending || i >= promise->pushed))) {
            fail_msg("write %d is %s; confirmed up to %d, acknowledged up to %d of %d", i,
                     !is_there      ? "absent"
                     : read.pending ? "pending"
                                    : "clean",
                     promise->confirmed, promise->durable, promise->pushed);
        }
    }
    assert_true(rig_set(&rig, "next", "v") > promise->seq);
    rig_deinit(&rig);
}

// ---- The tests

// One loss in eight is while the outbox is made, all others are spread over the whole run.
static size_t moment_of(int loss, int losses)
{
    int early = losses / 8;
    return loss < early ? (size_t)EARLY_MOMENTS * (size_t)loss / (size_t)early
                        : EARLY_MOMENTS + (disk_now() - EARLY_MOMENTS) * (size_t)(loss - early) /
                                              (size_t)(losses - early);
}

// How many of `losses` went wrong; the first is told.
static int lose_power(const struct power_run *run, int losses, int full_starts,
                      char first_wrong[256])
{
    struct random random = random_of(random_seed(), 1);
    struct disk_replay *replay = disk_replay_create();
    char dir[80];
    snprintf(dir, sizeof dir, "%s/left", run->rig.dir);
    int wrong = 0;
    for (int i = 0; i < losses; i++) {
        size_t moment = moment_of(i, losses);
        disk_replay_to(replay, moment);
        struct promise promise = promise_at(run, moment);
        struct findings findings = {.run = run, .first = -1, .last = -1};
        disk_replay_lose_power(replay, &random, dir);
        (full_starts > 0 ? judge : judge_apart)(&findings, dir, &promise);
        rig_remove_tree(dir);
        if (findings.wrong[0] != '\0' && wrong++ == 0) {
            snprintf(first_wrong, 256, "loss %d, at moment %zu of %zu: %s", i, moment, disk_now(),
                     findings.wrong);
        }
        if (full_starts > 0 && i % (losses / full_starts + 1) == losses / full_starts) {
            start_fully(run, replay, &random, &promise);
        }
    }
    disk_replay_destroy(replay);
    return wrong;
}

static void what_was_acknowledged_survives_a_power_loss(void **state)
{
    (void)state;
    struct power_run *run = record_run(0, 0);
    char first_wrong[256];
    int losses = test_rounds(LOSSES);
    int64_t begun_us = clock_boot_us();
    int wrong = lose_power(run, losses, FULL_STARTS, first_wrong);
    print_message("%d writes, %lld groups, %d commits of the mover, %d of them behind groups, %d "
                  "confirmations, %zu changes of the disk; power lost %d times in %lld ms\n",
                  run->writes_count, (long long)run->groups, run->moves, run->overtaken,
                  run->confirmed_count, disk_now(), losses,
                  (long long)(clock_boot_us() - begun_us) / CLOCK_US_PER_MS);
    assert_true(run->overtaken > LIVES);
    assert_true(run->groups > LIVES * TURNS_A_LIFE / 4);
    if (wrong > 0) {
        fail_msg("%d of %d: %s", wrong, losses, first_wrong);
    }
    destroy_run(run);
}

static void find_out(unsigned lazy, const char *name)
{
    struct power_run *run = record_run(1, lazy);
    char first_wrong[256] = "";
    int wrong = lose_power(run, HUNT_LOSSES, 0, first_wrong);
    print_message("%s: %d of %d, %s\n", name, wrong, HUNT_LOSSES, first_wrong);
    assert_true(wrong > 0);
    destroy_run(run);
}

static void a_commit_that_does_not_wait_for_the_disk_is_found_out(void **state)
{
    (void)state;
    find_out(MDB_NOSYNC, "MDB_NOSYNC");
    find_out(MDB_NOMETASYNC, "MDB_NOMETASYNC");
}

static void a_log_that_does_not_wait_for_the_disk_is_found_out(void **state)
{
    (void)state;
    disk_be_lazy(OUTBOX_LOG_FILE);
    find_out(0, "the log without O_DSYNC");
    disk_be_lazy(NULL);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_survives_a_power_loss),
        cmocka_unit_test(a_commit_that_does_not_wait_for_the_disk_is_found_out),
        cmocka_unit_test(a_log_that_does_not_wait_for_the_disk_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
