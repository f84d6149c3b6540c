// The keeper of the hot tier. The order of things is the writer's: hot_change and hot_drop within a
// transaction, so before its commit; hot_catch_up and hot_walk outside of one, on what is
// committed. This thread alone commits, so what they read is still so when it is put in.
//
// How hot a key is, is in the sketch: a reader makes it hot, and the hand takes the heat
// when it passes. An entry makes room for another only where nobody has read it since.
#include "cache/hot.h"

#include <sys/random.h>

#include "base/check.h"
#include "base/log.h"
#include "cachefile/environment.h"

enum {
    AGAIN_BYTES_MAX = 64 << 10,
    STEP_EVERY_US = 1000,
    PAUSE_US_MIN = 1000000,
    PAUSE_USE_US_MIN = 100000
};
// A round is followed by a pause of as many times what it took; by a shorter one while it was of
// use, which is that the tier grew by one for so many records visited. The least pause is twice as
// long after each round that was of none, up to so many times.
enum { PAUSE_TIMES = 20, USE_PART = 64, VAIN_ROUNDS_MAX = 2 };
// So many records are looked at side by side.
enum { HANDFUL_MAX = 16 };
// The tier begins small, and grows where one entry in so many finds its bucket full.
enum { BUCKETS_FIRST = 32, CROWDED_PART = 16, CROWDED_MIN = 16 };
// While it does, a step makes a page in place of so many records.
enum { RECORDS_PER_PAGE = 8 };

static size_t buckets_of(const struct hot *hot, unsigned halvings)
{
    return hot->tier.buckets_count >> halvings;
}

// Makes at most so many pages more; true once those of all these buckets are there.
static bool populate(struct hot *hot, size_t buckets, size_t pages_max)
{
    if (hot->populated < buckets) {
        size_t missing = buckets - hot->populated;
        size_t pages = missing < pages_max ? missing : pages_max;
        tier_populate(&hot->tier, hot->populated, pages);
        hot->populated += pages;
    }
    return hot->populated >= buckets;
}

// A number that no bucket of the file has, whatever the file went through.
static void begin_life(struct hot *hot)
{
    uint64_t life = 0;
    while (life <= TIER_HALVINGS_MAX) {
        CHECK(getrandom(&life, sizeof life, 0) == (ssize_t)sizeof life);
        life = (life & ~(uint64_t)TIER_HALVINGS_MAX) | hot->halvings;
    }
    hot->life = life;
    hot->entries = 0;
    hot->crowded = 0;
    atomic_store_explicit(&hot->page->tier_life, life, memory_order_seq_cst);
}

void hot_open(struct hot *hot, const struct directory *directory, size_t bytes,
              struct control_page *page, const struct sketch *sketch)
{
    struct failure failure;
    *hot = (struct hot){.page = page, .sketch = sketch};
    if (tier_open(&hot->tier, directory, bytes, &failure) != ERROR_NONE) {
        LOG_WARNING("no hot tier", LOG_TEXT("error", failure.message));
    }
    while (buckets_of(hot, hot->halvings) > BUCKETS_FIRST) {
        hot->halvings++;
    }
    populate(hot, buckets_of(hot, hot->halvings), BUCKETS_FIRST);
    begin_life(hot);
}

void hot_close(struct hot *hot)
{
    if (hot->page != NULL) {
        atomic_store(&hot->page->tier_life, 0);
    }
    tier_close(&hot->tier);
    buffer_deinit(&hot->again);
    *hot = (struct hot){0};
}

// ---- before a commit

static bool take_out(struct hot *hot, uint64_t hash, struct slice key)
{
    bool held = hot->entries > 0 && tier_remove(&hot->tier, hot->life, hash, key);
    hot->entries -= held;
    return held;
}

