// A reader keeps one reset LMDB transaction and renews it for each begin: no allocation, no lock,
// no system call between begin and end. The control page is copied before the snapshot is taken
// (see control.h), and the clocks are read once for all lookups of a snapshot.
#include "cache/reader.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/fault.h"
#include "base/memory.h"
#include "base/status.h"

enum { TORN_MAX = 3 };

_Static_assert((int)MEMTABLE_RECORD_BYTES_MAX <= (int)TIER_ENTRY_BYTES_MAX, "room is for either");

struct cache_reader {
    struct store *store;
    struct store_files *files; // that `txn` is of
    MDB_txn *txn;
    bool reading; // between begin and end
    struct page_view page;
    uint64_t page_sequence; // of the control page when it was copied
    int64_t now_boot_us;
    // Of the memtable, which no snapshot holds still:
    struct memtable memtable;
    struct memtable_moment moment; // of the snapshot
    bool is_torn;                  // something was looked up that is not of it any more
    unsigned torn_count;           // snapshots one after another
    bool holds_still;              // the writer waits
    struct arena copies;           // of records found in the memtable
    // Of the hot tier, which no snapshot holds still:
    struct tier tier;          // the writer's, copied from beside what it changes with each write
    struct page_view hot_page; // the control page as it is, or was at the last look
    uint64_t hot_page_sequence;
    uint64_t room[TIER_ENTRY_BYTES_MAX / sizeof(uint64_t)]; // of the record found last
};

enum error reader_open(struct store *store, struct cache_reader **reader)
{
    struct cache_reader *opened = memory_zeroed(1, sizeof *opened);
    opened->store = store;
    opened->files = store_acquire(store);
    int code = mdb_txn_begin(opened->files->env, NULL, MDB_RDONLY, &opened->txn);
    if (code != MDB_SUCCESS) {
        store_release(store, opened->files);
        free(opened);
        return environment_error(code);
    }
    mdb_txn_reset(opened->txn);
    opened->tier = store->hot.tier;
    opened->memtable = store->memtable.table;
    opened->hot_page_sequence = CONTROL_NO_SEQUENCE;
    *reader = opened;
    return ERROR_NONE;
}

void reader_close(struct cache_reader *reader)
{
    CHECK(!reader->reading);
    mdb_txn_abort(reader->txn);
    store_release(reader->store, reader->files);
    arena_deinit(&reader->copies);
    free(reader);
}

// One that is even and the same before a control_view and later says that the page still holds what
// was copied.
static uint64_t page_sequence(const struct store *store)
{
    return atomic_load_explicit(&store->control.page->sequence, memory_order_acquire);
}

// To the files that the store has begun meanwhile. They are new: a slot is free.
static void follow(struct cache_reader *reader)
{
    mdb_txn_abort(reader->txn);
    store_release(reader->store, reader->files);
    reader->files = store_acquire(reader->store);
    int code = mdb_txn_begin(reader->files->env, NULL, MDB_RDONLY, &reader->txn);
    CHECK_VALUES(code == MDB_SUCCESS, "%s", mdb_strerror(code));
    mdb_txn_reset(reader->txn);
}

// A snapshot and what the memtable held at one moment. Who was torn has the writer wait for that,
// and who was torn often, for the end of the reading.
static void take_moment(struct cache_reader *reader)
{
    struct memtable_writer *memtable = &reader->store->memtable;
    if (reader->torn_count > 0) {
        CHECK(pthread_mutex_lock(&memtable->still) == 0);
    }
    reader->moment = memtable_now(&reader->memtable);
    int code = mdb_txn_renew(reader->txn);
    CHECK_VALUES(code == MDB_SUCCESS, "%s", mdb_strerror(code));
    reader->holds_still = reader->torn_count >= TORN_MAX;
    if (reader->torn_count > 0 && !reader->holds_still) {
        CHECK(pthread_mutex_unlock(&memtable->still) == 0);
    }
}

void reader_begin(struct cache_reader *reader)
{
    CHECK(!reader->reading);
    struct store *store = reader->store;
    reader->page_sequence = page_sequence(store);
    control_view(store->control.page, &reader->page);
    reader->now_boot_us = store_boot_us(store);
    if (store_has_moved(store, reader->files)) {
        follow(reader);
    }
    take_moment(reader);
    reader->reading = true;
}

bool reader_is_torn(struct cache_reader *reader)
{
    return reader->is_torn;
}

// LMDB shows a commit in its meta pages before the writer learns that it is done, so whatever was
// acknowledged is seen here. The page is looked at first, as in begin.
bool reader_is_current(struct cache_reader *reader)
{
    CHECK(reader->reading);
    struct store *store = reader->store;
    MDB_envinfo info;
    return reader->page_sequence % 2 == 0 && page_sequence(store) == reader->page_sequence &&
           !store_has_moved(store, reader->files) &&
           memtable_is_still(&reader->memtable, reader->moment) &&
           mdb_env_info(reader->files->env, &info) == MDB_SUCCESS &&
           info.me_last_txnid == mdb_txn_id(reader->txn);
}

