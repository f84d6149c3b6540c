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
    batch_deinit(&flusher->sent.batch);
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
    struct collecting collecting = {.batch = &flusher->sent.batch, .to_seq = to_seq};
    enum error error = collect(flusher, limits, worker->applied_seq, &collecting);
    status_set(worker->status, STATUS_OUTBOX_OLDEST_US, collecting.oldest_us);
    if (error != ERROR_NONE) {
        LOG_ERROR("outbox unreadable", LOG_TEXT("error", error_text(error)),
                  LOG_INT("after_seq", worker->applied_seq));
        flusher->is_held_up = true;
        status_set_error(worker->status, TROUBLE_FLUSH, NULL, "the outbox cannot be read");
        return false;
    }
    return true;
}

static bool note_first(void *context, const struct entry *entry)
{
    status_set(context, STATUS_OUTBOX_OLDEST_US, entry->accepted_us);
    return false;
}

void flush_batch_note_oldest(const struct flusher *flusher)
{
    const struct worker *worker = flusher->worker;
    (void)worker->outbox.visit(worker->outbox.outbox, worker->applied_seq, note_first,
                               worker->status);
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
        flusher->is_stopped || from_seq <= flusher->reapplied.to_seq ||
        conn_is_sending(flusher->conn)) {
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

// Makes what was made ahead the batch to be sent after `from_seq`, where it still is what would be
// made now.
static bool take_ahead(struct flusher *flusher, const struct batch_limits *limits,
                       uint64_t from_seq, struct sent_batch *sent)
{
    struct worker *worker = flusher->worker;
    struct batch_ahead *ahead = &flusher->ahead;
    bool is_good = ahead->is_made && ahead->from_seq == from_seq && flusher->hunted == 0 &&
                   ahead->expires_us > limits->now_us;
    if (!is_good) {
        flush_batch_forget_ahead(flusher);
        return false;
    }
    sent->batch = ahead->batch;
    sent->unit = ahead->unit.is_checked == worker->foreign_triggers
                     ? ahead->unit
                     : make_unit(flusher, &sent->batch, from_seq);
    status_set(worker->status, STATUS_OUTBOX_OLDEST_US, ahead->oldest_us);
    *ahead = (struct batch_ahead){0};
    return true;
}

// ---- The answer

// The batch that PostgreSQL has.
static struct sent_batch *batch_out(struct flusher *flusher)
{
    return flusher->early.is_out ? &flusher->early.sent : &flusher->sent;
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    struct flusher *flusher = context;
    struct sent_batch *sent = batch_out(flusher);
    sent->answered_count = index + 1;
    const struct batch_group *group = NULL;
    struct json_limits limits = flusher_json_limits(flusher);
    switch (batch_unit_query(&sent->unit, &sent->batch, index, &group)) {
    case BATCH_QUERY_GROUP:
        batch_take_rows(&sent->batch, group, result, sent->unit.is_checked, &limits);
        break;
    case BATCH_QUERY_TRIGGERS:
        sent->met_triggers = *PQgetvalue(result, 0, 0) != 0;
        break;
    case BATCH_QUERY_OTHER:
        break;
    }
}

// Triggers of others may have changed what was written, and other keys under our name.
static void mind_triggers(struct flusher *flusher)
{
    if (flusher->sent.batch.groups_count == 0) {
        return;
    }
    if (flusher->sent.met_triggers && !flusher->sent.unit.is_checked) {
        batch_mark_altered(&flusher->sent.batch);
    }
    worker_set_foreign_triggers(flusher->worker, flusher->sent.met_triggers);
}

static void send_early(struct flusher *flusher);

static void on_committed(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    if (flusher->is_held_up || flusher->is_stopped) {
        flusher->is_held_up = false;
        status_set_error(worker->status, TROUBLE_FLUSH, NULL, NULL);
    }
    if (flusher->is_stopped) {
        flusher->is_stopped = false;
        LOG_INFO("flush resumed", LOG_INT("applied_seq", batch_to_seq(&flusher->sent.batch)));
        flusher_set_flushable(flusher);
    }
    retry_reset(&flusher->retry);
    size_t entries = flusher->sent.batch.entries_count;
    flusher->hunted = flusher->hunted > entries ? flusher->hunted - entries : 0;
    status_add(worker->status, STATUS_PG_BATCHES, 1);
    status_add(worker->status, STATUS_PG_ROWS, (int64_t)flusher->sent.batch.rows_count);
    rate_note(&worker->status->flush_rate, (int64_t)flusher->sent.batch.rows_count,
              clock_boot_us());
    mind_triggers(flusher);
    send_early(flusher);
    flush_report_flushed(flusher, batch_to_seq(&flusher->sent.batch));
}

static void take_outcome(struct flusher *flusher, enum unit_outcome outcome,
                         const struct failure *failure)
{
    CHECK(flusher->phase == FLUSHER_SENT);
    switch (outcome) {
    case UNIT_OK:
        on_committed(flusher);
        break;
    case UNIT_REFUSED:
        flush_refusal_take(flusher, failure);
        break;
    case UNIT_LOST:
        // It is in PostgreSQL or it is not: the next claim will tell.
        flush_batch_drop(flusher);
        break;
    }
}

static void drop_early(struct flusher *flusher)
{
    flush_batch_forget_ahead(flusher);
    batch_deinit(&flusher->early.sent.batch);
    flusher->early = (struct early_batch){0};
}

static void keep_outcome(struct early_batch *early, enum unit_outcome outcome,
                         const struct failure *failure)
{
    early->is_answered = true;
    early->outcome = outcome;
    if (failure != NULL) {
        early->failure = *failure;
    }
}

static void on_batch_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    // The answer to COMMIT is lost after all.
    bool is_failed = outcome == UNIT_OK && FAULT_POINT(FLUSH_ANSWERED);
    if (is_failed) {
        outcome = UNIT_LOST;
    }
    if (!flusher->early.is_out) {
        take_outcome(flusher, outcome, failure);
    } else if (outcome == UNIT_LOST) {
        drop_early(flusher);
    } else {
        keep_outcome(&flusher->early, outcome, failure);
    }
    if (is_failed) {
        conn_fail(flusher->conn, "fault point flush.answered");
    } else if (outcome == UNIT_REFUSED) {
        flusher_wake(flusher);
    }
}