void hot_change(struct hot *hot, struct slice key)
{
    if (hot->entries == 0 && !hot->is_read) {
        return;
    }
    uint64_t hash = sketch_hash(key);
    bool comes_back = take_out(hot, hash, key) || sketch_warmth(hot->sketch, hash) >= SKETCH_HOT;
    if (hot->is_read && comes_back && buffer_len(&hot->again) < AGAIN_BYTES_MAX) {
        uint16_t len = (uint16_t)key.len;
        buffer_append(&hot->again, &len, sizeof len);
        buffer_append_slice(&hot->again, key);
    }
}

void hot_drop(struct hot *hot, struct slice key)
{
    if (hot->entries > 0) {
        take_out(hot, sketch_hash(key), key);
    }
}

void hot_drop_all(struct hot *hot)
{
    if (hot->entries > 0) {
        begin_life(hot);
    }
}

// ---- between commits

void hot_set_read(struct hot *hot, bool is_read)
{
    if (is_read && !hot->is_read) {
        hot->due_boot_us = 0;
        hot->vain_rounds = 0;
    }
    hot->is_read = is_read && hot->tier.buckets_count > 0;
}

static bool is_cold(void *context, struct slice key)
{
    const struct hot *hot = context;
    return sketch_warmth(hot->sketch, sketch_hash(key)) < SKETCH_HOT;
}

static void put_in(struct hot *hot, uint64_t hash, struct slice key, struct slice record)
{
    size_t left = 0;
    if (!tier_takes(key.len, record.len)) {
        return;
    }
    bool put = tier_put(&hot->tier, hot->life, hash, key, record, is_cold, hot, &left);
    CHECK_VALUES(hot->entries >= left, "%zu entries, %zu left", hot->entries, left);
    hot->entries += put;
    hot->entries -= left;
    hot->grown += put - (int64_t)left;
    hot->crowded += !put || left > 0;
}

void hot_catch_up(struct hot *hot, MDB_env *env, MDB_dbi records)
{
    MDB_txn *txn;
    struct slice keys = buffer_slice(&hot->again);
    if (keys.len == 0 || mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) {
        buffer_clear(&hot->again, AGAIN_BYTES_MAX);
        return;
    }
    while (keys.len > 0) {
        uint16_t len;
        memcpy(&len, keys.at, sizeof len);
        struct slice key = slice_of(keys.at + sizeof len, len);
        keys = slice_of(key.at + len, keys.len - sizeof len - len);
        MDB_val name = environment_value(key);
        MDB_val value;
        if (mdb_get(txn, records, &name, &value) == MDB_SUCCESS) {
            put_in(hot, sketch_hash(key), key, environment_slice(value));
        }
    }
    mdb_txn_abort(txn);
    buffer_clear(&hot->again, AGAIN_BYTES_MAX);
}

// ---- the walk

// Records that the hand is at, of one transaction: what is looked at of each comes from memory
// beside the others'.
struct handful {
    size_t count;
    struct slice keys[HANDFUL_MAX];
    struct slice records[HANDFUL_MAX];
    uint64_t hashes[HANDFUL_MAX];
};

static void grasp(const struct hot *hot, struct handful *handful, MDB_val name, MDB_val value)
{
    size_t i = handful->count++;
    handful->keys[i] = environment_slice(name);
    handful->records[i] = environment_slice(value);
    handful->hashes[i] = sketch_hash(handful->keys[i]);
    sketch_prefetch(hot->sketch, handful->hashes[i]);
    tier_prefetch(&hot->tier, hot->life, handful->hashes[i]);
}

// Whether it is worth its place: read since the hand was here last, or, where the tier was emptied
// to grow, read before that.
static bool takes_heat(const struct hot *hot, uint64_t hash)
{
    return sketch_take_heat(hot->sketch, hash) ||
           (hot->fills_up && sketch_warmth(hot->sketch, hash) >= SKETCH_WARM);
}

static void pass(struct hot *hot, struct handful *handful)
{
    for (size_t i = 0; i < handful->count; i++) {
        struct slice key = handful->keys[i];
        uint64_t hash = handful->hashes[i];
        hot->visited++;
        if (takes_heat(hot, hash) && !tier_holds(&hot->tier, hot->life, hash, key)) {
            put_in(hot, hash, key, handful->records[i]);
        }
    }
    handful->count = 0;
}

