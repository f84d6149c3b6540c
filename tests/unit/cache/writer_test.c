// The writer's turns from outside: what becomes of a write, what is acknowledged when, what the pg
// worker is given.

#include "unit/cache/rig.h"

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig_open(rig);
    *state = rig;
    return 0;
}

static void a_set_is_read_at_once_and_clean_after_its_flush(void **state)
{
    struct rig *rig = *state;
    rig_assert_miss(rig, "k");
    rig_feed(rig, FEED_STARTED);
    uint64_t seq = rig_set(rig, "k", "v1");
    rig_assert_pending(rig, "k", "v1");
    assert_int_equal(rig_read(rig, "k").pending_seq, seq);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), seq);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 1);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 1);
    rig_flush(rig, "k", seq, 7);
    rig_assert_clean(rig, "k", "v1", 7);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 0);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 0);
}

static void a_later_write_stays_pending_over_an_earlier_flush(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    uint64_t first = rig_set(rig, "k", "v1");
    uint64_t second = rig_set(rig, "k", "v2");
    assert_true(second > first);
    rig_flush(rig, "k", first, 1);
    rig_assert_pending(rig, "k", "v2");
    rig_flush(rig, "k", second, 2);
    rig_assert_clean(rig, "k", "v2", 2);
}

static void writes_of_one_turn_are_one_commit_in_order(void **state)
{
    struct rig *rig = *state;
    int64_t commits = rig_status(rig, STATUS_OUTBOX_COMMITS);
    for (int i = 0; i < 100; i++) {
        rig_push_set(rig, "k", "v", ACK_JOURNAL);
    }
    rig_turn(rig);
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t seq = rig_expect_home(rig, ERROR_NONE);
        assert_true(seq > last);
        last = seq;
    }
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_COMMITS), commits + 1);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), last);
}

static void an_mset_is_one_entry_and_a_delete_a_known_absence(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    struct pair pairs[] = {{rig_text("a"), rig_text("1")},
                           {rig_text("b"), rig_text("2")},
                           {rig_text("a"), rig_text("3")}};
    struct call call = {
        .method = METHOD_MSET, .ack = ACK_JOURNAL, .pairs = pairs, .pairs_count = 3};
    rig_push(rig, &call);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    rig_assert_pending(rig, "a", "3");
    rig_assert_pending(rig, "b", "2");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 1);
    struct pair gone[] = {{rig_text("a"), slice_of(NULL, 0)}, {rig_text("b"), slice_of(NULL, 0)}};
    call =
        (struct call){.method = METHOD_DELETE, .ack = ACK_JOURNAL, .pairs = gone, .pairs_count = 2};
    rig_push(rig, &call);
    rig_turn(rig);
    assert_true(rig_expect_home(rig, ERROR_NONE) > seq);
    rig_assert_pending(rig, "a", NULL);
    rig_assert_pending(rig, "b", NULL);
}

static void a_flush_up_to_a_seq_names_it(void **state)
{
    struct rig *rig = *state;
    uint64_t first = rig_set(rig, "a", "v");
    uint64_t second = rig_set(rig, "b", "v");
    uint64_t asked[] = {first, second, second + 1000};
    uint64_t expected[] = {first, second, second};
    for (int i = 0; i < 3; i++) {
        struct call call = rig_call(METHOD_FLUSH, ACK_JOURNAL, NULL);
        call.has_seq = true;
        call.seq = asked[i];
        rig_push(rig, &call);
        rig_turn(rig);
        struct request *flush = rig_posted(rig);
        assert_int_equal(flush->after_seq, expected[i]);
        request_destroy(flush);
    }
}

static void push_incr(struct rig *rig, const char *key)
{
    struct pair pair = {.key = rig_text(key), .value = rig_text("\x01")};
    struct call call = rig_call(METHOD_INCR, ACK_JOURNAL, &pair);
    rig_push(rig, &call);
    rig_turn(rig);
}

static void a_write_with_a_result_needs_the_connection(void **state)
{
    struct rig *rig = *state;
    push_incr(rig, "k");
    struct request *request = rig_homed(rig);
    assert_int_equal(request->reply.failure.error, ERROR_UNAVAILABLE);
    assert_string_equal(request->reply.failure.message,
                        "Failed to incr key \"k\": no connection to PostgreSQL");
    request_destroy(request);
    rig_assert_entries(rig, "");
    assert_null(rig_posted(rig));
}

