// A connection as a small state machine around libpq; the pg worker's thread runs it, and it owns
// the PGconn, its events and its timer. How it connects is in conn_connect.c, what it hears in
// conn_results.c.
#include "pg/conn.h"

#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/conn_params.h"
#include "pg/conn_state.h"
#include "pg/timer.h"

// A connection that lived this long makes the next backoff start from its shortest pause.
enum { STEADY_US = 5 * CLOCK_US_PER_S };

static const char *const STATE_NAMES[] = {
    [CONN_CLOSED] = "closed",       [CONN_WAITING] = "waiting", [CONN_CONNECTING] = "connecting",
    [CONN_PREPARING] = "preparing", [CONN_IDLE] = "idle",       [CONN_BUSY] = "busy",
};

void conn_set_state(struct conn *conn, enum conn_state state)
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

struct failure conn_broken(struct conn *conn)
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
    failure_note(&failure, ERROR_UNAVAILABLE, "%s",
                 line[0] == '\0' ? "the connection was closed" : line);
    return failure;
}

static int64_t answer_max_us(const struct conn *conn)
{
    return conn->options.statement_timeout_us + conn->options.connect_timeout_us;
}

// Bytes that the kernel has of us and the peer has not; -1 where it does not say.
static int unsent_bytes(const struct conn *conn)
{
    int bytes = -1;
    return ioctl(PQsocket(conn->pg), SIOCOUTQ, &bytes) == 0 ? bytes : -1;
}

// PostgreSQL ends each statement by itself in less, once it has it. A slow network takes its time
// before; a silent one takes nothing.
static void give_up_waiting(struct conn *conn)
{
    // A guest may have sent another unit while the timer's callback waited for the helm.
    int64_t left_us = conn->answer_due_boot_us - clock_boot_us();
    if (left_us > CLOCK_US_PER_MS) {
        timer_arm(conn->timer, left_us);
        return;
    }
    int unsent = unsent_bytes(conn);
    if (conn->has_sent_more || (unsent > 0 && unsent < conn->unsent_bytes)) {
        conn_await_answer(conn);
        return;
    }
    char words[64];
    snprintf(words, sizeof words, "no answer within %lld ms",
             (long long)(answer_max_us(conn) / CLOCK_US_PER_MS));
    conn_fail(conn, words);
}

void conn_await_answer(struct conn *conn)
{
    bool is_script = !conn->pipelined && conn->unit.on_copied == NULL;
    if (conn->options.statement_timeout_us > 0 && conn->errand == ERRAND_UNIT && !is_script) {
        conn->has_sent_more = false;
        conn->unsent_bytes = conn->is_small ? 0 : unsent_bytes(conn);
        conn->answer_due_boot_us = clock_boot_us() + answer_max_us(conn);
        timer_arm(conn->timer, answer_max_us(conn));
    }
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct conn *conn = context;
    if (conn->state == CONN_WAITING) {
        conn_connect(conn);
    } else if (conn->state == CONN_BUSY) {
        give_up_waiting(conn);
    } else if (conn->state != CONN_IDLE) {
        conn_connect_timed_out(conn);
    }
}

void conn_fail_later(struct conn *conn)
{
    event_active(conn->failer, EV_TIMEOUT, 1);
}

static void on_failer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct conn *conn = context;
    if (conn->pg != NULL) {
        struct failure failure = conn_broken(conn);
        conn_lose(conn, &failure);
    }
}

struct conn *conn_create(const struct conn_options *options)
{
    struct conn *conn = memory_zeroed(1, sizeof *conn);
    conn->options = *options;
    conn->reading = true;
    conn->lent_to = -1;
    conn->timer = timer_new(options->base, on_timer, conn);
    conn->failer = timer_new(options->base, on_failer, conn);
    return conn;
}

void conn_destroy(struct conn *conn)
{
    conn_close(conn);
    timer_free(conn->timer);
    timer_free(conn->failer);
    free(conn);
}

// ---- The socket

void conn_start_errand(struct conn *conn, enum errand errand, bool pipelined)
{
    conn->errand = errand;
    conn->pipelined = pipelined;
    conn->has_output_left = false; // of the errand before; libpq may have sent it unasked
    conn->is_copying = false;
    conn->preludes = 0;
    conn->index = 0;
    conn->saw_result = false;
}