// True where the round has come to its end.
static bool walk_on(struct hot *hot, MDB_cursor *cursor, size_t records_max)
{
    MDB_val key, value;
    struct handful handful = {.count = 0};
    struct slice hand = slice_of(hot->hand, hot->hand_bytes);
    int code = environment_seek_behind(cursor, hand, &key, &value);
    for (size_t count = 0; code == MDB_SUCCESS; count++) {
        grasp(hot, &handful, key, value);
        if (handful.count == HANDFUL_MAX) {
            pass(hot, &handful);
        }
        if (count + 1 >= records_max && key.mv_size <= sizeof hot->hand) {
            pass(hot, &handful);
            memcpy(hot->hand, key.mv_data, key.mv_size);
            hot->hand_bytes = key.mv_size;
            return false;
        }
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    pass(hot, &handful);
    return true;
}

static bool is_crowded(const struct hot *hot)
{
    return hot->halvings > 0 && hot->crowded >= CROWDED_MIN &&
           hot->crowded >= hot->entries / CROWDED_PART;
}

// As many buckets as the rest of the round would need if it were like what was visited of it.
static unsigned wanted_halvings(const struct hot *hot, size_t records_count)
{
    unsigned halvings = hot->halvings - 1;
    for (size_t part = 2; halvings > 0 && hot->visited * part < records_count; part *= 2) {
        halvings--;
    }
    return halvings;
}

// More buckets, all of them empty, once their pages are there: a round fills them again.
static void grow(struct hot *hot, size_t records_count, size_t pages_max, int64_t now_boot_us)
{
    if (!hot->grows) {
        hot->next_halvings = wanted_halvings(hot, records_count);
        hot->grows = true;
    }
    if (!populate(hot, buckets_of(hot, hot->next_halvings), pages_max)) {
        return;
    }
    hot->grows = false;
    hot->halvings = hot->next_halvings;
    begin_life(hot);
    hot->fills_up = true;
    hot->hand_bytes = 0;
    hot->begun_boot_us = now_boot_us;
    hot->visited = 0;
    hot->grown = 0;
}

static void end_round(struct hot *hot, int64_t now_boot_us)
{
    bool of_use = hot->grown * USE_PART > (int64_t)hot->visited;
    int64_t pause_us = (now_boot_us - hot->begun_boot_us) * (of_use ? 1 : PAUSE_TIMES);
    int64_t least_us = of_use ? PAUSE_USE_US_MIN : (int64_t)PAUSE_US_MIN << hot->vain_rounds;
    if (of_use) {
        hot->vain_rounds = 0;
    } else if (hot->vain_rounds < VAIN_ROUNDS_MAX) {
        hot->vain_rounds++;
    }
    hot->due_boot_us = now_boot_us + (pause_us > least_us ? pause_us : least_us);
    hot->hand_bytes = 0;
    hot->begun_boot_us = 0;
    hot->visited = 0;
    hot->fills_up = false;
}

void hot_walk(struct hot *hot, MDB_env *env, MDB_dbi records, int64_t now_boot_us,
              size_t records_max)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_stat stat;
    if (now_boot_us < hot_due_boot_us(hot) ||
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) {
        return;
    }
    if (hot->begun_boot_us == 0) {
        hot->begun_boot_us = now_boot_us;
        hot->grown = 0;
    }
    hot->due_boot_us = now_boot_us + STEP_EVERY_US;
    if (mdb_stat(txn, records, &stat) == MDB_SUCCESS &&
        mdb_cursor_open(txn, records, &cursor) == MDB_SUCCESS) {
        if (hot->grows || is_crowded(hot)) {
            grow(hot, stat.ms_entries, records_max / RECORDS_PER_PAGE, now_boot_us);
        } else if (walk_on(hot, cursor, records_max)) {
            end_round(hot, now_boot_us);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
}
