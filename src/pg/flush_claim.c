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
    flusher->is_claimed = true;
    flusher_set_flushable(flusher);
    if (!flusher->is_stopped) {
        status_set_error(worker->status, NULL, NULL);
    }
    if (verdict == NODE_ROW_AHEAD) {
        flusher_settle(flusher, row->applied_seq, buffer_slice(&row->results));
    } else {
        flusher->sent_seq = worker->applied_seq;
        flusher_wake(flusher);
    }
}

static void on_claim_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct flusher *flusher = context;
    CHECK(flusher->phase == FLUSHER_CLAIMING);
    flusher->phase = FLUSHER_IDLE;
    if (outcome != UNIT_LOST && !flusher->agreement.holds) {
        agreement_leave(&flusher->agreement, flusher->worker, flusher->conn);
    } else if (outcome == UNIT_OK) {
        judge_claim(flusher);
    } else if (outcome == UNIT_REFUSED) {
        LOG_WARNING("claim refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
        status_set_error(flusher->worker->status, failure->sqlstate, failure->message);
        status_set(flusher->worker->status, STATUS_PG_REFUSED,
                   sqlstate_classify(failure->sqlstate) == SQLSTATE_OPERATOR);
        flusher_pause_before_retry(flusher);
    }
}

void flush_claim(struct flusher *flusher)
{
    const char *values[] = {flusher->worker->identity.node};
    agreement_ask(&flusher->agreement);
    const struct query queries[] = {
        {.sql = AGREEMENT_SQL},
        {
            .sql = (const char *)buffer_slice(&flusher->claim_sql).at,
            .params_count = 1,
            .values = values,
        },
    };
    struct unit unit = {
        .queries = queries,
        .queries_count = 2,
        .context = flusher,
        .on_result = on_claim_result,
        .on_done = on_claim_done,
    };
    flusher->phase = FLUSHER_CLAIMING;
    (void)FAULT_POINT(FLUSH_CLAIM);
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
    struct json_limits json = flusher_json_limits(flusher);
    if (!flush_batch_collect(flusher, &limits, applied_seq)) {
        worker->stop.stop(worker->stop.context, 1);
        return;
    }
    if (batch_take_recorded(&flusher->batch, recorded, &json) != ERROR_NONE) {
        LOG_ERROR("recorded results unreadable", LOG_INT("applied_seq", applied_seq));
    }
    flusher->batch_epoch = worker->epoch;
    flusher->batch_feed_was_live = false;
    flush_report_flushed(flusher, applied_seq);
}

void flusher_on_rewound(struct flusher *flusher, uint64_t lost_to_seq)
{
    CHECK(flusher->phase == FLUSHER_IDLE);
    flusher->sent_seq = flusher->worker->applied_seq;
    flusher->empty_seq = 0;
    reapplied_begin(&flusher->reapplied, lost_to_seq);
}
