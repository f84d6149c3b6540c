// Two states matter. `phase`: what the one batch is doing; a step is taken from FLUSHER_IDLE only.
// And `sent_seq`: entries up to there may be in PostgreSQL although we have no answer, so a waiting
// caller can no longer be told that nothing was done; it falls back to applied_seq when a refusal
// or a claim says so.
#include "pg/flusher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/words.h"
#include "pg/backup.h"
#include "pg/batch_outcome.h"
#include "pg/batch_sql.h"
#include "pg/fetcher.h"
#include "pg/handshake.h"
#include "pg/node_row.h"
#include "pg/parking.h"
#include "pg/retry.h"
#include "pg/sqlstate.h"
#include "pg/waiters.h"
#include "pg/worker.h"

enum phase {
    FLUSHER_IDLE,
    FLUSHER_CLAIMING, // the node's row is being read
    FLUSHER_SENT,     // a batch is in PostgreSQL's hands
    FLUSHER_PARKING,  // what the keys of a refused entry hold is being asked
    FLUSHER_SETTLING, // a batch is committed, FLUSHED is with the writer
};

// A caller who waits makes a stopped flush try again at least this soon.
enum { STOPPED_PAUSE_US = 100 * CLOCK_US_PER_MS };

struct flusher {
    struct worker *worker;
    struct conn *conn;
    enum phase phase;
    bool is_claimed; // in this life of the connection
    bool is_stopped; // an operator's error
    uint64_t sent_seq;
    uint64_t reapplied_seq; // entries up to here were applied before a failover
    uint64_t empty_seq;     // the outbox holds nothing after applied_seq up to here
    size_t retires_out;     // with the writer
    struct waiters waiters;
    struct failure last_failure; // of the connection
    bool has_connected;
    // The batch, from its sending until FLUSHED is back:
    struct batch batch;
    struct batch_unit unit;
    uint64_t batch_epoch;
    bool batch_feed_was_live;
    bool batch_met_triggers;
    // Of FLUSHER_PARKING:
    struct parking parking;
    struct failure refusal;
    // Looking for a poisoned entry: one is among the next `hunted` entries. 0: not looking.
    size_t hunted;
    // Timers:
    struct event *linger_timer;
    struct event *retry_timer;
    struct event *deadline_timer;
    bool has_lingered;
    struct retry retry;
    int64_t retry_boot_us; // when retry_timer fires
    // Once the names are known:
    struct batch_sql sql;
    struct buffer claim_sql;
    struct node_row row;
    bool has_sql;
};

static void step(struct flusher *flusher);
static void retry_later(struct flusher *flusher, const struct failure *failure);

static struct json_limits limits_of(const struct flusher *flusher)
{
    return (struct json_limits){
        .value_bytes_max = flusher->worker->settings->server.max_value_bytes,
    };
}

static void arm(struct event *timer, int64_t delay_us)
{
    struct timeval delay = {
        .tv_sec = delay_us / CLOCK_US_PER_S,
        .tv_usec = delay_us % CLOCK_US_PER_S,
    };
    CHECK(evtimer_add(timer, &delay) == 0);
}

static bool is_armed(const struct event *timer)
{
    return evtimer_pending(timer, NULL) != 0;
}

static void pause_for(struct flusher *flusher, int64_t delay_us)
{
    flusher->retry_boot_us = clock_boot_us() + delay_us;
    arm(flusher->retry_timer, delay_us);
}

static void pause_before_retry(struct flusher *flusher)
{
    pause_for(flusher, retry_next_us(&flusher->retry));
}

// Makes a pause that is on shorter.
static void pause_at_most(struct flusher *flusher, int64_t delay_us)
{
    if (is_armed(flusher->retry_timer) && flusher->retry_boot_us > clock_boot_us() + delay_us) {
        pause_for(flusher, delay_us);
    }
}

static uint64_t journaled_seq(const struct flusher *flusher)
{
    return (uint64_t)status_get(flusher->worker->status, STATUS_OUTBOX_JOURNALED_SEQ);
}

// All writes up to here are in PostgreSQL, or there are none of that number.
static uint64_t done_seq(const struct flusher *flusher)
{
    uint64_t applied_seq = flusher->worker->applied_seq;
    return flusher->empty_seq > applied_seq ? flusher->empty_seq : applied_seq;
}

