// The fault points (base/fault.h) of a node that runs: armed and counted through a page that the
// test shares with it, whatever becomes of the node. Needs a build with PGNEAR_FAULT_POINTS.
#pragma once

#include "base/fault.h"
#include "system/harness/node.h"

struct faults {
    struct fault_page *page; // unmapped when the test's process ends
    const char *environment[2];
};

// Makes the page; `faults->environment` is what the node is to be given. Main thread, once for each
// node, whose name tells the files apart.
struct faults *faults_create(struct scenario *scenario, const char *node_name);

void faults_arm(struct faults *faults, const struct fault_order *order);
void faults_disarm(struct faults *faults, enum fault fault);

// Since the page was made: how often the node passed the point, and how often the point fired.
uint64_t faults_passes(const struct faults *faults, enum fault fault);
uint64_t faults_fired(const struct faults *faults, enum fault fault);

// Waits until it has fired that often.
void faults_await(struct faults *faults, enum fault fault, uint64_t fired);
