// The keeper of the hot tier: what is in it is what LMDB has committed, at every moment.

#include "cache/writer_state.h"
#include "unit/cache/rig.h"

#include <pthread.h>
#include <sys/mman.h>

enum { KEYS = 40, STEPS = 4000 };

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->has_readers = true;
    rig->settings.cache.size_bytes = 4 << 20;
    rig->settings.writes.outbox_bytes = 1 << 20;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    *state = rig;
    return 0;
}

static struct store *store_of(struct rig *rig)
{
    return &rig->writer->store;
}

static struct hot *hot_of(struct rig *rig)
{
    return &store_of(rig)->hot;
}

// As a direct reader's read of it does.
static void heat(struct rig *rig, const char *key)
{
    sketch_warm(&store_of(rig)->sketch, rig_text(key), SKETCH_HOT);
}

static size_t find(const struct hot *hot, struct slice key, uint64_t *room)
{
    return tier_find(&hot->tier, hot->life, sketch_hash(key), key, room);
}

static bool is_hot(struct rig *rig, const char *key)
{
    uint64_t room[TIER_ENTRY_BYTES_MAX / 8];
    return find(hot_of(rig), rig_text(key), room) > 0;
}

// A round of the walk at least.
static void walk(struct rig *rig)
{
    for (int i = 0; i < 4; i++) {
        rig_pass(rig, 20 * RIG_S);
        rig_feed(rig, FEED_HEARTBEAT);
    }
}

// What the memtable has of the key is found before what is in the tier.
static bool is_pending_aside(struct rig *rig, struct slice key)
{
    struct slice record;
    return memtable_get(&store_of(rig)->memtable, sketch_hash(key), key, &record);
}

// What a server loop finds of the key in the tier is what it would find in a snapshot.
static bool expect_the_same(struct rig *rig, struct slice key)
{
    struct cached hot, cold;
    enum lookup found;
    struct cache_port *cache = &rig->cache;
    if (!cache->look_up_hot(rig->reader, key, 0, rig->boot_us, &found, &hot)) {
        return false;
    }
    cache->begin(rig->reader);
    assert_int_equal(found, cache->lookup(rig->reader, key, &cold));
    assert_int_equal(hot.present, cold.present);
    assert_int_equal(hot.pending, cold.pending);
    assert_int_equal(hot.pending_seq, cold.pending_seq);
    assert_int_equal(hot.version, cold.version);
    assert_int_equal(hot.current_boot_us, cold.current_boot_us);
    assert_true(slice_equal(hot.value, cold.value));
    cache->end(rig->reader);
    return true;
}

