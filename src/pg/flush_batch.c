#include "pg/flush_batch.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/batch_outcome.h"
#include "pg/fetcher.h"
#include "pg/flush_refusal.h"
#include "pg/flush_report.h"
#include "pg/flush_requests.h"
#include "pg/timer.h"

void flush_batch_drop(struct flusher *flusher)
{
    flush_batch_forget_ahead(flusher);
    batch_deinit(&flusher->batch);
    flusher->phase = FLUSHER_IDLE;
}

// ---- Collecting

struct collecting {
    const struct reapplied *reapplied;
    struct batch *batch;
    uint64_t to_seq; // no further
    int64_t oldest_us;
    int64_t expires_us; // INT64_MAX: never
};

static bool on_entry(void *context, const struct entry *entry)
{
    struct collecting *collecting = context;
    if (entry->seq > collecting->to_seq) {
        return false;
    }
    if (collecting->oldest_us == 0) {
        collecting->oldest_us = entry->accepted_us;
    }
    if (entry->expires_at_us != 0 && entry->expires_at_us < collecting->expires_us) {
        collecting->expires_us = entry->expires_at_us;
    }
    return reapplied_add(collecting->reapplied, collecting->batch, entry);
}

// Seals the batch of the entries from `after_seq` on. It is empty where there are none or where the
// outbox cannot be read.
static enum error collect(const struct flusher *flusher, const struct batch_limits *limits,
                          uint64_t after_seq, struct collecting *collecting)
{
    const struct worker *worker = flusher->worker;
    collecting->reapplied = &flusher->reapplied;
    collecting->oldest_us = 0;
    collecting->expires_us = INT64_MAX;
    batch_init(collecting->batch, limits);
    enum error error = worker->outbox.visit(worker->outbox.outbox, after_seq, on_entry, collecting);
    if (error != ERROR_NONE) {
        batch_deinit(collecting->batch);
        return error;
    }
    batch_seal(collecting->batch);
    return ERROR_NONE;
}

bool flush_batch_collect(struct flusher *flusher, const struct batch_limits *limits,
                         uint64_t to_seq)
{
    struct worker *worker = flusher->worker;
    struct collecting collecting = {.batch = &flusher->batch, .to_seq = to_seq};
    enum error error = collect(flusher, limits, worker->applied_seq, &collecting);
    status_set(worker->status, STATUS_OUTBOX_OLDEST_US, collecting.oldest_us);
    if (error != ERROR_NONE) {
        LOG_ERROR("outbox unreadable", LOG_TEXT("error", error_text(error)),
                  LOG_INT("after_seq", worker->applied_seq));
        status_set_error(worker->status, NULL, "the outbox cannot be read");
        return false;
    }
    return true;
}

static struct batch_limits limits_of(const struct flusher *flusher)
{
    const struct worker *worker = flusher->worker;
    return (struct batch_limits){
        .rows_max = (size_t)worker->settings->writes.batch_rows,
        .entries_max = flusher->hunted == 0 ? SIZE_MAX : (flusher->hunted + 1) / 2,
        .versioning = worker->settings->postgres.versioning,
        .now_us = worker->cache.now_us(worker->cache.cache),
    };
}

static struct batch_unit make_unit(const struct flusher *flusher, struct batch *batch,
                                   uint64_t from_seq)
{
    const struct worker *worker = flusher->worker;
    return batch_unit_make(&flusher->sql, batch, &worker->identity, from_seq,
                           worker->foreign_triggers);
}

// ---- Looking ahead

void flush_batch_look_ahead(struct flusher *flusher)
{
    CHECK(flusher->phase == FLUSHER_SENT || flusher->phase == FLUSHER_SETTLING);
    struct batch_ahead *ahead = &flusher->ahead;
    uint64_t from_seq = flusher->sent_seq;
    uint64_t journaled = flusher_journaled_seq(flusher);
    size_t rows_max = (size_t)flusher->worker->settings->writes.batch_rows;
    // Fewer would be sent for themselves, where more may have come by then.
    bool is_whole = journaled >= from_seq + rows_max;
    if (ahead->is_made || !is_whole || flusher->hunted > 0 || flusher->retires_out > 0 ||
        flusher->is_stopped || from_seq <= flusher->reapplied.to_seq) {
        return;
    }
    struct batch_limits limits = limits_of(flusher);
    struct collecting collecting = {.batch = &ahead->batch, .to_seq = journaled};
    if (collect(flusher, &limits, from_seq, &collecting) != ERROR_NONE ||
        ahead->batch.entries_count == 0) {
        batch_deinit(&ahead->batch);
        return; // whoever sends it looks again, and says so
    }
    ahead->is_made = true;
    ahead->from_seq = from_seq;
    ahead->oldest_us = collecting.oldest_us;
    ahead->expires_us = collecting.expires_us;
    ahead->unit = make_unit(flusher, &ahead->batch, from_seq);
}

void flush_batch_forget_ahead(struct flusher *flusher)
{
    if (flusher->ahead.is_made) {
        batch_deinit(&flusher->ahead.batch);
    }
    flusher->ahead = (struct batch_ahead){0};
}

