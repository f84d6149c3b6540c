#include "pg/flush_claim.h"

#include <string.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/batch_outcome.h"
#include "pg/flush_batch.h"
#include "pg/flush_report.h"
#include "pg/handshake.h"
#include "pg/sqlstate.h"

typedef void (*take_function)(void *context, size_t index, const PGresult *result);

static void
ask(struct flusher *flusher, const struct query *queries, size_t queries_count, take_function take,
    void (*on_done)(void *context, enum unit_outcome outcome, const struct failure *failure))
{
    struct unit unit = {
        .queries = queries,
        .queries_count = queries_count,
        .context = flusher,
        .on_result = take,
        .on_done = on_done,
    };
    flusher->phase = FLUSHER_CLAIMING;
    conn_send(flusher->conn, &unit);
}

// What was asked last is answered; false where the connection is lost, and the next one asks anew.
static bool is_answered(struct flusher *flusher, enum unit_outcome outcome)
{
    CHECK(flusher->phase == FLUSHER_CLAIMING);
    flusher->phase = FLUSHER_IDLE;
    return outcome != UNIT_LOST;
}

static void finish(struct flusher *flusher)
{
    const struct node_row *row = &flusher->row;
    flusher->is_claimed = true;
    flusher_set_flushable(flusher);
    if (!flusher->is_stopped) {
        status_set_error(flusher->worker->status, TROUBLE_FLUSH, NULL, NULL);
    }
    if (row->applied_seq > flusher->worker->applied_seq) {
        flusher_settle(flusher, row->applied_seq, buffer_slice(&row->results));
    } else {
        // Not before: what the row is ahead by was sent.
        flusher->sent_seq = flusher->worker->applied_seq;
        flusher_wake(flusher);
    }
}

// ---- Triggers of others

static void on_look_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct flusher *flusher = context;
    worker_set_foreign_triggers(flusher->worker, *PQgetvalue(result, 0, 0) != 0);
}

// What is wrong with the table the first batch will say, to those who wait for it.
static void on_look_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    (void)failure;
    struct flusher *flusher = context;
    if (is_answered(flusher, outcome)) {
        finish(flusher);
    }
}

// Before the first batch, whose own notification may come before its answer does and would else be
// taken for a stranger's.
static void look_for_triggers(struct flusher *flusher)
{
    struct query query = {.sql = flusher->sql.foreign_triggers, .result_format = 1};
    ask(flusher, &query, 1, on_look_result, on_look_done);
}

// ---- The row

static void on_claim_result(void *context, size_t index, const PGresult *result)
{
    struct flusher *flusher = context;
    if (index == 0) {
        agreement_take(&flusher->agreement, flusher->worker, result);
    } else {
        node_row_take(&flusher->row, result);
    }
}

static void judge_claim(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    const struct node_row *row = &flusher->row;
    bool is_ours = row->is_found && strcmp(row->incarnation, worker->identity.incarnation) == 0;
    enum node_verdict verdict =
        node_row_judge(row, &worker->identity, &worker->outbox, worker->applied_seq);
    if (!is_ours || (verdict != NODE_ROW_SAME && verdict != NODE_ROW_AHEAD)) {
        // Not what this connection can decide: the whole sequence, from the control connection on.
        handshake_restart(worker->handshake, "the node's row has changed");
        return;
    }
    look_for_triggers(flusher);
}

static void on_claim_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    if (!is_answered(flusher, outcome)) {
        return;
    }
    if (!flusher->agreement.holds) {
        agreement_leave(&flusher->agreement, flusher->worker, flusher->conn);
    } else if (outcome == UNIT_OK) {
        judge_claim(flusher);
    } else {
        LOG_WARNING("claim refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
        status_set_error(flusher->worker->status, TROUBLE_FLUSH, failure->sqlstate,
                         failure->message);
        status_set(flusher->worker->status, STATUS_PG_REFUSED,
                   sqlstate_classify(failure->sqlstate) == SQLSTATE_OPERATOR);
        flusher_pause_before_retry(flusher);
    }
}

static void read_row(struct flusher *flusher)
{
    const char *values[] = {flusher->worker->identity.node};
    agreement_ask(&flusher->agreement);
    const struct query queries[] = {
        {.sql = AGREEMENT_SQL},
        {
            .sql = buffer_text(&flusher->claim_sql),
            .params_count = 1,
            .values = values,
        },
    };
    (void)FAULT_POINT(FLUSH_CLAIM);
    ask(flusher, queries, 2, on_claim_result, on_claim_done);
}

static void on_freed_result(void *context, size_t index, const PGresult *result)
{
    (void)context;
    (void)index;
    node_row_note_freed(result);
}

static void on_freed(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    (void)failure;
    struct flusher *flusher = context;
    if (is_answered(flusher, outcome)) {
        read_row(flusher);
    }
}

void flush_claim(struct flusher *flusher)
{
    flush_batch_forget_ahead(flusher);
    const char *values[] = {flusher->worker->identity.node};
    const struct query query = {
        .sql = buffer_text(&flusher->free_sql), .params_count = 1, .values = values};
    ask(flusher, &query, 1, on_freed_result, on_freed);
}

void flusher_settle(struct flusher *flusher, uint64_t applied_seq, struct slice recorded)
{
    struct worker *worker = flusher->worker;
    CHECK(flusher->phase == FLUSHER_IDLE);
    LOG_INFO("results lost", LOG_INT("from_seq", worker->applied_seq + 1),
             LOG_INT("to_seq", applied_seq));
    struct batch_limits limits = {
        .rows_max = SIZE_MAX, .entries_max = SIZE_MAX, .is_unbounded = true};
    struct json_limits json = flusher_json_limits(flusher);
    if (!flush_batch_collect(flusher, &limits, applied_seq)) {
        // What is missing at one moment may be there at the next; nothing is lost by asking again.
        handshake_restart(worker->handshake, "the outbox cannot be read");
        return;
    }
    if (batch_take_recorded(&flusher->sent.batch, recorded, &json) != ERROR_NONE) {
        LOG_ERROR("recorded results unreadable", LOG_INT("applied_seq", applied_seq));
    }
    flusher->sent.epoch = worker->epoch;
    flusher->sent.feed_was_live = false;
    flusher->sent_seq = applied_seq; // not before: what was sent beyond it came to nothing
    flush_report_flushed(flusher, applied_seq);
}

void flusher_on_rewound(struct flusher *flusher, uint64_t decided_seq, uint64_t lost_to_seq,
                        bool is_row_behind)
{
    CHECK(flusher->phase == FLUSHER_IDLE);
    flush_batch_forget_ahead(flusher);
    flusher->sent_seq = flusher->worker->applied_seq;
    flusher->empty_seq = 0;
    if (is_row_behind) {
        reapplied_begin(&flusher->reapplied, decided_seq, lost_to_seq);
    } else {
        reapplied_extend(&flusher->reapplied, decided_seq, lost_to_seq);
    }
}
