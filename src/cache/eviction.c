// The hand goes on in short transactions, so that no step needs more than a few pages of the room
// that it is to make. Freed pages can be used again once the readers of older snapshots are gone.
#include "cache/eviction.h"

#include <errno.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/status.h"

enum { STEP_RECORDS_MAX = 4096, STEP_DROPS_MAX = 512 };

// A page of overhead for a value that has pages of its own.
static size_t weight_of(const struct store *store, MDB_val key, MDB_val value)
{
    size_t bytes = key.mv_size + value.mv_size + 10;
    if (bytes > store->page_bytes / 2) {
        bytes = (bytes / store->page_bytes + 1) * store->page_bytes;
    }
    return bytes;
}

struct step {
    size_t visits_max;
    size_t visited;
    size_t dropped;
    size_t freed_bytes;
    bool wrapped; // the hand came to the last key
};

static int seek(struct eviction *eviction, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
    if (eviction->hand_bytes == 0) {
        return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    }
    *key = environment_value(slice_of(eviction->hand, eviction->hand_bytes));
    return mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
}

static void park_hand(struct eviction *eviction, MDB_val key)
{
    CHECK_VALUES(key.mv_size <= sizeof eviction->hand, "%zu bytes", key.mv_size);
    memcpy(eviction->hand, key.mv_data, key.mv_size);
    eviction->hand_bytes = key.mv_size;
}

static int pass_over(struct eviction *eviction, struct store *store, MDB_cursor *cursor,
                     size_t bytes, struct step *step)
{
    MDB_val key, value;
    int code = seek(eviction, cursor, &key, &value);
    while (code == MDB_SUCCESS) {
        if (step->visited == step->visits_max || step->dropped == STEP_DROPS_MAX ||
            step->freed_bytes >= bytes) {
            park_hand(eviction, key);
            return MDB_SUCCESS;
        }
        step->visited++;
        struct record record;
        bool readable = record_decode(environment_slice(value), &record) == ERROR_NONE;
        bool keeps =
            readable && (record.pending || sketch_cool(&store->sketch, environment_slice(key)));
        if (!keeps) {
            step->freed_bytes += weight_of(store, key, value);
            step->dropped++;
            hot_drop(&store->hot, environment_slice(key));
            code = mdb_cursor_del(cursor, 0);
            if (code != MDB_SUCCESS) {
                return code;
            }
        }
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    step->wrapped = true;
    eviction->hand_bytes = 0;
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

static enum error run_step(struct eviction *eviction, struct store *store, size_t bytes,
                           struct step *step)
{
    struct eviction before = *eviction;
    MDB_txn *txn;
    MDB_cursor *cursor;
    int code = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_cursor_open(txn, store->records, &cursor);
    if (code == MDB_SUCCESS) {
        code = pass_over(eviction, store, cursor, bytes, step);
        mdb_cursor_close(cursor);
    }
    if (code == MDB_SUCCESS && FAULT_POINT(CACHE_EVICT)) {
        code = ENOMEM;
    }
    if (code == MDB_SUCCESS) {
        code = mdb_txn_commit(txn);
    } else {
        mdb_txn_abort(txn);
    }
    if (code != MDB_SUCCESS) {
        *eviction = before;
    }
    return environment_error(code);
}

enum error eviction_run(struct eviction *eviction, struct store *store, size_t bytes,
                        size_t records_max, size_t *freed_bytes)
{
    // The first round may find everything warm, and cools it step by step.
    int rounds_left = SKETCH_WARM + 1;
    size_t visited = 0;
    *freed_bytes = 0;
    while (*freed_bytes < bytes && visited < records_max && rounds_left > 0) {
        size_t left = records_max - visited;
        struct step step = {.visits_max = left < STEP_RECORDS_MAX ? left : STEP_RECORDS_MAX};
        enum error error = run_step(eviction, store, bytes - *freed_bytes, &step);
        if (error != ERROR_NONE) {
            return error;
        }
        visited += step.visited;
        eviction->visited_count += step.visited;
        *freed_bytes += step.freed_bytes;
        status_add(store->status, STATUS_CACHE_EVICTIONS, (int64_t)step.dropped);
        rounds_left -= step.wrapped;
    }
    return ERROR_NONE;
}