// Gives the flushed result of an incr of `key`.
static void flush_result(struct rig *rig, struct request *request, const char *key,
                         const char *value, int64_t version)
{
    struct flushed_message *flushed = rig_flushed(rig, request->seq, 1);
    flushed->keys[0] = (struct flushed_key){
        .key = arena_copy(&flushed->arena, rig_text(key)),
        .seq = request->seq,
        .present = true,
        .has_value = true,
        .value = arena_copy(&flushed->arena, rig_text(value)),
        .version = version,
    };
    flushed->requests = request;
    rig_push_message(rig, flushed);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
}

static void a_result_is_in_the_cache_when_its_answer_comes(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    push_incr(rig, "k");
    assert_null(rig_homed(rig));
    struct request *request = rig_posted(rig);
    assert_non_null(request);
    assert_true(request->seq > 0);
    rig_assert_miss(rig, "k");
    flush_result(rig, request, "k", "\x05", 3);
    rig_assert_clean(rig, "k", "\x05", 3);
    rig_expect_home(rig, ERROR_NONE);
}

static void a_result_is_not_believed_after_a_foreign_change(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    status_set(&rig->status, STATUS_PG_FLUSHABLE, 1);
    push_incr(rig, "k");
    struct request *request = rig_posted(rig);
    rig_change(rig, "k", 4, false);
    flush_result(rig, request, "k", "\x05", 3);
    rig_assert_miss(rig, "k");
    rig_expect_home(rig, ERROR_NONE);
}

static void an_ack_of_postgres_goes_to_pg(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "k", "v", ACK_POSTGRES);
    rig_turn(rig);
    assert_null(rig_homed(rig));
    struct request *request = rig_posted(rig);
    assert_true(request->seq > 0);
    rig_assert_pending(rig, "k", "v");
    request_destroy(request);
}

static void a_write_too_late_is_not_done(void **state)
{
    struct rig *rig = *state;
    struct pair pair = {.key = rig_text("k"), .value = rig_text("v")};
    struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
    struct request *request = request_create(&call, &rig->home);
    request->deadline_boot_us = rig->boot_us;
    mailbox_push(writer_mailbox(rig->writer), &request->message);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_TIMEOUT);
    rig_assert_miss(rig, "k");
}

static void push_retire(struct rig *rig, uint64_t seq, enum retire_reason reason)
{
    struct retire_message *retire = message_create(MESSAGE_RETIRE, sizeof *retire);
    retire->seq = seq;
    retire->reason = reason;
    strcpy(retire->sqlstate, "22001");
    strcpy(retire->text, "value too long");
    rig_push_message(rig, retire);
    rig_turn(rig);
    struct message *back = rig_posted(rig);
    assert_non_null(back);
    assert_int_equal(back->kind, MESSAGE_RETIRE);
    message_destroy(back);
}

static void a_retired_write_flushes_as_nothing_and_leaves_the_cache(void **state)
{
    struct rig *rig = *state;
    uint64_t first = rig_set(rig, "a", "v");
    rig_set(rig, "b", "v");
    push_retire(rig, first, RETIRE_DEAD_LETTER);
    rig_assert_miss(rig, "a");
    rig_assert_pending(rig, "b", "v");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEAD_LETTERS), 1);
    rig_assert_entries(rig, "r.");
    push_retire(rig, first, RETIRE_DEAD_LETTER); // again: nothing
    push_retire(rig, 1, RETIRE_WITHDRAWN);       // never was
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEAD_LETTERS), 1);
}

static void a_retired_write_uncovers_the_one_before(void **state)
{
    struct rig *rig = *state;
    rig_set(rig, "k", "v1");
    uint64_t second = rig_set(rig, "k", "v2");
    uint64_t third = rig_set(rig, "k", "v3");
    push_retire(rig, third, RETIRE_WITHDRAWN);
    rig_assert_pending(rig, "k", "v2");
    push_retire(rig, second, RETIRE_WITHDRAWN);
    rig_assert_pending(rig, "k", "v1");
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 1);
}