// Every entry is a record as it is committed, and there are no others.
static void expect_committed(struct rig *rig)
{
    struct store *store = store_of(rig);
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t room[TIER_ENTRY_BYTES_MAX / 8];
    size_t found = 0;
    assert_int_equal(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_cursor_open(txn, store->records, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
        size_t bytes = find(&store->hot, environment_slice(key), room);
        if (bytes > 0) {
            assert_int_equal(bytes, value.mv_size);
            assert_memory_equal(room, value.mv_data, bytes);
            found++;
        }
        bool is_aside = is_pending_aside(rig, environment_slice(key));
        assert_int_equal(bytes > 0 || is_aside, expect_the_same(rig, environment_slice(key)));
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    assert_int_equal(found, store->hot.entries);
}

// ---- how it is filled

static void what_direct_readers_read_comes_in(void **state)
{
    struct rig *rig = *state;
    rig_fill(rig, "read", "r", 1);
    rig_fill(rig, "unread", "u", 2);
    heat(rig, "read");
    walk(rig);
    assert_true(is_hot(rig, "read"));
    assert_false(is_hot(rig, "unread"));
    assert_int_equal(status_get(&rig->status, STATUS_CACHE_HOT_ENTRIES), 1);
    assert_true(status_get(&rig->status, STATUS_CACHE_HOT_BYTES) > 0);
    expect_committed(rig);
}

static void nothing_comes_in_where_nobody_reads(void **state)
{
    struct rig *rig = *state;
    rig->writer->has_readers = false;
    rig_pass(rig, 2 * RIG_S);
    rig_fill(rig, "read", "r", 1);
    heat(rig, "read");
    walk(rig);
    assert_false(is_hot(rig, "read"));
}

// The server loops', where they read much more than is written.
static void what_clients_read_comes_in(void **state)
{
    struct rig *rig = *state;
    rig->writer->has_readers = false;
    rig_pass(rig, 20 * RIG_S);
    rig_fill(rig, "key", "v", 1);
    for (int writes = 2000; writes >= 0; writes -= 2000) {
        assert_false(is_hot(rig, "key"));
        rig_read(rig, "key");
        status_add(&rig->status, STATUS_CACHE_HITS, 5000);
        status_add(&rig->status, STATUS_OUTBOX_LAST_SEQ, writes);
        walk(rig);
    }
    assert_true(is_hot(rig, "key"));
    expect_committed(rig);
    // They read no more: what is written stays out.
    rig_pass(rig, 20 * RIG_S);
    rig_fill(rig, "other", "v", 2);
    rig_read(rig, "other");
    walk(rig);
    assert_false(is_hot(rig, "other"));
}

// With the feed lost nothing writes the control page any more.
static void max_stale_may_change_while_the_feed_is_lost(void **state)
{
    struct rig *rig = *state;
    rig_fill(rig, "key", "v", 1);
    heat(rig, "key");
    walk(rig);
    rig_feed(rig, FEED_LOST);
    assert_true(expect_the_same(rig, rig_text("key")));
    rig->boot_us += 10 * RIG_S;
    writer_set_max_stale(rig->writer, 5 * RIG_S);
    assert_true(expect_the_same(rig, rig_text("key")));
    assert_int_equal(rig_read(rig, "key").lookup, LOOKUP_SUSPECT);
    rig->boot_us += 90 * RIG_S;
    writer_set_max_stale(rig->writer, 600 * RIG_S);
    assert_true(expect_the_same(rig, rig_text("key")));
    rig_assert_clean(rig, "key", "v", 1);
}

static void a_hot_record_is_back_after_each_change(void **state)
{
    struct rig *rig = *state;
    rig_fill(rig, "key", "one", 1);
    heat(rig, "key");
    walk(rig);
    uint64_t seq = rig_set(rig, "key", "two");
    assert_true(is_hot(rig, "key"));
    expect_committed(rig);
    rig_flush(rig, "key", seq, 2);
    assert_true(is_hot(rig, "key"));
    expect_committed(rig);
    rig_change(rig, "key", 3, false);
    assert_false(is_hot(rig, "key"));
    heat(rig, "key");
    rig_fill(rig, "key", "three", 3);
    assert_true(is_hot(rig, "key"));
    expect_committed(rig);
}

static void large_values_stay_out(void **state)
{
    struct rig *rig = *state;
    char value[TIER_ENTRY_BYTES_MAX];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    rig_fill(rig, "large", value, 1);
    heat(rig, "large");
    walk(rig);
    assert_false(is_hot(rig, "large"));
    assert_int_equal(hot_of(rig)->entries, 0);
}

// So many records that are read.
static void fill_and_heat(struct rig *rig, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%05d", i);
        rig_push_fill(rig, key, "value", i + 1, rig_epoch(rig));
        if (i % 100 == 99) {
            rig_turn(rig);
        }
        heat(rig, key);
    }
}

static void it_grows_with_what_is_read(void **state)
{
    struct rig *rig = *state;
    enum { MANY = 4000 };
    size_t before = hot_of(rig)->halvings;
    fill_and_heat(rig, MANY);
    for (int i = 0; i < 10; i++) {
        walk(rig);
    }
    assert_true(hot_of(rig)->halvings < before);
    // Read once, whatever the tier's growing emptied it of.
    assert_true(hot_of(rig)->entries > MANY * 9 / 10);
    expect_committed(rig);
}

// The buckets that readers look into, and whose pages are not in memory.
static size_t absent_pages(const struct hot *hot)
{
    unsigned char resident;
    size_t count = hot->tier.buckets_count >> hot->halvings;
    size_t absent = 0;
    for (size_t i = 0; i < count; i++) {
        void *page = (void *)(hot->tier.words + i * TIER_BUCKET_WORDS);
        assert_int_equal(mincore(page, TIER_BUCKET_BYTES, &resident), 0);
        absent += (resident & 1) == 0;
    }
    return absent;
}

static void a_reader_waits_for_no_page_that_nobody_touched(void **state)
{
    struct rig *rig = *state;
    enum { MANY = 4000, STEPS_MAX = 500 };
    struct hot *hot = hot_of(rig);
    size_t before = hot->halvings;
    assert_int_equal(absent_pages(hot), 0);
    fill_and_heat(rig, MANY);
    bool grew_in_steps = false;
    for (int i = 0; i < STEPS_MAX; i++) {
        rig_pass(rig, RIG_S / 100);
        rig_feed(rig, FEED_HEARTBEAT);
        assert_int_equal(absent_pages(hot), 0);
        grew_in_steps = grew_in_steps || hot->grows;
    }
    assert_true(hot->halvings < before);
    assert_true(grew_in_steps);
}

// How long the walk rests after its next round, whose steps are as far apart as that.
static int64_t rest_after_round(struct rig *rig, int64_t step_us)
{
    struct hot *hot = hot_of(rig);
    const struct store *store = store_of(rig);
    int64_t now_us = hot->due_boot_us > rig->boot_us ? hot->due_boot_us : rig->boot_us;
    hot_walk(hot, store->env, store->records, now_us, 10);
    while (hot->begun_boot_us != 0) {
        now_us += step_us;
        hot_walk(hot, store->env, store->records, now_us, 10);
    }
    return hot->due_boot_us - now_us;
}

static void a_walk_that_is_of_no_use_rests_longer(void **state)
{
    enum { RECORDS = 95 };
    struct rig *rig = *state;
    char key[16];
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "%05d", i);
        rig_fill(rig, key, "value", i + 1);
    }
    walk(rig);
    hot_set_read(hot_of(rig), false);
    hot_set_read(hot_of(rig), true);
    // Of nine steps after the first; the longest pause in question is a share of the time.
    assert_int_equal(rest_after_round(rig, 1), RIG_S);
    assert_int_equal(rest_after_round(rig, 1), 2 * RIG_S);
    assert_int_equal(rest_after_round(rig, 1), 4 * RIG_S);
    assert_int_equal(rest_after_round(rig, 1), 4 * RIG_S);
    assert_int_equal(rest_after_round(rig, RIG_S), 180 * RIG_S);
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "%05d", i);
        heat(rig, key);
    }
    assert_int_equal(rest_after_round(rig, RIG_S), 9 * RIG_S);
    assert_int_equal(hot_of(rig)->entries, RECORDS);
    assert_true(is_hot(rig, "00000") && is_hot(rig, "00094"));
    assert_int_equal(rest_after_round(rig, 1), RIG_S);
}