static void set_flushable(struct flusher *flusher)
{
    bool flushable = flusher->is_claimed && !flusher->is_stopped;
    // Who finds that nothing is flushable looks for the reason next.
    status_set(flusher->worker->status, STATUS_PG_REFUSED, flusher->is_stopped);
    status_set(flusher->worker->status, STATUS_PG_FLUSHABLE, flushable);
}

// ---- Requests

static void arm_deadline(struct flusher *flusher)
{
    int64_t next = flusher->waiters.next_deadline_boot_us;
    if (next == INT64_MAX) {
        CHECK(evtimer_del(flusher->deadline_timer) == 0);
        return;
    }
    int64_t delay_us = next - clock_boot_us();
    // Not for every one of many that are microseconds apart.
    arm(flusher->deadline_timer, delay_us < CLOCK_US_PER_MS ? CLOCK_US_PER_MS : delay_us);
}

static void fail_unknown(struct flusher *flusher, struct request *request)
{
    struct failure why = {0};
    bool has_reason = status_get_error(flusher->worker->status, &why);
    request->reply.failure.has_seq = true;
    request->reply.failure.seq = request->seq;
    request_fail(request, ERROR_OUTCOME_UNKNOWN,
                 "%s: not decided in time; the write stays queued%s%s",
                 call_words(&request->call).text, has_reason ? ": " : "", why.message);
}

static void fail_flush(struct flusher *flusher, struct request *request)
{
    struct worker *worker = flusher->worker;
    bool is_flush = request->call.method == METHOD_FLUSH;
    bool is_connected = worker->ready && flusher->is_claimed;
    struct failure why = {0};
    if (!is_connected && is_flush) {
        worker_refuse(worker, request);
        return;
    }
    bool has_reason = status_get_error(worker->status, &why);
    struct failure failure = {0};
    if (is_connected) {
        failure_set(&failure, ERROR_TIMEOUT, "%s up to %llu: %llu is reached%s%s",
                    is_flush ? "Failed to flush" : "the outbox was not flushed in time",
                    (unsigned long long)request->after_seq, (unsigned long long)worker->applied_seq,
                    has_reason ? ": " : "", has_reason ? why.message : "");
    } else {
        failure_set(&failure, ERROR_UNAVAILABLE, "no connection to PostgreSQL: %s",
                    has_reason ? why.message : "not connected");
    }
    if (is_flush) {
        request_fail(request, failure.error, "%s", failure.message);
    } else {
        backup_fail(worker->backup, request, &failure);
    }
}

static struct retire_message *make_retire(uint64_t seq, enum retire_reason reason,
                                          const struct failure *failure, struct request *requests)
{
    struct retire_message *message = message_create(MESSAGE_RETIRE, sizeof *message);
    message->seq = seq;
    message->reason = reason;
    message->requests = requests;
    snprintf(message->sqlstate, sizeof message->sqlstate, "%s", failure->sqlstate);
    snprintf(message->text, sizeof message->text, "%s", failure->message);
    return message;
}

static void post_retire(struct flusher *flusher, struct retire_message *message)
{
    flusher->retires_out++;
    worker_post(flusher->worker, &message->message);
}

static void retire(struct flusher *flusher, uint64_t seq, enum retire_reason reason,
                   const struct failure *failure, struct request *requests)
{
    post_retire(flusher, make_retire(seq, reason, failure, requests));
}

// Fills the failures of `requests` with words of their own: "Failed to set key "k": <message>".
static void fill_failures(struct request *requests, enum error error, const struct failure *failure)
{
    for (struct request *request = requests; request != NULL; request = request->sibling) {
        struct call_words words = call_words(&request->call);
        failure_set(&request->reply.failure, error, "%s: %s", words.text, failure->message);
        memcpy(request->reply.failure.sqlstate, failure->sqlstate, sizeof failure->sqlstate);
        request->reply.failure.has_version = failure->has_version;
        request->reply.failure.version = failure->version;
    }
}

// A write whose result only PostgreSQL decides and that was never sent can be taken back.
static bool can_cancel(const struct flusher *flusher, const struct request *request)
{
    const struct call *call = &request->call;
    bool decides = call->method == METHOD_INCR || call->method == METHOD_MERGE ||
                   call->method == METHOD_TOUCH || call->method == METHOD_RETRY_DEAD_LETTER ||
                   call->condition != CONDITION_NONE;
    return decides && request->seq > flusher->sent_seq &&
           request->seq > flusher->worker->applied_seq;
}

