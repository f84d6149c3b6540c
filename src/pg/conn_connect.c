// How a connection is made: each server of the list in turn, then the session's settings.
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/conn_params.h"
#include "pg/conn_state.h"
#include "pg/timer.h"

void conn_free_events(struct conn *conn)
{
    if (conn->read_event != NULL) {
        timer_free(conn->read_event);
        timer_free(conn->write_event);
        conn->read_event = NULL;
        conn->write_event = NULL;
    }
}

// A guest does not wait for a callback that waits for the helm; what it finds then is harmless.
static void watch(struct event *event, bool wanted)
{
    if (wanted) {
        CHECK(event_add(event, NULL) == 0);
    } else {
        timer_disarm(event);
    }
}

void conn_watch_socket(struct conn *conn, bool read, bool write)
{
    int fd = PQsocket(conn->pg);
    CHECK(fd >= 0);
    if (conn->read_event == NULL || event_get_fd(conn->read_event) != fd) {
        conn_free_events(conn);
        conn->read_event =
            timer_new_event(conn->options.base, fd, EV_READ | EV_PERSIST, conn_on_socket, conn);
        conn->write_event =
            timer_new_event(conn->options.base, fd, EV_WRITE | EV_PERSIST, conn_on_socket, conn);
    }
    if (conn->lent_to >= 0) {
        if (!write) {
            return;
        }
        conn_stop_lending(conn);
    }
    watch(conn->read_event, read);
    watch(conn->write_event, write);
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
        failure_note(&conn->farewell, ERROR_UNAVAILABLE, "%s", line);
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
        timer_arm(conn->timer, conn->options.connect_timeout_us);
    }
}

// What is on its way comes to the server without our doing, whatever we are busy with.
static void widen_socket(const struct conn *conn)
{
    int bytes = conn->options.sent_bytes_max;
    int domain = AF_UNSPEC;
    socklen_t len = sizeof domain;
    bool is_local = getsockopt(PQsocket(conn->pg), SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
                    domain == AF_UNIX;
    if (bytes > 0 && is_local) {
        (void)setsockopt(PQsocket(conn->pg), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
}

// The session is made by statements rather than by the options of the start-up packet, which a
// pooler in front of the server may refuse. Where one answers in the server's place, whose number
// is then not the one that we were told at the start, nothing is set: it would stay behind in a
// session that others are given next.
//
// Timeouts of the role or the database are for people: a LISTEN is idle by nature, and how long a
// statement may take is postgres.statement_timeout's to say. The server is to look for us as we
// look for it: a backend whose client is gone unheard keeps the locks of its batch. Keepalives do
// not count while answers are to be sent, so a large unit's session has tcp_user_timeout as well;
// it counts for TCP alone, and where the server's system has none it is ignored.
//
// All in one statement, and the transaction's timeout first: it counts for this statement too until
// it is set.
static void prepare_session(struct conn *conn)
{
    enum { HAS_IDLE_SESSION_TIMEOUT = 140000, HAS_TRANSACTION_TIMEOUT = 170000 };
    char script[1024], user_timeout[96] = "";
    int64_t busy_us = conn->options.busy_us;
    int version = PQserverVersion(conn->pg);
    if (busy_us > 0) {
        snprintf(user_timeout, sizeof user_timeout,
                 ", set_config('tcp_user_timeout', '%lld', false)",
                 (long long)((conn->options.connect_timeout_us + busy_us) / CLOCK_US_PER_MS));
    }
    snprintf(
        script, sizeof script,
        "SELECT %s%sset_config('statement_timeout', '%lld', false),"
        " set_config('client_min_messages', 'warning', false),"
        " set_config('tcp_keepalives_idle', '" CONN_KEEPALIVES_IDLE "', false),"
        " set_config('tcp_keepalives_interval', '" CONN_KEEPALIVES_INTERVAL "', false),"
        " set_config('tcp_keepalives_count', '" CONN_KEEPALIVES_COUNT "', false)%s"
        " WHERE pg_backend_pid() = %d",
        version >= HAS_TRANSACTION_TIMEOUT ? "set_config('transaction_timeout', '0', false), " : "",
        version >= HAS_IDLE_SESSION_TIMEOUT ? "set_config('idle_session_timeout', '0', false), "
                                            : "",
        (long long)(conn->options.statement_timeout_us / CLOCK_US_PER_MS), user_timeout,
        PQbackendPID(conn->pg));
    timer_disarm(conn->timer);
    timer_arm(conn->timer, conn->options.connect_timeout_us);
    conn_set_state(conn, CONN_PREPARING);
    if (PQsetnonblocking(conn->pg, 1) != 0) {
        conn_fail_later(conn);
        return;
    }
    widen_socket(conn);
    conn_start_errand(conn, ERRAND_PREPARE, false);
    conn_send_script(conn, script);
}

void conn_poll_connect(struct conn *conn)
{
    switch (FAULT_POINT(CONN_POLL) ? PGRES_POLLING_FAILED : PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        conn_watch_socket(conn, true, false);
        mind_server(conn);
        return;
    case PGRES_POLLING_WRITING:
        conn_watch_socket(conn, false, true);
        mind_server(conn);
        return;
    case PGRES_POLLING_OK:
        prepare_session(conn);
        return;
    default: {
        struct failure failure = conn_broken(conn);
        conn_lose(conn, &failure);
    }
    }
}

void conn_connect(struct conn *conn)
{
    struct conn_params params;
    struct failure failure;
    conn_set_state(conn, CONN_CONNECTING);
    conn->farewell = (struct failure){0};
    conn->was_connected = false;
    conn->server[0] = '\0';
    if (conn_params_init(&params, conn->options.conninfo, conn->turn,
                         conn->options.connect_timeout_us + conn->options.busy_us,
                         &failure) != ERROR_NONE) {
        conn_lose(conn, &failure);
        return;
    }
    conn->pg = PQconnectStartParams(params.keywords, params.values, 1);
    CHECK(conn->pg != NULL);
    conn_params_deinit(&params);
    if (FAULT_POINT(CONN_CONNECT) || PQstatus(conn->pg) == CONNECTION_BAD) {
        failure = conn_broken(conn);
        conn_lose(conn, &failure);
        return;
    }
    PQsetNoticeReceiver(conn->pg, on_notice, conn);
    // As if PQconnectPoll had asked to write (libpq, "PQconnectPoll").
    conn_watch_socket(conn, false, true);
    mind_server(conn);
}

void conn_session_is_ready(struct conn *conn)
{
    timer_disarm(conn->timer);
    conn->errand = ERRAND_NONE;
    conn->was_connected = true;
    conn->connected_boot_us = clock_boot_us();
    conn->last_error[0] = '\0';
    conn_set_state(conn, CONN_IDLE);
    // Or a server that is there and not to be used, such as one without the table, would have a
    // line every few seconds that sounds as if all were well.
    if (!conn->is_again) {
        LOG_INFO("connected", LOG_TEXT("connection", conn->options.name),
                 LOG_INT("server_version", PQserverVersion(conn->pg)));
    }
    conn->options.on_connected(conn->options.context);
}

void conn_connect_timed_out(struct conn *conn)
{
    CHECK(conn->state == CONN_CONNECTING || conn->state == CONN_PREPARING);
    struct failure failure = {0};
    const char *host = PQhost(conn->pg);
    failure_note(&failure, ERROR_UNAVAILABLE,
                 "connection to server at \"%s\" failed: no answer within %lld ms",
                 host == NULL ? "" : host,
                 (long long)(conn->options.connect_timeout_us / CLOCK_US_PER_MS));
    conn_lose(conn, &failure);
}
