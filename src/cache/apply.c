// The cache phase of a turn: everything that changes a record, in mailbox order, in one commit.
// Where the map is full it is undone, records are evicted and it is done again, so nothing here
// may leave a trace outside the transaction and `turn` before the commit; what it tells `awaited`
// may be told twice.
//
// Invariants: the outbox's commit came before; a new epoch is on the control page before records
// of it are in the cache.
#include "cache/apply.h"

#include <errno.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"

enum { TRIES_MAX = 24, TRIES_WITH_FILLS = 8 };
enum { WAIT_US = 1000, WAITS_MAX = 200 };

static const size_t EVICT_PART = 32; // of the map, at each try

// ---- the items

static enum error apply_invalidate(struct turn *turn, struct request *request)
{
    int64_t dropped = 0;
    enum error error = ERROR_NONE;
    if (!request->call.has_key) {
        error = apply_drop_all(turn, false, &dropped);
    } else {
        struct record record;
        const struct record *held;
        error = apply_get(turn, request->call.pairs[0].key, &record, &held);
        struct decision decision = coherence_invalidate(held);
        if (error == ERROR_NONE) {
            dropped = decision.verdict == VERDICT_DROP;
            error = apply_decision(turn, request->call.pairs[0].key, held, &decision);
        }
    }
    request->reply.has_integer = true;
    request->reply.integer = dropped;
    return error;
}

static enum error apply_request(struct turn *turn, struct turn_item *item)
{
    struct request *request = (struct request *)item->message;
    if (item->fate != FATE_APPLY) {
        return ERROR_NONE;
    }
    if (method_class(request->call.method) == METHOD_WRITE) {
        return apply_entry(turn, &item->entry);
    }
    if (request->call.method == METHOD_INVALIDATE) {
        return apply_invalidate(turn, request);
    }
    return ERROR_NONE;
}

static enum error apply_item(struct turn *turn, struct turn_item *item)
{
    switch ((enum message_kind)item->message->kind) {
    case MESSAGE_REQUEST:
        return apply_request(turn, item);
    case MESSAGE_FEED:
        return apply_feed(turn, (struct feed_message *)item->message);
    case MESSAGE_FILLS:
        return apply_fills(turn, (struct fills_message *)item->message);
    case MESSAGE_CHANGES:
        return apply_changes(turn, (struct changes_message *)item->message);
    case MESSAGE_SWEPT:
        return apply_swept(turn, (struct swept_message *)item->message);
    case MESSAGE_FLUSHED:
        return apply_flushed(turn, (struct flushed_message *)item->message);
    case MESSAGE_RETIRE:
        return apply_retire(turn, &item->entry);
    case MESSAGE_REWIND:
        return apply_rewind(turn, (struct rewind_message *)item->message);
    case MESSAGE_BIND:
        return ERROR_NONE;
    }
    return ERROR_NONE;
}

// ---- the transaction