// ---- the invariant

static void an_entry_leaves_before_the_commit(void **state)
{
    struct rig *rig = *state;
    struct store *store = store_of(rig);
    rig_fill(rig, "put", "one", 1);
    rig_fill(rig, "deleted", "one", 2);
    heat(rig, "put");
    heat(rig, "deleted");
    walk(rig);
    assert_true(is_hot(rig, "put") && is_hot(rig, "deleted"));
    MDB_txn *txn;
    assert_int_equal(mdb_txn_begin(store->env, NULL, 0, &txn), 0);
    const struct record record = {.version = 9, .value = rig_text("two")};
    MDB_cursor *cursor;
    assert_int_equal(store_open_cursor(store, txn, &cursor), ERROR_NONE);
    assert_int_equal(store_put(store, cursor, rig_text("put"), NULL, &record), ERROR_NONE);
    assert_int_equal(store_delete(store, txn, rig_text("deleted")), ERROR_NONE);
    assert_false(is_hot(rig, "put"));
    assert_false(is_hot(rig, "deleted"));
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    expect_committed(rig);
}

static void every_way_to_drop_records_empties_it(void **state)
{
    struct rig *rig = *state;
    struct failure failure;
    for (int way = 0; way < 3; way++) {
        for (int i = 0; i < KEYS; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            rig_fill(rig, key, "v", i + 1);
            heat(rig, key);
        }
        walk(rig);
        assert_int_equal(hot_of(rig)->entries, KEYS);
        size_t freed_bytes;
        switch (way) {
        case 0:
            rig_feed(rig, FEED_REPLACED);
            break;
        case 1:
            assert_int_equal(store_renew(store_of(rig), &failure), ERROR_NONE);
            break;
        default:
            assert_int_equal(eviction_run(&rig->writer->eviction, store_of(rig), SIZE_MAX, SIZE_MAX,
                                          &freed_bytes),
                             ERROR_NONE);
            break;
        }
        assert_int_equal(hot_of(rig)->entries, 0);
        assert_false(is_hot(rig, "1"));
        expect_committed(rig);
    }
}

