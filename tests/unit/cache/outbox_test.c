// The outbox through the writer: its capacity, what it retains, ids, and a full disk.

#include "base/mpack.h"
#include "cache/writer_state.h"
#include "unit/cache/rig.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { MANY = 100000 };

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->settings.writes.outbox_bytes = 1 << 20;
    rig_open(rig);
    *state = rig;
    return 0;
}

static const char LONG_VALUE[] = "0123456789012345678901234567890123456789012345678901234567890123"
                                 "0123456789012345678901234567890123456789012345678901234567890123";

// Writes until the outbox refuses; gives the number that was accepted, and the last seq.
static int write_until_full(struct rig *rig, enum ack ack, uint64_t *last_seq)
{
    for (int i = 0; i < MANY; i++) {
        rig_push_set(rig, "k", LONG_VALUE, ack);
        if (i % 50 != 49) {
            continue;
        }
        rig_turn(rig);
        for (int answer = 0; answer < 50; answer++) {
            struct request *request = rig_homed(rig);
            enum error error = request->reply.failure.error;
            uint64_t seq = request->reply.seq;
            if (error == ERROR_OVERLOADED) {
                assert_non_null(strstr(request->reply.failure.message,
                                       "Failed to set key \"k\": the outbox is full"));
            }
            request_destroy(request);
            if (error != ERROR_NONE) {
                assert_int_equal(error, ERROR_OVERLOADED);
                while ((request = rig_homed(rig)) != NULL) {
                    request_destroy(request);
                }
                return i - 49 + answer;
            }
            *last_seq = seq;
        }
    }
    fail_msg("never full");
    return 0;
}

static bool count_one(void *context, const struct entry *entry)
{
    (void)entry;
    ++*(int *)context;
    return true;
}

static int count_entries(struct rig *rig)
{
    int count = 0;
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, count_one, &count), ERROR_NONE);
    return count;
}

static void a_full_outbox_refuses_at_once_and_takes_again(void **state)
{
    struct rig *rig = *state;
    uint64_t last;
    int accepted = write_until_full(rig, ACK_JOURNAL, &last);
    // About what fits, with what a page and an entry cost.
    assert_in_range(accepted, (1 << 20) / 400, (1 << 20) / 128);
    assert_true(rig_status(rig, STATUS_OUTBOX_BYTES) <= 1 << 20);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), accepted);
    assert_int_equal(count_entries(rig), accepted);
    rig_assert_pending(rig, "k", LONG_VALUE);
    // Applied entries are retained, but never a reason to refuse.
    rig_flush(rig, "k", last, 1);
    rig_set(rig, "k", LONG_VALUE);
    assert_true(count_entries(rig) <= accepted + 1);
    uint64_t later;
    assert_in_range(write_until_full(rig, ACK_JOURNAL, &later), accepted - 100, accepted);
}

static void memory_writes_are_refused_by_a_full_outbox_too(void **state)
{
    struct rig *rig = *state;
    uint64_t last;
    write_until_full(rig, ACK_MEMORY, &last);
    rig_pass(rig, 20000);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), last);
    assert_true(rig_status(rig, STATUS_OUTBOX_BYTES) <= 1 << 20);
}

static void a_write_larger_than_the_outbox_never_fits(void **state)
{
    struct rig *rig = *state;
    char *large = memory_zeroed(1, 2 << 20);
    struct pair pair = {.key = rig_text("k"), .value = slice_of(large, 2 << 20)};
    struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
    rig_push(rig, &call);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_TOO_LARGE);
    rig_assert_miss(rig, "k");
    free(large);
}