void reader_end(struct cache_reader *reader)
{
    CHECK(reader->reading);
    mdb_txn_reset(reader->txn);
    reader->reading = false;
    if (reader->holds_still) {
        reader->holds_still = false;
        CHECK(pthread_mutex_unlock(&reader->store->memtable.still) == 0);
    }
    reader->torn_count = reader->is_torn ? reader->torn_count + 1 : 0;
    reader->is_torn = false;
    if (reader->copies.bytes > 0) {
        arena_deinit(&reader->copies);
    }
}

static enum lookup lookup_of(const struct cache_reader *reader, enum trust trust)
{
    switch (trust) {
    case TRUST_GOOD:
        return LOOKUP_HIT;
    case TRUST_SUSPECT: {
        int64_t state = status_get(reader->store->status, STATUS_PG_STATE);
        return state == NODE_DISCONNECTED ? LOOKUP_HIT : LOOKUP_SUSPECT;
    }
    case TRUST_STALE:
        break;
    }
    return LOOKUP_SUSPECT;
}

static enum error find(const struct cache_reader *reader, struct slice key, struct record *record)
{
    MDB_val name = environment_value(key);
    MDB_val value;
    int code = mdb_get(reader->txn, reader->files->records, &name, &value);
    return code != MDB_SUCCESS ? environment_error(code)
                               : record_decode(environment_slice(value), record);
}

// What is found, judged by the page and the clock.
static enum lookup judge(const struct cache_reader *reader, struct slice key,
                         const struct record *record, const struct page_view *page,
                         int64_t now_boot_us, struct cached *cached)
{
    int64_t current_boot_us;
    int64_t now_us = now_boot_us + page->clock_offset_us;
    enum trust trust = trust_of_record(record, key, page, now_boot_us, &current_boot_us);
    bool present = !record->absent && !record_is_expired(record, now_us);
    *cached = (struct cached){
        .present = present,
        .pending = record->pending,
        .pending_seq = record->pending_seq,
        .version = record->version,
        .expires_at_us = record->expires_at_us,
        .current_boot_us = current_boot_us,
        .value = present ? record->value : slice_of(NULL, 0),
    };
    return lookup_of(reader, trust);
}

// Looks for the key in the memtable as it was at the snapshot's moment; TORN where that is not
// known any more.
enum aside { ASIDE_ABSENT, ASIDE_FOUND, ASIDE_TORN };

static enum aside find_aside(struct cache_reader *reader, struct slice key, uint64_t hash,
                             struct record *record)
{
    uint64_t place = 0;
    size_t bytes = 0;
    enum memtable_found found =
        memtable_find(&reader->memtable, hash, key, reader->room, &bytes, &place);
    if (found == MEMTABLE_UNKNOWN || memtable_has_lost(&reader->memtable, reader->moment) ||
        (found == MEMTABLE_FOUND && place >= reader->moment.end)) {
        return ASIDE_TORN;
    }
    if (found == MEMTABLE_ABSENT) {
        return ASIDE_ABSENT;
    }
    CHECK(record_decode(slice_of((const uint8_t *)reader->room, bytes), record) == ERROR_NONE);
    return ASIDE_FOUND;
}

enum lookup reader_lookup(struct cache_reader *reader, struct slice key, struct cached *cached)
{
    CHECK(reader->reading);
    struct record record;
    uint64_t hash = sketch_hash(key);
    sketch_prefetch(&reader->store->sketch, hash);
    enum aside aside = find_aside(reader, key, hash, &record);
    if (aside == ASIDE_TORN) {
        reader->is_torn = true;
        return LOOKUP_MISS;
    }
    if (aside == ASIDE_FOUND) {
        record.value = arena_copy(&reader->copies, record.value);
    } else if (find(reader, key, &record) != ERROR_NONE) {
        // A record that cannot be read is as good as none.
        return LOOKUP_MISS;
    }
    sketch_warm_hash(&reader->store->sketch, hash, SKETCH_HOT);
    return judge(reader, key, &record, &reader->page, reader->now_boot_us, cached);
}

// ---- the hot tier

static uint64_t tier_life(const struct store *store)
{
    return atomic_load_explicit(&store->control.page->tier_life, memory_order_acquire);
}

static bool is_tier_used(const struct cache_reader *reader, uint64_t life)
{
    return reader->tier.buckets_count > 0 && life != 0 &&
           status_get(reader->store->status, STATUS_CACHE_HOT_ENTRIES) > 0;
}

uint64_t reader_prefetch(struct cache_reader *reader, struct slice key)
{
    const struct store *store = reader->store;
    uint64_t life = tier_life(store);
    uint64_t hash = sketch_hash(key);
    memtable_prefetch(&reader->memtable, hash);
    if (is_tier_used(reader, life)) {
        tier_prefetch(&reader->tier, life, hash);
        sketch_prefetch(&store->sketch, hash);
    }
    return hash;
}

void reader_prefetch_record(struct cache_reader *reader, uint64_t hash)
{
    uint64_t life = tier_life(reader->store);
    if (is_tier_used(reader, life)) {
        tier_prefetch_entry(&reader->tier, life, hash);
    }
}

