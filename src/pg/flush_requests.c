#include "pg/flush_requests.h"

#include <string.h>

#include "base/clock.h"
#include "base/words.h"
#include "pg/backup.h"
#include "pg/batch_outcome.h"
#include "pg/flush_report.h"
#include "pg/timer.h"

// A caller who waits makes a stopped flush try again at least this soon.
enum { STOPPED_PAUSE_US = 100 * CLOCK_US_PER_MS };

void flush_requests_arm(struct flusher *flusher)
{
    int64_t next = flusher->waiters.next_deadline_boot_us;
    if (next == INT64_MAX) {
        timer_disarm(flusher->deadline_timer);
        return;
    }
    int64_t delay_us = next - clock_boot_us();
    // Not for every one of many that are microseconds apart.
    timer_arm(flusher->deadline_timer, delay_us < CLOCK_US_PER_MS ? CLOCK_US_PER_MS : delay_us);
}

static void fail_unknown(struct flusher *flusher, struct request *request)
{
    struct failure why = {0};
    bool has_reason = status_get_flush_error(flusher->worker->status, &why);
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
    bool has_reason = status_get_flush_error(worker->status, &why);
    struct failure failure = {0};
    if (is_connected) {
        failure_note(&failure, ERROR_TIMEOUT, "%s up to %llu: %llu is reached%s%s",
                     is_flush ? "Failed to flush" : "the outbox was not flushed in time",
                     (unsigned long long)request->after_seq,
                     (unsigned long long)worker->applied_seq, has_reason ? ": " : "",
                     has_reason ? why.message : "");
    } else {
        failure_note(&failure, ERROR_UNAVAILABLE, "no connection to PostgreSQL: %s",
                     has_reason ? why.message : "not connected");
    }
    if (is_flush) {
        request_fail(request, failure.error, "%s", failure.message);
    } else {
        backup_fail(worker->backup, request, &failure);
    }
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

void flush_requests_finish(struct flusher *flusher)
{
    struct request *request = waiters_take_flushes(&flusher->waiters, flusher_done_seq(flusher));
    while (request != NULL) {
        struct request *sibling = request->sibling;
        finish_flush(flusher, request);
        request = sibling;
    }
}

enum error flush_requests_error_of(const char *sqlstate)
{
    return strcmp(sqlstate, SCHEMA_SQLSTATE_TOO_LARGE) == 0 ? ERROR_TOO_LARGE : ERROR_REJECTED;
}

void flush_requests_fill_failures(struct request *requests, enum error error,
                                  const struct failure *failure)
{
    for (struct request *request = requests; request != NULL; request = request->sibling) {
        struct call_words words = call_words(&request->call);
        failure_note(&request->reply.failure, error, "%s: %s", words.text, failure->message);
        memcpy(request->reply.failure.sqlstate, failure->sqlstate, sizeof failure->sqlstate);
        request->reply.failure.has_version = failure->has_version;
        request->reply.failure.version = failure->version;
    }
}

void flush_requests_answer(const struct batch_entry *entry, struct request *requests)
{
    for (struct request *request = requests; request != NULL; request = request->sibling) {
        if (entry->returns) {
            batch_reply(entry, &request->reply);
        } else {
            request->reply.seq = entry->seq;
        }
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
        failure_note(&failure, ERROR_TIMEOUT, "not sent to PostgreSQL in time; nothing was done");
        request->sibling = NULL;
        flush_requests_fill_failures(request, ERROR_TIMEOUT, &failure);
        flush_report_retire(flusher, request->seq, RETIRE_CANCELLED, &failure, request);
    } else {
        fail_unknown(flusher, request);
    }
}

void flush_requests_expire(struct flusher *flusher)
{
    struct request *request = waiters_take_expired(&flusher->waiters, clock_boot_us());
    while (request != NULL) {
        struct request *sibling = request->sibling;
        expire(flusher, request);
        request = sibling;
    }
    flush_requests_arm(flusher);
}

void flusher_request(struct flusher *flusher, struct request *request)
{
    if (method_flushes(request->call.method) && request->after_seq <= flusher_done_seq(flusher)) {
        finish_flush(flusher, request);
        return;
    }
    if (!method_flushes(request->call.method) && request->seq <= flusher->worker->applied_seq) {
        // Its entry was flushed by an earlier life of this daemon.
        fail_unknown(flusher, request);
        return;
    }
    waiters_add(&flusher->waiters, request);
    flush_requests_arm(flusher);
    if (flusher->is_stopped && !method_flushes(request->call.method)) {
        flusher_pause_at_most(flusher, STOPPED_PAUSE_US);
    }
}

void flush_requests_fail_all(struct flusher *flusher)
{
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
