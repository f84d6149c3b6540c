// The clients of one node, and what a node is made of; between node.c and clients.c.
#pragma once

#include "cache/writer.h"
#include "pg/worker.h"
#include "server/dispatch.h"
#include "simulation/world/node.h"

enum { CLIENT_KEYS_MAX = 2 };

// One client with at most one question under way.
struct client {
    struct node *node;
    bool busy;
    enum method method;
    bool fresh;
    int64_t asked_us;
    int64_t deadline_us;
    size_t keys_count;
    int keys[CLIENT_KEYS_MAX];
    struct read_floor floors[CLIENT_KEYS_MAX];
    uint64_t invalidated_step[CLIENT_KEYS_MAX]; // of the node, when it was asked
    bool settles; // an invalidate: nobody was reading the key when it was asked
    uint64_t asked_step;
    int64_t late_hits;                     // of the node, when it was asked
    struct cached cached[CLIENT_KEYS_MAX]; // as held when it was asked
    struct held held;                      // what of an mget the cache answered
    int64_t writes[CLIENT_KEYS_MAX];       // of a write: their numbers
    enum ack ack;
    struct route route;     // of `unsent`
    struct request *unsent; // its loop waits for the processor before it hands it over
};

struct node {
    int number;
    struct node_settings given;
    struct settings settings;
    struct status status;
    int boots; // of the machine
    bool failed;
    uint64_t drained_seq;  // up to which it was, when it was stopped; 0: it was not
    struct writer *writer; // NULL: down
    struct worker *worker;
    struct cache_port cache;
    struct outbox_port outbox;
    struct cache_reader *reader; // of the server wing
    struct dispatch dispatch;
    struct own_fetch own_fetch;
    struct mailbox home;
    int64_t next_turn_us;
    // PostgreSQL is asked for the key after this before it is told again; 0: who knows.
    uint64_t invalidated_step[KEYS_COUNT];
    bool has_stray_reads[KEYS_COUNT]; // some that nobody waits for any more may be under way
    struct client clients[CLIENTS_MAX];
};

// Tells the ledger of what has come into the outbox.
void clients_see_journal(struct node *node);
// The process is gone: nobody will answer.
void clients_forget(struct node *node);
bool clients_are_idle(const struct node *node);