static void applied_entries_are_retained_for_connected_time(void **state)
{
    struct rig *rig = *state;
    uint64_t first = rig_set(rig, "a", "v");
    uint64_t second = rig_set(rig, "b", "v");
    uint64_t third = rig_set(rig, "c", "v");
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    rig_pass(rig, 1000);
    rig_flush(rig, "a", first, 1);
    rig_pass(rig, 30 * RIG_S);
    rig_flush(rig, "b", second, 2);
    assert_int_equal(count_entries(rig), 3);
    // Cut off, the clock stands.
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 0);
    rig_pass(rig, 1000);
    rig_pass(rig, 3600 * RIG_S);
    assert_int_equal(count_entries(rig), 3);
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    rig_pass(rig, 1000);
    rig_pass(rig, 31 * RIG_S);
    rig_pass(rig, 1000);
    assert_int_equal(count_entries(rig), 2);
    rig_pass(rig, 61 * RIG_S);
    rig_pass(rig, 11 * RIG_S);
    assert_int_equal(count_entries(rig), 1); // `c` is not applied
    // What a failover would ask for and is gone is named.
    struct rewind_message *rewind = message_create(MESSAGE_REWIND, sizeof *rewind);
    rewind->applied_seq = first - 1;
    rig_push_message(rig, rewind);
    rig_turn(rig);
    rewind = rig_posted(rig);
    assert_int_equal(rewind->lost_from, first);
    assert_int_equal(rewind->lost_to, second);
    message_destroy(&rewind->message);
    rig_assert_pending(rig, "c", "v");
    rig_flush(rig, "c", third, 3);
}

// ---- ids

static void push_with_id(struct rig *rig, enum method method, const char *value, const char *id,
                         enum ack ack)
{
    struct pair pair = {.key = rig_text("k"), .value = rig_text(value)};
    struct call call = rig_call(method, ack, &pair);
    call.id = rig_text(id);
    rig_push(rig, &call);
    rig_turn(rig);
}

static void a_repeated_id_is_answered_and_not_done_again(void **state)
{
    struct rig *rig = *state;
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    uint64_t other = rig_set(rig, "k", "v2");
    assert_true(other > seq);
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    assert_int_equal(rig_expect_home(rig, ERROR_NONE), seq);
    rig_assert_pending(rig, "k", "v2");
    rig_crash(rig);
    rig_open(rig);
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    assert_int_equal(rig_expect_home(rig, ERROR_NONE), seq);
    rig_assert_pending(rig, "k", "v2");
    // Two of them in one turn, and with ack memory.
    for (int i = 0; i < 2; i++) {
        struct pair pair = {.key = rig_text("k"), .value = rig_text("v3")};
        struct call call = rig_call(METHOD_SET, ACK_MEMORY, &pair);
        call.id = rig_text("id-2");
        rig_push(rig, &call);
    }
    rig_turn(rig);
    uint64_t first = rig_expect_home(rig, ERROR_NONE);
    assert_int_equal(rig_expect_home(rig, ERROR_NONE), first);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 3);
}

static void push_pairs_with_id(struct rig *rig, struct pair *pairs, size_t count)
{
    struct call call = rig_call(METHOD_MSET, ACK_JOURNAL, pairs);
    call.pairs_count = count;
    call.id = rig_text("id-m");
    rig_push(rig, &call);
    rig_turn(rig);
}

// Such as a client that gives all writes of a request of its own the same id.
static void an_id_belongs_to_one_write(void **state)
{
    struct rig *rig = *state;
    struct pair pairs[] = {{.key = rig_text("a"), .value = rig_text("v1")},
                           {.key = rig_text("b"), .value = rig_text("v1")}};
    struct pair swapped[] = {pairs[1], pairs[0]};
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    push_pairs_with_id(rig, pairs, 2);
    uint64_t mset_seq = rig_expect_home(rig, ERROR_NONE);
    for (int round = 0; round < 2; round++) {
        push_with_id(rig, METHOD_DELETE, "", "id-1", ACK_JOURNAL);
        rig_expect_home(rig, ERROR_BAD_REQUEST);
        struct pair other = {.key = rig_text("other"), .value = rig_text("v1")};
        struct call call = rig_call(METHOD_SET, ACK_MEMORY, &other);
        call.id = rig_text("id-1");
        rig_push(rig, &call);
        rig_turn(rig);
        rig_expect_home(rig, ERROR_BAD_REQUEST);
        push_pairs_with_id(rig, pairs, 1);
        rig_expect_home(rig, ERROR_BAD_REQUEST);
        // Another value and another order are those of a repeat that was made anew.
        push_with_id(rig, METHOD_SET, "v2", "id-1", ACK_MEMORY);
        assert_int_equal(rig_expect_home(rig, ERROR_NONE), seq);
        push_pairs_with_id(rig, swapped, 2);
        assert_int_equal(rig_expect_home(rig, ERROR_NONE), mset_seq);
        rig_assert_pending(rig, "k", "v1");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 2);
        rig_crash(rig);
        rig_open(rig);
    }
}

