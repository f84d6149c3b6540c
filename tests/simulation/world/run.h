// One run: the world that a seed makes, its steps one after another, and the checks between them
// and at the end.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a run is made of beyond its seed: which faults may happen at all, so that a test can begin
// with the simplest world.
enum run_faults {
    RUN_CUTS = 1 << 0,      // connections break, seen by the client at once
    RUN_STICKS = 1 << 1,    // half-open connections
    RUN_KILLS = 1 << 2,     // PostgreSQL ends sessions
    RUN_CRASHES = 1 << 3,   // nodes, between steps and at commits
    RUN_STOPS = 1 << 4,     // nodes, in order
    RUN_RESTARTS = 1 << 5,  // of PostgreSQL, with loss of commits that did not wait for the disk
    RUN_FAILOVERS = 1 << 6, // to a standby that had not got the last commits
    RUN_POWER = 1 << 7,     // the machine of a node
    RUN_SMALL = 1 << 8,     // cache and outbox too small for what comes
    RUN_MOVES = 1 << 9,     // of the data, and then of the nodes, to another server
    RUN_ALL = (1 << 10) - 1
};

struct run {
    uint64_t seed;
    unsigned faults; // those that the seed may choose from
    bool insists;    // all of them, often, and few keys: for a bug that needs them to coincide
    int nodes_max;
    uint32_t steps;
    const bool *skipped; // steps that are left out; NULL: none
    bool traces;
};

// Does not return where a promise is broken (machine.h).
void run_once(const struct run *run, const char *directory);
