// Pending writes beside LMDB: where they are, when they get there, and that whoever reads several
// keys has them of one moment.

#include "cache/writer_state.h"
#include "unit/cache/rig.h"

#include <pthread.h>

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig->settings.cache.size_bytes = 4 << 20;
    rig->settings.writes.outbox_bytes = 2 << 20;
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    *state = rig;
    return 0;
}

static struct store *store_of(struct rig *rig)
{
    return &rig->writer->store;
}

static bool is_in_lmdb(struct rig *rig, const char *key)
{
    MDB_txn *txn;
    MDB_val value, name = environment_value(rig_text(key));
    assert_int_equal(mdb_txn_begin(store_of(rig)->env, NULL, MDB_RDONLY, &txn), 0);
    bool is_there = mdb_get(txn, store_of(rig)->records, &name, &value) == MDB_SUCCESS;
    mdb_txn_abort(txn);
    return is_there;
}

static size_t count_aside(struct rig *rig)
{
    return memtable_count(&store_of(rig)->memtable);
}

// ---- where a write is

static void lmdb_gets_a_write_once_it_is_flushed(void **state)
{
    struct rig *rig = *state;
    rig_set(rig, "k", "one");
    uint64_t seq = rig_set(rig, "k", "two");
    assert_false(is_in_lmdb(rig, "k"));
    assert_int_equal(count_aside(rig), 1);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 1);
    rig_assert_pending(rig, "k", "two");
    rig_flush(rig, "k", seq, 7);
    assert_true(is_in_lmdb(rig, "k"));
    assert_int_equal(count_aside(rig), 0);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 0);
    rig_assert_clean(rig, "k", "two", 7);
}

// What PostgreSQL's side says of the key goes by the pending write, not by what lies under it.
static void what_lies_under_it_is_not_believed(void **state)
{
    struct rig *rig = *state;
    struct held_record held;
    rig_fill(rig, "k", "old", 1);
    uint64_t seq = rig_set(rig, "k", "new");
    rig->cache.begin(rig->reader);
    assert_false(rig->cache.find_held(rig->reader, rig_text("k"), &held));
    rig->cache.end(rig->reader);
    assert_false(store_holds(store_of(rig), rig_text("k"), 1));
    rig_fill(rig, "k", "older", 1);
    rig_assert_pending(rig, "k", "new");
    // Somebody else's change, before ours and heard of meanwhile.
    rig_change(rig, "k", 2, false);
    rig_assert_pending(rig, "k", "new");
    rig_flush(rig, "k", seq, 3);
    rig_assert_miss(rig, "k");
    assert_false(is_in_lmdb(rig, "k"));
}

// A full ring, and a value that is too large: LMDB has them, as it has them after a start.
static void what_finds_no_room_goes_to_lmdb(void **state)
{
    struct rig *rig = *state;
    enum { SETS = 400, VALUE_BYTES = 1000 };
    static char value[VALUE_BYTES + 1], large[4 * VALUE_BYTES + 1];
    uint64_t seqs[SETS];
    memset(value, 'x', VALUE_BYTES);
    memset(large, 'y', 4 * VALUE_BYTES);
    rig_set(rig, "large", "small");
    assert_int_equal(count_aside(rig), 1);
    uint64_t large_seq = rig_set(rig, "large", large);
    assert_int_equal(count_aside(rig), 0);
    assert_true(is_in_lmdb(rig, "large"));
    for (int i = 0; i < SETS; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        seqs[i] = rig_set(rig, key, value);
    }
    assert_true(count_aside(rig) > SETS / 8 && count_aside(rig) < SETS);
    assert_true(is_in_lmdb(rig, "399"));
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), SETS + 1);
    rig_flush(rig, "large", large_seq, 1);
    for (int i = 0; i < SETS; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        assert_true(rig_read(rig, key).pending);
        rig_flush(rig, key, seqs[i], i + 2);
        assert_int_equal(rig_read(rig, key).version, i + 2);
    }
    assert_int_equal(count_aside(rig), 0);
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 0);
    rig_set(rig, "again", "small");
    assert_int_equal(count_aside(rig), 1);
}

static void a_start_finds_it_in_the_outbox(void **state)
{
    struct rig *rig = *state;
    rig_fill(rig, "k", "old", 1);
    rig_set(rig, "k", "new");
    uint64_t life = atomic_load(&store_of(rig)->control.page->memtable_life);
    assert_true(life != 0);
    rig_crash(rig);
    rig_open(rig);
    assert_true(atomic_load(&store_of(rig)->control.page->memtable_life) != life);
    rig_assert_pending(rig, "k", "new");
    assert_int_equal(rig_status(rig, STATUS_CACHE_PENDING), 1);
    rig_feed(rig, FEED_STARTED);
    // It stays where it is.
    uint64_t seq = rig_set(rig, "k", "newer");
    assert_int_equal(count_aside(rig), 0);
    rig_assert_pending(rig, "k", "newer");
    rig_flush(rig, "k", seq, 9);
    rig_assert_clean(rig, "k", "newer", 9);
}

