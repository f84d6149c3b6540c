// What the clients of a load know, for load.c, which writes it, and load_check.c, which holds it
// against PostgreSQL.
#pragma once

#include <stdatomic.h>

#include "system/harness/load.h"
#include "system/harness/random.h"

enum ledger_outcome { LEDGER_UNANSWERED, LEDGER_ACKED, LEDGER_REFUSED };

struct ledger_write {
    enum ledger_outcome outcome;
    int64_t seq; // acked: of the answer
};

enum { LEDGER_WRITES_MAX = 200000 };

struct load_client {
    struct load *load;
    int index;
    enum load_kind kind;
    struct random random;
    struct rpc *rpc; // NULL: not connected
    // Of the client's thread until it is joined:
    int64_t sent[LOAD_COUNTERS_A_CLIENT];
    int64_t acked[LOAD_COUNTERS_A_CLIENT];
    struct ledger_write *ledger; // write n at [n - 1]
    int ledger_count;
    int64_t incr_acked;
    int64_t incr_unanswered;
    int64_t incr_last; // the value of the last answer
};

// What PostgreSQL held of each client's ledger at one moment.
struct ledger_sample {
    struct ledger_sample *next;
    int newest[LOAD_CLIENTS]; // the greatest n; 0: none
    int count[LOAD_CLIENTS];
};

struct load {
    struct scenario *scenario;
    struct pg *pg;
    struct node *node;
    uint64_t seed;
    atomic_ullong acks[LOAD_KINDS_COUNT];
    struct load_client clients[LOAD_CLIENTS];
    struct workers *workers;
    struct workers *sampler;
    struct ledger_sample *samples; // of the sampler's thread until it is joined
    int counter_samples;
    int64_t seen[LOAD_CLIENTS][LOAD_COUNTERS_A_CLIENT]; // of the sampler's thread
};

// Makes the trigger that writes down every repeated or backward write.
void load_audit(struct load *load);

// The body of the sampling thread.
void load_sample(void *context, int index);

// After the clients and the sampler have ended and everything is flushed.
void load_check(struct load *load);
