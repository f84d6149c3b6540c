#include "pg/flush_report.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "pg/batch_outcome.h"
#include "pg/fetcher.h"
#include "pg/flush_batch.h"
#include "pg/flush_requests.h"
#include "pg/handshake.h"

struct retire_message *flush_report_make_retire(uint64_t seq, enum retire_reason reason,
                                                const struct failure *failure,
                                                struct request *requests)
{
    struct retire_message *message = message_create(MESSAGE_RETIRE, sizeof *message);
    message->seq = seq;
    message->reason = reason;
    message->requests = requests;
    snprintf(message->sqlstate, sizeof message->sqlstate, "%s", failure->sqlstate);
    snprintf(message->text, sizeof message->text, "%s", failure->message);
    return message;
}

void flush_report_post_retire(struct flusher *flusher, struct retire_message *message)
{
    flusher->retires_out++;
    flush_batch_forget_ahead(flusher);
    worker_post(flusher->worker, &message->message);
}

void flush_report_retire(struct flusher *flusher, uint64_t seq, enum retire_reason reason,
                         const struct failure *failure, struct request *requests)
{
    flush_report_post_retire(flusher, flush_report_make_retire(seq, reason, failure, requests));
}

// Moves the requests that wait for the batch's entries into FLUSHED.
static void attach_requests(struct flusher *flusher, struct flushed_message *flushed)
{
    struct request **tail = &flushed->requests;
    for (size_t i = 0; flusher->waiters.by_seq != NULL && i < flusher->sent.batch.entries_count;
         i++) {
        const struct batch_entry *entry = flusher->sent.batch.entries[i];
        struct request *requests = waiters_take(&flusher->waiters, entry->seq);
        flush_requests_answer(entry, requests);
        *tail = requests;
        while (*tail != NULL) {
            tail = &(*tail)->sibling;
        }
    }
}

// Nobody waits for the answer, but who repeats the write with its id is to get it.
static void withdraw_conflict(struct flusher *flusher, const struct batch_entry *entry)
{
    struct reply reply = {0};
    batch_reply(entry, &reply);
    struct retire_message *message =
        flush_report_make_retire(entry->seq, RETIRE_WITHDRAWN, &reply.failure, NULL);
    message->is_conflict = true;
    message->has_version = reply.failure.has_version;
    message->version = reply.failure.version;
    flush_report_post_retire(flusher, message);
}

// A condition that failed did nothing, and must do nothing when the entry is applied again after a
// failover. One that held before the failover and does not now has lost what it was decided on.
static void retire_conflicts(struct flusher *flusher)
{
    for (size_t i = 0; i < flusher->sent.batch.entries_count; i++) {
        const struct batch_entry *entry = flusher->sent.batch.entries[i];
        if (entry->is_retired || !batch_entry_conflicts(entry)) {
            continue;
        }
        struct failure failure = {0};
        bool is_reapplied = entry->seq <= flusher->reapplied.to_seq;
        if (!is_reapplied && waiters_has(&flusher->waiters, entry->seq)) {
            continue; // the writer sees the answer that it passes on
        }
        if (is_reapplied) {
            failure_note(&failure, ERROR_CONFLICT,
                         "lost in failover: the state that it was decided on is gone");
            LOG_ERROR("condition lost in failover", LOG_INT("seq", entry->seq));
            struct retire_message *message =
                flush_report_make_retire(entry->seq, RETIRE_DEAD_LETTER, &failure, NULL);
            parking_state_of_conflict(entry, message);
            flush_report_post_retire(flusher, message);
        } else {
            withdraw_conflict(flusher, entry);
        }
    }
}

static void mark_key(void *context, struct batch_op *last)
{
    fetcher_mark(context, last->key);
}

void flush_report_flushed(struct flusher *flusher, uint64_t applied_seq)
{
    struct worker *worker = flusher->worker;
    // Rule 4: a fetch that was sent before this commit may bring what stood there before.
    batch_visit_keys(&flusher->sent.batch, worker->fetcher, mark_key);
    retire_conflicts(flusher);
    size_t reapplied = reapplied_note(&flusher->reapplied, &flusher->sent.batch);
    status_add(worker->status, STATUS_OUTBOX_REAPPLIED, (int64_t)reapplied);
    struct flushed_message *flushed = batch_flushed(
        &flusher->sent.batch, applied_seq, flusher->sent.epoch, flusher->sent.feed_was_live);
    attach_requests(flusher, flushed);
    flush_requests_arm(flusher);
    flusher->phase = FLUSHER_SETTLING;
    worker_post(worker, &flushed->message);
    flush_batch_look_ahead(flusher);
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
    for (size_t i = 0; flusher->waiters.by_seq != NULL && i < flusher->sent.batch.entries_count;
         i++) {
        const struct batch_entry *entry = flusher->sent.batch.entries[i];
        struct request *requests = waiters_take(&flusher->waiters, entry->seq);
        flush_requests_answer(entry, requests);
        while (requests != NULL) {
            struct request *sibling = requests->sibling;
            request_finish(requests);
            requests = sibling;
        }
    }
    flush_batch_settled(flusher);
    flusher->has_lingered = true;
    flush_requests_finish(flusher);
    fetcher_on_applied(worker->fetcher);
    worker_update_state(worker);
    handshake_on_settled(worker->handshake);
}

static void on_retire_returned(struct flusher *flusher, struct retire_message *message)
{
    CHECK(flusher->retires_out > 0);
    flusher->retires_out--;
    bool is_settling = flusher->phase == FLUSHER_SETTLING &&
                       batch_find(&flusher->sent.batch, message->seq) != NULL;
    if (!is_settling) {
        struct request *late = waiters_take(&flusher->waiters, message->seq);
        struct failure failure = {0};
        enum error error = message->reason == RETIRE_CANCELLED
                               ? ERROR_TIMEOUT
                               : flush_requests_error_of(message->sqlstate);
        failure_note(&failure, error, "%s", message->text);
        memcpy(failure.sqlstate, message->sqlstate, sizeof failure.sqlstate);
        flush_requests_fill_failures(late, error, &failure);
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
    flusher_wake(flusher);
}