void conn_flush_output(struct conn *conn)
{
    int left = FAULT_POINT(CONN_FLUSH) ? -1 : PQflush(conn->pg);
    if (left < 0 || PQsocket(conn->pg) < 0) {
        conn_fail_later(conn);
        return;
    }
    bool is_last_sent = conn->has_output_left && left == 0;
    conn->has_sent_more = conn->has_sent_more || is_last_sent;
    conn->has_output_left = left == 1;
    conn_watch_socket(conn, conn->reading || conn->errand != ERRAND_NONE, left == 1);
    if (is_last_sent && conn->errand == ERRAND_UNIT && conn->unit.on_sent != NULL) {
        conn->unit.on_sent(conn->unit.context);
    }
}

// Results may be being taken just now, and libpq, asked for those of what it was never given, says
// that there are no more: the end of a script, and in a pipeline no end at all.
static void fail_unsent(struct conn *conn)
{
    conn->errand = ERRAND_NONE;
    conn_fail_later(conn);
}

void conn_send_script(struct conn *conn, const char *script)
{
    if (FAULT_POINT(CONN_SEND) || PQsendQuery(conn->pg, script) != 1) {
        fail_unsent(conn);
        return;
    }
    conn_flush_output(conn);
}

void conn_on_socket(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    struct conn *conn = context;
    if (conn->state == CONN_CONNECTING) {
        conn_poll_connect(conn);
    } else if ((events & EV_READ) != 0) {
        conn_read(conn);
    } else {
        // It takes some of what is left.
        conn->has_sent_more = conn->has_sent_more || conn->has_output_left;
        conn_flush_output(conn);
    }
}

// ---- Losing and closing

void conn_unit_done(struct conn *conn, enum unit_outcome outcome, const struct failure *failure)
{
    struct unit unit = conn->unit;
    conn->errand = ERRAND_NONE;
    conn->unit = (struct unit){0};
    unit.on_done(unit.context, outcome, failure);
}

// Frees what libpq has of this life, and ends the unit in flight.
static void drop(struct conn *conn, const struct failure *failure, enum conn_state next)
{
    conn->life++;
    conn_stop_lending(conn);
    conn_free_events(conn);
    timer_disarm(conn->timer);
    CHECK(event_del(conn->failer) == 0);
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->prepared = (struct prepared){0};
    conn->reading = true;
    conn->has_output_left = false;
    conn->has_had_much = false;
    conn->errand = ERRAND_NONE;
    conn->is_copying = false;
    conn->refused = false;
    conn_set_state(conn, next);
    if (conn->unit.on_done != NULL) {
        conn_unit_done(conn, UNIT_LOST, failure);
    }
}

// How a life ends.
enum end { END_REFUSED, END_LOST, END_GIVEN_UP, END_QUIET };

static const char *const END_EVENTS[] = {
    [END_REFUSED] = "connection refused",
    [END_LOST] = "connection lost",
    [END_GIVEN_UP] = "connection given up",
};

// A server that stays away is worth one line, not one an attempt; so is one that answers and is not
// to be used.
static bool is_news(const struct conn *conn, enum end end, bool was_steady, const char *message)
{
    return end != END_QUIET &&
           (end == END_LOST || was_steady || strcmp(message, conn->last_end) != 0);
}

static void lose(struct conn *conn, const struct failure *failure, enum end end)
{
    struct failure reason = *failure;
    bool was_steady = conn->was_connected && clock_boot_us() - conn->connected_boot_us >= STEADY_US;
    if (was_steady) {
        retry_reset(&conn->retry);
    } else {
        // Not that server again where there are others: libpq itself goes on to the next one only
        // where the first cannot be reached or is a standby, not where it hangs up.
        conn->turn++;
    }
    int64_t pause_us = retry_next_us(&conn->retry);
    if (is_news(conn, end, was_steady, reason.message)) {
        LOG_WARNING(END_EVENTS[end], LOG_TEXT("connection", conn->options.name),
                    LOG_TEXT("error", reason.message), LOG_TEXT("sqlstate", reason.sqlstate),
                    LOG_INT("retry_ms", pause_us / CLOCK_US_PER_MS));
    }
    conn->is_again = end == END_QUIET && strcmp(reason.message, conn->last_end) == 0;
    snprintf(conn->last_error, sizeof conn->last_error, "%s", reason.message);
    snprintf(conn->last_end, sizeof conn->last_end, "%s", reason.message);
    unsigned life = conn->life + 1;
    drop(conn, &reason, CONN_WAITING);
    if (conn->life == life && conn->state == CONN_WAITING) {
        timer_arm(conn->timer, pause_us);
        conn->options.on_lost(conn->options.context, &reason);
    }
}