void flush_batch_settled(struct flusher *flusher)
{
    CHECK(flusher->phase == FLUSHER_SETTLING);
    struct early_batch early = flusher->early;
    batch_deinit(&flusher->sent.batch);
    flusher->phase = FLUSHER_IDLE;
    if (!early.is_out) {
        return;
    }
    flusher->early = (struct early_batch){0};
    flusher->sent = early.sent;
    flusher->phase = FLUSHER_SENT;
    if (early.is_answered) {
        // What is done about a refusal is done on the connection that it came on.
        bool is_late =
            early.outcome == UNIT_REFUSED && !(flusher->is_claimed && conn_is_idle(flusher->conn));
        take_outcome(flusher, is_late ? UNIT_LOST : early.outcome, &early.failure);
    }
}

// ---- Sending

static void note_empty(struct flusher *flusher, uint64_t journaled)
{
    // Numbers may be skipped: the newest one need not be a write.
    flush_batch_drop(flusher);
    if (flusher->is_held_up && !flusher->is_stopped) {
        flusher->is_held_up = false;
        status_set_error(flusher->worker->status, TROUBLE_FLUSH, NULL, NULL);
    }
    flusher->empty_seq = journaled;
    flush_requests_finish(flusher);
    fetcher_on_applied(flusher->worker->fetcher);
    worker_update_state(flusher->worker);
    worker_check_drained(flusher->worker);
}

// PostgreSQL has all of the batch: there is time for the one after it.
static void on_batch_sent(void *context)
{
    flush_batch_look_ahead(context);
}

// Hands it to PostgreSQL: batch_out() from then on.
static void send_batch(struct flusher *flusher, struct sent_batch *sent)
{
    struct worker *worker = flusher->worker;
    sent->epoch = worker->epoch;
    sent->feed_was_live = worker->feed_live;
    sent->met_triggers = true;
    sent->answered_count = 0;
    flusher->sent_seq = batch_to_seq(&sent->batch);
    struct unit unit = {
        .queries = sent->unit.queries,
        .queries_count = sent->unit.queries_count,
        .context = flusher,
        .on_result = on_result,
        .on_sent = on_batch_sent,
        .on_done = on_batch_done,
    };
    (void)FAULT_POINT(FLUSH_BEFORE_COMMIT);
    conn_send(flusher->conn, &unit);
    if (FAULT_POINT(FLUSH_SENT)) {
        conn_fail(flusher->conn, "fault point flush.sent");
    }
}

void flush_batch_send(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    uint64_t journaled = flusher_journaled_seq(flusher);
    struct batch_limits limits = limits_of(flusher);
    bool is_ahead = take_ahead(flusher, &limits, worker->applied_seq, &flusher->sent);
    if (!is_ahead && !flush_batch_collect(flusher, &limits, journaled)) {
        flusher_pause_before_retry(flusher);
        return;
    }
    flusher->has_lingered = false;
    if (flusher->sent.batch.entries_count == 0) {
        note_empty(flusher, journaled);
        return;
    }
    timer_disarm(flusher->linger_timer);
    if (!is_ahead) {
        flusher->sent.unit = make_unit(flusher, &flusher->sent.batch, worker->applied_seq);
    }
    flusher->phase = FLUSHER_SENT;
    send_batch(flusher, &flusher->sent);
    if (flusher->phase == FLUSHER_SENT) {
        flush_batch_look_ahead(flusher);
    }
}

// Whether all that the batch has decided is known without the node's row, whose results the next
// batch clears before the writer has made those of this one durable.
static bool is_plain(const struct batch *batch)
{
    for (size_t i = 0; i < batch->groups_count; i++) {
        if (batch->groups[i].returns) {
            return false;
        }
    }
    // A guarded entry is alone.
    return !batch->entries[0]->is_guarded;
}

// What was made ahead need not wait for the writer.
static void send_early(struct flusher *flusher)
{
    CHECK(flusher->phase == FLUSHER_SENT && !flusher->early.is_out);
    struct worker *worker = flusher->worker;
    bool may_send = flusher->ahead.is_made && is_plain(&flusher->sent.batch) && worker->ready &&
                    flusher->is_claimed && flusher->retires_out == 0 &&
                    conn_is_idle(flusher->conn) && flusher_may_go_on(flusher);
    if (!may_send) {
        return;
    }
    struct batch_limits limits = limits_of(flusher);
    struct early_batch *early = &flusher->early;
    if (take_ahead(flusher, &limits, batch_to_seq(&flusher->sent.batch), &early->sent)) {
        early->is_out = true;
        send_batch(flusher, &early->sent);
    }
}