static void a_start_believes_nothing(void **state)
{
    struct rig *rig = *state;
    rig_fill(rig, "key", "one", 1);
    heat(rig, "key");
    walk(rig);
    uint64_t life = hot_of(rig)->life;
    rig_crash(rig);
    rig_open(rig);
    assert_true(hot_of(rig)->life != life);
    assert_false(is_hot(rig, "key"));
    expect_committed(rig);
}

// One of the things that happen to a record.
static void happen(struct rig *rig, unsigned *seed, const char *key)
{
    char value[16];
    int64_t version = (int64_t)(rand_r(seed) % 1000) + 1;
    snprintf(value, sizeof value, "%u", (unsigned)rand_r(seed));
    switch (rand_r(seed) % 12) {
    case 0:
    case 1:
        rig_set(rig, key, value);
        break;
    case 2:
        rig_change(rig, key, version, rand_r(seed) % 2 == 0);
        break;
    case 3:
        rig_feed(rig, FEED_HEARTBEAT);
        break;
    case 4:
        if (rand_r(seed) % 20 == 0) {
            rig_feed(rig, rand_r(seed) % 2 == 0 ? FEED_REPLACED : FEED_STARTED);
        }
        break;
    case 5:
        rig_flush(rig, key, rig_set(rig, key, value), version);
        break;
    case 6:
        // The first try finds the map full.
        rig_arm("cache.map_full=fail:1");
        rig_set(rig, key, value);
        rig_arm(NULL);
        break;
    default:
        rig_fill(rig, key, rand_r(seed) % 4 == 0 ? NULL : value, version);
        break;
    }
}

static void whatever_happens_it_holds_what_is_committed(void **state)
{
    struct rig *rig = *state;
    unsigned seed = 20;
    size_t most = 0;
    for (int step = 0; step < STEPS; step++) {
        char key[16];
        snprintf(key, sizeof key, "%u", (unsigned)rand_r(&seed) % KEYS);
        happen(rig, &seed, key);
        expect_committed(rig);
        snprintf(key, sizeof key, "%u", (unsigned)rand_r(&seed) % KEYS);
        heat(rig, key);
        rig_pass(rig, (int64_t)(rand_r(&seed) % 5) * RIG_S / 10);
        expect_committed(rig);
        most = hot_of(rig)->entries > most ? hot_of(rig)->entries : most;
    }
    assert_true(most > KEYS / 4);
}

// ---- beside a reader

