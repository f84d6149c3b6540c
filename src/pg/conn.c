// A connection as a small state machine around libpq; the pg worker's thread runs it, and it owns
// the PGconn, its events and its timer.
//
// A callback may close, fail or reopen the connection it is called from. So every object of libpq
// is freed in one place (drop), which also counts `life` up, and whoever has called a callback
// looks at `life` before it touches the PGconn again.
#include "pg/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/conn_params.h"
#include "pg/retry.h"

// A connection that lived this long makes the next backoff start from its shortest pause.
enum { STEADY_US = 5 * CLOCK_US_PER_S };

// What the pipeline or the script in flight is for.
enum errand { ERRAND_NONE, ERRAND_PREPARE, ERRAND_UNIT, ERRAND_ROLLBACK };

struct conn {
    struct conn_options options;
    enum conn_state state;
    unsigned life; // counts the PGconns that were freed
    PGconn *pg;
    struct event *read_event;
    struct event *write_event;
    struct event *timer;  // the end of the pause, or of the patience with a server
    struct event *failer; // ends a connection that broke while a call was on the stack
    struct retry retry;
    unsigned turn;      // how many servers of the list the next attempt begins behind
    char server[256];   // that the attempt is busy with
    bool was_connected; // in this life
    struct failure
        farewell; // what the server said before it hung up; .error == ERROR_NONE: nothing
    bool reading; // false: back-pressure
    int64_t connected_boot_us;
    char last_error[FAILURE_MESSAGE_BYTES];
    // The unit or script in flight:
    enum errand errand;
    struct unit unit;
    bool pipelined;
    bool refused;
    bool saw_result; // of query `index`
    size_t index;
    struct failure failure; // why it was refused
};

static void on_timer(evutil_socket_t fd, short events, void *context);
static void on_failer(evutil_socket_t fd, short events, void *context);
static void on_ready(evutil_socket_t fd, short events, void *context);
static void lose(struct conn *conn, const struct failure *failure);
static void drop(struct conn *conn, const struct failure *failure, enum conn_state next);

static const char *const STATE_NAMES[] = {
    [CONN_CLOSED] = "closed",       [CONN_WAITING] = "waiting", [CONN_CONNECTING] = "connecting",
    [CONN_PREPARING] = "preparing", [CONN_IDLE] = "idle",       [CONN_BUSY] = "busy",
};

// The one place where the state changes.
static void set_state(struct conn *conn, enum conn_state state)
{
    static const unsigned MAY_FOLLOW[] = {
        [CONN_CLOSED] = 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_WAITING] = 1U << CONN_CONNECTING | 1U << CONN_CLOSED,
        [CONN_CONNECTING] = 1U << CONN_PREPARING | 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_PREPARING] = 1U << CONN_IDLE | 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_IDLE] = 1U << CONN_BUSY | 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_BUSY] = 1U << CONN_IDLE | 1U << CONN_WAITING | 1U << CONN_CLOSED,
    };
    CHECK_VALUES((MAY_FOLLOW[conn->state] & 1U << state) != 0, "%s: %s to %s", conn->options.name,
                 STATE_NAMES[conn->state], STATE_NAMES[state]);
    conn->state = state;
}

struct conn *conn_create(const struct conn_options *options)
{
    struct conn *conn = memory_zeroed(1, sizeof *conn);
    conn->options = *options;
    conn->reading = true;
    conn->timer = evtimer_new(options->base, on_timer, conn);
    conn->failer = evtimer_new(options->base, on_failer, conn);
    CHECK(conn->timer != NULL && conn->failer != NULL);
    return conn;
}

void conn_destroy(struct conn *conn)
{
    conn_close(conn);
    event_free(conn->timer);
    event_free(conn->failer);
    free(conn);
}

// Why a connection that broke did: the server's own last words, or libpq's.
static struct failure broken(struct conn *conn)
{
    if (conn->farewell.error != ERROR_NONE) {
        return conn->farewell;
    }
    struct failure failure = {0};
    if (conn->refused && strncmp(conn->failure.sqlstate, "57", 2) == 0) {
        failure = conn->failure;
        failure.error = ERROR_UNAVAILABLE;
        return failure;
    }
    char line[FAILURE_MESSAGE_BYTES];
    conn_one_line(PQerrorMessage(conn->pg), line, sizeof line);
    failure_set(&failure, ERROR_UNAVAILABLE, "%s",
                line[0] == '\0' ? "the connection was closed" : line);
    return failure;
}

