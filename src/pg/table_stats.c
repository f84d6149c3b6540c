// Runs on the pg worker's thread. One unit every few seconds: the size and the planner's estimate
// of the rows, both from the catalogs and cheap, the exact count while that is cheap as well, and
// how full the cluster's NOTIFY queue is.
#include "pg/table_stats.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/backup_sql.h"
#include "pg/notify_queue.h"
#include "pg/read_pool.h"
#include "pg/timer.h"

enum {
    EVERY_MIN_US = 4 * CLOCK_US_PER_S,
    EVERY_MAX_US = 9 * CLOCK_US_PER_S, // what is told is at most 10 s old
    PAUSES_PER_COUNT = 30,             // a count takes at most this part of the time
    COUNT_SLOW_US = 200 * CLOCK_US_PER_MS,
};

// Beyond the first it is worth a warning, until it has fallen below the second.
enum { QUEUE_PERCENT_HIGH = 50, QUEUE_PERCENT_LOW = 25 };

// Even a size takes a lock of the table; somebody's DDL is not to hold a connection meant for
// reads.
#define LOCK_TIMEOUT "SELECT set_config('lock_timeout', '100', true)"

// Counting is given up after this long, whatever statement_timeout is.
#define COUNT_TIMEOUT "SELECT set_config('statement_timeout', '1000', true)"

// The unit, in order. All of it is one transaction, since one Sync ends it.
enum { QUERY_LOCK_TIMEOUT, QUERY_SIZE, QUERY_COUNT_TIMEOUT, QUERY_COUNT, QUERIES };

struct table_stats {
    struct worker *worker;
    struct read_user user;
    struct event *timer; // pending: nothing is asked before it fires
    bool is_open;
    bool is_asking;
    bool is_counting; // the unit in flight has the count
    bool is_new;      // nothing was answered since it was connected
    bool gave_way;    // the last answer is without the count, which is still to come
    int64_t sent_boot_us;
    int64_t bytes;
    int64_t backups;
    int64_t rows; // the best that is known; -1: nothing
    int64_t estimate;
    int64_t count;
    int64_t slow_rows; // counting took too long at this estimate; 0: it did not
    int64_t queue_percent;
    bool queue_was_high;
};

// A count of all rows holds the connection that the sweep and the preload wait for. A feed that
// does not come is not waited for.
static bool gives_way(const struct table_stats *stats)
{
    const struct worker *worker = stats->worker;
    bool is_sweeping = !worker->is_swept && (worker->feed_live || stats->is_new);
    return is_sweeping || status_get(worker->status, STATUS_CACHE_PRELOADING) != 0;
}

static void publish(struct table_stats *stats, int64_t rows, int64_t bytes, int64_t backups)
{
    status_set(stats->worker->status, STATUS_PG_NOTIFY_QUEUE, rows < 0 ? -1 : stats->queue_percent);
    status_set(stats->worker->status, STATUS_TABLE_BACKUPS, backups);
    status_set(stats->worker->status, STATUS_PG_TABLE_ROWS, rows);
    status_set(stats->worker->status, STATUS_PG_TABLE_BYTES, bytes);
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    struct table_stats *stats = context;
    if (index == QUERY_SIZE) {
        stats->bytes = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        stats->estimate = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
        stats->backups = strtoll(PQgetvalue(result, 0, 2), NULL, 10);
        stats->queue_percent = strtoll(PQgetvalue(result, 0, 3), NULL, 10);
    } else if (index == QUERY_COUNT) {
        stats->count = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    }
}

// Long before it is full: nobody can write to the table then.
static void mind_queue(struct table_stats *stats)
{
    if (!stats->queue_was_high && stats->queue_percent >= QUEUE_PERCENT_HIGH) {
        LOG_WARNING("notify queue fills up", LOG_INT("percent", stats->queue_percent),
                    LOG_TEXT("remedy", "end the transaction of the session that listens;"
                                       " PostgreSQL's log names its process"));
        stats->queue_was_high = true;
    } else if (stats->queue_was_high && stats->queue_percent < QUEUE_PERCENT_LOW) {
        LOG_INFO("notify queue empties", LOG_INT("percent", stats->queue_percent));
        stats->queue_was_high = false;
    }
}

// What is told of the rows: where the count only comes later, not at once the estimate.
static int64_t rows_to_tell(const struct table_stats *stats)
{
    bool is_exact_soon = !stats->is_counting && stats->slow_rows == 0 && !stats->gave_way;
    return is_exact_soon ? status_get(stats->worker->status, STATUS_PG_TABLE_ROWS) : stats->rows;
}

static void take_answer(struct table_stats *stats, int64_t took_us)
{
    mind_queue(stats);
    stats->rows = stats->is_counting ? stats->count : stats->estimate;
    publish(stats, rows_to_tell(stats), stats->bytes, stats->backups);
    stats->gave_way = !stats->is_counting && stats->slow_rows == 0;
    bool was_slow = stats->is_counting && took_us > COUNT_SLOW_US;
    if (was_slow) {
        stats->slow_rows = stats->estimate > 0 ? stats->estimate : 1;
    }
    int64_t pause_us = took_us * PAUSES_PER_COUNT;
    pause_us = pause_us > EVERY_MIN_US ? pause_us : EVERY_MIN_US;
    pause_us = stats->gave_way && !gives_way(stats) ? 0 : pause_us;
    stats->is_new = false;
    timer_arm(stats->timer, pause_us < EVERY_MAX_US ? pause_us : EVERY_MAX_US);
}