struct watcher {
    struct rig *rig;
    atomic_bool stop;
    atomic_long hits;
    atomic_long pending_hits;
    long behind;
    long missed;
};

static long number_of(const struct cached *cached)
{
    char text[16] = {0};
    assert_true(cached->value.len < sizeof text);
    memcpy(text, cached->value.at, cached->value.len);
    return strtol(text, NULL, 10);
}

static bool look_in_snapshot(struct watcher *watcher, struct cache_reader *reader, long *number)
{
    const struct cache_port *cache = &watcher->rig->cache;
    struct cached cached = {0};
    cache->begin(reader);
    bool found = cache->lookup(reader, rig_text("key"), &cached) == LOOKUP_HIT;
    if (found) {
        *number = number_of(&cached);
    } else if (!cache->is_torn(reader)) {
        watcher->missed++;
    }
    cache->end(reader);
    return found;
}

static bool look_in_tier(struct watcher *watcher, struct cache_reader *reader, long *number)
{
    struct cached cached = {0};
    enum lookup lookup;
    bool found = watcher->rig->cache.look_up_hot(reader, rig_text("key"), 0, 1, &lookup, &cached);
    if (found) {
        atomic_fetch_add(cached.pending ? &watcher->pending_hits : &watcher->hits, 1);
        *number = number_of(&cached);
    }
    return found;
}

// Whatever way the key is looked for, pending or not, nothing older is found than before.
static void *watch(void *context)
{
    struct watcher *watcher = context;
    struct cache_reader *reader;
    long newest = 0;
    assert_int_equal(watcher->rig->cache.reader_open(watcher->rig->cache.cache, &reader),
                     ERROR_NONE);
    for (bool hot = false; !atomic_load(&watcher->stop); hot = !hot) {
        long number = newest;
        bool found = hot ? look_in_tier(watcher, reader, &number)
                         : look_in_snapshot(watcher, reader, &number);
        watcher->behind += found && number < newest;
        newest = number;
    }
    watcher->rig->cache.reader_close(reader);
    return NULL;
}

static bool has_hits(struct watcher *watcher)
{
    return atomic_load(&watcher->hits) > 0 && atomic_load(&watcher->pending_hits) > 0;
}

static void no_reader_goes_back_behind_a_snapshot(void **state)
{
    struct rig *rig = *state;
    enum { SETS = 1500, SETS_MAX = 100 * SETS };
    rig_fill(rig, "key", "0", 1);
    heat(rig, "key");
    walk(rig);
    assert_true(is_hot(rig, "key"));
    struct watcher watcher = {.rig = rig};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
    // The reader may be long in coming to a processor.
    for (int i = 1; i < SETS || (i < SETS_MAX && !has_hits(&watcher)); i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        uint64_t seq = rig_set(rig, "key", value);
        if (i % 2 == 0) {
            rig_flush(rig, "key", seq, i);
        }
    }
    atomic_store(&watcher.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(has_hits(&watcher));
    assert_int_equal(watcher.behind, 0);
    assert_int_equal(watcher.missed, 0);
}

#define HOT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOT_TEST(what_direct_readers_read_comes_in),
        HOT_TEST(nothing_comes_in_where_nobody_reads),
        HOT_TEST(what_clients_read_comes_in),
        HOT_TEST(max_stale_may_change_while_the_feed_is_lost),
        HOT_TEST(a_hot_record_is_back_after_each_change),
        HOT_TEST(large_values_stay_out),
        HOT_TEST(it_grows_with_what_is_read),
        HOT_TEST(a_reader_waits_for_no_page_that_nobody_touched),
        HOT_TEST(a_walk_that_is_of_no_use_rests_longer),
        HOT_TEST(an_entry_leaves_before_the_commit),
        HOT_TEST(every_way_to_drop_records_empties_it),
        HOT_TEST(a_start_believes_nothing),
        HOT_TEST(whatever_happens_it_holds_what_is_committed),
        HOT_TEST(no_reader_goes_back_behind_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
