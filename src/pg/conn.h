// One connection to PostgreSQL inside an event loop: connecting, reconnecting with backoff, sending
// one unit of work at a time and hearing notifications, all without blocking the loop. The one
// exception is libpq's: the name of a server is looked up inside PQconnectStart; use addresses or a
// local resolver where that matters.
//
// A unit is a run of queries sent as one pipeline and ended by one sync, or one COPY ... TO STDOUT;
// a script is one string of statements over the simple protocol, which is what DDL needs. Whatever
// became of it, the unit's on_done is called exactly once, with the connection idle again or gone:
//
//   OK        every query succeeded
//   REFUSED   PostgreSQL answered one with an error; the rest did not run and an open transaction
//             has been rolled back before on_done is called
//   LOST      the connection went, or was closed: what had been sent may or may not have happened.
//             Where nothing at all comes for longer than statement_timeout and connect_timeout
//             together, nor anything goes out that is still to be sent, a unit that is no script is
//             given up
//
// Lifetime: everything runs on the loop's thread. Any function but conn_destroy may be called from
// any of the callbacks. A lost connection tells its owner (on_lost) after it has told the unit, and
// tries again by itself after a pause that doubles from 50 ms to 5 s, with jitter, until
// conn_close.
#pragma once

#include <event2/event.h>
#include <libpq-fe.h>

#include "base/error.h"
#include "base/slice.h"
#include "pg/table_name.h"

enum conn_state {
    CONN_CLOSED,     // and stays so until conn_open
    CONN_WAITING,    // for the backoff to pass
    CONN_CONNECTING, // libpq's handshake
    CONN_PREPARING,  // the session's settings are being made
    CONN_IDLE,
    CONN_BUSY, // a unit or a script is in flight
};

enum unit_outcome { UNIT_OK, UNIT_REFUSED, UNIT_LOST };

// One query with its parameters as PQsendQueryParams takes them: `types` may be NULL (inferred),
// and so may `formats` (all text) and `lengths` (all text).
struct query {
    const char *sql;
    // NULL, or the name of prepared_name (prepared.h) under which the server keeps it from one use
    // to the next. Such a query is the only one of its unit, and its unit may be REFUSED for the
    // name.
    const char *name;
    const Oid *types;
    const char *const *values;
    const int *lengths;
    const int *formats;
    int params_count;
    int result_format; // 0 text, 1 binary
};

struct unit {
    const struct query *queries; // copied by conn_send, with all they point to
    size_t queries_count;
    void *context;
    // The rows of query `index`, in order; valid during the call. NULL: not wanted.
    void (*on_result)(void *context, size_t index, const PGresult *result);
    // The last of the queries is on its way; not called where it is once conn_send has returned.
    // May be NULL.
    void (*on_sent)(void *context);
    // For a unit of one query that is COPY ... TO STDOUT: the next bytes of what it sends; valid
    // during the call. They are all of it only once the unit has ended OK. NULL for all others.
    void (*on_copied)(void *context, struct slice bytes);
    // `failure` is NULL where OK; else .message is PostgreSQL's primary message alone and .sqlstate
    // its code (REFUSED: ERROR_REJECTED), or libpq's words (LOST: ERROR_UNAVAILABLE).
    void (*on_done)(void *context, enum unit_outcome outcome, const struct failure *failure);
};

struct conn_options {
    struct event_base *base;
    const char *name;     // for the log: "control", "listen", "flush", "read"
    const char *conninfo; // outlives the connection; never logged
    int64_t connect_timeout_us;
    int64_t statement_timeout_us; // 0: none
    // For how long a server that works may take nothing of what is behind (TCP, a closed window):
    // connect_timeout and this. A large unit needs as much as a statement may take.
    int64_t busy_us;
    // Of a server on this machine: how much may be on its way to it, where the kernel allows that.
    // 0: the kernel's default. TCP finds out by itself.
    int sent_bytes_max;
    // The table whose schema messages are not to name; .schema is "" where they are. May be NULL.
    const struct table_name *implied;
    void *context;
    // The session is ready and idle.
    void (*on_connected)(void *context);
    // An attempt failed or the connection was lost. Not called for conn_close.
    void (*on_lost)(void *context, const struct failure *failure);
    // May be NULL. Called between the results of units.
    void (*on_notify)(void *context, const char *channel, struct slice payload);
};

struct conn;

// Closed at first. The strings of `options` outlive it.
struct conn *conn_create(const struct conn_options *options);
// Closes it. Not from one of its own callbacks.
void conn_destroy(struct conn *conn);

// Starts connecting as soon as the loop turns, whatever backoff was left. Nothing where it is
// neither closed nor waiting.
void conn_open(struct conn *conn);
// A unit in flight ends as LOST. No attempt is made until conn_open.
void conn_close(struct conn *conn);
// Gives the connection up as if it had broken: the unit ends as LOST, on_lost hears `reason`, and
// the next attempt comes after the backoff.
void conn_fail(struct conn *conn, const char *reason);
// The same for who logs the reason by itself: nothing is logged here.
void conn_fail_quietly(struct conn *conn, const char *reason);

enum conn_state conn_state(const struct conn *conn);
// Whether conn_send may be called.
bool conn_is_idle(const struct conn *conn);
// Whether some of what was sent waits here until the server has taken what is before it.
bool conn_is_sending(const struct conn *conn);
// As PQserverVersion: 150004. 0 where not connected.
int conn_server_version(const struct conn *conn);
// As PQbackendPID: the process that the handshake named; a pooler names one of its own making. 0
// where not connected.
int conn_backend_pid(const struct conn *conn);
// The words of the last failure; "" where there was none since the last conn_open that worked.
const char *conn_last_error(const struct conn *conn);

// CHECKs conn_is_idle. An unusable connection ends the unit as LOST, after the call returned.
void conn_send(struct conn *conn, const struct unit *unit);
// The same of one query, with the callbacks of `callbacks`.
static inline void conn_send_one(struct conn *conn, const struct query *query,
                                 const struct unit *callbacks)
{
    struct unit unit = *callbacks;
    unit.queries = query;
    unit.queries_count = 1;
    conn_send(conn, &unit);
}
// `script` is copied. Only on_done (and on_result, index counting the statements) are used.
void conn_run_script(struct conn *conn, const char *script, const struct unit *unit);

// For a guest (helm.h), and CHECKs conn_is_idle: its next unit's answer, and whatever comes until
// another unit is sent, is waited for in `epoll` instead of the loop, and read by conn_read_lent.
// False, and the loop waits for it, where the epoll does not take it.
bool conn_lend(struct conn *conn, int epoll);
bool conn_is_lent_to(const struct conn *conn, int epoll);
// What has come is read; one that has more to come than one read has taken, or that is lost, is
// left to the loop. A guest's.
void conn_read_lent(struct conn *conn);
// The loop waits for it again. Nothing where it is not lent.
void conn_take_back(struct conn *conn);

// Back-pressure: false stops reading from the socket, so that the server has to wait.
void conn_set_reading(struct conn *conn, bool reading);
