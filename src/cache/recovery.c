// The start of the writer, before anybody reads: what the last run left in two environments
// becomes one state again. The outbox has been opened, and has taken over what was in its log and
// in its ring. Each step may be cut off by a crash and done again.
//
//   1. what the release before left in the cache's `memory` goes to the outbox, in order, and the
//      database goes
//   2. pending records whose write is not unapplied any more are dropped
//   3. unapplied entries are laid over the cache, as pending
#include <errno.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/apply.h"
#include "cache/coherence.h"

enum { LAY_ENTRIES_PER_COMMIT = 1024, DROPS_PER_COMMIT = 4096 };

// ---- 1. memory-acknowledged writes of the release before

static void count_lost(struct writer *writer, const struct store_found *found)
{
    // What the page counts may have been moved to the outbox before the end.
    uint64_t journaled_seq = writer->outbox.state.last_seq;
    if (found->lost_count == 0 || found->lost_seq <= journaled_seq) {
        return;
    }
    uint64_t lost = found->lost_seq - journaled_seq;
    lost = lost < found->lost_count ? lost : found->lost_count;
    status_add(writer->status, STATUS_OUTBOX_LOST, (int64_t)lost);
    LOG_ERROR("memory-acknowledged writes lost", LOG_INT("count", lost),
              LOG_INT("newest_seq", found->lost_seq));
}

static enum error move_rows(struct writer *writer, MDB_cursor *cursor, size_t *moved)
{
    MDB_val key, value;
    int code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct entry entry;
        uint64_t seq = environment_number_of(key);
        enum error error = entry_decode(seq, environment_slice(value), &entry);
        if (error == ERROR_NONE && seq > writer->outbox.state.last_seq) {
            error = outbox_append(&writer->outbox, &entry);
            ++*moved;
        }
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

static enum error move_memory(struct writer *writer, MDB_txn *txn, MDB_dbi memory)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, memory, &cursor);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    size_t moved = 0;
    enum error error = outbox_begin(&writer->outbox, 0);
    if (error == ERROR_NONE) {
        error = move_rows(writer, cursor, &moved);
        if (error == ERROR_NONE) {
            error = outbox_commit(&writer->outbox);
        } else {
            outbox_abort(&writer->outbox);
        }
    }
    mdb_cursor_close(cursor);
    if (error == ERROR_NONE && moved > 0) {
        LOG_INFO("memory-acknowledged writes recovered from the cache", LOG_INT("count", moved));
    }
    return error;
}