static void an_id_is_forgotten_after_ten_minutes(void **state)
{
    struct rig *rig = *state;
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    rig_pass(rig, 599 * RIG_S);
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    assert_int_equal(rig_expect_home(rig, ERROR_NONE), seq);
    rig_pass(rig, 1 * RIG_S);
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    uint64_t again = rig_expect_home(rig, ERROR_NONE);
    assert_true(again > seq);
    rig_pass(rig, 599 * RIG_S);
    push_with_id(rig, METHOD_SET, "v1", "id-1", ACK_JOURNAL);
    assert_int_equal(rig_expect_home(rig, ERROR_NONE), again);
}

static void ids_are_limited_and_room_comes_with_time(void **state)
{
    struct rig *rig = *state;
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    int accepted = 0;
    for (;; accepted++) {
        assert_true(accepted < MANY);
        char id[64];
        snprintf(id, sizeof id, "an id of nearly the full length of sixty-four %d", accepted);
        push_with_id(rig, METHOD_SET, "v", id, ACK_JOURNAL);
        struct request *request = rig_homed(rig);
        enum error error = request->reply.failure.error;
        uint64_t seq = request->reply.seq;
        bool names_ids = strstr(request->reply.failure.message, "opts.id") != NULL;
        request_destroy(request);
        if (error != ERROR_NONE) {
            assert_int_equal(error, ERROR_OVERLOADED);
            assert_true(names_ids);
            break;
        }
        if (accepted % 500 == 499) {
            rig_flush(rig, "k", seq, accepted);
        }
    }
    assert_true(accepted > 1000);
    rig_set(rig, "k", "without an id");
    rig_pass(rig, 601 * RIG_S);
    push_with_id(rig, METHOD_SET, "v", "new", ACK_JOURNAL);
    rig_expect_home(rig, ERROR_NONE);
}

// The batch with `request`, an incr, is committed with the value `value`.
static void flush_answered(struct rig *rig, struct request *request, uint64_t seq,
                           const char *value)
{
    struct reply reply = {.seq = seq};
    struct item *item = reply_items(&reply, 1);
    item->present = true;
    item->has_version = true;
    item->version = 5;
    item->value = arena_copy(&reply.arena, rig_text(value));
    struct buffer bytes = {0};
    reply_encode(&reply, &bytes);
    reply_deinit(&reply);

    struct flushed_message *flushed = rig_flushed(rig, seq, 0);
    flushed->requests = request;
    flushed->answers_count = 1;
    flushed->answers = arena_alloc(&flushed->arena, sizeof *flushed->answers);
    flushed->answers[0] = (struct id_answer){
        .id = arena_copy(&flushed->arena, rig_text("id-1")),
        .seq = seq,
        .reply = arena_copy(&flushed->arena, buffer_slice(&bytes)),
    };
    buffer_deinit(&bytes);
    rig_push_message(rig, flushed);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
}

static void expect_value_home(struct rig *rig, const char *value)
{
    struct request *request = rig_homed(rig);
    assert_non_null(request);
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    assert_int_equal(request->reply.items_count, 1);
    assert_true(slice_equal(request->reply.items[0].value, rig_text(value)));
    assert_int_equal(request->reply.items[0].version, 5);
    request_destroy(request);
}