// ---- Connecting

static void arm_timer(struct conn *conn, int64_t delay_us)
{
    struct timeval delay = {
        .tv_sec = delay_us / CLOCK_US_PER_S,
        .tv_usec = delay_us % CLOCK_US_PER_S,
    };
    CHECK(evtimer_add(conn->timer, &delay) == 0);
}

static void free_events(struct conn *conn)
{
    if (conn->read_event != NULL) {
        event_free(conn->read_event);
        event_free(conn->write_event);
        conn->read_event = NULL;
        conn->write_event = NULL;
    }
}

// Waits for the socket that libpq has now: it changes from one server, and from one step of the
// handshake, to the next.
static void watch_socket(struct conn *conn, bool read, bool write)
{
    int fd = PQsocket(conn->pg);
    CHECK(fd >= 0);
    if (conn->read_event == NULL || event_get_fd(conn->read_event) != fd) {
        free_events(conn);
        conn->read_event = event_new(conn->options.base, fd, EV_READ | EV_PERSIST, on_ready, conn);
        conn->write_event =
            event_new(conn->options.base, fd, EV_WRITE | EV_PERSIST, on_ready, conn);
        CHECK(conn->read_event != NULL && conn->write_event != NULL);
    }
    CHECK((read ? event_add(conn->read_event, NULL) : event_del(conn->read_event)) == 0);
    CHECK((write ? event_add(conn->write_event, NULL) : event_del(conn->write_event)) == 0);
}

// Notices are for people, but for those of class 57: the server is about to hang up, and says why.
static void on_notice(void *context, const PGresult *result)
{
    struct conn *conn = context;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (sqlstate != NULL && words != NULL && strncmp(sqlstate, "57", 2) == 0) {
        char line[FAILURE_MESSAGE_BYTES];
        conn_one_line(words, line, sizeof line);
        failure_set(&conn->farewell, ERROR_UNAVAILABLE, "%s", line);
        snprintf(conn->farewell.sqlstate, sizeof conn->farewell.sqlstate, "%s", sqlstate);
    }
}

// Each server of the list has the whole of connect_timeout.
static void mind_server(struct conn *conn)
{
    char server[sizeof conn->server];
    const char *host = PQhost(conn->pg), *port = PQport(conn->pg);
    snprintf(server, sizeof server, "%s %s %d", host == NULL ? "" : host, port == NULL ? "" : port,
             PQsocket(conn->pg));
    if (strcmp(server, conn->server) != 0) {
        memcpy(conn->server, server, sizeof server);
        arm_timer(conn, conn->options.connect_timeout_us);
    }
}

static void start_unit(struct conn *conn, enum errand errand, bool pipelined)
{
    conn->errand = errand;
    conn->pipelined = pipelined;
    conn->index = 0;
    conn->saw_result = false;
}

static void fail_later(struct conn *conn)
{
    event_active(conn->failer, EV_TIMEOUT, 1);
}

// Sends what libpq has buffered and waits for what the socket allows.
static void flush_output(struct conn *conn)
{
    int left = PQflush(conn->pg);
    if (left < 0 || PQsocket(conn->pg) < 0) {
        fail_later(conn);
        return;
    }
    watch_socket(conn, conn->reading || conn->errand != ERRAND_NONE, left == 1);
}

static void send_script(struct conn *conn, const char *script)
{
    if (PQsendQuery(conn->pg, script) != 1) {
        fail_later(conn);
        return;
    }
    flush_output(conn);
}

