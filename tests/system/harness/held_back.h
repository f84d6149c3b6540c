// A node that lies behind what a handle was told, for tests of what is told of a key afterwards.
#pragma once

#include <pgnear.h>

#include "system/harness/faults.h"
#include "system/harness/node.h"

// PostgreSQL has 2 under k; the cache still holds the 1 before it, and its writer stands until
// FAULT_CACHE_FILL is disarmed.
struct held_back {
    struct node *node;
    struct faults *faults;
};

struct held_back held_back_start(struct scenario *scenario);

extern const pgnear_bytes HELD_BACK_BAD_VALUE; // for the node to refuse
extern const pgnear_bytes HELD_BACK_FIVE;