static void a_repeat_of_what_is_under_way_waits_for_its_answer(void **state)
{
    struct rig *rig = *state;
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    struct request *first = rig_posted(rig);
    uint64_t seq = first->seq;
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    struct request *repeat = rig_posted(rig);
    assert_int_equal(repeat->seq, seq);
    assert_int_equal(count_entries(rig), 1);
    request_destroy(repeat);
    flush_answered(rig, first, seq, "\x07");
    request_destroy(rig_homed(rig));
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    expect_value_home(rig, "\x07");
    // Across restarts, and with PostgreSQL out of reach.
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 0);
    rig_crash(rig);
    rig_open(rig);
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    expect_value_home(rig, "\x07");
    // Nor does it change where a failover has it applied again, and to another value.
    flush_answered(rig, NULL, seq, "\x08");
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    expect_value_home(rig, "\x07");
}

static void push_retire(struct rig *rig, uint64_t seq, enum retire_reason reason,
                        struct request *request)
{
    struct retire_message *retire = message_create(MESSAGE_RETIRE, sizeof *retire);
    retire->seq = seq;
    retire->reason = reason;
    retire->requests = request;
    strcpy(retire->text, "no");
    rig_push_message(rig, retire);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
}

static void a_cancelled_id_may_be_done_and_a_refused_one_not(void **state)
{
    struct rig *rig = *state;
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    struct request *request = rig_posted(rig);
    uint64_t seq = request->seq;
    failure_note(&request->reply.failure, ERROR_TIMEOUT, "too late");
    push_retire(rig, seq, RETIRE_CANCELLED, request);
    rig_expect_home(rig, ERROR_TIMEOUT);
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    request = rig_posted(rig);
    assert_true(request->seq > seq);
    failure_note(&request->reply.failure, ERROR_REJECTED, "no such column");
    push_retire(rig, request->seq, RETIRE_WITHDRAWN, request);
    rig_expect_home(rig, ERROR_REJECTED);
    push_with_id(rig, METHOD_INCR, "\x01", "id-1", ACK_JOURNAL);
    request = rig_homed(rig);
    assert_int_equal(request->reply.failure.error, ERROR_REJECTED);
    assert_string_equal(request->reply.failure.message, "Failed to incr key \"k\": no such column");
    request_destroy(request);
}

// Not even where the node ends right after the answer, and a failover loses the batch.
static void what_postgres_decided_against_is_not_decided_again(void **state)
{
    struct rig *rig = *state;
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    struct pair pair = {.key = rig_text("k"), .value = rig_text("\x01")};
    struct call call = rig_call(METHOD_INCR, ACK_JOURNAL, &pair);
    rig_push(rig, &call);
    rig_turn(rig);
    struct request *request = rig_posted(rig);
    failure_note(&request->reply.failure, ERROR_CONFLICT, "another version");
    struct flushed_message *flushed = rig_flushed(rig, request->seq, 0);
    flushed->requests = request;
    rig_push_message(rig, flushed);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
    rig_expect_home(rig, ERROR_CONFLICT);
    rig_crash(rig);
    rig_open(rig);
    rig_assert_entries(rig, "r");
}

// ---- a full disk

RIG_UNUSED static void a_full_disk_refuses_and_recovers(void **state)
{
    struct rig *rig = *state;
    uint64_t before = rig_set(rig, "a", "v");
    rig_push_set(rig, "m", "v", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_arm("outbox.room=fail");
    rig_push_set(rig, "b", "v", ACK_JOURNAL);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_OVERLOADED);
    rig_assert_miss(rig, "b");
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_OVERLOADED);
    assert_int_equal(count_entries(rig), 1);
    rig_assert_pending(rig, "m", "v"); // acknowledged before, and still there
    // Heard meanwhile: the cache goes on.
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "c", "v", 1);
    rig_assert_clean(rig, "c", "v", 1);
    rig_arm(NULL);
    rig_pass(rig, 200000);
    assert_int_equal(count_entries(rig), 2);
    uint64_t after = rig_set(rig, "b", "v");
    assert_true(after > before);
    assert_int_equal(rig->stops, 0);
}

