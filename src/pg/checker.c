// Runs on the pg worker's thread. A check is a request on its way through a few questions to
// PostgreSQL; what does not depend on them (the state of the feed, the flush, the disks) is added
// when it ends, however it ends: a check is answered with what is wrong, hardly ever with an error.
#include "pg/checker.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/janitor.h"
#include "pg/notify_queue.h"
#include "pg/read_pool.h"
#include "pg/timer.h"

// Beyond the first a request is OVERLOADED; items beyond the second are left out.
enum { CHECKS_MAX = 64, ITEMS_MAX = 64 };

// To PostgreSQL: the server, the NOTIFY queue, what the layout looks at first, the schema.
enum { QUESTIONS_MAX = 4 };

enum { TEXT_BYTES = FAILURE_MESSAGE_BYTES + 128 };

// How long a finding of the audit makes the check fail.
#define AUDIT_RECENT_US (3600LL * CLOCK_US_PER_S)

struct check {
    struct check *prev;
    struct check *next;
    struct checker *checker;
    struct request *request; // NULL: finished while its unit is in flight
    struct event *deadline;
    bool is_asking;
    int handshake_pid; // of the connection that asks
};

struct checker {
    struct worker *worker;
    struct read_user user;
    struct check *checks; // utlist
    size_t checks_count;
};

// ---- Items

