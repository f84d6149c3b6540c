// One job of backup_sql.h on a connection of its own, which is made for it and closed after it: a
// backup takes as long as it takes, and neither misses nor heartbeats wait behind it.
//
// postgres.statement_timeout does not count here; the order's own timeout does, in PostgreSQL, so
// that a job that ran out of time has done nothing. The pg worker's thread.
#pragma once

#include "pg/backup_sql.h"
#include "pg/worker.h"

struct backup_task;

// How a job ended; valid during the call.
struct backup_end {
    const struct failure *failure; // NULL: done. The message has no words of the request's yet
    const struct backup_result *results;
    size_t results_count;
    int64_t took_us;
};

struct backup_task_options {
    struct worker *worker;
    struct backup_order order; // copied
    void *context;
    // Called exactly once, never from within backup_task_start. It may start other tasks; it may
    // not destroy this one.
    void (*on_end)(void *context, struct backup_task *task, const struct backup_end *end);
};

// Starts connecting. The caller destroys it.
struct backup_task *backup_task_start(const struct backup_task_options *options);
// After on_end, and not from one of its callbacks.
void backup_task_destroy(struct backup_task *task);

// The connection is closed and on_end hears `failure`; or OUTCOME_UNKNOWN, where the job may have
// been done all the same. Nothing where it has ended.
void backup_task_abandon(struct backup_task *task, const struct failure *failure);