RIG_UNUSED static void a_commit_that_fails_leaves_nothing_half_done(void **state)
{
    struct rig *rig = *state;
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    uint64_t first = rig_set(rig, "a", "v");
    rig_arm("outbox.disk_full=fail");
    push_with_id(rig, METHOD_SET, "v", "id-1", ACK_JOURNAL);
    rig_expect_home(rig, ERROR_OVERLOADED);
    rig_assert_miss(rig, "k");
    assert_int_equal(count_entries(rig), 1);
    // What PostgreSQL's side asked to have written down waits, and comes back in its order.
    for (int i = 0; i < 2; i++) {
        struct retire_message *retire = message_create(MESSAGE_RETIRE, sizeof *retire);
        retire->seq = first;
        retire->reason = i == 0 ? RETIRE_WITHDRAWN : RETIRE_CANCELLED;
        rig_push_message(rig, retire);
        rig_turn(rig);
    }
    assert_null(rig_posted(rig));
    rig_arm(NULL);
    rig_pass(rig, 200000);
    for (int i = 0; i < 2; i++) {
        struct retire_message *retire = rig_posted(rig);
        assert_non_null(retire);
        assert_int_equal(retire->reason, i == 0 ? RETIRE_WITHDRAWN : RETIRE_CANCELLED);
        message_destroy(&retire->message);
    }
    rig_assert_miss(rig, "a");
    push_with_id(rig, METHOD_SET, "v", "id-1", ACK_JOURNAL);
    rig_expect_home(rig, ERROR_NONE);
}