static void take_refusal(struct table_stats *stats, const struct failure *failure)
{
    struct failure refusal = ask_refusal(failure);
    if (stats->is_counting && refusal.error == ERROR_TIMEOUT) {
        // At once again, without the count.
        stats->slow_rows = stats->estimate > 0 ? stats->estimate : 1;
        timer_arm(stats->timer, 0);
        return;
    }
    LOG_WARNING("table size refused", LOG_TEXT("sqlstate", failure->sqlstate),
                LOG_TEXT("error", failure->message));
    stats->rows = -1;
    publish(stats, -1, -1, -1);
    timer_arm(stats->timer, EVERY_MAX_US);
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct table_stats *stats = context;
    stats->is_asking = false;
    if (stats->is_open) {
        if (outcome == UNIT_OK) {
            take_answer(stats, clock_boot_us() - stats->sent_boot_us);
        } else if (outcome == UNIT_REFUSED) {
            take_refusal(stats, failure);
        } else {
            timer_arm(stats->timer, CLOCK_US_PER_S);
        }
    }
    read_pool_wake(stats->worker->read_pool);
}

// The table and its partitions; the rows of a page as at the last ANALYZE, or 50 where there was
// none.
static void add_size_sql(struct buffer *sql)
{
    buffer_printf(sql,
                  "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8,"
                  " coalesce(sum(pg_relation_size(c.oid) / current_setting('block_size')::int8"
                  " * CASE WHEN c.relpages > 0 AND c.reltuples >= 0"
                  " THEN c.reltuples / c.relpages ELSE 50 END), 0)::int8,"
                  " (" BACKUP_COUNT_SQL "),"
                  " " NOTIFY_QUEUE_PERCENT_SQL
                  " FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND (c.oid = $1::regclass"
                  " OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::regclass)))");
}

static void ask(struct table_stats *stats, struct conn *conn)
{
    const struct worker *worker = stats->worker;
    const char *table = worker->names.table; // worker->table may be a view
    const char *size_values[] = {table, worker->table_name.schema, worker->table_name.table};
    struct buffer size_sql = {0}, count_sql = {0};
    add_size_sql(&size_sql);
    buffer_printf(&count_sql, "SELECT count(*) FROM %s", stats->worker->table);
    const struct query queries[QUERIES] = {
        [QUERY_LOCK_TIMEOUT] = {.sql = LOCK_TIMEOUT},
        [QUERY_SIZE] =
            {
                .sql = buffer_text(&size_sql),
                .params_count = 3,
                .values = size_values,
            },
        [QUERY_COUNT_TIMEOUT] = {.sql = COUNT_TIMEOUT},
        [QUERY_COUNT] = {.sql = buffer_text(&count_sql)},
    };
    const struct unit unit = {
        .queries = queries,
        .queries_count = stats->is_counting ? QUERIES : QUERY_SIZE + 1,
        .context = stats,
        .on_result = on_result,
        .on_done = on_done,
    };
    stats->is_asking = true;
    stats->sent_boot_us = clock_boot_us();
    conn_send(conn, &unit);
    buffer_deinit(&size_sql);
    buffer_deinit(&count_sql);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct table_stats *stats = context;
    if (!stats->is_open || stats->is_asking || evtimer_pending(stats->timer, NULL)) {
        return false;
    }
    if (stats->estimate < stats->slow_rows / 2) {
        stats->slow_rows = 0;
    }
    stats->is_counting = stats->slow_rows == 0 && !gives_way(stats);
    ask(stats, conn);
    return true;
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct table_stats *stats = context;
    read_pool_wake(stats->worker->read_pool);
}

void table_stats_on_connected(struct table_stats *stats)
{
    stats->is_open = true;
    stats->is_new = true;
    read_pool_wake(stats->worker->read_pool);
}

void table_stats_on_lost(struct table_stats *stats, const struct failure *failure)
{
    (void)failure;
    stats->is_open = false;
    CHECK(evtimer_del(stats->timer) == 0);
    stats->rows = -1;
    stats->gave_way = false;
    publish(stats, -1, -1, -1);
}

void table_stats_on_quiet(struct table_stats *stats)
{
    if (stats->is_open && stats->gave_way && !stats->is_asking) {
        CHECK(evtimer_del(stats->timer) == 0);
        read_pool_wake(stats->worker->read_pool);
    }
}

int64_t table_stats_rows(const struct table_stats *stats)
{
    return stats->rows;
}

struct table_stats *table_stats_create(struct worker *worker)
{
    struct table_stats *stats = memory_zeroed(1, sizeof *stats);
    stats->worker = worker;
    stats->rows = -1;
    stats->timer = timer_new(worker->base, on_timer, stats);
    stats->user = (struct read_user){.is_bulk = true, .context = stats, .on_idle = on_idle};
    read_pool_join(worker->read_pool, &stats->user);
    return stats;
}

void table_stats_destroy(struct table_stats *stats)
{
    if (stats == NULL) {
        return;
    }
    stats->is_open = false;
    read_pool_leave(stats->worker->read_pool, &stats->user);
    timer_free(stats->timer);
    free(stats);
}