static void add(struct request *request, const char *item, bool ok, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add(struct request *request, const char *item, bool ok, const char *format, ...)
{
    struct reply *reply = &request->reply;
    char text[TEXT_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (reply->checks == NULL) {
        reply->checks = arena_alloc(&reply->arena, ITEMS_MAX * sizeof *reply->checks);
    }
    if (reply->checks_count < ITEMS_MAX) {
        reply->checks[reply->checks_count++] = (struct check_item){
            .item = arena_copy(&reply->arena, slice_of_string(item)),
            .ok = ok,
            .message = arena_copy(&reply->arena, slice_of_string(text)),
        };
    }
}

static void add_feed(struct worker *worker, struct request *request)
{
    struct failure failure = {0};
    int64_t round_trip_us = status_get(worker->status, STATUS_PG_ROUND_TRIP_US);
    if (worker->feed_live) {
        add(request, "notify", true, "a notification comes back in %.1f ms",
            (double)round_trip_us / CLOCK_US_PER_MS);
    } else if (worker->ready && status_get_error_of(worker->status, TROUBLE_FEED, &failure)) {
        add(request, "notify", false, "%s", failure.message);
    } else if (worker->ready) {
        add(request, "notify", false,
            "no notification comes back (through a transaction pooler none does: name the server"
            " itself in postgres.listen_url)");
    } else {
        add(request, "notify", false, "not connected");
    }
}

static void add_flush(struct worker *worker, struct request *request)
{
    struct failure failure = {0};
    int64_t depth = status_get(worker->status, STATUS_OUTBOX_DEPTH);
    bool has_error = status_get_flush_error(worker->status, &failure);
    bool is_flushing = status_get(worker->status, STATUS_PG_FLUSHABLE) == 1;
    if (is_flushing && !has_error) {
        add(request, "flush", true, "%" PRId64 " writes wait", depth);
    } else {
        add(request, "flush", false, "%" PRId64 " writes wait: %s", depth,
            has_error ? failure.message : "the flush connection is being made");
    }
}

static void add_audit(struct worker *worker, struct request *request)
{
    int64_t compared = status_get(worker->status, STATUS_CACHE_AUDIT_COMPARED);
    int64_t stale = status_get(worker->status, STATUS_CACHE_AUDIT_STALE);
    int64_t last_us = status_get(worker->status, STATUS_CACHE_AUDIT_STALE_AT_US);
    bool is_recent = last_us > 0 && clock_real_us() - last_us < AUDIT_RECENT_US;
    if (worker_audit_rate(worker) == 0) {
        add(request, "audit", true, "off: cache.audit_rate is 0");
    } else if (stale == 0) {
        add(request, "audit", true, "%" PRId64 " records compared, none stale", compared);
    } else {
        add(request, "audit", !is_recent,
            "%" PRId64 " of %" PRId64 " records compared were stale, the last %" PRId64
            " s ago: see \"stale record found\" in the log",
            stale, compared, (clock_real_us() - last_us) / CLOCK_US_PER_S);
    }
}

static void add_expiry(struct worker *worker, struct request *request)
{
    struct failure failure = {0};
    if (worker->settings->expiry.reap_every_us == 0) {
        add(request, "expiry", true, "left to other nodes: expiry.reap_every is 0");
    } else if (janitor_cannot_reap(worker->janitor, &failure)) {
        add(request, "expiry", false, "%s", failure.message);
    } else {
        add(request, "expiry", true, "%" PRId64 " expired rows removed by this node",
            status_get(worker->status, STATUS_PG_REAPED));
    }
}

static void add_no_connection(struct worker *worker, struct request *request)
{
    const struct failure *failure = &worker->last_failure;
    bool is_refused = status_get(worker->status, STATUS_PG_REFUSED) == 1;
    add(request, "connection", false, "%s: %s",
        is_refused ? "PostgreSQL refuses this node" : "no connection to PostgreSQL",
        failure->error == ERROR_NONE ? "not connected" : failure->message);
}

// ---- The end of a check

static void free_check(struct check *check)
{
    struct checker *checker = check->checker;
    CHECK(!check->is_asking && check->request == NULL);
    DL_DELETE(checker->checks, check);
    checker->checks_count--;
    free(check);
}

static struct request *take_request(struct check *check)
{
    struct request *request = check->request;
    check->request = NULL;
    timer_free(check->deadline);
    if (!check->is_asking) {
        free_check(check);
    }
    return request;
}

// Adds what is known without asking.
static void finish(struct worker *worker, struct request *request)
{
    add_feed(worker, request);
    add_flush(worker, request);
    add_audit(worker, request);
    add_expiry(worker, request);
    worker->cache.check(worker->cache.cache, &request->reply);
    request_finish(request);
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct check *check = context;
    struct worker *worker = check->checker->worker;
    add(check->request, "connection", false, "PostgreSQL did not answer within %" PRId64 " ms",
        check->request->call.timeout_ms);
    finish(worker, take_request(check));
}

// ---- Answers

static const char SERVER_SQL[] =
    "SELECT current_setting('server_version'), current_database(), current_user,"
    " pg_is_in_recovery(), pg_backend_pid()";

enum { COLUMN_VERSION, COLUMN_DATABASE, COLUMN_USER, COLUMN_STANDBY, COLUMN_PID };

static void take_server(const struct check *check, const PGresult *result)
{
    struct request *request = check->request;
    bool is_standby = *PQgetvalue(result, 0, COLUMN_STANDBY) == 't';
    int pid = (int)strtol(PQgetvalue(result, 0, COLUMN_PID), NULL, 10);
    add(request, "connection", true, "PostgreSQL %s, database \"%s\" as \"%s\"",
        PQgetvalue(result, 0, COLUMN_VERSION), PQgetvalue(result, 0, COLUMN_DATABASE),
        PQgetvalue(result, 0, COLUMN_USER));
    add(request, "primary", !is_standby, "%s",
        is_standby ? "the server is a standby and takes no writes" : "the server is the primary");
    if (pid == check->handshake_pid) {
        add(request, "pooler", true, "none in between");
    } else {
        // LISTEN may go around it (postgres.listen_url), or it may pool whole sessions.
        bool is_heard = check->checker->worker->feed_live;
        add(request, "pooler", is_heard, "a pooler is in between; notifications %s",
            is_heard ? "are heard"
                     : "are not heard: name the server itself in postgres.listen_url");
    }
}

static void take_items(struct request *request, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        bool ok = *PQgetvalue(result, i, 1) == 't';
        add(request, PQgetvalue(result, i, 0), ok, "%s", PQgetvalue(result, i, 2));
    }
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    struct check *check = context;
    if (check->request == NULL) {
        return;
    }
    if (index == 0) {
        take_server(check, result);
    } else if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        take_items(check->request, result);
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct check *check = context;
    struct worker *worker = check->checker->worker;
    check->is_asking = false;
    if (check->request == NULL) {
        free_check(check);
    } else {
        if (outcome == UNIT_REFUSED) {
            add(check->request, "schema", false, "%s", failure->message);
        } else if (outcome == UNIT_LOST) {
            add(check->request, "connection", false, "the connection was lost: %s",
                failure->message);
        }
        finish(worker, take_request(check));
    }
    read_pool_wake(worker->read_pool);
}

// ---- Questions

static void ask(struct check *check, struct conn *conn)
{
    const struct worker *worker = check->checker->worker;
    const struct layout *layout = layout_of(&worker->schema);
    struct buffer schema_sql = {0}, probe_sql = {0};
    layout->check_sql(&worker->schema, &schema_sql);
    struct query queries[QUESTIONS_MAX] = {{.sql = SERVER_SQL}, {.sql = NOTIFY_QUEUE_CHECK_SQL}};
    size_t count = 2;
    if (layout->probe_sql != NULL) {
        layout->probe_sql(&worker->schema, &probe_sql);
        queries[count++].sql = buffer_text(&probe_sql);
    }
    queries[count++].sql = buffer_text(&schema_sql);
    const struct unit unit = {
        .queries = queries,
        .queries_count = count,
        .context = check,
        .on_result = on_result,
        .on_done = on_done,
    };
    check->is_asking = true;
    check->handshake_pid = conn_backend_pid(conn);
    conn_send(conn, &unit);
    buffer_deinit(&schema_sql);
    buffer_deinit(&probe_sql);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct checker *checker = context;
    struct check *check;
    DL_FOREACH(checker->checks, check)
    {
        if (!check->is_asking) {
            ask(check, conn);
            return true;
        }
    }
    return false;
}

// PostgreSQL cannot be asked: all that wait are answered without.
static void answer_without(struct checker *checker)
{
    struct check *check, *following;
    DL_FOREACH_SAFE(checker->checks, check, following)
    {
        if (check->request != NULL) {
            struct request *request = take_request(check);
            add_no_connection(checker->worker, request);
            finish(checker->worker, request);
        }
    }
}

static void on_down(void *context, const struct failure *failure)
{
    (void)failure;
    answer_without(context);
}

void checker_request(struct checker *checker, struct request *request)
{
    CHECK(request->call.method == METHOD_CHECK);
    struct worker *worker = checker->worker;
    const struct failure *down = read_pool_down(worker->read_pool);
    if (!worker->ready) {
        add_no_connection(worker, request);
        finish(worker, request);
    } else if (down != NULL) {
        add(request, "connection", false, "no connection for reading: %s", down->message);
        finish(worker, request);
    } else if (checker->checks_count >= CHECKS_MAX) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_OVERLOADED, "too many checks wait for PostgreSQL");
        ask_fail(request, &failure);
    } else {
        struct check *check = memory_zeroed(1, sizeof *check);
        check->checker = checker;
        check->request = request;
        DL_APPEND(checker->checks, check);
        checker->checks_count++;
        check->deadline = timer_new(worker->base, on_deadline, check);
        timer_arm(check->deadline, request->deadline_boot_us - clock_boot_us());
        read_pool_wake(worker->read_pool);
    }
}

// ---- Its life

void checker_on_connected(struct checker *checker)
{
    read_pool_wake(checker->worker->read_pool);
}

void checker_on_lost(struct checker *checker, const struct failure *failure)
{
    (void)failure; // worker->last_failure
    answer_without(checker);
}

void checker_refuse_all(struct checker *checker, const struct failure *failure)
{
    struct check *check, *following;
    DL_FOREACH_SAFE(checker->checks, check, following)
    {
        if (check->request != NULL) {
            ask_fail(take_request(check), failure);
        }
    }
}

struct checker *checker_create(struct worker *worker)
{
    struct checker *checker = memory_zeroed(1, sizeof *checker);
    checker->worker = worker;
    checker->user = (struct read_user){
        .is_bulk = true,
        .context = checker,
        .on_idle = on_idle,
        .on_down = on_down,
    };
    read_pool_join(worker->read_pool, &checker->user);
    return checker;
}

void checker_destroy(struct checker *checker)
{
    if (checker == NULL) {
        return;
    }
    read_pool_leave(checker->worker->read_pool, &checker->user);
    CHECK_VALUES(checker->checks_count == 0, "%zu requests", checker->checks_count);
    free(checker);
}
