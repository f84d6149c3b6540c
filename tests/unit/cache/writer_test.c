// The writer's turns from outside: what is acknowledged, what is read, what the pg worker is given.

#include "cache/writer_state.h"
#include "unit/cache/rig.h"

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig_open(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    rig_deinit(*state);
    free(*state);
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

static void a_fill_is_held_until_a_foreign_change(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "k", "v", 3);
    rig_assert_clean(rig, "k", "v", 3);
    rig_change(rig, "k", 3, false);
    rig_assert_clean(rig, "k", "v", 3);
    rig_change(rig, "k", 3, true);
    rig_assert_clean(rig, "k", "v", 3);
    rig_change(rig, "k", 4, false);
    rig_assert_miss(rig, "k");
    rig_fill(rig, "k", "v", 3);
    rig_change(rig, "k", 4, true); // the flush result may be far behind
    rig_assert_miss(rig, "k");
    assert_int_equal(rig_status(rig, STATUS_CACHE_FILLS), 2);
    assert_int_equal(rig_status(rig, STATUS_CACHE_INVALIDATIONS), 2);
}

// A page of the preload: the keys are letters, the values "new".
static void preload(struct rig *rig, const char *letters)
{
    struct fills_message *fills = message_create(MESSAGE_FILLS, sizeof *fills);
    fills->epoch = rig_epoch(rig);
    fills->preloads = true;
    fills->fills = arena_alloc(&fills->arena, strlen(letters) * sizeof *fills->fills);
    for (const char *at = letters; *at != '\0'; at++) {
        fills->fills[fills->fills_count++] = (struct fill){
            .key = arena_copy(&fills->arena, slice_of(at, 1)),
            .present = true,
            .value = arena_copy(&fills->arena, rig_text("new")),
            .version = *at,
        };
    }
    rig_push_message(rig, fills);
    rig_turn(rig);
}

static void a_preload_adds_what_is_not_held(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    preload(rig, "");
    preload(rig, "bdf"); // into an empty cache
    preload(rig, "gh");  // behind all that is held
    rig_fill(rig, "y", "old", 1);
    rig_push_set(rig, "x", "pending", ACK_JOURNAL);
    rig_turn(rig);
    preload(rig, "acegvxyz"); // between
    preload(rig, "|{~}");     // out of order
    for (const char *at = "abcdefghvz{|}~"; *at != '\0'; at++) {
        char key[] = {*at, '\0'};
        rig_assert_clean(rig, key, "new", *at);
    }
    rig_assert_clean(rig, "y", "old", 1);
    rig_assert_pending(rig, "x", "pending");
    assert_int_equal(rig_status(rig, STATUS_CACHE_ENTRIES), 16);
}

static void a_fill_of_an_epoch_before_is_not_held(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    uint64_t epoch = rig_epoch(rig);
    rig_feed(rig, FEED_LOST);
    rig_push_fill(rig, "lost", "v", 1, epoch);
    rig_turn(rig);
    rig_assert_miss(rig, "lost");
    rig_feed(rig, FEED_STARTED);
    assert_int_equal(rig_epoch(rig), epoch + 1);
    rig_push_fill(rig, "late", "v", 1, epoch);
    rig_turn(rig);
    rig_assert_miss(rig, "late");
}

static void a_foreign_change_met_while_pending_drops_at_the_flush(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    uint64_t seq = rig_set(rig, "k", "mine");
    rig_change(rig, "k", 9, false);
    rig_assert_pending(rig, "k", "mine");
    rig_flush(rig, "k", seq, 8);
    rig_assert_miss(rig, "k");
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

static bool count_entry(void *context, const struct entry *entry)
{
    assert_true(entry->seq > 0);
    ++*(int *)context;
    return true;
}

static int count_visible(struct rig *rig)
{
    int count = 0;
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, count_entry, &count), ERROR_NONE);
    return count;
}