void conn_lose(struct conn *conn, const struct failure *failure)
{
    lose(conn, failure, conn->was_connected ? END_LOST : END_REFUSED);
}

void conn_open(struct conn *conn)
{
    if (conn->state == CONN_CLOSED) {
        conn_set_state(conn, CONN_WAITING);
    }
    if (conn->state == CONN_WAITING) {
        // Not from here: an attempt may fail at once, and its owner may ask for the next one.
        timer_arm(conn->timer, 0);
    }
}

void conn_close(struct conn *conn)
{
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "the connection was closed");
    drop(conn, &failure, CONN_CLOSED);
}

static void give_up(struct conn *conn, const char *reason, enum end end)
{
    if (conn->pg == NULL) {
        return;
    }
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "%s", reason);
    lose(conn, &failure, end);
}

void conn_fail(struct conn *conn, const char *reason)
{
    give_up(conn, reason, END_GIVEN_UP);
}

void conn_fail_quietly(struct conn *conn, const char *reason)
{
    give_up(conn, reason, END_QUIET);
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

bool conn_is_sending(const struct conn *conn)
{
    return conn->has_output_left;
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
    if (query->name != NULL) {
        return prepared_send(&conn->prepared, conn->pg, query, clock_boot_us(), &conn->preludes);
    }
    return PQsendQueryParams(conn->pg, query->sql, query->params_count, query->types, query->values,
                             query->lengths, query->formats, query->result_format) == 1;
}

void conn_send(struct conn *conn, const struct unit *unit)
{
    CHECK_VALUES(conn->state == CONN_IDLE, "%s is %s", conn->options.name,
                 STATE_NAMES[conn->state]);
    CHECK(unit->queries_count > 0 && unit->on_done != NULL);
    CHECK(unit->queries_count == 1 || (unit->queries[0].name == NULL && unit->on_copied == NULL));
    // libpq has no COPY in a pipeline.
    bool pipelined = unit->on_copied == NULL;
    conn_set_state(conn, CONN_BUSY);
    conn->unit = *unit;
    conn->unit.queries = NULL;
    if (!conn->lends_next) {
        conn_take_back(conn);
    }
    conn->lends_next = false;
    conn_start_errand(conn, ERRAND_UNIT, pipelined);
    conn->units_count++;
    conn->is_small = unit->queries[0].name != NULL;
    bool sent = !FAULT_POINT(CONN_SEND) && (!pipelined || PQenterPipelineMode(conn->pg) == 1);
    for (size_t i = 0; sent && i < unit->queries_count; i++) {
        sent = send_query(conn, &unit->queries[i]);
    }
    if (!sent || (pipelined && PQpipelineSync(conn->pg) != 1)) {
        fail_unsent(conn);
        return;
    }
    conn_flush_output(conn);
    conn_await_answer(conn);
}

void conn_run_script(struct conn *conn, const char *script, const struct unit *unit)
{
    CHECK_VALUES(conn->state == CONN_IDLE, "%s is %s", conn->options.name,
                 STATE_NAMES[conn->state]);
    CHECK(unit->on_done != NULL);
    conn_set_state(conn, CONN_BUSY);
    conn->unit = *unit;
    conn->unit.queries = NULL;
    conn_start_errand(conn, ERRAND_UNIT, false);
    conn_send_script(conn, script);
}

void conn_set_reading(struct conn *conn, bool reading)
{
    conn->reading = reading;
    bool is_open = conn->state == CONN_IDLE || conn->state == CONN_BUSY;
    if (is_open && PQsocket(conn->pg) >= 0) {
        conn_flush_output(conn);
    }
}