// ---- several keys

static void a_snapshot_that_is_torn_says_so(void **state)
{
    struct rig *rig = *state;
    struct cached cached = {0};
    struct memtable_writer *memtable = &store_of(rig)->memtable;
    uint64_t seq = rig_set(rig, "k", "one");
    for (int torn = 0; torn < 3; torn++) {
        rig->cache.begin(rig->reader);
        assert_int_equal(rig->cache.lookup(rig->reader, rig_text("k"), &cached), LOOKUP_HIT);
        assert_false(rig->cache.is_torn(rig->reader));
        assert_true(rig->cache.is_current(rig->reader));
        if (torn == 1) {
            rig_flush(rig, "k", seq, 5);
        } else {
            seq = rig_set(rig, "k", "two");
        }
        assert_false(rig->cache.is_current(rig->reader));
        rig->cache.lookup(rig->reader, rig_text("k"), &cached);
        assert_true(rig->cache.is_torn(rig->reader));
        rig->cache.end(rig->reader);
    }
    // Then the writer waits for it.
    rig->cache.begin(rig->reader);
    assert_int_not_equal(pthread_mutex_trylock(&memtable->still), 0);
    assert_int_equal(rig->cache.lookup(rig->reader, rig_text("k"), &cached), LOOKUP_HIT);
    assert_false(rig->cache.is_torn(rig->reader));
    rig->cache.end(rig->reader);
    assert_int_equal(pthread_mutex_trylock(&memtable->still), 0);
    pthread_mutex_unlock(&memtable->still);
}

enum { ALIKE = 8, MSETS = 2000 };

struct watcher {
    struct rig *rig;
    atomic_bool stop;
    long whole;
    long torn;
    long different;
};

static void name_alike(int number, char name[16])
{
    snprintf(name, 16, "alike%d", number);
}

// All keys have the same value at every moment.
static void *watch(void *context)
{
    struct watcher *watcher = context;
    const struct cache_port *cache = &watcher->rig->cache;
    struct cache_reader *reader;
    assert_int_equal(cache->reader_open(cache->cache, &reader), ERROR_NONE);
    while (!atomic_load(&watcher->stop)) {
        struct slice first = {0};
        bool differs = false;
        cache->begin(reader);
        for (int i = 0; i < ALIKE; i++) {
            char name[16];
            struct cached cached = {0};
            name_alike(i, name);
            differs = cache->lookup(reader, rig_text(name), &cached) != LOOKUP_HIT || differs;
            first = i == 0 ? cached.value : first;
            differs = differs || !slice_equal(cached.value, first);
        }
        bool is_torn = cache->is_torn(reader);
        watcher->torn += is_torn;
        watcher->whole += !is_torn;
        watcher->different += !is_torn && differs;
        cache->end(reader);
    }
    cache->reader_close(reader);
    return NULL;
}

static uint64_t set_alike(struct rig *rig, int number)
{
    char names[ALIKE][16], value[16];
    struct pair pairs[ALIKE];
    snprintf(value, sizeof value, "%d", number);
    for (int i = 0; i < ALIKE; i++) {
        name_alike(i, names[i]);
        pairs[i] = (struct pair){.key = rig_text(names[i]), .value = rig_text(value)};
    }
    struct call call = rig_call(METHOD_MSET, ACK_MEMORY, pairs);
    call.pairs_count = ALIKE;
    rig_push(rig, &call);
    rig_turn(rig);
    struct request *request = rig_homed(rig);
    assert_non_null(request);
    uint64_t seq = request->reply.seq;
    request_destroy(request);
    return seq;
}

static void flush_alike(struct rig *rig, uint64_t seq, int64_t version)
{
    struct flushed_message *flushed = rig_flushed(rig, seq, ALIKE);
    for (int i = 0; i < ALIKE; i++) {
        char name[16];
        name_alike(i, name);
        flushed->keys[i] = (struct flushed_key){
            .key = arena_copy(&flushed->arena, rig_text(name)),
            .seq = seq,
            .present = true,
            .version = version,
        };
    }
    rig_push_message(rig, flushed);
    rig_turn(rig);
    message_destroy(rig_posted(rig));
}

static void keys_are_of_one_moment(void **state)
{
    struct rig *rig = *state;
    struct watcher watcher = {.rig = rig};
    pthread_t thread;
    set_alike(rig, 0);
    assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
    for (int i = 1; i < MSETS; i++) {
        uint64_t seq = set_alike(rig, i);
        if (i % 3 == 0) {
            flush_alike(rig, seq, i);
        }
    }
    atomic_store(&watcher.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%ld whole, %ld torn\n", watcher.whole, watcher.torn);
    assert_true(watcher.whole > 0);
    assert_int_equal(watcher.different, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lmdb_gets_a_write_once_it_is_flushed), TEST(what_lies_under_it_is_not_believed),
        TEST(what_finds_no_room_goes_to_lmdb),      TEST(a_start_finds_it_in_the_outbox),
        TEST(a_snapshot_that_is_torn_says_so),      TEST(keys_are_of_one_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