static void expire(struct flusher *flusher, struct request *request)
{
    if (method_flushes(request->call.method)) {
        fail_flush(flusher, request);
    } else if (can_cancel(flusher, request)) {
        struct failure failure = {0};
        failure_set(&failure, ERROR_TIMEOUT, "not sent to PostgreSQL in time; nothing was done");
        request->sibling = NULL;
        fill_failures(request, ERROR_TIMEOUT, &failure);
        retire(flusher, request->seq, RETIRE_CANCELLED, &failure, request);
    } else {
        fail_unknown(flusher, request);
    }
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct flusher *flusher = context;
    struct request *request = waiters_take_expired(&flusher->waiters, clock_boot_us());
    while (request != NULL) {
        struct request *sibling = request->sibling;
        expire(flusher, request);
        request = sibling;
    }
    arm_deadline(flusher);
}

static void finish_flush(struct flusher *flusher, struct request *request)
{
    request->reply.seq = request->after_seq;
    if (request->call.method == METHOD_FLUSH) {
        request_finish(request);
    } else {
        backup_request(flusher->worker->backup, request);
    }
}

static void finish_flushes(struct flusher *flusher)
{
    struct request *request = waiters_take_flushes(&flusher->waiters, done_seq(flusher));
    while (request != NULL) {
        struct request *sibling = request->sibling;
        finish_flush(flusher, request);
        request = sibling;
    }
}

void flusher_request(struct flusher *flusher, struct request *request)
{
    if (method_flushes(request->call.method) && request->after_seq <= done_seq(flusher)) {
        finish_flush(flusher, request);
        return;
    }
    if (!method_flushes(request->call.method) && request->seq <= flusher->worker->applied_seq) {
        // Its entry was flushed by an earlier life of this daemon.
        fail_unknown(flusher, request);
        return;
    }
    waiters_add(&flusher->waiters, request);
    arm_deadline(flusher);
    if (flusher->is_stopped && !method_flushes(request->call.method)) {
        pause_at_most(flusher, STOPPED_PAUSE_US);
    }
}

// ---- Settling: a batch is committed

static void answer(const struct batch_entry *entry, struct request *requests)
{
    for (struct request *request = requests; request != NULL; request = request->sibling) {
        if (entry->returns) {
            batch_reply(entry, &request->reply);
        } else {
            request->reply.seq = entry->seq;
        }
    }
}

// Moves the requests that wait for the batch's entries into FLUSHED.
static void attach_requests(struct flusher *flusher, struct flushed_message *flushed)
{
    struct request **tail = &flushed->requests;
    for (size_t i = 0; flusher->waiters.by_seq != NULL && i < flusher->batch.entries_count; i++) {
        const struct batch_entry *entry = flusher->batch.entries[i];
        struct request *requests = waiters_take(&flusher->waiters, entry->seq);
        answer(entry, requests);
        *tail = requests;
        while (*tail != NULL) {
            tail = &(*tail)->sibling;
        }
    }
}

// A condition that failed did nothing, and must do nothing when the entry is applied again after a
// failover. One that held before the failover and does not now has lost what it was decided on.
static void retire_conflicts(struct flusher *flusher)
{
    for (size_t i = 0; i < flusher->batch.entries_count; i++) {
        const struct batch_entry *entry = flusher->batch.entries[i];
        if (entry->is_retired || !batch_entry_conflicts(entry)) {
            continue;
        }
        struct failure failure = {0};
        bool is_reapplied = entry->seq <= flusher->reapplied_seq;
        if (!is_reapplied && waiters_has(&flusher->waiters, entry->seq)) {
            continue; // the writer sees the answer that it passes on
        }
        if (is_reapplied) {
            failure_set(&failure, ERROR_CONFLICT,
                        "lost in failover: the state that it was decided on is gone");
            struct retire_message *message =
                make_retire(entry->seq, RETIRE_DEAD_LETTER, &failure, NULL);
            parking_state_of_conflict(entry, message);
            post_retire(flusher, message);
        } else {
            failure_set(&failure, ERROR_CONFLICT, "the condition did not hold");
            retire(flusher, entry->seq, RETIRE_WITHDRAWN, &failure, NULL);
        }
    }
}

static void mark_key(void *context, struct batch_op *last)
{
    fetcher_mark(context, last->key);
}

// Tells the writer. The batch stays: requests for its entries may still be on their way here.
static void post_flushed(struct flusher *flusher, uint64_t applied_seq)
{
    struct worker *worker = flusher->worker;
    // Rule 4: a fetch that was sent before this commit may bring what stood there before.
    batch_visit_keys(&flusher->batch, worker->fetcher, mark_key);
    retire_conflicts(flusher);
    struct flushed_message *flushed = batch_flushed(
        &flusher->batch, applied_seq, flusher->batch_epoch, flusher->batch_feed_was_live);
    attach_requests(flusher, flushed);
    arm_deadline(flusher);
    flusher->phase = FLUSHER_SETTLING;
    flusher->sent_seq = applied_seq;
    worker_post(worker, &flushed->message);
}