enum error apply_begin(struct turn *turn)
{
    const struct store *store = &turn->writer->store;
    int code = mdb_txn_begin(store->env, NULL, 0, &turn->txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    enum error error = store_open_cursor(store, turn->txn, &turn->records);
    if (error != ERROR_NONE) {
        mdb_txn_abort(turn->txn);
    }
    return error;
}

void apply_abort(struct turn *turn)
{
    mdb_cursor_close(turn->records);
    mdb_txn_abort(turn->txn);
    memtable_abort(&turn->writer->store.memtable);
}

enum error apply_commit(struct turn *turn)
{
    struct memtable_writer *memtable = &turn->writer->store.memtable;
    mdb_cursor_close(turn->records);
    memtable_commit_begin(memtable, turn->changes_cache);
    int code = mdb_txn_commit(turn->txn);
    if (code == MDB_SUCCESS) {
        memtable_commit_end(memtable);
    } else {
        memtable_abort(memtable);
    }
    return environment_error(code);
}

// ---- records

static bool find_aside(struct turn *turn, struct slice key, struct record *record)
{
    struct slice bytes;
    turn->key_hash = sketch_hash(key);
    turn->is_aside = memtable_get(&turn->writer->store.memtable, turn->key_hash, key, &bytes);
    CHECK(!turn->is_aside || record_decode(bytes, record) == ERROR_NONE);
    return turn->is_aside;
}

// What LMDB has, whatever the memtable says.
static enum error get_below(struct turn *turn, struct slice key, struct record *record,
                            const struct record **held)
{
    enum error error = store_get(turn->records, key, record);
    *held = error == ERROR_NONE ? record : NULL;
    return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
}

// What is held of the key; `held` is NULL where nothing is.
enum error apply_get(struct turn *turn, struct slice key, struct record *record,
                     const struct record **held)
{
    if (find_aside(turn, key, record)) {
        *held = record;
        return ERROR_NONE;
    }
    return get_below(turn, key, record, held);
}

enum error apply_get_pending(struct turn *turn, struct slice key, struct record *record,
                             const struct record **held)
{
    *held = NULL;
    if (find_aside(turn, key, record)) {
        *held = record;
        return ERROR_NONE;
    }
    return turn->pending_count > 0 ? get_below(turn, key, record, held) : ERROR_NONE;
}

// Puts the pending record into the memtable, where there is room. A key whose pending record is in
// LMDB stays there.
static bool put_aside(struct turn *turn, struct slice key, const struct record *held,
                      const struct record *record)
{
    uint8_t bytes[MEMTABLE_RECORD_BYTES_MAX];
    bool is_below = held != NULL && held->pending && !turn->is_aside;
    if (!record->pending || is_below || record_bytes(record) > sizeof bytes ||
        FAULT_POINT(CACHE_MEMTABLE_FULL)) {
        return false;
    }
    record_encode(record, key, bytes);
    return memtable_put(&turn->writer->store.memtable, turn->key_hash, key,
                        slice_of(bytes, record_bytes(record)));
}

// Into LMDB, in place of what the memtable holds.
static enum error put_below(struct turn *turn, struct slice key, const struct record *held,
                            const struct record *record)
{
    struct store *store = &turn->writer->store;
    struct record below;
    enum error error = ERROR_NONE;
    turn->changes_cache = true;
    if (turn->is_aside) {
        error = get_below(turn, key, &below, &held);
        memtable_remove(&store->memtable, turn->key_hash, key);
    }
    return error == ERROR_NONE ? store_put(store, turn->records, key, held, record) : error;
}

static enum error drop(struct turn *turn, struct slice key)
{
    struct store *store = &turn->writer->store;
    turn->changes_cache = true;
    if (turn->is_aside) {
        memtable_remove(&store->memtable, turn->key_hash, key);
    }
    return store_delete(store, turn->txn, key);
}

enum error apply_decision(struct turn *turn, struct slice key, const struct record *held,
                          const struct decision *decision)
{
    bool was_pending = held != NULL && held->pending && !turn->is_aside;
    bool is_pending = was_pending;
    enum error error = ERROR_NONE;
    switch (decision->verdict) {
    case VERDICT_KEEP:
        return ERROR_NONE;
    case VERDICT_STORE:
        if (!put_aside(turn, key, held, &decision->record)) {
            is_pending = decision->record.pending;
            error = put_below(turn, key, held, &decision->record);
        }
        break;
    case VERDICT_DROP:
        is_pending = false;
        error = drop(turn, key);
        break;
    }
    turn->pending_count += is_pending - was_pending;
    return error;
}

// ---- the phase

static void begin_try(struct turn *turn)
{
    struct writer *writer = turn->writer;
    turn->page = writer->page;
    turn->page_changed = false;
    turn->server = (struct server_start){0};
    turn->changes_cache = false;
    turn->pending_count = writer->pending_count;
    turn->applied_seq = writer->applied_seq;
    turn->fills = 0;
    turn->invalidations = 0;
    turn->repairs = 0;
}

// A new epoch is known before its records are: until the commit, everything is suspect.
static void publish_epoch(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (turn->page.epoch == writer->page.epoch) {
        return;
    }
    struct page_view begun = turn->page;
    begun.hand_bytes = 0;
    begun.beats[begun.epoch % EPOCH_BEATS].swept = false;
    control_publish(writer->store.control.page, &begun);
}

static enum error try_apply(struct turn *turn)
{
    struct writer *writer = turn->writer;
    begin_try(turn);
    store_touch_ahead(&writer->store, turn->bytes);
    enum error error = FAULT_POINT(CACHE_BEGIN) ? ERROR_SYSTEM : apply_begin(turn);
    if (error != ERROR_NONE) {
        return error;
    }
    error = FAULT_POINT(CACHE_MAP_FULL) ? ERROR_FULL : ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < turn->count; i++) {
        apply_prefetch(turn, i);
        if (!turn->items[i].is_settled) {
            error = apply_item(turn, &turn->items[i]);
        }
    }
    if (error != ERROR_NONE) {
        apply_abort(turn);
        return error;
    }
    turn->used_bytes = store_used_bytes(&writer->store, turn->txn);
    turn->entries = store_entries(&writer->store, turn->txn);
    publish_epoch(turn);
    if (FAULT_POINT(CACHE_COMMIT)) {
        apply_abort(turn);
        return ERROR_SYSTEM;
    }
    return apply_commit(turn);
}

// Room for the next try, more of it each time.
static void make_room(struct turn *turn, int tries)
{
    struct writer *writer = turn->writer;
    size_t part = writer->store.map_bytes / EVICT_PART;
    size_t wanted = part * (size_t)tries + 4 * turn->bytes;
    size_t freed_bytes = 0;
    enum error error =
        eviction_run(&writer->eviction, &writer->store, wanted, SIZE_MAX, &freed_bytes);
    turn->skips_fills = tries >= TRIES_WITH_FILLS;
    LOG_DEBUG("cache full", LOG_INT("try", tries), LOG_INT("freed_bytes", freed_bytes),
              LOG_TEXT("eviction", error_text(error)));
}

static enum error try_often(struct turn *turn)
{
    enum error error = try_apply(turn);
    for (int tries = 1; error == ERROR_FULL && tries < TRIES_MAX; tries++) {
        make_room(turn, tries);
        error = try_apply(turn);
    }
    return error;
}

// Until nobody reads what was evicted, or somebody stands still: a reader that was put off the
// processor is soon done. The holder, if there still is one.
static struct holder await_readers(const struct store *store)
{
    struct holder holder = slots_oldest(store);
    for (int waits = 0; holder.pid != 0 && waits < WAITS_MAX; waits++) {
        usleep(WAIT_US);
        holder = slots_oldest(store);
    }
    return holder;
}

// What was evicted cannot be used again while somebody reads it, and a value that takes many pages
// needs them side by side. Where waiting does not help, the cache goes on in new files.
static enum error try_in_new_files(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct holder holder = await_readers(&writer->store);
    enum error error = try_often(turn);
    if (error == ERROR_FULL && writer_renew_cache(writer, holder.pid)) {
        error = try_often(turn);
    }
    return error;
}

enum error apply_turn(struct turn *turn)
{
    if (turn->count == 0) {
        begin_try(turn);
        return ERROR_NONE;
    }
    turn->is_applied = true;
    enum error error = try_often(turn);
    return error == ERROR_FULL ? try_in_new_files(turn) : error;
}