// The session is made by statements rather than by the options of the start-up packet, which a
// pooler in front of the server may refuse.
static void prepare_session(struct conn *conn)
{
    char script[128];
    snprintf(script, sizeof script,
             "SET statement_timeout = %lld; SET client_min_messages = warning",
             (long long)(conn->options.statement_timeout_us / CLOCK_US_PER_MS));
    CHECK(evtimer_del(conn->timer) == 0);
    arm_timer(conn, conn->options.connect_timeout_us);
    set_state(conn, CONN_PREPARING);
    if (PQsetnonblocking(conn->pg, 1) != 0) {
        fail_later(conn);
        return;
    }
    start_unit(conn, ERRAND_PREPARE, false);
    send_script(conn, script);
}

static void poll_connect(struct conn *conn)
{
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        watch_socket(conn, true, false);
        mind_server(conn);
        return;
    case PGRES_POLLING_WRITING:
        watch_socket(conn, false, true);
        mind_server(conn);
        return;
    case PGRES_POLLING_OK:
        prepare_session(conn);
        return;
    default: {
        struct failure failure = broken(conn);
        lose(conn, &failure);
    }
    }
}

static void connect_now(struct conn *conn)
{
    struct conn_params params;
    struct failure failure;
    set_state(conn, CONN_CONNECTING);
    conn->farewell = (struct failure){0};
    conn->was_connected = false;
    conn->server[0] = '\0';
    if (conn_params_init(&params, conn->options.conninfo, conn->turn,
                         conn->options.connect_timeout_us, &failure) != ERROR_NONE) {
        lose(conn, &failure);
        return;
    }
    conn->pg = PQconnectStartParams(params.keywords, params.values, 1);
    CHECK(conn->pg != NULL);
    conn_params_deinit(&params);
    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        failure = broken(conn);
        lose(conn, &failure);
        return;
    }
    PQsetNoticeReceiver(conn->pg, on_notice, conn);
    // As if PQconnectPoll had asked to write (libpq, "PQconnectPoll").
    watch_socket(conn, false, true);
    mind_server(conn);
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct conn *conn = context;
    if (conn->state == CONN_WAITING) {
        connect_now(conn);
        return;
    }
    CHECK(conn->state == CONN_CONNECTING || conn->state == CONN_PREPARING);
    struct failure failure = {0};
    const char *host = PQhost(conn->pg);
    failure_set(&failure, ERROR_UNAVAILABLE,
                "connection to server at \"%s\" failed: no answer within %lld ms",
                host == NULL ? "" : host,
                (long long)(conn->options.connect_timeout_us / CLOCK_US_PER_MS));
    conn->turn++;
    lose(conn, &failure);
}

static void on_failer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct conn *conn = context;
    if (conn->pg != NULL) {
        struct failure failure = broken(conn);
        lose(conn, &failure);
    }
}

// ---- Results

static void unit_done(struct conn *conn, enum unit_outcome outcome, const struct failure *failure)
{
    struct unit unit = conn->unit;
    conn->errand = ERRAND_NONE;
    conn->unit = (struct unit){0};
    unit.on_done(unit.context, outcome, failure);
}

static void session_is_ready(struct conn *conn)
{
    CHECK(evtimer_del(conn->timer) == 0);
    conn->errand = ERRAND_NONE;
    conn->was_connected = true;
    conn->connected_boot_us = clock_boot_us();
    conn->last_error[0] = '\0';
    set_state(conn, CONN_IDLE);
    LOG_INFO("connected", LOG_TEXT("connection", conn->options.name),
             LOG_INT("server_version", PQserverVersion(conn->pg)));
    conn->options.on_connected(conn->options.context);
}

// The errand in flight has had its last result.
static void errand_is_over(struct conn *conn)
{
    if (conn->errand == ERRAND_PREPARE) {
        if (conn->refused) {
            struct failure failure = conn->failure;
            lose(conn, &failure);
        } else {
            session_is_ready(conn);
        }
        return;
    }
    if (conn->pipelined) {
        CHECK(PQexitPipelineMode(conn->pg) == 1);
    }
    if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE) {
        CHECK_VALUES(conn->errand == ERRAND_UNIT, "%s stays in a transaction", conn->options.name);
        CHECK_VALUES(conn->refused, "%s left a transaction open", conn->options.name);
        start_unit(conn, ERRAND_ROLLBACK, false);
        send_script(conn, "ROLLBACK");
        return;
    }
    set_state(conn, CONN_IDLE);
    struct failure failure = conn->failure;
    bool refused = conn->refused;
    conn->refused = false;
    unit_done(conn, refused ? UNIT_REFUSED : UNIT_OK, refused ? &failure : NULL);
}

