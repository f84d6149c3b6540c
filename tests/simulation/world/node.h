// One node: a real writer on real files and a real pg worker, without their threads, and a few
// clients that ask through the server wing's dispatch. A crash takes it down between any two steps,
// or at a commit within a turn of the writer.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "simulation/world/ledger.h"

enum { CLIENTS_MAX = 3 };

struct node;

// What differs from one run to another.
struct node_settings {
    const char *directory; // of the run
    size_t cache_bytes;
    size_t outbox_bytes;
    int batch_rows;
    int64_t linger_us;
    int64_t retain_us;
    int64_t max_stale_us;
    int64_t timeout_ms;
    bool negative;
    int audit_rate;
    bool preload;
    bool sends_late;     // a loop may wait between a read's look into the cache and its question
    bool fetches_itself; // the server loop sends the question of a miss, where the worker lets it
    bool invalidates_often; // its clients do
    bool has_readers;       // the hot tier is kept, and read by the clients
    bool loses_cache;       // a crash may take the cache's directory with it
    int64_t step_us;        // how much time passes with a step, about
};

// A packet has come on a connection that is lent to the server loop of the node of that number.
void node_takes_lent(int epoll);

void node_prepare(int number, const struct node_settings *settings);
struct node *node_of(int number);

bool node_is_up(const struct node *node);
// What the audit found stale, which is never anything: every change is announced.
int64_t node_stale_count(struct node *node);
// The daemon itself asked to be stopped.
bool node_has_failed(const struct node *node);
void node_start(struct node *node);
void node_crash(struct node *node);
// Somebody deletes the cache's directory, perhaps. For a node that has crashed.
void node_lose_cache(struct node *node);
// As by SIGTERM, with nothing left undone.
void node_stop(struct node *node);
// Nothing is left that PostgreSQL has not, whether the node is up or was stopped so.
bool node_is_drained(const struct node *node);
// False where it would leave what no start takes to another cluster than before: writes that came
// to it before it was bound to that.
bool node_may_go_down(const struct node *node);
bool node_may_crash_in_turn(const struct node *node);
// The machine goes down with it: what was not on the disk is lost. For a node that is down.
void node_lose_machine(struct node *node);

// ---- steps

bool node_has_turn(const struct node *node); // the writer has something to do
void node_turn(struct node *node);
// A turn, or what the mover does meanwhile, that ends with a crash at one of its commits, before or
// after it; the node is down then.
void node_turn_and_crash(struct node *node);
bool node_has_move(const struct node *node); // the mover
void node_move(struct node *node);
bool node_has_mail(const struct node *node); // the pg worker
void node_take_mail(struct node *node);
struct event_base *node_base(const struct node *node);
bool node_has_answers(const struct node *node);
void node_take_answers(struct node *node);
bool node_client_is_idle(const struct node *node, int client);
void node_client_asks(struct node *node, int client);
// Its read has missed the cache, and its question is still to be handed to the pg worker.
bool node_client_is_unsent(const struct node *node, int client);
void node_client_sends(struct node *node, int client);

// ---- the end

// Nothing is on its way: every write is in PostgreSQL and every answer is given.
bool node_is_at_rest(const struct node *node);
// What the node reads of the key; false where it would ask PostgreSQL.
void node_check_key(struct node *node, int key);
// Whether it reads the table into its cache when it starts, and has not done with that.
bool node_preloads(const struct node *node);
bool node_is_preloading(const struct node *node);
// That it did: the key is a hit where PostgreSQL has it.
void node_check_preloaded(struct node *node, int key);
// Every client that asked has its answer.
void node_check_clients(const struct node *node);
const char *node_state_text(const struct node *node);
