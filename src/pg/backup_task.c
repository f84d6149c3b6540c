#include "pg/backup_task.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"

// Codes that say no more than: not now. What was refused for them is rolled back.
static const char *const LATER_CODES[] = {
    "57014", // query_canceled: the timeout
    "55P03", // lock_not_available
    "40P01", // deadlock_detected
    "40001", // serialization_failure
};

struct backup_task {
    struct backup_task_options options;
    struct backup_sql sql;
    struct conn *conn;
    bool is_sent;
    bool is_over;
    int64_t sent_boot_us;
    struct backup_result *results;
    size_t results_count;
};

static bool changes_something(const struct backup_task *task)
{
    return task->options.order.job != BACKUP_LIST;
}

static void end(struct backup_task *task, const struct failure *failure)
{
    if (task->is_over) {
        return;
    }
    task->is_over = true;
    const struct backup_end outcome = {
        .failure = failure,
        .results = task->results,
        .results_count = task->results_count,
        .took_us = task->is_sent ? clock_boot_us() - task->sent_boot_us : 0,
    };
    task->options.on_end(task->options.context, task, &outcome);
}

// What it means that the connection went with the job on it.
static struct failure lost(const struct backup_task *task, const struct failure *cause)
{
    struct failure failure = {0};
    if (!changes_something(task)) {
        return ask_no_connection(cause);
    }
    failure_note(
        &failure, ERROR_OUTCOME_UNKNOWN,
        "the connection to PostgreSQL was lost on the way, it may have been done or not: %s",
        cause->message);
    return failure;
}

static struct failure refused(const struct failure *refusal)
{
    for (size_t i = 0; i < sizeof LATER_CODES / sizeof *LATER_CODES; i++) {
        if (strcmp(refusal->sqlstate, LATER_CODES[i]) == 0) {
            struct failure failure = *refusal;
            failure.error = ERROR_TIMEOUT;
            return failure;
        }
    }
    return ask_refusal(refusal);
}

// ---- The connection

static void on_result(void *context, size_t index, const PGresult *result)
{
    struct backup_task *task = context;
    if (index != BACKUP_RESULT_QUERY) {
        return;
    }
    size_t count = (size_t)PQntuples(result);
    task->results = memory_zeroed(count > 0 ? count : 1, sizeof *task->results);
    task->results_count = count;
    for (size_t i = 0; i < count; i++) {
        backup_sql_take(result, (int)i, &task->results[i]);
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct backup_task *task = context;
    struct failure told = {0};
    if (outcome == UNIT_LOST) {
        told = lost(task, failure);
    } else if (outcome == UNIT_REFUSED) {
        told = refused(failure);
    }
    end(task, outcome == UNIT_OK ? NULL : &told);
}

static void on_connected(void *context)
{
    struct backup_task *task = context;
    if (task->is_over) {
        return;
    }
    const struct unit unit = {
        .queries = task->sql.queries,
        .queries_count = BACKUP_QUERIES_COUNT,
        .context = task,
        .on_result = on_result,
        .on_done = on_done,
    };
    task->is_sent = true;
    task->sent_boot_us = clock_boot_us();
    conn_send(task->conn, &unit);
}

// One attempt: whoever asked may ask again.
static void on_lost(void *context, const struct failure *failure)
{
    struct backup_task *task = context;
    struct failure told = ask_no_connection(failure);
    end(task, &told);
    worker_on_server_lost(task->options.worker, failure);
}

// ---- Life

struct backup_task *backup_task_start(const struct backup_task_options *options)
{
    struct worker *worker = options->worker;
    struct backup_task *task = memory_zeroed(1, sizeof *task);
    task->options = *options;
    task->options.order.table = worker->table_name;
    memcpy(task->options.order.open, worker->names.open, sizeof task->options.order.open);
    task->options.order.server_started_us = worker->server.start.started_us;
    backup_sql_init(&task->sql, &task->options.order);
    struct conn_options conn_options = worker_conn_options(worker, "backup");
    conn_options.statement_timeout_us = 0;
    conn_options.context = task;
    conn_options.on_connected = on_connected;
    conn_options.on_lost = on_lost;
    task->conn = conn_create(&conn_options);
    conn_open(task->conn);
    return task;
}

void backup_task_abandon(struct backup_task *task, const struct failure *failure)
{
    // A job on its way ends by this as LOST.
    conn_close(task->conn);
    end(task, failure);
}

void backup_task_destroy(struct backup_task *task)
{
    CHECK(task->is_over);
    conn_destroy(task->conn);
    free(task->results);
    free(task);
}
