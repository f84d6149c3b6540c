#include "pg/flush_refusal.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "pg/flush_batch.h"
#include "pg/flush_report.h"
#include "pg/flush_requests.h"
#include "pg/sqlstate.h"

// Halves what is sent until the poisoned entry is alone.
static void hunt(struct flusher *flusher)
{
    flusher->hunted = flusher->sent.batch.entries_count;
    flush_batch_drop(flusher);
}

// Nobody heard of a write that nobody waits for: it becomes a dead letter.
static void retire_poison(struct flusher *flusher, const struct failure *failure,
                          const struct parking *parking)
{
    uint64_t seq = flusher->sent.batch.entries[0]->seq;
    struct request *requests = waiters_take(&flusher->waiters, seq);
    flush_requests_fill_failures(requests, flush_requests_error_of(failure->sqlstate), failure);
    LOG_WARNING("write refused", LOG_INT("seq", seq), LOG_TEXT("sqlstate", failure->sqlstate),
                LOG_TEXT("error", failure->message));
    struct retire_message *message = flush_report_make_retire(
        seq, requests == NULL ? RETIRE_DEAD_LETTER : RETIRE_WITHDRAWN, failure, requests);
    message->is_poison = true;
    if (parking != NULL) {
        parking_take_state(parking, message);
    }
    flusher->hunted = 0;
    flush_batch_drop(flusher);
    flush_report_post_retire(flusher, message);
}

static void retry_later(struct flusher *flusher, const struct failure *failure)
{
    LOG_WARNING("flush to be retried", LOG_TEXT("sqlstate", failure->sqlstate),
                LOG_TEXT("error", failure->message));
    if (strcmp(failure->sqlstate, SCHEMA_SQLSTATE_NOT_ADVANCED) == 0) {
        flusher->is_claimed = false;
    } else if (flusher->sent.batch.entries_count > 1 && strcmp(failure->sqlstate, "57014") == 0) {
        // statement_timeout: less at a time may do.
        flusher->hunted = flusher->sent.batch.entries_count;
    }
    flusher->is_held_up = true;
    status_set_error(flusher->worker->status, TROUBLE_FLUSH, failure->sqlstate, failure->message);
    flush_batch_drop(flusher);
    flusher_set_flushable(flusher);
    flusher_pause_before_retry(flusher);
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
        flush_batch_drop(flusher);
        break;
    }
    parking_deinit(&flusher->parking);
    flusher_wake(flusher);
}

static void on_parking_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct flusher *flusher = context;
    parking_take_rows(&flusher->parking, result);
}

static void park(struct flusher *flusher, const struct failure *failure)
{
    const struct batch_entry *entry = flusher->sent.batch.entries[0];
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
    uint64_t seq = flusher->sent.batch.entries[0]->seq;
    struct request *requests = waiters_take(&flusher->waiters, seq);
    struct failure conflict = parking_conflict(failure);
    flush_requests_fill_failures(requests, ERROR_CONFLICT, &conflict);
    flusher->hunted = 0;
    flush_batch_drop(flusher);
    flush_report_retire(flusher, seq, RETIRE_DEAD_LETTER, &conflict, requests);
}

static void refuse_entry(struct flusher *flusher, const struct failure *failure)
{
    const struct batch_entry *entry = flusher->sent.batch.entries[0];
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
    status_set_error(flusher->worker->status, TROUBLE_FLUSH, failure->sqlstate, failure->message);
    flusher_set_flushable(flusher);
    for (size_t i = 0; flusher->waiters.by_seq != NULL && i < flusher->sent.batch.entries_count;
         i++) {
        uint64_t seq = flusher->sent.batch.entries[i]->seq;
        struct request *requests = waiters_take(&flusher->waiters, seq);
        if (requests != NULL) {
            flush_requests_fill_failures(requests, ERROR_REJECTED, failure);
            flush_report_retire(flusher, seq, RETIRE_WITHDRAWN, failure, requests);
        }
    }
    if (is_news) {
        LOG_ERROR("flush stopped", LOG_TEXT("sqlstate", failure->sqlstate),
                  LOG_TEXT("error", failure->message),
                  LOG_INT("first_seq", flusher->sent.batch.entries[0]->seq));
    }
    flush_batch_drop(flusher);
    flusher_pause_before_retry(flusher);
}

void flush_refusal_take(struct flusher *flusher, const struct failure *failure)
{
    bool was_advanced = strcmp(failure->sqlstate, SCHEMA_SQLSTATE_NOT_ADVANCED) == 0;
    if (!was_advanced) {
        flusher->sent_seq = flusher->worker->applied_seq;
    }
    bool at_commit = flusher->sent.answered_count + 1 == flusher->sent.unit.queries_count;
    switch (at_commit ? sqlstate_classify_commit(failure->sqlstate)
                      : sqlstate_classify(failure->sqlstate)) {
    case SQLSTATE_ROW:
        if (flusher->sent.batch.entries_count > 1) {
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