static void a_memory_write_is_read_at_once_and_journaled_soon(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "k", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    rig_assert_pending(rig, "k", "v");
    assert_int_equal(count_visible(rig), 0);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LAST_SEQ), seq);
    rig_pass(rig, 10000);
    assert_int_equal(count_visible(rig), 1);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), seq);
}

static bool expect_next_key(void *context, const struct entry *entry)
{
    const char **next = context;
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    assert_true(entry_next_pair(&cursor, &pair));
    assert_int_equal(pair.key.len, 1);
    assert_int_equal(pair.key.at[0], *(*next)++);
    return true;
}

static void a_journal_ack_covers_the_memory_writes_before_it(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "a", "v", ACK_MEMORY);
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_turn(rig);
    rig_push_set(rig, "c", "v", ACK_MEMORY);
    rig_push_set(rig, "d", "v", ACK_JOURNAL);
    rig_push_set(rig, "e", "v", ACK_MEMORY);
    rig_turn(rig);
    const char *keys = "abcde";
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, expect_next_key, &keys), ERROR_NONE);
    assert_string_equal(keys, "");
}

static void assert_accepted(struct rig *rig, uint64_t after_seq, const char *keys)
{
    assert_int_equal(
        rig->outbox.visit_accepted(rig->outbox.outbox, after_seq, expect_next_key, &keys),
        ERROR_NONE);
    assert_string_equal(keys, "");
}

static void what_is_in_memory_only_is_accepted_all_the_same(void **state)
{
    struct rig *rig = *state;
    assert_accepted(rig, 0, "");
    rig_push_set(rig, "a", "v", ACK_MEMORY);
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t first_seq = rig_expect_home(rig, ERROR_NONE);
    rig_expect_home(rig, ERROR_NONE);
    assert_int_equal(count_visible(rig), 0);
    assert_accepted(rig, 0, "ab");
    assert_accepted(rig, first_seq, "b");
    rig_push_set(rig, "c", "v", ACK_JOURNAL);
    rig_turn(rig);
    assert_accepted(rig, 0, "abc");
    rig_push_set(rig, "d", "v", ACK_MEMORY);
    rig_turn(rig);
    assert_int_equal(count_visible(rig), 3);
    assert_accepted(rig, 0, "abcd");
    assert_accepted(rig, first_seq + 2, "d");
}

static void many_memory_writes_do_not_wait(void **state)
{
    struct rig *rig = *state;
    const int count = MEMORY_COUNT_MAX + 1;
    // So that it is not for want of room.
    rig_stop(rig);
    rig->settings.writes.outbox_bytes = 64 << 20;
    rig->settings.cache.size_bytes = 128 << 20;
    rig_open(rig);
    for (int i = 0; i < count; i++) {
        rig_push_set(rig, "k", "v", ACK_MEMORY);
    }
    rig_turn(rig);
    rig_turn(rig);
    rig_turn(rig);
    assert_int_equal(count_visible(rig), count);
}

static void a_flush_journals_memory_writes_and_goes_to_pg(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "k", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    struct call call = rig_call(METHOD_FLUSH, ACK_JOURNAL, NULL);
    rig_push(rig, &call);
    rig_turn(rig);
    assert_int_equal(count_visible(rig), 1);
    struct request *flush = rig_posted(rig);
    assert_int_equal(flush->call.method, METHOD_FLUSH);
    assert_int_equal(flush->after_seq, seq);
    request_destroy(flush);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), seq);
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
    assert_int_equal(count_visible(rig), 0);
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

static void invalidate_drops_clean_records_and_counts_them(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "a", "v", 1);
    rig_fill(rig, "b", "v", 2);
    rig_fill(rig, "c", NULL, 0);
    rig_set(rig, "p", "v");
    struct pair pair = {.key = rig_text("a")};
    struct call calls[] = {
        rig_call(METHOD_INVALIDATE, ACK_JOURNAL, &pair),
        rig_call(METHOD_INVALIDATE, ACK_JOURNAL, &pair),
        rig_call(METHOD_INVALIDATE, ACK_JOURNAL, NULL),
        rig_call(METHOD_INVALIDATE, ACK_JOURNAL, NULL),
    };
    const int64_t dropped[] = {1, 0, 2, 0};
    for (int i = 0; i < 4; i++) {
        rig_push(rig, &calls[i]);
        rig_turn(rig);
        struct request *request = rig_homed(rig);
        assert_int_equal(request->reply.integer, dropped[i]);
        request_destroy(request);
    }
    rig_assert_miss(rig, "b");
    rig_assert_pending(rig, "p", "v");
}