static void on_flushed_returned(struct flusher *flusher, struct flushed_message *flushed)
{
    struct worker *worker = flusher->worker;
    CHECK(flusher->phase == FLUSHER_SETTLING);
    CHECK_VALUES(flushed->applied_seq > worker->applied_seq, "%llu after %llu",
                 (unsigned long long)flushed->applied_seq, (unsigned long long)worker->applied_seq);
    worker->applied_seq = flushed->applied_seq;
    status_set(worker->status, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)worker->applied_seq);
    flushed->requests = NULL; // the writer has sent them home
    message_destroy(&flushed->message);
    // Those that came too late to travel with FLUSHED.
    for (size_t i = 0; flusher->waiters.by_seq != NULL && i < flusher->batch.entries_count; i++) {
        const struct batch_entry *entry = flusher->batch.entries[i];
        struct request *requests = waiters_take(&flusher->waiters, entry->seq);
        answer(entry, requests);
        while (requests != NULL) {
            struct request *sibling = requests->sibling;
            request_finish(requests);
            requests = sibling;
        }
    }
    batch_deinit(&flusher->batch);
    flusher->phase = FLUSHER_IDLE;
    flusher->has_lingered = true;
    finish_flushes(flusher);
    fetcher_on_applied(worker->fetcher);
    worker_update_state(worker);
    handshake_on_settled(worker->handshake);
}

static void on_retire_returned(struct flusher *flusher, struct retire_message *message)
{
    CHECK(flusher->retires_out > 0);
    flusher->retires_out--;
    bool is_settling =
        flusher->phase == FLUSHER_SETTLING && batch_find(&flusher->batch, message->seq) != NULL;
    if (!is_settling) {
        struct request *late = waiters_take(&flusher->waiters, message->seq);
        struct failure failure = {0};
        enum error error = message->reason == RETIRE_CANCELLED ? ERROR_TIMEOUT : ERROR_REJECTED;
        failure_set(&failure, error, "%s", message->text);
        memcpy(failure.sqlstate, message->sqlstate, sizeof failure.sqlstate);
        fill_failures(late, error, &failure);
        while (late != NULL) {
            struct request *sibling = late->sibling;
            request_finish(late);
            late = sibling;
        }
    }
    message->requests = NULL; // the writer has sent them home
    message_destroy(&message->message);
    if (flusher->retires_out == 0) {
        handshake_on_settled(flusher->worker->handshake);
    }
}

void flusher_on_returned(struct flusher *flusher, struct message *message)
{
    if (message->kind == MESSAGE_FLUSHED) {
        on_flushed_returned(flusher, (struct flushed_message *)message);
    } else {
        CHECK_VALUES(message->kind == MESSAGE_RETIRE, "message %d", message->kind);
        on_retire_returned(flusher, (struct retire_message *)message);
    }
    step(flusher);
}

// ---- A batch refused

static void drop_batch(struct flusher *flusher)
{
    batch_deinit(&flusher->batch);
    flusher->phase = FLUSHER_IDLE;
}

// Halves what is sent until the poisoned entry is alone.
static void hunt(struct flusher *flusher)
{
    flusher->hunted = flusher->batch.entries_count;
    drop_batch(flusher);
}

// Nobody heard of a write that nobody waits for: it becomes a dead letter.
static void retire_poison(struct flusher *flusher, const struct failure *failure,
                          const struct parking *parking)
{
    uint64_t seq = flusher->batch.entries[0]->seq;
    struct request *requests = waiters_take(&flusher->waiters, seq);
    fill_failures(requests, ERROR_REJECTED, failure);
    LOG_WARNING("write refused", LOG_INT("seq", seq), LOG_TEXT("sqlstate", failure->sqlstate),
                LOG_TEXT("error", failure->message));
    struct retire_message *message = make_retire(
        seq, requests == NULL ? RETIRE_DEAD_LETTER : RETIRE_WITHDRAWN, failure, requests);
    message->is_poison = true;
    if (parking != NULL) {
        parking_take_state(parking, message);
    }
    flusher->hunted = 0;
    drop_batch(flusher);
    post_retire(flusher, message);
}

