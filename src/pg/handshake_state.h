// The handshake's own state and the chain that it is written as, shared by handshake.c,
// handshake_server.c and handshake_row.c and by nobody else: `ask` sends one query, `take` reads
// its rows, `next` goes on. A query that PostgreSQL refuses ends the chain in handshake_give_up,
// unless the asker said otherwise. The pg worker's thread.
#pragma once

#include "pg/conn.h"
#include "pg/handshake.h"
#include "pg/node_row.h"
#include "pg/worker.h"

typedef void (*take_function)(struct handshake *handshake, const PGresult *result);
typedef void (*next_function)(struct handshake *handshake);

// What the chain waits for besides PostgreSQL.
enum waiting { WAITING_NOTHING, WAITING_QUIET, WAITING_SETTLED, WAITING_BOUND, WAITING_REWOUND };

struct handshake {
    struct worker *worker;
    struct conn *conn;
    unsigned connects;
    // The chain:
    const char *step; // what it is at, for the log
    take_function take;
    next_function next;
    next_function refused;  // instead of give_up; NULL
    struct failure refusal; // for `refused`
    enum waiting waiting;
    struct failure failure; // what was found wrong; for on_lost to report
    bool has_failure;
    char last_logged[FAILURE_MESSAGE_BYTES];
    // What was found:
    struct server_identity server;
    struct server_identity known; // of the time before; start.started_us == 0: none
    bool crashed;                 // a server told a client of ours that it crashed
    bool in_recovery;
    bool is_found;   // schema = "require"
    bool is_rebound; // to another database: its row says nothing of us
    char database[DATABASE_BYTES];
    char schema[IDENTIFIER_BYTES_MAX + 1];
    struct node_row row;
    bool row_inserted;
    bool row_claimed;
    uint64_t row_seq; // what the claim makes of applied_seq
    // What the last run left may all have been applied and acknowledged as such: it knows how far
    // only as of its last commit. 0 once the first server was met.
    uint64_t inherited_seq;
};

// What the callbacks of a query are; `take` may be NULL, `refused` NULL: give up.
struct unit handshake_unit(struct handshake *handshake, take_function take, next_function next,
                           next_function refused);
// Sends one query with up to HANDSHAKE_PARAMS_MAX texts as parameters, NULL after the last.
void handshake_ask(struct handshake *handshake, const char *sql, const char *const *values,
                   struct unit unit);
// Ends the chain: `failure` is what keeps the worker from being ready until the next attempt.
void handshake_give_up(struct handshake *handshake, const struct failure *failure);
void handshake_give_up_words(struct handshake *handshake, const char *sqlstate,
                             const char *message);

// The links of the chain that one file leaves to another, in their order:
// the server, its schema and its table (handshake_server.c)
void handshake_find_server(struct handshake *handshake);
// the outbox's binding, then the row (handshake_row.c)
void handshake_compare_binding(struct handshake *handshake);
void handshake_read_row(struct handshake *handshake);
void handshake_keep_decided(struct handshake *handshake);
void handshake_lift_versions(struct handshake *handshake);
// How far what a lost server applied may have come: entries up to there are applied again, if the
// row has them not.
uint64_t handshake_decided_to_seq(const struct handshake *handshake);
// the worker is ready, once the row is claimed (handshake.c)
void handshake_finish(struct handshake *handshake);

// The server is another than the one that this process, or the one before it, knew.
bool handshake_is_replaced(const struct handshake *handshake);
// So that commits of ours may be lost with the one before: a restart alone loses none.
bool handshake_has_failed_over(const struct handshake *handshake);
