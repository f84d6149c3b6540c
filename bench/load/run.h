// One run: connections to one server, requests as the plan says, what came of them.
#pragma once

#include "load/hdr.h"
#include "load/plan.h"

struct outcome {
    struct hdr latency; // of operations; an RMW is one
    double seconds;     // measured, without the warm-up
    uint64_t operations;
    uint64_t hits;
    uint64_t misses;
    uint64_t errors; // said by the server
    uint64_t wrong;  // values that are not the key's
    uint64_t late;   // open loop: operations that were due and never sent
    char first_error[256];
};

// Blocks until the plan is done. Ends the process where the server cannot be reached or breaks
// off. Main thread.
void run_plan(const struct plan *plan, struct outcome *outcome);
