// The two great transitions of the worker, ready and not ready, which every module hears of, and
// what others are told of them: the node's state, the refusal of a request. The pg worker's thread.
#include "pg/worker.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/words.h"
#include "pg/auditor.h"
#include "pg/backup.h"
#include "pg/checker.h"
#include "pg/feed.h"
#include "pg/fetcher.h"
#include "pg/flusher.h"
#include "pg/handshake.h"
#include "pg/historian.h"
#include "pg/janitor.h"
#include "pg/preloader.h"
#include "pg/scanner.h"
#include "pg/sqlstate.h"
#include "pg/sweeper.h"
#include "pg/table_stats.h"

static const char CRASH_SHUTDOWN[] = "57P02";

void worker_become_ready(struct worker *worker)
{
    CHECK(!worker->ready);
    worker->ready = true;
    worker->last_failure = (struct failure){0};
    worker->foreign_triggers = true; // until the flusher has looked
    worker->catch_up_seq = (uint64_t)status_get(worker->status, STATUS_OUTBOX_JOURNALED_SEQ);
    status_clear_errors(worker->status);
    LOG_INFO("ready", LOG_TEXT("table", worker->table),
             LOG_INT("applied_seq", worker->applied_seq));
    flusher_on_ready(worker->flusher);
    feed_start(worker->feed);
    fetcher_on_connected(worker->fetcher);
    sweeper_on_connected(worker->sweeper);
    scanner_on_connected(worker->scanner);
    checker_on_connected(worker->checker);
    table_stats_on_connected(worker->table_stats);
    backup_on_connected(worker->backup);
    historian_on_connected(worker->historian);
    janitor_on_connected(worker->janitor);
    auditor_on_connected(worker->auditor);
    worker_update_state(worker);
}

// Whether it is for an operator to mend what PostgreSQL says no to. A standby is not: while servers
// change their roles, the next attempt finds another.
static bool is_refusal(const char *sqlstate)
{
    static const char TRANSACTION_STATE[] = "25";
    return sqlstate_classify(sqlstate) != SQLSTATE_CONNECTION &&
           strncmp(sqlstate, TRANSACTION_STATE, strlen(TRANSACTION_STATE)) != 0;
}

void worker_become_unready(struct worker *worker, const struct failure *failure)
{
    struct failure reason = *failure;
    worker->ready = false;
    worker->last_failure = reason;
    status_set_error(worker->status, TROUBLE_SERVER, reason.sqlstate, reason.message);
    feed_stop(worker->feed, reason.message);
    flusher_on_unready(worker->flusher);
    status_set(worker->status, STATUS_PG_REFUSED, is_refusal(reason.sqlstate));
    fetcher_on_lost(worker->fetcher, &reason);
    sweeper_on_lost(worker->sweeper, &reason);
    scanner_on_lost(worker->scanner, &reason);
    checker_on_lost(worker->checker, &reason);
    table_stats_on_lost(worker->table_stats, &reason);
    backup_on_lost(worker->backup, &reason);
    historian_on_lost(worker->historian, &reason);
    janitor_on_lost(worker->janitor, &reason);
    auditor_on_lost(worker->auditor, &reason);
    preloader_on_lost(worker->preloader, &reason);
    worker_update_state(worker);
}

void worker_on_server_lost(struct worker *worker, const struct failure *failure)
{
    if (strcmp(failure->sqlstate, CRASH_SHUTDOWN) == 0) {
        LOG_WARNING("server crashed", LOG_TEXT("error", failure->message));
        handshake_on_crash(worker->handshake);
        // The crash took every backend with it, whether or not each of them could say so.
        handshake_restart(worker->handshake, failure->message);
    }
}

void worker_set_foreign_triggers(struct worker *worker, bool met)
{
    bool is_news = met && !worker->foreign_triggers;
    worker->foreign_triggers = met;
    if (is_news) {
        LOG_INFO("triggers of others found", LOG_TEXT("table", worker->table));
        // What they did under our name until now was heard as our own.
        feed_begin_epoch(worker->feed);
    }
}

void worker_on_swept(struct worker *worker)
{
    worker->is_swept = true;
    worker->swept_boot_us = clock_boot_us();
    LOG_INFO("swept", LOG_INT("epoch", worker->epoch));
    worker_update_state(worker);
    feed_on_swept(worker->feed);
    preloader_on_swept(worker->preloader);
    table_stats_on_quiet(worker->table_stats);
}

void worker_update_state(struct worker *worker)
{
    enum node_state state = NODE_LIVE;
    if (!worker->feed_live) {
        state = NODE_DISCONNECTED;
    } else if (!worker->is_swept || !flusher_has_reached(worker->flusher, worker->catch_up_seq)) {
        state = NODE_CATCHING_UP;
    }
    status_set(worker->status, STATUS_PG_STATE, state);
}

void worker_refuse(struct worker *worker, struct request *request)
{
    struct call_words words = call_words(&request->call);
    struct failure failure = worker->last_failure;
    if (failure.error == ERROR_NONE) {
        status_get_error(worker->status, &failure);
    }
    bool is_refused = failure.error != ERROR_NONE && is_refusal(failure.sqlstate);
    memcpy(request->reply.failure.sqlstate, failure.sqlstate, sizeof failure.sqlstate);
    if (is_refused) {
        request_fail(request, ERROR_REJECTED, "%s: %s", words.text, failure.message);
    } else {
        const char *why = failure.error == ERROR_NONE ? "not connected" : failure.message;
        request_fail(request, ERROR_UNAVAILABLE, "%s: no connection to PostgreSQL: %s", words.text,
                     why);
    }
}