static void truncate_drops_clean_and_taints_pending(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "clean", "v", 1);
    uint64_t seq = rig_set(rig, "mine", "v");
    rig_push_set(rig, "memory", "v", ACK_MEMORY);
    rig_turn(rig);
    struct changes_message *changes = message_create(MESSAGE_CHANGES, sizeof *changes);
    changes->truncated = true;
    rig_push_message(rig, changes);
    rig_turn(rig);
    rig_assert_miss(rig, "clean");
    rig_assert_pending(rig, "mine", "v");
    rig_assert_pending(rig, "memory", "v");
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 2);
    rig_flush(rig, "mine", seq, 2);
    rig_assert_miss(rig, "mine");
}

static bool collect_suspect(void *context, const struct swept_record *record)
{
    strncat(context, (const char *)record->key.at, record->key.len);
    return true;
}

static void assert_suspects(struct rig *rig, const char *after, const char *expected)
{
    char keys[32] = "";
    rig->cache.begin(rig->reader);
    assert_int_equal(
        rig->cache.visit_suspects(rig->reader, rig_text(after), 100, collect_suspect, keys),
        ERROR_NONE);
    rig->cache.end(rig->reader);
    assert_string_equal(keys, expected);
}

static void push_swept(struct rig *rig, uint64_t epoch, const char *hand, bool done,
                       const char *drop)
{
    struct swept_message *swept = message_create(MESSAGE_SWEPT, sizeof *swept);
    swept->epoch = epoch;
    swept->hand = arena_copy(&swept->arena, rig_text(hand));
    swept->done = done;
    swept->drops_count = 1;
    swept->drops = arena_alloc(&swept->arena, sizeof *swept->drops);
    swept->drops[0] = arena_copy(&swept->arena, rig_text(drop));
    rig_push_message(rig, swept);
    rig_turn(rig);
}

static void a_gap_makes_suspect_and_the_sweep_good_again(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "a", "v", 1);
    rig_fill(rig, "b", "v", 2);
    rig_fill(rig, "c", "v", 3);
    assert_suspects(rig, "", "");
    rig_feed(rig, FEED_LOST);
    rig_feed(rig, FEED_STARTED);
    status_set(&rig->status, STATUS_PG_STATE, NODE_CATCHING_UP);
    assert_suspects(rig, "", "abc");
    assert_suspects(rig, "a", "bc");
    assert_int_equal(rig_read(rig, "a").lookup, LOOKUP_SUSPECT);
    push_swept(rig, rig_epoch(rig) - 1, "c", true, "c"); // of the epoch before: not heard
    assert_int_equal(rig_read(rig, "c").lookup, LOOKUP_SUSPECT);
    push_swept(rig, rig_epoch(rig), "b", false, "b");
    rig_assert_clean(rig, "a", "v", 1);
    rig_assert_miss(rig, "b");
    assert_int_equal(rig_read(rig, "c").lookup, LOOKUP_SUSPECT);
    rig_fill(rig, "d", "v", 9);
    push_swept(rig, rig_epoch(rig), "", true, "d"); // stored since: not dropped
    rig_assert_clean(rig, "c", "v", 3);
    rig_assert_clean(rig, "d", "v", 9);
    // With PostgreSQL out of reach a suspect is served as long as max_stale allows.
    rig_feed(rig, FEED_LOST);
    rig_feed(rig, FEED_STARTED);
    assert_int_equal(rig_read(rig, "c").lookup, LOOKUP_SUSPECT);
    status_set(&rig->status, STATUS_PG_STATE, NODE_DISCONNECTED);
    rig_assert_clean(rig, "c", "v", 3);
    rig->boot_us += 61 * RIG_S;
    assert_int_equal(rig_read(rig, "c").lookup, LOOKUP_SUSPECT);
}