// Makes what was made ahead the batch, where it still is what would be made now.
static bool take_ahead(struct flusher *flusher, const struct batch_limits *limits)
{
    struct worker *worker = flusher->worker;
    struct batch_ahead *ahead = &flusher->ahead;
    bool is_good = ahead->is_made && ahead->from_seq == worker->applied_seq &&
                   flusher->hunted == 0 && ahead->expires_us > limits->now_us;
    if (!is_good) {
        flush_batch_forget_ahead(flusher);
        return false;
    }
    flusher->batch = ahead->batch;
    flusher->unit = ahead->unit.is_checked == worker->foreign_triggers
                        ? ahead->unit
                        : make_unit(flusher, &flusher->batch, worker->applied_seq);
    status_set(worker->status, STATUS_OUTBOX_OLDEST_US, ahead->oldest_us);
    *ahead = (struct batch_ahead){0};
    return true;
}

// ---- The answer

static void on_result(void *context, size_t index, const PGresult *result)
{
    struct flusher *flusher = context;
    flusher->answered_count = index + 1;
    const struct batch_group *group = NULL;
    struct json_limits limits = flusher_json_limits(flusher);
    switch (batch_unit_query(&flusher->unit, &flusher->batch, index, &group)) {
    case BATCH_QUERY_GROUP:
        batch_take_rows(&flusher->batch, group, result, flusher->unit.is_checked, &limits);
        break;
    case BATCH_QUERY_TRIGGERS:
        flusher->batch_met_triggers = *PQgetvalue(result, 0, 0) != 0;
        break;
    case BATCH_QUERY_OTHER:
        break;
    }
}

// Triggers of others may have changed what was written, and other keys under our name.
static void mind_triggers(struct flusher *flusher)
{
    if (flusher->batch.groups_count == 0) {
        return;
    }
    if (flusher->batch_met_triggers && !flusher->unit.is_checked) {
        batch_mark_altered(&flusher->batch);
    }
    worker_set_foreign_triggers(flusher->worker, flusher->batch_met_triggers);
}

static void on_committed(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    if (flusher->is_stopped) {
        flusher->is_stopped = false;
        status_set_error(worker->status, NULL, NULL);
        LOG_INFO("flush resumed", LOG_INT("applied_seq", batch_to_seq(&flusher->batch)));
        flusher_set_flushable(flusher);
    }
    retry_reset(&flusher->retry);
    size_t entries = flusher->batch.entries_count;
    flusher->hunted = flusher->hunted > entries ? flusher->hunted - entries : 0;
    status_add(worker->status, STATUS_PG_BATCHES, 1);
    status_add(worker->status, STATUS_PG_ROWS, (int64_t)flusher->batch.rows_count);
    rate_note(&worker->status->flush_rate, (int64_t)flusher->batch.rows_count, clock_boot_us());
    mind_triggers(flusher);
    flush_report_flushed(flusher, batch_to_seq(&flusher->batch));
}

static void on_batch_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    CHECK(flusher->phase == FLUSHER_SENT);
    if (outcome == UNIT_OK && FAULT_POINT(FLUSH_ANSWERED)) {
        // The answer to COMMIT is lost after all.
        flush_batch_drop(flusher);
        conn_fail(flusher->conn, "fault point flush.answered");
        return;
    }
    switch (outcome) {
    case UNIT_OK:
        on_committed(flusher);
        break;
    case UNIT_REFUSED:
        flush_refusal_take(flusher, failure);
        flusher_wake(flusher);
        break;
    case UNIT_LOST:
        // It is in PostgreSQL or it is not: the next claim will tell.
        flush_batch_drop(flusher);
        break;
    }
}

// ---- Sending

static void note_empty(struct flusher *flusher, uint64_t journaled)
{
    // Numbers may be skipped: the newest one need not be a write.
    flush_batch_drop(flusher);
    flusher->empty_seq = journaled;
    flush_requests_finish(flusher);
    fetcher_on_applied(flusher->worker->fetcher);
    worker_update_state(flusher->worker);
    worker_check_drained(flusher->worker);
}

void flush_batch_send(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    uint64_t journaled = flusher_journaled_seq(flusher);
    struct batch_limits limits = limits_of(flusher);
    bool is_ahead = take_ahead(flusher, &limits);
    if (!is_ahead && !flush_batch_collect(flusher, &limits, journaled)) {
        flusher_pause_before_retry(flusher);
        return;
    }
    flusher->has_lingered = false;
    if (flusher->batch.entries_count == 0) {
        note_empty(flusher, journaled);
        return;
    }
    timer_disarm(flusher->linger_timer);
    if (!is_ahead) {
        flusher->unit = make_unit(flusher, &flusher->batch, worker->applied_seq);
    }
    flusher->batch_epoch = worker->epoch;
    flusher->batch_feed_was_live = worker->feed_live;
    flusher->batch_met_triggers = true;
    flusher->answered_count = 0;
    flusher->sent_seq = batch_to_seq(&flusher->batch);
    flusher->phase = FLUSHER_SENT;
    struct unit unit = {
        .queries = flusher->unit.queries,
        .queries_count = flusher->unit.queries_count,
        .context = flusher,
        .on_result = on_result,
        .on_done = on_batch_done,
    };
    (void)FAULT_POINT(FLUSH_BEFORE_COMMIT);
    conn_send(flusher->conn, &unit);
    if (FAULT_POINT(FLUSH_SENT)) {
        conn_fail(flusher->conn, "fault point flush.sent");
    } else if (flusher->phase == FLUSHER_SENT) {
        flush_batch_look_ahead(flusher);
    }
}
