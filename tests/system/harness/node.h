// A pgneard of the test: its configuration, its directories and its socket in the scenario's
// directory. Main thread, but for node_open.
#pragma once

#include "system/harness/pg.h"
#include "system/harness/rpc.h"

struct node {
    struct scenario *scenario;
    struct process *process;
    const char *name;
    const char *config_path;
    const char *socket_path;
    const char *cache_dir;
    const char *outbox_dir;
    const char *const *environment;
    struct rpc *rpc; // of rpc() and its like; NULL while there is none
};

struct node_options {
    const char *name;  // "node"; distinct where a scenario has several
    const char *table; // NULL: the daemon's default
    // Settings as dotted keys, a line each: "writes.linger = \"5ms\"\ncache.audit_rate = 0\n". They
    // take precedence over what the harness would set: the socket, the directories, the URL.
    const char *config;
    const char *const *environment; // "NAME=VALUE", NULL at the end; may be NULL
};

// Writes the configuration; nothing runs yet. `pg` may be NULL where options.config names a server.
struct node *node_create(struct scenario *scenario, const struct pg *pg,
                         const struct node_options *options);
// Starts the process and returns at once.
void node_spawn(struct node *node);
// Waits until hello answers with that state, such as "disconnected".
void node_await_state(struct node *node, const char *state);
// Waits until the text of hello's answer holds the words.
void node_await_hello(struct node *node, const char *words);
// Waits until reads and writes have all that they may need: the state is "live", and the flush
// connection, which comes up by itself, is there; without it incr and its like are refused.
void node_await_ready(struct node *node);

// node_create, node_spawn and node_await_ready.
struct node *node_start(struct scenario *scenario, const struct pg *pg,
                        const struct node_options *options);
// node_spawn and node_await_ready for a node that was stopped or killed.
void node_start_again(struct node *node);

// Writes the configuration anew, for the next start or SIGHUP.
void node_configure(struct node *node, const struct pg *pg, const struct node_options *options);

// SIGKILL.
void node_kill(struct node *node);
// SIGTERM; the exit status.
int node_stop(struct node *node);
// Waits until it ends by itself; the exit status.
int node_await_exit(struct node *node);

// The node's connection for rpc(); made when needed.
struct rpc *node_rpc(struct node *node);
// One more connection. Any thread.
struct rpc *node_open(struct node *node);

// A part of the answer to stats, such as "outbox.depth", as JSON text or as an integer.
const char *node_stat(struct node *node, const char *path);
int64_t node_stat_int(struct node *node, const char *path);
// Asks for stats until the part is as expected; the integer form, until it is at least that.
void node_await_stat(struct node *node, const char *path, const char *expected_json);
void node_await_stat_min(struct node *node, const char *path, int64_t at_least);

// Whether the node's log holds the text now, and waiting for that.
bool node_log_has(struct node *node, const char *text);
void node_await_log(struct node *node, const char *text);
// How many lines of it hold the text.
int node_log_count(struct node *node, const char *text);