static void a_feed_that_is_silent_is_dead_after_max_stale(void **state)
{
    struct rig *rig = *state;
    rig->settings.cache.max_stale_us = 5 * RIG_S;
    writer_set_max_stale(rig->writer, 5 * RIG_S);
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "k", "v", 1);
    rig_set(rig, "mine", "v");
    rig->boot_us += 4 * RIG_S;
    rig_assert_clean(rig, "k", "v", 1);
    rig->boot_us += 2 * RIG_S;
    assert_int_equal(rig_read(rig, "k").lookup, LOOKUP_SUSPECT);
    rig_assert_pending(rig, "mine", "v");
    rig_feed(rig, FEED_HEARTBEAT);
    rig_assert_clean(rig, "k", "v", 1);
    assert_int_equal(rig_read(rig, "k").current_boot_us, rig->boot_us);
}

static void another_server_drops_everything_clean(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "k", "v", 1);
    rig_set(rig, "mine", "v");
    rig_feed(rig, FEED_REPLACED);
    rig_assert_miss(rig, "k");
    rig_assert_pending(rig, "mine", "v");
    rig_fill(rig, "k", "w", 1);
    rig_assert_clean(rig, "k", "w", 1);
}

static void expiry_is_counted_by_the_clock_of_postgres(void **state)
{
    struct rig *rig = *state;
    struct feed_message *feed = message_create(MESSAGE_FEED, sizeof *feed);
    feed->event = FEED_STARTED;
    feed->heartbeat_boot_us = rig->boot_us;
    feed->has_clock_offset = true;
    feed->clock_offset_us = rig->real_us - rig->boot_us - 5000000;
    rig_push_message(rig, feed);
    rig_turn(rig);
    assert_int_equal(rig->cache.now_us(rig->cache.cache), rig->real_us - 5000000);
    struct pair pair = {.key = rig_text("k"), .value = rig_text("v")};
    struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
    call.has_ttl = true;
    call.ttl_ms = 1000;
    rig_push(rig, &call);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    struct cached cached;
    rig->cache.begin(rig->reader);
    assert_int_equal(rig->cache.lookup(rig->reader, rig_text("k"), &cached), LOOKUP_HIT);
    rig->cache.end(rig->reader);
    assert_int_equal(cached.expires_at_us, rig->real_us - 5000000 + 1000000);
    // Somebody sets our clock.
    rig->real_us += 3600 * RIG_S;
    rig->boot_us += 999999;
    rig_assert_pending(rig, "k", "v");
    rig->real_us -= 7200 * RIG_S;
    rig_assert_pending(rig, "k", "v");
    rig->boot_us += 1;
    rig_assert_pending(rig, "k", NULL);
    call.ttl_ms = INT64_MAX;
    rig_push(rig, &call);
    rig_turn(rig);
    rig_expect_home(rig, ERROR_NONE);
    rig_assert_pending(rig, "k", "v");
}

// A reader may go on with its snapshot exactly as long as nothing was committed or published.
static void a_snapshot_is_current_until_the_cache_moves_on(void **state)
{
    struct rig *rig = *state;
    struct pair pair = {.key = rig_text("k"), .value = rig_text("v")};
    struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
    rig->cache.begin(rig->reader);
    assert_true(rig->cache.is_current(rig->reader));
    rig_push(rig, &call);
    assert_true(rig->cache.is_current(rig->reader));
    rig_turn(rig);
    assert_false(rig->cache.is_current(rig->reader));
    rig->cache.end(rig->reader);
    rig_expect_home(rig, ERROR_NONE);
    rig->cache.begin(rig->reader);
    assert_true(rig->cache.is_current(rig->reader));
    rig_feed(rig, FEED_STARTED);
    rig_turn(rig);
    assert_false(rig->cache.is_current(rig->reader));
    rig->cache.end(rig->reader);
}