static void note_refusal(struct conn *conn, const PGresult *result)
{
    if (conn->refused) {
        return;
    }
    conn->refused = true;
    conn->failure = (struct failure){0};
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    char line[FAILURE_MESSAGE_BYTES];
    conn_one_line(words != NULL ? words : PQresultErrorMessage(result), line, sizeof line);
    if (conn->options.implied != NULL && conn->options.implied->schema[0] != '\0') {
        table_name_shorten(conn->options.implied, line);
    }
    failure_set(&conn->failure, ERROR_REJECTED, "%s", line);
    snprintf(conn->failure.sqlstate, sizeof conn->failure.sqlstate, "%s",
             sqlstate == NULL ? "" : sqlstate);
}

static void take_result(struct conn *conn, const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (conn->errand == ERRAND_UNIT && conn->unit.on_result != NULL && !conn->refused) {
            conn->unit.on_result(conn->unit.context, conn->index, result);
        }
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        note_refusal(conn, result);
    }
}

// Takes one result. False where there is nothing more to take now.
static bool process_result(struct conn *conn)
{
    if (conn->errand == ERRAND_NONE || PQisBusy(conn->pg) == 1) {
        return false;
    }
    unsigned life = conn->life;
    PGresult *result = PQgetResult(conn->pg);
    if (result == NULL) {
        bool is_over = !conn->pipelined;
        conn->index += conn->saw_result;
        conn->saw_result = false;
        if (PQstatus(conn->pg) == CONNECTION_BAD) {
            return false;
        }
        if (is_over) {
            errand_is_over(conn);
        }
        return conn->life == life;
    }
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        errand_is_over(conn);
        return conn->life == life;
    }
    take_result(conn, result);
    PQclear(result);
    if (conn->life != life) {
        return false;
    }
    conn->saw_result = conn->pipelined;
    conn->index += !conn->pipelined;
    return true;
}

static void hear_notifications(struct conn *conn)
{
    unsigned life = conn->life;
    PGnotify *notify;
    while (conn->life == life && (notify = PQnotifies(conn->pg)) != NULL) {
        if (conn->options.on_notify != NULL) {
            conn->options.on_notify(conn->options.context, notify->relname,
                                    slice_of_string(notify->extra));
        }
        PQfreemem(notify);
    }
}

static void read_more(struct conn *conn)
{
    unsigned life = conn->life;
    // What came before the end of the connection is taken before the end is.
    bool open = PQconsumeInput(conn->pg) == 1;
    while (process_result(conn)) {
    }
    if (conn->life == life) {
        hear_notifications(conn);
    }
    if (conn->life != life) {
        return;
    }
    if (!open || PQstatus(conn->pg) == CONNECTION_BAD) {
        struct failure failure = broken(conn);
        lose(conn, &failure);
        return;
    }
    flush_output(conn);
}

static void on_ready(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    struct conn *conn = context;
    if (conn->state == CONN_CONNECTING) {
        poll_connect(conn);
    } else if ((events & EV_READ) != 0) {
        read_more(conn);
    } else {
        flush_output(conn);
    }
}

// ---- Losing and closing

// Frees what libpq has of this life, and ends the unit in flight.
static void drop(struct conn *conn, const struct failure *failure, enum conn_state next)
{
    conn->life++;
    free_events(conn);
    CHECK(evtimer_del(conn->timer) == 0);
    CHECK(event_del(conn->failer) == 0);
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->reading = true;
    conn->errand = ERRAND_NONE;
    conn->refused = false;
    set_state(conn, next);
    if (conn->unit.on_done != NULL) {
        unit_done(conn, UNIT_LOST, failure);
    }
}

static void log_loss(struct conn *conn, const struct failure *failure, int64_t pause_us)
{
    // A server that stays away is worth one line, not one an attempt.
    bool is_news = conn->was_connected || strcmp(failure->message, conn->last_error) != 0;
    if (is_news) {
        LOG_WARNING(conn->was_connected ? "connection lost" : "connection refused",
                    LOG_TEXT("connection", conn->options.name), LOG_TEXT("error", failure->message),
                    LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_INT("retry_ms", pause_us / CLOCK_US_PER_MS));
    }
}

