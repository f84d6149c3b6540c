// A model of PostgreSQL as far as pgnear leans on it: READ COMMITTED transactions with row locks, a
// sequence that is drawn before a wait and never rolled back, notifications in the order of the
// commits, the node's rows, sessions that live on when their client is gone, a crash, and a
// failover to a standby that had not got the last commits.
//
// What a session is told to do is in sql.h; here is what it does.
#pragma once

#include <libpq-fe.h>

#include "base/messages.h"
#include "pg/conn.h"
#include "simulation/world/ledger.h"

enum { SESSIONS_MAX = 128, RESULTS_BYTES = 4096, CHANNEL_BYTES = 64, NOTES_MAX = 64 };
enum { PAYLOAD_BYTES = 1024, CHANGES_MAX = 64, QUERY_PARAMS_MAX = 8 };

struct row {
    bool present;
    int64_t token;
    int64_t version;
    uint64_t order; // of the commit that made it
};

struct node_row {
    char node[37]; // "": no row
    char incarnation[37];
    uint64_t applied_seq;
    char results[RESULTS_BYTES];
};

// One query that has arrived, with its parameters.
struct sent_query {
    char *sql;
    bool is_named; // the server is to keep it
    int params_count;
    struct slice params[QUERY_PARAMS_MAX];
};

struct sent_unit {
    size_t count;
    size_t arrived; // queries beyond that were lost with the connection
    struct sent_query *queries;
};

struct note {
    char channel[CHANNEL_BYTES];
    char payload[PAYLOAD_BYTES];
};

// What a transaction has done so far.
struct txn {
    bool open;
    bool changed[KEYS_COUNT];
    struct row rows[KEYS_COUNT];
    int node_changed; // NOBODY, or the place of the row
    struct node_row node_row;
    int origin; // the node whose flush it is; NOBODY
    bool listens;
    bool listens_own;
    bool truncates;
    bool asynchronous;
    struct batch_commit batch;
    struct batch_change changes[CHANGES_MAX];
};

struct session {
    bool used;
    int number;
    struct conn *client; // NULL: gone, or a program of the simulation's own
    bool is_program;
    struct sent_unit *unit; // NULL: idle
    size_t query;           // the next of the unit
    size_t progress;        // within it: keys that are locked
    int64_t drawn;          // by its INSERT, before it waited; 0: not yet
    int waits_for_key;      // KEYS_COUNT + n: the node's row n; NOBODY: does not wait
    struct failure failure; // of the statement
    bool listens;
    char own_channel[CHANNEL_BYTES]; // "": does not listen to it
    char wants_channel[CHANNEL_BYTES];
    struct txn txn;
    size_t notes_count; // of the transaction
    struct note notes[NOTES_MAX];
};

struct server {
    bool up;
    int64_t first_number; // of the sequence
    int64_t sequence;     // the last number drawn
    int64_t started_us;
    int timeline;
    int system; // the cluster
    struct row rows[KEYS_COUNT];
    struct session *lockers[KEYS_COUNT + NODES_MAX];
    char nodes[NODES_MAX][37]; // whose row has which place
    struct node_row node_rows[NODES_MAX];
    struct session sessions[SESSIONS_MAX];
};

extern struct server server;

void server_start(void);
void server_system(char text[SYSTEM_IDENTIFIER_BYTES]); // its identifier

// ---- sessions

struct session *server_accept(struct conn *client);
struct session *server_program(void);
// The client is gone; what has arrived goes on.
void session_orphan(struct session *session, size_t queries_lost);
// The backend ends: its transaction is rolled back, its client is told where there is one.
void session_kill(struct session *session, const char *sqlstate, const char *words);

// ---- statements

enum lock { LOCK_TAKEN, LOCK_WAITS, LOCK_FAILED };
// FAILED: a deadlock; the session's failure says so.
enum lock session_lock(struct session *session, int key_or_row);
struct row session_row(const struct session *session, int key);
int64_t server_draw(void);
void session_put(struct session *session, int key, int64_t token, int64_t version);
void session_delete(struct session *session, int key);
void session_add_change(struct session *session, struct batch_change change);
void session_note(struct session *session, const char *channel, const char *payload);
// Announces the keys, as the statement triggers do.
void session_announce(struct session *session, const int *keys, size_t count, bool deleted);
void session_fail(struct session *session, const char *sqlstate, const char *words);

void session_commit(struct session *session);
void session_rollback(struct session *session);

// The node of that number calls itself so; its row has that place.
void server_expect_node(int number, const char *node);
int server_node_place(struct slice node); // of its row; NOBODY: there is none
int server_new_node_place(struct slice node);

// ---- faults

// The newest commits, none of them older than `age_us`, are undone, at most `count_max`; with
// `asynchronous_only` only commits that did not wait for the disk.
size_t server_lose(size_t count_max, int64_t age_us, bool asynchronous_only);
// Every session ends; the server comes back as another start of itself.
void server_restart(bool promoted, const char *sqlstate);
// Another cluster answers from now on, which has the table as it is, and knows no node.
void server_migrate(void);