// A dead letter is tried again later only while its keys are what they are now; so that is asked
// before it is parked, while the batch stands.
static void on_parking_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    CHECK(flusher->phase == FLUSHER_PARKING);
    switch (outcome) {
    case UNIT_OK:
        retire_poison(flusher, &flusher->refusal, &flusher->parking);
        break;
    case UNIT_REFUSED:
        retry_later(flusher, failure);
        break;
    case UNIT_LOST:
        drop_batch(flusher);
        break;
    }
    parking_deinit(&flusher->parking);
    step(flusher);
}

static void on_parking_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct flusher *flusher = context;
    parking_take_rows(&flusher->parking, result);
}

static void park(struct flusher *flusher, const struct failure *failure)
{
    const struct batch_entry *entry = flusher->batch.entries[0];
    flusher->refusal = *failure;
    flusher->phase = FLUSHER_PARKING;
    struct unit unit = {
        .context = flusher,
        .on_result = on_parking_result,
        .on_done = on_parking_done,
    };
    parking_send(&flusher->parking, flusher->worker->table, entry, flusher->conn, unit);
}

// A dead letter that was to be tried again, and is not: its keys have changed since. The letter
// stays; where it is gone, a failover has lost what this had done, and it is one again.
static void retire_conflicting(struct flusher *flusher, const struct failure *failure)
{
    uint64_t seq = flusher->batch.entries[0]->seq;
    struct request *requests = waiters_take(&flusher->waiters, seq);
    struct failure conflict = parking_conflict(failure);
    fill_failures(requests, ERROR_CONFLICT, &conflict);
    flusher->hunted = 0;
    drop_batch(flusher);
    retire(flusher, seq, RETIRE_DEAD_LETTER, &conflict, requests);
}

static void refuse_entry(struct flusher *flusher, const struct failure *failure)
{
    const struct batch_entry *entry = flusher->batch.entries[0];
    if (strcmp(failure->sqlstate, SCHEMA_SQLSTATE_CONFLICT) == 0) {
        retire_conflicting(flusher, failure);
    } else if (waiters_has(&flusher->waiters, entry->seq) || entry->letter_seq != 0) {
        retire_poison(flusher, failure, NULL);
    } else {
        park(flusher, failure);
    }
}

// Nothing is parked; but who waits is told, and their writes are taken back.
static void stop(struct flusher *flusher, const struct failure *failure)
{
    bool is_news = !flusher->is_stopped;
    flusher->is_stopped = true;
    status_set_error(flusher->worker->status, failure->sqlstate, failure->message);
    set_flushable(flusher);
    for (size_t i = 0; flusher->waiters.by_seq != NULL && i < flusher->batch.entries_count; i++) {
        uint64_t seq = flusher->batch.entries[i]->seq;
        struct request *requests = waiters_take(&flusher->waiters, seq);
        if (requests != NULL) {
            fill_failures(requests, ERROR_REJECTED, failure);
            retire(flusher, seq, RETIRE_WITHDRAWN, failure, requests);
        }
    }
    if (is_news) {
        LOG_ERROR("flush stopped", LOG_TEXT("sqlstate", failure->sqlstate),
                  LOG_TEXT("error", failure->message),
                  LOG_INT("first_seq", flusher->batch.entries[0]->seq));
    }
    drop_batch(flusher);
    pause_before_retry(flusher);
}

static void retry_later(struct flusher *flusher, const struct failure *failure)
{
    LOG_WARNING("flush to be retried", LOG_TEXT("sqlstate", failure->sqlstate),
                LOG_TEXT("error", failure->message));
    if (strcmp(failure->sqlstate, SCHEMA_SQLSTATE_NOT_ADVANCED) == 0) {
        flusher->is_claimed = false;
    } else if (flusher->batch.entries_count > 1 && strcmp(failure->sqlstate, "57014") == 0) {
        // statement_timeout: less at a time may do.
        flusher->hunted = flusher->batch.entries_count;
    }
    drop_batch(flusher);
    set_flushable(flusher);
    pause_before_retry(flusher);
}

static void on_refused(struct flusher *flusher, const struct failure *failure)
{
    bool was_advanced = strcmp(failure->sqlstate, SCHEMA_SQLSTATE_NOT_ADVANCED) == 0;
    if (!was_advanced) {
        flusher->sent_seq = flusher->worker->applied_seq;
    }
    switch (sqlstate_classify(failure->sqlstate)) {
    case SQLSTATE_ROW:
        if (flusher->batch.entries_count > 1) {
            hunt(flusher);
        } else {
            refuse_entry(flusher, failure);
        }
        break;
    case SQLSTATE_OPERATOR:
        stop(flusher, failure);
        break;
    case SQLSTATE_CONNECTION:
        retry_later(flusher, failure);
        break;
    }
}

