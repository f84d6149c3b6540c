// Decides who answers a call: the loop itself, the cache, the writer or the pg worker. Knows no
// wire format and no connection; every protocol gives it a struct call and a struct answer.
#pragma once

#include "base/ports.h"
#include "server/own_fetch.h"
#include "server/stats.h"
#include "server/watch.h"

// How the answer to one call goes out. Called at most once, from within dispatch_answer; slices of
// the reply are valid during the call.
struct answer {
    void *context;
    void (*reply)(void *context, const struct call *call, const struct reply *reply);
    // Of a get, for who would spare the reply around it; NULL: it comes as a reply.
    void (*item)(void *context, const struct item *item);
    void (*hello)(void *context, const struct hello *hello);
    void (*stats)(void *context, const struct stats *stats);
};

struct caller {
    struct watch *watch;
    bool read_only;
    struct answer answer;
};

// What became of looks into the cache.
struct looks {
    int64_t hits;
    int64_t negative_hits; // of them
    int64_t misses;
    int64_t suspects; // of them
};

// Of one server loop.
struct dispatch {
    // Constant:
    const struct cache_port *cache;
    struct cache_reader *reader;
    struct mailbox *writer;
    struct mailbox *pg;
    struct mailbox *home;
    struct own_fetch *own_fetch; // NULL: none
    struct status *status;
    const struct node_facts *facts;
    const struct latency_board *latencies; // may be NULL
    size_t reply_bytes_max;                // of mget
    // Of the loop:
    int64_t now_boot_us; // the loop sets it at each turn
    bool reading;        // a read of the cache is open
    struct looks looks;  // of the call, not counted in the status yet
    int64_t hot_hits;    // not counted in the status yet
    bool may_be_behind;  // it is, and something was answered without it since
    // Working memory, for the keys of the last call:
    struct item *items;
    uint32_t *missing;
    size_t keys_capacity;
    struct pool requests; // the owner's, who empties it
};

// Where a call must go that could not be answered at once.
struct route {
    struct mailbox *to;
    uint64_t after_seq;
    size_t missing_count; // mget: how many of its keys the cache could not answer
};

// The part of an mget that the cache answered, kept until PostgreSQL has answered the rest.
struct held {
    struct arena arena;
    struct item *items; // one a key; NULL: PostgreSQL was asked for all
    size_t items_count;
    uint32_t *missing; // places in `items`, in the order asked
    size_t missing_count;
};

void dispatch_deinit(struct dispatch *dispatch);

// True: answered. False: the route stands, and dispatch_request makes what goes there. Opens a
// read of the cache where it needs one; it sees every write that was answered before.
bool dispatch_answer(struct dispatch *dispatch, const struct caller *caller,
                     const struct call *call, struct route *route);

// The request for a call that dispatch_answer has just routed. `held` takes what it found.
struct request *dispatch_request(struct dispatch *dispatch, const struct call *call,
                                 const struct route *route, struct held *held);

// Hands the request over. False, and it stays the caller's, where the box is full.
bool dispatch_send(struct dispatch *dispatch, const struct route *route, struct request *request);

// A request has come home: completes its reply with what was held. The reply then points into both.
void dispatch_complete(const struct dispatch *dispatch, struct held *held, struct request *request);

void held_deinit(struct held *held);

// Bytes have come: what follows sees every write that was answered before they were sent. A read
// of the cache that is open stays so where the cache has not moved on.
void dispatch_catch_up(struct dispatch *dispatch);

// A get of the key is among what has come: what it looks at begins to come from memory. The hash
// for its call, and for the second step, which is of use once that of the first has come.
uint64_t dispatch_expect_get(struct dispatch *dispatch, struct slice key);
void dispatch_expect_record(struct dispatch *dispatch, uint64_t key_hash);

// The loop is about to answer, or to sleep: the cache may move on. Nothing of a lookup is valid
// after it.
void dispatch_end(struct dispatch *dispatch);