static enum error recover_memory(struct writer *writer)
{
    MDB_txn *txn;
    MDB_dbi memory;
    int code = mdb_txn_begin(writer->store.env, NULL, 0, &txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_dbi_open(txn, STORE_MEMORY, MDB_INTEGERKEY, &memory);
    enum error error =
        code == MDB_SUCCESS ? move_memory(writer, txn, memory) : environment_error(code);
    if (error == ERROR_NONE) {
        error = environment_error(mdb_drop(txn, memory, 1));
    }
    if (error != ERROR_NONE) {
        mdb_txn_abort(txn);
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    return environment_error(mdb_txn_commit(txn));
}

// ---- 2. pending records

// A record that is pending with a write that is applied, or that the outbox never got, is
// nobody's.
static bool is_unapplied(const struct writer *writer, const struct record *record)
{
    return record->pending_seq > writer->applied_seq &&
           record->pending_seq <= writer->outbox.committed.last_seq;
}

struct scan {
    size_t pending;
    size_t dropped;
    size_t damaged;
};

static int drop_orphans(struct writer *writer, MDB_cursor *cursor, struct scan *scan)
{
    MDB_val key, value;
    int code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct record record;
        bool readable = record_decode(environment_slice(value), &record) == ERROR_NONE;
        struct decision decision = {.verdict = VERDICT_DROP};
        if (readable) {
            decision = coherence_recover(&record, is_unapplied(writer, &record));
        }
        scan->damaged += !readable;
        scan->pending += readable && record.pending && decision.verdict == VERDICT_KEEP;
        if (decision.verdict == VERDICT_DROP) {
            scan->dropped++;
            code = mdb_cursor_del(cursor, 0);
            if (code != MDB_SUCCESS) {
                return code;
            }
        }
    }
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

static enum error recover_records(struct writer *writer)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    int code = mdb_txn_begin(writer->store.env, NULL, 0, &txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    struct scan scan = {0};
    code = mdb_cursor_open(txn, writer->store.records, &cursor);
    if (code == MDB_SUCCESS) {
        code = drop_orphans(writer, cursor, &scan);
        mdb_cursor_close(cursor);
    }
    if (code != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return environment_error(code);
    }
    writer->pending_count = (int64_t)scan.pending;
    if (scan.dropped > 0) {
        LOG_INFO("pending records without a write dropped", LOG_INT("count", scan.dropped),
                 LOG_INT("damaged", scan.damaged));
    }
    return environment_error(mdb_txn_commit(txn));
}

// ---- 3. unapplied entries

struct slice_visit {
    size_t count;
    uint64_t last_seq;
};

static bool note_seq(void *context, const struct entry *entry)
{
    struct slice_visit *visit = context;
    visit->last_seq = entry->seq;
    return ++visit->count < LAY_ENTRIES_PER_COMMIT;
}

static enum error lay_range(struct turn *turn, uint64_t after_seq, uint64_t up_to_seq)
{
    struct writer *writer = turn->writer;
    turn->pending_count = writer->pending_count;
    enum error error = FAULT_POINT(CACHE_LAY) ? ERROR_SYSTEM : apply_begin(turn);
    if (error != ERROR_NONE) {
        return error;
    }
    error = apply_unapplied(turn, after_seq, up_to_seq);
    if (error != ERROR_NONE) {
        apply_abort(turn);
        return error;
    }
    error = apply_commit(turn);
    if (error == ERROR_NONE) {
        writer->pending_count = turn->pending_count;
        writer->outbox.identity.decided_seq = turn->decided_seq;
    }
    return error;
}

static enum error recover_entries(struct writer *writer)
{
    struct turn turn = {.writer = writer};
    uint64_t after_seq = writer->applied_seq;
    (void)FAULT_POINT(CACHE_RECOVER);
    for (;;) {
        struct slice_visit visit = {0};
        enum error error = outbox_visit(&writer->outbox, after_seq, UINT64_MAX, note_seq, &visit);
        if (error != ERROR_NONE || visit.count == 0) {
            return error;
        }
        error = lay_range(&turn, after_seq, visit.last_seq);
        for (int tries = 0; error == ERROR_FULL && tries < 16; tries++) {
            size_t freed_bytes;
            // What it fails at, the next attempt meets as well.
            (void)eviction_run(&writer->eviction, &writer->store, writer->store.map_bytes / 8,
                               SIZE_MAX, &freed_bytes);
            error = lay_range(&turn, after_seq, visit.last_seq);
        }
        if (error != ERROR_NONE) {
            return error;
        }
        after_seq = visit.last_seq;
    }
}

// ---- the start

// What the cache holds may be of an earlier server than the one that the outbox names; where the
// cache is a new one, that one is left.
static void recover_server(struct writer *writer, const struct control_page *page)
{
    struct server_start *server = &writer->outbox.identity.server;
    if (page->server_started_us == 0) {
        *server = writer->outbox.committed.server;
        return;
    }
    server->started_us = page->server_started_us;
    memcpy(server->timeline, page->server_timeline, sizeof server->timeline);
    server->timeline[sizeof server->timeline - 1] = '\0';
}

static void recover_page(struct writer *writer)
{
    struct control_page *page = writer->store.control.page;
    control_view(page, &writer->page);
    // The feed of the last run is over; its heartbeats still bound how stale what is held may be.
    writer->page.feed_live = false;
    control_publish(page, &writer->page);
    recover_server(writer, page);
    writer_set_max_stale(writer, writer->settings->cache.max_stale_us);
    atomic_store(&page->memory_count, 0);
    atomic_store(&page->memory_first_seq, 0);
    atomic_store(&page->memory_last_seq, 0);
}

static void recover_status(struct writer *writer)
{
    struct status *status = writer->status;
    size_t depth = outbox_count(&writer->outbox, writer->applied_seq, UINT64_MAX);
    status_set(status, STATUS_OUTBOX_DEPTH, (int64_t)depth);
    status_set(status, STATUS_OUTBOX_LAST_SEQ, (int64_t)writer->last_seq);
    status_set(status, STATUS_OUTBOX_JOURNALED_SEQ, (int64_t)writer->last_seq);
    status_set(status, STATUS_CACHE_PENDING, writer->pending_count);
    status_set(status, STATUS_CACHE_HOT_BYTES,
               (int64_t)(writer->store.hot.tier.buckets_count * TIER_BUCKET_BYTES));
    status_set(status, STATUS_CACHE_EPOCH, (int64_t)writer->page.epoch);
    MDB_txn *txn;
    if (mdb_txn_begin(writer->store.env, NULL, MDB_RDONLY, &txn) == MDB_SUCCESS) {
        status_set(status, STATUS_CACHE_ENTRIES, (int64_t)store_entries(&writer->store, txn));
        status_set(status, STATUS_CACHE_BYTES, (int64_t)store_used_bytes(&writer->store, txn));
        mdb_txn_abort(txn);
    }
    writer_measure_outbox(writer);
}

enum error writer_recover(struct writer *writer, const struct store_found *found,
                          struct failure *failure)
{
    count_lost(writer, found);
    status_add(writer->status, STATUS_OUTBOX_LOST, (int64_t)writer->outbox.lost_count);
    writer->outbox.lost_count = 0;
    enum error error = recover_memory(writer);
    writer->applied_seq = writer->outbox.committed.applied_seq;
    writer->last_seq = writer->outbox.committed.last_seq;
    writer->memory_is_recovered = error == ERROR_NONE;
    if (error == ERROR_NONE) {
        error = recover_records(writer);
    }
    if (error == ERROR_NONE) {
        error = recover_entries(writer);
    }
    if (error != ERROR_NONE) {
        return failure_set(failure, error, "cannot recover the cache in %s: %s",
                           writer->store.directory.path, error_text(error));
    }
    retention_note(&writer->retention, writer->applied_seq);
    recover_page(writer);
    recover_status(writer);
    return ERROR_NONE;
}
