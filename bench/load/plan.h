// What a run of the load generator is to do, from its command line.
#pragma once

#include "load/keys.h"
#include "load/mix.h"
#include "load/protocol.h"

enum { CONNECTIONS_MAX = 1024, PIPELINE_MAX = 1024 };

struct plan {
    const struct protocol *protocol;
    const struct mix *mix;
    const char *socket;
    enum distribution distribution;
    unsigned connections;
    unsigned pipeline; // requests in flight on each connection
    uint64_t keys;
    uint64_t first_key;
    size_t value_bytes;
    double seconds;
    double warmup_seconds;
    uint64_t operations; // end after so many; 0: by time alone
    double rate;         // operations a second, open loop; 0: closed loop
    uint64_t seed;
    int cpu;    // -1: unpinned
    bool spins; // polls instead of sleeping, so that the server never has to wake it
};

// Ends the process with the usage where the arguments make no plan.
void plan_parse(struct plan *plan, int argc, char **argv);