static void a_rewind_makes_what_is_retained_pending_again(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    uint64_t seqs[3];
    const char *keys[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        seqs[i] = rig_set(rig, keys[i], "v");
        rig_flush(rig, keys[i], seqs[i], i + 1);
    }
    rig_assert_clean(rig, "c", "v", 3);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 0);
    struct rewind_message *rewind = message_create(MESSAGE_REWIND, sizeof *rewind);
    rewind->applied_seq = seqs[0];
    rig_push_message(rig, rewind);
    rig_turn(rig);
    rewind = rig_posted(rig);
    assert_int_equal(rewind->message.kind, MESSAGE_REWIND);
    assert_int_equal(rewind->lost_from, 0);
    message_destroy(&rewind->message);
    rig_assert_clean(rig, "a", "v", 1);
    rig_assert_pending(rig, "b", "v");
    rig_assert_pending(rig, "c", "v");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 2);
    rig_flush(rig, "c", seqs[2], 9);
    rig_assert_clean(rig, "c", "v", 9);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 0);
}

static void a_binding_is_written_down(void **state)
{
    struct rig *rig = *state;
    struct bind_message *bind = message_create(MESSAGE_BIND, sizeof *bind);
    strcpy(bind->binding.system_identifier, "7000000000000000001");
    strcpy(bind->binding.database, "app");
    strcpy(bind->binding.table, "public.kv_store");
    rig_push_message(rig, bind);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
    assert_string_equal(writer_identity(rig->writer)->binding.database, "app");
    rig_crash(rig);
    rig_open(rig);
    assert_string_equal(writer_identity(rig->writer)->binding.table, "public.kv_store");
}

static void check_names_the_directories(void **state)
{
    struct rig *rig = *state;
    struct reply reply = {0};
    rig_crash(rig);
    rig->has_log = true;
    rig_open(rig);
    rig->cache.check(rig->cache.cache, &reply);
    assert_true(reply.checks_count >= 4);
    for (size_t i = 0; i < reply.checks_count; i++) {
        assert_true(reply.checks[i].ok);
    }
    reply_deinit(&reply);
}

static void the_thread_answers_and_stops_in_order(void **state)
{
    struct rig *rig = *state;
    // The thread reads the clock, so it must be one that goes.
    rig_crash(rig);
    const struct writer_options options = {
        .settings = &rig->settings,
        .status = &rig->status,
        .stop = {.context = rig, .stop = rig_on_stop},
    };
    struct failure failure;
    assert_int_equal(writer_open(&options, &rig->writer, &failure), ERROR_NONE);
    writer_connect(rig->writer, &rig->pg, NULL, 0);
    assert_int_equal(writer_start(rig->writer), ERROR_NONE);
    for (int i = 0; i < 500; i++) {
        rig_push_set(rig, "k", "v", i % 2 == 0 ? ACK_JOURNAL : ACK_MEMORY);
    }
    writer_stop(rig->writer);
    uint64_t last = 0;
    for (int i = 0; i < 500; i++) {
        uint64_t seq = rig_expect_home(rig, ERROR_NONE);
        assert_true(seq > last);
        last = seq;
    }
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), last);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_DEPTH), 500);
    writer_close(rig->writer);
    rig->writer = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_set_is_read_at_once_and_clean_after_its_flush),
        TEST(a_later_write_stays_pending_over_an_earlier_flush),
        TEST(writes_of_one_turn_are_one_commit_in_order),
        TEST(an_mset_is_one_entry_and_a_delete_a_known_absence),
        TEST(a_flush_up_to_a_seq_names_it),
        TEST(a_write_with_a_result_needs_the_connection),
        TEST(a_result_is_in_the_cache_when_its_answer_comes),
        TEST(a_result_is_not_believed_after_a_foreign_change),
        TEST(an_ack_of_postgres_goes_to_pg),
        TEST(a_write_too_late_is_not_done),
        TEST(a_retired_write_flushes_as_nothing_and_leaves_the_cache),
        TEST(a_retired_write_uncovers_the_one_before),
        TEST(a_rewind_makes_what_is_retained_pending_again),
        TEST(a_binding_is_written_down),
        TEST(check_names_the_directories),
        TEST(the_thread_answers_and_stops_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