// ---- A batch sent

static void on_result(void *context, size_t index, const PGresult *result)
{
    struct flusher *flusher = context;
    const struct batch_group *group = NULL;
    struct json_limits limits = limits_of(flusher);
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
        set_flushable(flusher);
    }
    retry_reset(&flusher->retry);
    size_t entries = flusher->batch.entries_count;
    flusher->hunted = flusher->hunted > entries ? flusher->hunted - entries : 0;
    status_add(worker->status, STATUS_PG_BATCHES, 1);
    status_add(worker->status, STATUS_PG_ROWS, (int64_t)flusher->batch.rows_count);
    rate_note(&worker->status->flush_rate, (int64_t)flusher->batch.rows_count, clock_boot_us());
    mind_triggers(flusher);
    post_flushed(flusher, batch_to_seq(&flusher->batch));
}

static void on_batch_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    CHECK(flusher->phase == FLUSHER_SENT);
    if (FAULT_POINT("flush.answered") && outcome == UNIT_OK) {
        // The answer to COMMIT is lost after all.
        drop_batch(flusher);
        conn_fail(flusher->conn, "fault point flush.answered");
        return;
    }
    switch (outcome) {
    case UNIT_OK:
        on_committed(flusher);
        break;
    case UNIT_REFUSED:
        on_refused(flusher, failure);
        step(flusher);
        break;
    case UNIT_LOST:
        // It is in PostgreSQL or it is not: the next claim will tell.
        drop_batch(flusher);
        break;
    }
}

struct collecting {
    struct batch *batch;
    uint64_t to_seq; // no further
    int64_t oldest_us;
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
    return batch_add(collecting->batch, entry);
}

// False where the outbox cannot be read: nothing can be flushed until somebody looks at it.
static bool collect(struct flusher *flusher, const struct batch_limits *limits, uint64_t to_seq)
{
    struct worker *worker = flusher->worker;
    batch_init(&flusher->batch, limits);
    struct collecting collecting = {.batch = &flusher->batch, .to_seq = to_seq};
    enum error error =
        worker->outbox.visit(worker->outbox.outbox, worker->applied_seq, on_entry, &collecting);
    status_set(worker->status, STATUS_OUTBOX_OLDEST_US, collecting.oldest_us);
    if (error != ERROR_NONE) {
        batch_deinit(&flusher->batch);
        LOG_ERROR("outbox unreadable", LOG_TEXT("error", error_text(error)),
                  LOG_INT("after_seq", worker->applied_seq));
        status_set_error(worker->status, NULL, "the outbox cannot be read");
        return false;
    }
    batch_seal(&flusher->batch);
    return true;
}

static void send_batch(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    uint64_t journaled = journaled_seq(flusher);
    struct batch_limits limits = {
        .rows_max = (size_t)worker->settings->writes.batch_rows,
        .entries_max = flusher->hunted == 0 ? SIZE_MAX : (flusher->hunted + 1) / 2,
        .versioning = worker->settings->postgres.versioning,
        .now_us = worker->cache.now_us(worker->cache.cache),
    };
    if (!collect(flusher, &limits, journaled)) {
        pause_before_retry(flusher);
        return;
    }
    flusher->has_lingered = false;
    if (flusher->batch.entries_count == 0) {
        // Numbers may be skipped: the newest one need not be a write.
        drop_batch(flusher);
        flusher->empty_seq = journaled;
        finish_flushes(flusher);
        fetcher_on_applied(worker->fetcher);
        worker_update_state(worker);
        worker_check_drained(worker);
        return;
    }
    CHECK(evtimer_del(flusher->linger_timer) == 0);
    flusher->unit = batch_sql_unit(&flusher->sql, &flusher->batch, &worker->identity,
                                   worker->applied_seq, worker->foreign_triggers);
    flusher->batch_epoch = worker->epoch;
    flusher->batch_feed_was_live = worker->feed_live;
    flusher->batch_met_triggers = true;
    flusher->sent_seq = batch_to_seq(&flusher->batch);
    flusher->phase = FLUSHER_SENT;
    struct unit unit = {
        .queries = flusher->unit.queries,
        .queries_count = flusher->unit.queries_count,
        .context = flusher,
        .on_result = on_result,
        .on_done = on_batch_done,
    };
    bool fails = FAULT_POINT("flush.send");
    conn_send(flusher->conn, &unit);
    if (FAULT_POINT("flush.sent") || fails) {
        conn_fail(flusher->conn, "fault point flush.send");
    }
}

