// What the writer makes of what the pg worker tells it of the table: answers to misses, changes of
// others, gaps of the feed and their sweep, another server.

#include "unit/cache/rig.h"

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig_open(rig);
    *state = rig;
    return 0;
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_fill_is_held_until_a_foreign_change),
        TEST(a_preload_adds_what_is_not_held),
        TEST(a_fill_of_an_epoch_before_is_not_held),
        TEST(a_foreign_change_met_while_pending_drops_at_the_flush),
        TEST(invalidate_drops_clean_records_and_counts_them),
        TEST(truncate_drops_clean_and_taints_pending),
        TEST(a_gap_makes_suspect_and_the_sweep_good_again),
        TEST(a_feed_that_is_silent_is_dead_after_max_stale),
        TEST(another_server_drops_everything_clean),
        TEST(expiry_is_counted_by_the_clock_of_postgres),
        TEST(a_snapshot_is_current_until_the_cache_moves_on),
        TEST(watchers_are_told_and_a_slow_one_resyncs),
        TEST(sync_is_a_barrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
