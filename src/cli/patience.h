// How long a command that moves many pairs waits for a node or a PostgreSQL that is away or full,
// and how often it asks again. One thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct patience {
    int64_t limit_us; // without any success
    int64_t since_us; // of the last success
    int64_t pause_us;
};

// `limit_ms` 0: a minute.
void patience_begin(struct patience *patience, int64_t limit_ms);

// Something went well: the wait begins anew.
void patience_renew(struct patience *patience);

// Waits a little, longer each time. False, at once, where the limit has passed.
bool patience_wait(struct patience *patience);