// ---- Claiming

static void on_claim_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    node_row_take(&((struct flusher *)context)->row, result);
}

static void judge_claim(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    const struct node_row *row = &flusher->row;
    flusher->sent_seq = worker->applied_seq;
    bool is_ours = row->is_found && strcmp(row->incarnation, worker->identity.incarnation) == 0;
    enum node_verdict verdict =
        node_row_judge(row, &worker->identity, &worker->outbox, worker->applied_seq);
    if (!is_ours || (verdict != NODE_ROW_SAME && verdict != NODE_ROW_AHEAD)) {
        // Not what this connection can decide: the whole sequence, from the control connection on.
        handshake_restart(worker->handshake, "the node's row has changed");
        return;
    }
    flusher->is_claimed = true;
    set_flushable(flusher);
    if (!flusher->is_stopped) {
        status_set_error(worker->status, NULL, NULL);
    }
    if (verdict == NODE_ROW_AHEAD) {
        flusher_settle(flusher, row->applied_seq, buffer_slice(&row->results));
    } else {
        step(flusher);
    }
}

static void on_claim_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    CHECK(flusher->phase == FLUSHER_CLAIMING);
    flusher->phase = FLUSHER_IDLE;
    if (outcome == UNIT_OK) {
        judge_claim(flusher);
    } else if (outcome == UNIT_REFUSED) {
        LOG_WARNING("claim refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
        status_set_error(flusher->worker->status, failure->sqlstate, failure->message);
        status_set(flusher->worker->status, STATUS_PG_REFUSED,
                   sqlstate_classify(failure->sqlstate) == SQLSTATE_OPERATOR);
        pause_before_retry(flusher);
    }
}

static void claim(struct flusher *flusher)
{
    const char *values[] = {flusher->worker->identity.node};
    struct query query = {
        .sql = (const char *)buffer_slice(&flusher->claim_sql).at,
        .params_count = 1,
        .values = values,
    };
    struct unit unit = {
        .queries = &query,
        .queries_count = 1,
        .context = flusher,
        .on_result = on_claim_result,
        .on_done = on_claim_done,
    };
    flusher->phase = FLUSHER_CLAIMING;
    conn_send(flusher->conn, &unit);
}

void flusher_settle(struct flusher *flusher, uint64_t applied_seq, struct slice recorded)
{
    struct worker *worker = flusher->worker;
    CHECK(flusher->phase == FLUSHER_IDLE);
    LOG_INFO("results lost", LOG_INT("from_seq", worker->applied_seq + 1),
             LOG_INT("to_seq", applied_seq));
    struct batch_limits limits = {
        .rows_max = SIZE_MAX, .entries_max = SIZE_MAX, .is_unbounded = true};
    struct json_limits json = limits_of(flusher);
    if (!collect(flusher, &limits, applied_seq)) {
        worker->stop.stop(worker->stop.context, 1);
        return;
    }
    if (batch_take_recorded(&flusher->batch, recorded, &json) != ERROR_NONE) {
        LOG_ERROR("recorded results unreadable", LOG_INT("applied_seq", applied_seq));
    }
    flusher->batch_epoch = worker->epoch;
    flusher->batch_feed_was_live = false;
    post_flushed(flusher, applied_seq);
}

void flusher_on_rewound(struct flusher *flusher, uint64_t lost_to_seq)
{
    CHECK(flusher->phase == FLUSHER_IDLE);
    flusher->sent_seq = flusher->worker->applied_seq;
    flusher->empty_seq = 0;
    if (lost_to_seq > flusher->reapplied_seq) {
        flusher->reapplied_seq = lost_to_seq;
    }
}

// ---- Steps

