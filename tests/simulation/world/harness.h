// Runs seeds in child processes, since a run that breaks a promise ends its process, and shortens
// the first that fails.
#pragma once

#include "simulation/world/run.h"

enum { VERDICT_BYTES = 1200 };

struct harness_options {
    const char *name; // of the test, for what it prints
    unsigned faults;
    bool insists; // as in struct run
    int nodes_max;
    uint32_t steps; // of a run
    uint64_t first_seed;
    uint32_t seeds_max;
    double seconds_max; // no seed is begun after that
};

struct harness_result {
    uint32_t runs;
    uint64_t steps;
    double seconds;
    bool failed;
    uint64_t seed;               // of the run that failed
    char verdict[VERDICT_BYTES]; // "<step> <kind>: <what is wrong>"
};

// Goes through the seeds until one fails. `shortens`: leaves out what the failure does not need and
// prints the trace of what remains on stderr.
struct harness_result harness_run(const struct harness_options *options, bool shortens);
