// The connection's own state, shared by conn.c, conn_connect.c and conn_results.c and by nobody
// else. The pg worker's thread.
//
// A callback may close, fail or reopen the connection it is called from. So every object of libpq
// is freed in one place (drop in conn.c), which also counts `life` up, and whoever has called a
// callback looks at `life` before it touches the PGconn again.
#pragma once

#include "pg/conn.h"
#include "pg/prepared.h"
#include "pg/retry.h"

// What the pipeline or the script in flight is for.
enum errand { ERRAND_NONE, ERRAND_PREPARE, ERRAND_UNIT, ERRAND_ROLLBACK };

// What a guest takes at once: what libpq's buffer has room for at first.
enum { CONN_LENT_BYTES_MAX = 16384 };

struct conn {
    struct conn_options options;
    enum conn_state state;
    unsigned life; // counts the PGconns that were freed
    PGconn *pg;
    struct event *read_event;
    struct event *write_event;
    struct event *timer;  // the end of the pause, or of the patience with a server or an answer
    struct event *failer; // ends a connection that broke while a call was on the stack
    struct retry retry;
    unsigned turn;      // how many servers of the list the next attempt begins behind
    char server[256];   // that the attempt is busy with
    bool was_connected; // in this life
    struct failure
        farewell;         // what the server said before it hung up; .error == ERROR_NONE: nothing
    bool reading;         // false: back-pressure
    int lent_to;          // the epoll that waits for the socket in the loop's place; -1: none
    bool lends_next;      // conn_lend was called for the next unit
    bool has_had_much;    // in this life: libpq reads as much at once as its largest answer took
    bool has_output_left; // libpq has some that the socket did not take yet
    // Since the answer was last begun to be waited for:
    bool has_sent_more;
    int unsent_bytes;           // of ours in the kernel then
    int64_t answer_due_boot_us; // the end of the patience
    unsigned units_count;       // begun in all
    int64_t connected_boot_us;
    char last_error[FAILURE_MESSAGE_BYTES];
    char last_end[FAILURE_MESSAGE_BYTES]; // of the life before, whatever this one has come to
    bool is_again; // the life before ended as the one before that, and its owner has said why
    // The unit or script in flight:
    enum errand errand;
    struct unit unit;
    bool pipelined;
    bool is_copying; // COPY's bytes are what comes next
    bool is_small;   // a query of a few hundred bytes: nothing of it goes out slowly
    bool refused;
    bool saw_result;   // of query `index`
    unsigned preludes; // results still to come before that of query 0: of what prepares it
    size_t index;
    struct failure failure;   // why it was refused
    struct prepared prepared; // in this life
};

// conn.c: the one place where the state changes.
void conn_set_state(struct conn *conn, enum conn_state state);
// Why a connection that broke did: the server's own last words, or libpq's.
struct failure conn_broken(struct conn *conn);
// Ends this life and begins the pause before the next; on_lost hears the reason.
void conn_lose(struct conn *conn, const struct failure *failure);
// The same from the loop, where a callback's caller is on the stack.
void conn_fail_later(struct conn *conn);

void conn_start_errand(struct conn *conn, enum errand errand, bool pipelined);
void conn_send_script(struct conn *conn, const char *script);
// Sends what libpq has buffered and waits for what the socket allows.
void conn_flush_output(struct conn *conn);
// A pipeline or a COPY is given up where nothing comes for longer than PostgreSQL would let a
// statement run: from now on. A script may be one that PostgreSQL lets run for as long as it takes.
void conn_await_answer(struct conn *conn);
// The unit in flight is over: its on_done is called.
void conn_unit_done(struct conn *conn, enum unit_outcome outcome, const struct failure *failure);

// conn_lend.c: nobody waits for the socket, until conn_watch_socket.
void conn_stop_lending(struct conn *conn);

// conn_connect.c: begins an attempt, goes on with it, and gives a server up that does not answer.
void conn_connect(struct conn *conn);
void conn_poll_connect(struct conn *conn);
void conn_connect_timed_out(struct conn *conn);
// The session's settings are made.
void conn_session_is_ready(struct conn *conn);
// Waits for the socket that libpq has now: it changes from one server, and from one step of the
// handshake, to the next.
void conn_watch_socket(struct conn *conn, bool read, bool write);
// The events of the last socket; they go before the PGconn does.
void conn_free_events(struct conn *conn);

// conn_results.c: takes what has come from the socket, results and notifications.
void conn_read(struct conn *conn);
// The socket is ready for what it is watched for (conn.c).
void conn_on_socket(evutil_socket_t fd, short events, void *context);