static void step(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    bool may_step = worker->ready && flusher->phase == FLUSHER_IDLE && flusher->retires_out == 0 &&
                    conn_is_idle(flusher->conn) && !is_armed(flusher->retry_timer);
    if (!may_step) {
        worker_check_drained(worker);
        return;
    }
    if (!flusher->is_claimed) {
        claim(flusher);
        return;
    }
    uint64_t journaled = journaled_seq(flusher);
    if (journaled <= done_seq(flusher)) {
        status_set(worker->status, STATUS_OUTBOX_OLDEST_US, 0);
        worker_check_drained(worker);
        return;
    }
    bool hurry = flusher->has_lingered || worker->is_stopping ||
                 worker->settings->writes.linger_us == 0 ||
                 waiters_want_beyond(&flusher->waiters, worker->applied_seq) ||
                 journaled - worker->applied_seq >= (uint64_t)worker->settings->writes.batch_rows;
    if (hurry) {
        send_batch(flusher);
    } else if (!is_armed(flusher->linger_timer)) {
        arm(flusher->linger_timer, worker->settings->writes.linger_us);
    }
}

static void on_linger(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct flusher *flusher = context;
    flusher->has_lingered = true;
    step(flusher);
}

static void on_retry(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct flusher *flusher = context;
    flusher->has_lingered = true;
    step(flusher);
}

void flusher_wake(struct flusher *flusher)
{
    step(flusher);
}

bool flusher_is_quiet(const struct flusher *flusher)
{
    return flusher->phase != FLUSHER_SETTLING && flusher->retires_out == 0;
}

bool flusher_is_drained(const struct flusher *flusher)
{
    return flusher->phase == FLUSHER_IDLE && flusher->retires_out == 0 &&
           done_seq(flusher) >= journaled_seq(flusher);
}

bool flusher_has_reached(const struct flusher *flusher, uint64_t seq)
{
    return done_seq(flusher) >= seq;
}

// ---- The connection

static void on_connected(void *context)
{
    struct flusher *flusher = context;
    if (flusher->has_connected) {
        status_add(flusher->worker->status, STATUS_PG_RECONNECTS, 1);
    }
    flusher->has_connected = true;
    step(flusher);
}

static void on_lost(void *context, const struct failure *failure)
{
    struct flusher *flusher = context;
    flusher->is_claimed = false;
    flusher->last_failure = *failure;
    set_flushable(flusher);
    worker_on_server_lost(flusher->worker, failure);
}

void flusher_on_ready(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    if (flusher->has_sql) {
        batch_sql_deinit(&flusher->sql);
        buffer_deinit(&flusher->claim_sql);
    }
    batch_sql_init(&flusher->sql, &worker->names);
    node_row_sql(&worker->names, &flusher->claim_sql);
    flusher->has_sql = true;
    CHECK(evtimer_del(flusher->retry_timer) == 0);
    conn_open(flusher->conn);
}

void flusher_on_unready(struct flusher *flusher)
{
    conn_close(flusher->conn);
    flusher->is_claimed = false;
    flusher->is_stopped = false;
    set_flushable(flusher);
}

// ---- Life

struct flusher *flusher_create(struct worker *worker)
{
    struct flusher *flusher = memory_zeroed(1, sizeof *flusher);
    flusher->worker = worker;
    flusher->sent_seq = worker->applied_seq;
    waiters_init(&flusher->waiters);
    struct conn_options options = worker_conn_options(worker, "flush");
    options.context = flusher;
    options.on_connected = on_connected;
    options.on_lost = on_lost;
    flusher->conn = conn_create(&options);
    flusher->linger_timer = evtimer_new(worker->base, on_linger, flusher);
    flusher->retry_timer = evtimer_new(worker->base, on_retry, flusher);
    flusher->deadline_timer = evtimer_new(worker->base, on_deadline, flusher);
    CHECK(flusher->linger_timer != NULL && flusher->retry_timer != NULL &&
          flusher->deadline_timer != NULL);
    return flusher;
}

void flusher_shut(struct flusher *flusher)
{
    conn_close(flusher->conn);
    flusher->is_claimed = false;
    set_flushable(flusher);
    struct request *request = waiters_take_all(&flusher->waiters);
    while (request != NULL) {
        struct request *sibling = request->sibling;
        if (method_flushes(request->call.method)) {
            fail_flush(flusher, request);
        } else {
            fail_unknown(flusher, request);
        }
        request = sibling;
    }
}

void flusher_destroy(struct flusher *flusher)
{
    if (flusher == NULL) {
        return;
    }
    conn_destroy(flusher->conn);
    waiters_deinit(&flusher->waiters);
    batch_deinit(&flusher->batch);
    if (flusher->has_sql) {
        batch_sql_deinit(&flusher->sql);
    }
    buffer_deinit(&flusher->claim_sql);
    node_row_deinit(&flusher->row);
    event_free(flusher->linger_timer);
    event_free(flusher->retry_timer);
    event_free(flusher->deadline_timer);
    free(flusher);
}
