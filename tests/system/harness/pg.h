// A private PostgreSQL server: its data and its socket in the scenario's directory, no TCP unless
// asked for, the superuser "postgres" without a password. The functions with a connection of their
// own are for the main thread; workers use pg_connect and libpq.
#pragma once

#include <libpq-fe.h>

#include "system/harness/process.h"

enum { PG_HELD_MAX = 16 };

struct pg {
    struct pg *next;
    struct scenario *scenario;
    struct process *process;
    const char *directory; // of the socket; data/ is inside
    const char *data;
    const char *const *settings;
    const char *url; // through the socket
    bool durable;
    int port;                // names the socket; a TCP port where options.tcp
    bool tcp;                // also listens on 127.0.0.1
    bool orphaned;           // by PG_STOP_KILL: processes of before may be there still
    PGconn *conn;            // of pg_exec and its like; made when first used
    pid_t held[PG_HELD_MAX]; // stopped by pg_hold, 0 where free
};

struct pg_options {
    const char *name;            // "pg"; distinct where a scenario has several servers
    bool durable;                // fsync on: for what is to survive pg_crash
    bool tcp;                    // also listen on a free port of 127.0.0.1
    const char *const *settings; // "work_mem=1MB" and so on, NULL at the end; may be NULL
    struct pg *standby_of;       // a standby of that server (replication.h); NULL: on its own
};

// How a server ends.
enum pg_stop {
    PG_STOP_FAST,  // an orderly shutdown that disconnects everybody
    PG_STOP_CRASH, // at once, without a checkpoint: recovery at the next start
    PG_STOP_KILL,  // kill -9 of its first process; the others end once they notice
};

// Makes a server and starts it; ready for connections on return. NULL: the defaults.
struct pg *pg_start(struct scenario *scenario, const struct pg_options *options);
void pg_stop(struct pg *pg, enum pg_stop how);
// Starts it after a pg_stop, on the same data, socket and port.
void pg_start_again(struct pg *pg);

// A TCP port that nobody listens on now. Somebody may take it before the server does; then the
// start fails, and says so.
int pg_free_port(void);

// libpq URLs; valid until the scenario ends.
const char *pg_url(const struct pg *pg);
const char *pg_tcp_url(const struct pg *pg);

// SQL, formatted as by printf (so % is %%). An error fails the test with PostgreSQL's words.
void pg_exec(struct pg *pg, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The first column of the first row as text; NULL where there is no row or it is null. Valid until
// the scenario ends.
const char *pg_value(struct pg *pg, const char *format, ...) __attribute__((format(printf, 2, 3)));
int64_t pg_int(struct pg *pg, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The same as an assertion; NULL expects no row.
void assert_pg_value(struct pg *pg, const char *expected, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Asks again until the value is as expected, at most until the deadline.
void pg_await_value(struct pg *pg, const char *expected, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// COPY ... FROM STDIN with `rows` as its input.
void pg_copy_in(struct pg *pg, const char *copy_sql, struct slice rows);

// A connection of the caller's, to be PQfinish()ed. Any thread.
PGconn *pg_connect(const struct pg *pg);

// The process of the one backend whose row in pg_stat_activity meets the condition, such as
// "application_name = 'x'"; the harness' own connection is left out. Waits for it to appear.
pid_t pg_backend(struct pg *pg, const char *condition);
// Stops and continues a backend (SIGSTOP, SIGCONT): a server that is there and says nothing.
void pg_hold(struct pg *pg, pid_t backend);
void pg_release(struct pg *pg, pid_t backend);

// For the scenario's end: before and after its processes are ended.
void pg_release_all(struct scenario *scenario);
void pg_retire_all(struct scenario *scenario);