static void lose(struct conn *conn, const struct failure *failure)
{
    struct failure reason = *failure;
    bool was_steady = conn->was_connected && clock_boot_us() - conn->connected_boot_us >= STEADY_US;
    if (was_steady) {
        retry_reset(&conn->retry);
    }
    int64_t pause_us = retry_next_us(&conn->retry);
    log_loss(conn, &reason, pause_us);
    snprintf(conn->last_error, sizeof conn->last_error, "%s", reason.message);
    unsigned life = conn->life + 1;
    drop(conn, &reason, CONN_WAITING);
    if (conn->life == life && conn->state == CONN_WAITING) {
        arm_timer(conn, pause_us);
        conn->options.on_lost(conn->options.context, &reason);
    }
}

void conn_open(struct conn *conn)
{
    if (conn->state == CONN_CLOSED) {
        set_state(conn, CONN_WAITING);
    }
    if (conn->state == CONN_WAITING) {
        // Not from here: an attempt may fail at once, and its owner may ask for the next one.
        arm_timer(conn, 0);
    }
}

void conn_close(struct conn *conn)
{
    struct failure failure = {0};
    failure_set(&failure, ERROR_UNAVAILABLE, "the connection was closed");
    drop(conn, &failure, CONN_CLOSED);
}

void conn_fail(struct conn *conn, const char *reason)
{
    if (conn->pg == NULL) {
        return;
    }
    struct failure failure = {0};
    failure_set(&failure, ERROR_UNAVAILABLE, "%s", reason);
    lose(conn, &failure);
}

// ---- The rest of the interface

enum conn_state conn_state(const struct conn *conn)
{
    return conn->state;
}

bool conn_is_idle(const struct conn *conn)
{
    return conn->state == CONN_IDLE;
}

int conn_server_version(const struct conn *conn)
{
    return conn->pg == NULL ? 0 : PQserverVersion(conn->pg);
}

int conn_backend_pid(const struct conn *conn)
{
    return conn->pg == NULL ? 0 : PQbackendPID(conn->pg);
}

const char *conn_last_error(const struct conn *conn)
{
    return conn->last_error;
}

static bool send_query(struct conn *conn, const struct query *query)
{
    return PQsendQueryParams(conn->pg, query->sql, query->params_count, query->types, query->values,
                             query->lengths, query->formats, query->result_format) == 1;
}

void conn_send(struct conn *conn, const struct unit *unit)
{
    CHECK_VALUES(conn->state == CONN_IDLE, "%s is %s", conn->options.name,
                 STATE_NAMES[conn->state]);
    CHECK(unit->queries_count > 0 && unit->on_done != NULL);
    set_state(conn, CONN_BUSY);
    conn->unit = *unit;
    conn->unit.queries = NULL;
    start_unit(conn, ERRAND_UNIT, true);
    bool sent = PQenterPipelineMode(conn->pg) == 1;
    for (size_t i = 0; sent && i < unit->queries_count; i++) {
        sent = send_query(conn, &unit->queries[i]);
    }
    if (!sent || PQpipelineSync(conn->pg) != 1) {
        fail_later(conn);
        return;
    }
    flush_output(conn);
}

void conn_run_script(struct conn *conn, const char *script, const struct unit *unit)
{
    CHECK_VALUES(conn->state == CONN_IDLE, "%s is %s", conn->options.name,
                 STATE_NAMES[conn->state]);
    CHECK(unit->on_done != NULL);
    set_state(conn, CONN_BUSY);
    conn->unit = *unit;
    conn->unit.queries = NULL;
    start_unit(conn, ERRAND_UNIT, false);
    send_script(conn, script);
}

void conn_set_reading(struct conn *conn, bool reading)
{
    conn->reading = reading;
    bool is_open = conn->state == CONN_IDLE || conn->state == CONN_BUSY;
    if (is_open && PQsocket(conn->pg) >= 0) {
        flush_output(conn);
    }
}