// The bytes of the key's record, in the reader's room: in the memtable, or else in the tier. 0
// where neither has it, or where that cannot be told at once.
static size_t find_hot(struct cache_reader *reader, struct slice key, uint64_t hash)
{
    uint64_t place = 0;
    size_t bytes = 0;
    switch (memtable_find(&reader->memtable, hash, key, reader->room, &bytes, &place)) {
    case MEMTABLE_FOUND:
        return bytes;
    case MEMTABLE_UNKNOWN:
        return 0;
    case MEMTABLE_ABSENT:
        break;
    }
    uint64_t life = tier_life(reader->store);
    return is_tier_used(reader, life) ? tier_find(&reader->tier, life, hash, key, reader->room) : 0;
}

// As a direct reader does it (tier.h): the page is looked at before the entry and after it.
bool reader_look_up_hot(struct cache_reader *reader, struct slice key, uint64_t hash,
                        int64_t now_boot_us, enum lookup *found, struct cached *cached)
{
    struct store *store = reader->store;
    if (!is_tier_used(reader, tier_life(store)) && !memtable_has_entries(&reader->memtable)) {
        return false;
    }
    if (!control_refresh(store->control.page, &reader->hot_page, &reader->hot_page_sequence)) {
        return false;
    }
    hash = hash != 0 ? hash : sketch_hash(key);
    struct record record;
    size_t bytes = find_hot(reader, key, hash);
    if (bytes == 0 ||
        record_decode(slice_of((const uint8_t *)reader->room, bytes), &record) != ERROR_NONE ||
        !control_is_unchanged(store->control.page, reader->hot_page_sequence)) {
        return false;
    }
    sketch_warm_hash(&store->sketch, hash, SKETCH_HOT);
    *found = judge(reader, key, &record, &reader->hot_page, now_boot_us, cached);
    return true;
}

enum error reader_visit_suspects(struct cache_reader *reader, struct slice after, size_t count_max,
                                 bool (*visit)(void *context, const struct swept_record *record),
                                 void *context)
{
    CHECK(reader->reading);
    MDB_cursor *cursor;
    int code = FAULT_POINT(CACHE_VISIT)
                   ? ENOMEM
                   : mdb_cursor_open(reader->txn, reader->files->records, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    MDB_val key, value;
    size_t count = 0;
    bool goes_on = true;
    code = environment_seek_behind(cursor, after, &key, &value);
    while (code == MDB_SUCCESS && goes_on && count < count_max) {
        struct record record;
        if (record_decode(environment_slice(value), &record) == ERROR_NONE && !record.pending &&
            record.epoch < reader->page.epoch) {
            const struct swept_record swept = {
                .key = environment_slice(key),
                .version = record.absent ? 0 : record.version,
                .absent = record.absent,
            };
            goes_on = visit(context, &swept);
            count++;
        }
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

// ---- what is held, for comparing

static void describe(const struct cache_reader *reader, struct slice key,
                     const struct record *record, struct held_record *held)
{
    *held = (struct held_record){
        .key = key,
        .absent = record->absent,
        .version = record->version,
        .epoch = record->epoch,
        .expires_at_us = record->expires_at_us,
        .stored_at_us = record->stored_at_us,
        .origin = record_origin_name(record->origin),
        .value = record->value,
    };
    enum trust trust =
        trust_of_record(record, key, &reader->page, reader->now_boot_us, &held->current_boot_us);
    held->is_believed = !record->pending && trust == TRUST_GOOD;
}

// Whether a pending write lies over the record of the snapshot, or may have.
static bool is_hidden(const struct cache_reader *reader, struct slice key)
{
    uint64_t room[MEMTABLE_RECORD_BYTES_MAX / sizeof(uint64_t)];
    uint64_t place;
    size_t bytes;
    return memtable_find(&reader->memtable, sketch_hash(key), key, room, &bytes, &place) !=
               MEMTABLE_ABSENT ||
           memtable_has_lost(&reader->memtable, reader->moment);
}

bool reader_find_held(struct cache_reader *reader, struct slice key, struct held_record *held)
{
    CHECK(reader->reading);
    struct record record;
    if (is_hidden(reader, key) || find(reader, key, &record) != ERROR_NONE) {
        return false;
    }
    describe(reader, key, &record, held);
    return true;
}

enum error reader_visit_held(struct cache_reader *reader, struct slice after, size_t count_max,
                             bool (*visit)(void *context, const struct held_record *held),
                             void *context)
{
    CHECK(reader->reading);
    MDB_cursor *cursor;
    int code = mdb_cursor_open(reader->txn, reader->files->records, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    MDB_val key, value;
    bool goes_on = true;
    code = environment_seek_behind(cursor, after, &key, &value);
    for (size_t count = 0; code == MDB_SUCCESS && goes_on && count < count_max; count++) {
        struct record record;
        if (record_decode(environment_slice(value), &record) == ERROR_NONE) {
            struct held_record held;
            describe(reader, environment_slice(key), &record, &held);
            held.is_believed = held.is_believed && !is_hidden(reader, held.key);
            goes_on = visit(context, &held);
        }
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return code == MDB_SUCCESS || code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}