// In a child of its own, whose files may not grow: the kernel refuses as a full disk does.
static int write_against_a_limit(struct rig *rig)
{
    struct stat status;
    char path[128];
    snprintf(path, sizeof path, "%s/outbox.mdb", rig->outbox_dir);
    signal(SIGXFSZ, SIG_IGN);
    if (stat(path, &status) != 0) {
        return 2;
    }
    struct rlimit limit = {.rlim_cur = (rlim_t)status.st_size + 4096, .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    int accepted = 0;
    for (int i = 0; i < 10000; i++) {
        rig_push_set(rig, "k", LONG_VALUE, ACK_JOURNAL);
        rig_turn(rig);
        struct request *request = rig_homed(rig);
        enum error error = request->reply.failure.error;
        bool disk = strstr(request->reply.failure.message, "disk") != NULL;
        request_destroy(request);
        if (error == ERROR_OVERLOADED && disk && rig->stops == 0) {
            limit.rlim_cur = RLIM_INFINITY;
            setrlimit(RLIMIT_FSIZE, &limit);
            rig_set(rig, "k", LONG_VALUE);
            return count_entries(rig) == accepted + 2 ? 0 : 3;
        }
        if (error != ERROR_NONE) {
            return 4;
        }
        accepted++;
    }
    return 5;
}

// Of the file that was made first, and of one that a release before this one left.
static void nothing_is_left_of_an_unfinished_file(void **state)
{
    struct rig *rig = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/outbox.new-lock", rig->outbox_dir);
    assert_int_equal(access(path, F_OK), -1);
    rig_stop(rig);
    fclose(fopen(path, "w"));
    rig_open(rig);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_file_that_cannot_grow_is_a_full_disk(void **state)
{
    struct rig *rig = *state;
    rig_crash(rig);
    rig->settings.writes.outbox_bytes = 8 << 20;
    pid_t child = fork();
    if (child == 0) {
        rig_open(rig);
        rig_set(rig, "first", "v");
        _exit(write_against_a_limit(rig));
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    rig_open(rig);
    rig_assert_pending(rig, "k", LONG_VALUE);
}

static bool copy_letter(void *context, const struct outbox_letter *letter)
{
    struct outbox_letter *copy = context;
    *copy = *letter;
    copy->text = copy->sqlstate = copy->state = slice_of(NULL, 0);
    return true;
}

// The layout of the release before: what the keys held is not known, so only force tries it again.
static void an_older_letter_is_read(void **state)
{
    struct rig *rig = *state;
    struct outbox *outbox = &rig->writer->outbox;
    uint64_t seq = rig_set(rig, "k", "v");
    struct buffer bytes = {0}, letter = {0};
    struct entry entry;
    assert_int_equal(outbox_begin(outbox, 0), ERROR_NONE);
    assert_int_equal(outbox_get(outbox, seq, &bytes, &entry), ERROR_NONE);
    msgpack_packer packer;
    mpack_packer_init(&packer, &letter);
    msgpack_pack_array(&packer, 5);
    msgpack_pack_int(&packer, 1);
    mpack_pack_string(&packer, "23514");
    mpack_pack_string(&packer, "no");
    msgpack_pack_int64(&packer, 77);
    msgpack_pack_bin(&packer, buffer_len(&bytes));
    msgpack_pack_bin_body(&packer, bytes.bytes, buffer_len(&bytes));
    MDB_val key = environment_number(&seq);
    MDB_val value = environment_value(buffer_slice(&letter));
    assert_int_equal(mdb_put(outbox->txn, outbox->letters, &key, &value, 0), 0);
    assert_int_equal(outbox_commit(outbox), ERROR_NONE);
    buffer_deinit(&bytes);
    buffer_deinit(&letter);

    struct outbox_letter found = {0};
    assert_int_equal(outbox_visit_letters(outbox, 0, SIZE_MAX, copy_letter, &found), ERROR_NONE);
    assert_int_equal(found.seq, seq);
    assert_int_equal(found.at_us, 77);
    assert_false(found.has_state);
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    struct call retry = {.method = METHOD_RETRY_DEAD_LETTER, .ack = ACK_POSTGRES, .seq = seq};
    rig_push(rig, &retry);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_CONFLICT);
    retry.force = true;
    rig_push(rig, &retry);
    rig_turn(rig);
    struct request *request = rig_posted(rig);
    assert_true(request->seq > seq);
    request_destroy(request);
}

static void a_smaller_setting_keeps_what_is_there(void **state)
{
    struct rig *rig = *state;
    uint64_t last;
    int accepted = write_until_full(rig, ACK_JOURNAL, &last);
    rig_stop(rig);
    rig->settings.writes.outbox_bytes = 128 << 10;
    rig_open(rig);
    assert_int_equal(count_entries(rig), accepted);
    rig_push_set(rig, "k", "v", ACK_JOURNAL);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_OVERLOADED);
    rig_flush(rig, "k", last, 1);
    rig_pass(rig, 2 * RIG_S);
    rig_set(rig, "k", "v");
    assert_true(rig_status(rig, STATUS_OUTBOX_BYTES) <= 128 << 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_outbox_refuses_at_once_and_takes_again),
        TEST(memory_writes_are_refused_by_a_full_outbox_too),
        TEST(a_write_larger_than_the_outbox_never_fits),
        TEST(applied_entries_are_retained_for_connected_time),
        TEST(a_repeated_id_is_answered_and_not_done_again),
        TEST(an_id_belongs_to_one_write),
        TEST(an_id_is_forgotten_after_ten_minutes),
        TEST(ids_are_limited_and_room_comes_with_time),
        TEST(a_repeat_of_what_is_under_way_waits_for_its_answer),
        TEST(a_cancelled_id_may_be_done_and_a_refused_one_not),
        TEST(what_postgres_decided_against_is_not_decided_again),
        TEST(a_full_disk_refuses_and_recovers),
        TEST(a_commit_that_fails_leaves_nothing_half_done),
        TEST(nothing_is_left_of_an_unfinished_file),
        TEST(a_file_that_cannot_grow_is_a_full_disk),
        TEST(a_smaller_setting_keeps_what_is_there),
        TEST(an_older_letter_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
