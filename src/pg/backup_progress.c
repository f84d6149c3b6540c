#include "pg/backup_progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/backup_sql.h"
#include "pg/read_pool.h"
#include "pg/timer.h"

enum { EVERY_US = CLOCK_US_PER_S };

// Of the copies under this name the one that has come furthest; 0 where none has told.
static const char QUERY[] =
    "SELECT coalesce(max(substr(application_name, length($1) + 1)::int8), 0)"
    " FROM pg_catalog.pg_stat_activity"
    " WHERE left(application_name, length($1)) = $1"
    " AND substr(application_name, length($1) + 1) ~ '^[0-9]{1,18}$'";

struct backup_progress {
    struct worker *worker;
    struct read_user user;
    struct event *timer; // pending: nothing is asked before it fires
    char name[BACKUP_PROGRESS_BYTES];
    size_t jobs_count;
    bool is_asking;
};

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct backup_progress *progress = context;
    int64_t rows = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    if (progress->jobs_count > 0) {
        status_set(progress->worker->status, STATUS_PG_BACKUP_ROWS, rows);
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    (void)outcome; // what was refused or lost is asked again a second later
    (void)failure;
    struct backup_progress *progress = context;
    progress->is_asking = false;
    if (progress->jobs_count > 0) {
        timer_arm(progress->timer, EVERY_US);
    }
    read_pool_wake(progress->worker->read_pool);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct backup_progress *progress = context;
    if (progress->jobs_count == 0 || progress->is_asking ||
        evtimer_pending(progress->timer, NULL)) {
        return false;
    }
    const char *values[] = {progress->name};
    const struct query query = {.sql = QUERY, .params_count = 1, .values = values};
    const struct unit unit = {
        .queries = &query,
        .queries_count = 1,
        .context = progress,
        .on_result = on_result,
        .on_done = on_done,
    };
    progress->is_asking = true;
    conn_send(conn, &unit);
    return true;
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct backup_progress *progress = context;
    read_pool_wake(progress->worker->read_pool);
}

const char *backup_progress_name(const struct backup_progress *progress)
{
    return progress->name;
}

void backup_progress_begin(struct backup_progress *progress)
{
    status_add(progress->worker->status, STATUS_PG_BACKUP_JOBS, 1);
    if (progress->jobs_count++ == 0) {
        timer_arm(progress->timer, EVERY_US);
    }
}

void backup_progress_end(struct backup_progress *progress)
{
    CHECK(progress->jobs_count > 0);
    progress->jobs_count--;
    status_add(progress->worker->status, STATUS_PG_BACKUP_JOBS, -1);
    status_set(progress->worker->status, STATUS_PG_BACKUP_ROWS, 0);
}

struct backup_progress *backup_progress_create(struct worker *worker)
{
    struct backup_progress *progress = memory_zeroed(1, sizeof *progress);
    progress->worker = worker;
    uint64_t number;
    evutil_secure_rng_get_bytes(&number, sizeof number);
    snprintf(progress->name, sizeof progress->name, "pgnear backup %016" PRIx64 " rows ", number);
    progress->timer = timer_new(worker->base, on_timer, progress);
    progress->user = (struct read_user){.is_bulk = true, .context = progress, .on_idle = on_idle};
    read_pool_join(worker->read_pool, &progress->user);
    return progress;
}

void backup_progress_destroy(struct backup_progress *progress)
{
    if (progress == NULL) {
        return;
    }
    progress->jobs_count = 0;
    read_pool_leave(progress->worker->read_pool, &progress->user);
    timer_free(progress->timer);
    free(progress);
}