static struct changes_message *told(struct rig *rig)
{
    return (struct changes_message *)mailbox_take(&rig->server);
}

static void watchers_are_told_and_a_slow_one_resyncs(void **state)
{
    struct rig *rig = *state;
    rig_change(rig, "k", 1, true);
    assert_null(told(rig));
    status_set(&rig->status, STATUS_SERVER_WATCHERS, 1);
    rig_change(rig, "k", 2, true);
    struct changes_message *changes = told(rig);
    assert_non_null(changes);
    assert_true(changes->own);
    assert_int_equal(changes->changes_count, 1);
    assert_int_equal(changes->changes[0].version, 2);
    message_destroy(&changes->message);
    // The box holds four.
    for (int version = 3; version < 9; version++) {
        rig_change(rig, "k", version, false);
    }
    struct message *first = mailbox_take(&rig->server);
    rig_destroy_messages(first);
    rig_pass(rig, 10000);
    changes = told(rig);
    assert_non_null(changes);
    assert_true(changes->resync);
    message_destroy(&changes->message);
    rig_change(rig, "k", 9, false);
    changes = told(rig);
    assert_false(changes->resync);
    message_destroy(&changes->message);
}

static void sync_is_a_barrier(void **state)
{
    struct rig *rig = *state;
    rig_feed(rig, FEED_STARTED);
    rig_fill(rig, "k", "v", 1);
    rig_push_change(rig, "k", 2, false);
    struct call call = rig_call(METHOD_SYNC, ACK_JOURNAL, NULL);
    rig_push(rig, &call);
    rig_turn(rig);
    struct request *request = rig_homed(rig);
    assert_true(request->reply.boolean);
    rig_assert_miss(rig, "k");
    request_destroy(request);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_set_is_read_at_once_and_clean_after_its_flush),
        TEST(a_fill_is_held_until_a_foreign_change),
        TEST(a_preload_adds_what_is_not_held),
        TEST(a_fill_of_an_epoch_before_is_not_held),
        TEST(a_foreign_change_met_while_pending_drops_at_the_flush),
        TEST(a_later_write_stays_pending_over_an_earlier_flush),
        TEST(writes_of_one_turn_are_one_commit_in_order),
        TEST(an_mset_is_one_entry_and_a_delete_a_known_absence),
        TEST(a_memory_write_is_read_at_once_and_journaled_soon),
        TEST(a_journal_ack_covers_the_memory_writes_before_it),
        TEST(what_is_in_memory_only_is_accepted_all_the_same),
        TEST(many_memory_writes_do_not_wait),
        TEST(a_flush_journals_memory_writes_and_goes_to_pg),
        TEST(a_flush_up_to_a_seq_names_it),
        TEST(a_write_with_a_result_needs_the_connection),
        TEST(a_result_is_in_the_cache_when_its_answer_comes),
        TEST(a_result_is_not_believed_after_a_foreign_change),
        TEST(an_ack_of_postgres_goes_to_pg),
        TEST(a_write_too_late_is_not_done),
        TEST(invalidate_drops_clean_records_and_counts_them),
        TEST(truncate_drops_clean_and_taints_pending),
        TEST(a_gap_makes_suspect_and_the_sweep_good_again),
        TEST(a_feed_that_is_silent_is_dead_after_max_stale),
        TEST(another_server_drops_everything_clean),
        TEST(expiry_is_counted_by_the_clock_of_postgres),
        TEST(watchers_are_told_and_a_slow_one_resyncs),
        TEST(a_snapshot_is_current_until_the_cache_moves_on),
        TEST(sync_is_a_barrier),
        TEST(a_retired_write_flushes_as_nothing_and_leaves_the_cache),
        TEST(a_retired_write_uncovers_the_one_before),
        TEST(a_rewind_makes_what_is_retained_pending_again),
        TEST(a_binding_is_written_down),
        TEST(check_names_the_directories),
        TEST(the_thread_answers_and_stops_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
