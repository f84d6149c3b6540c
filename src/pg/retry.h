// How long to wait before the next attempt at something that failed: 50 ms, doubling to 5 s, with
// jitter so that nodes that lost the same server do not come back in step.
#pragma once

#include <stdint.h>

struct retry {
    unsigned failures; // in a row
};

// The pause before the next attempt, in microseconds: between half of the step and the whole of
// it. Counts one more failure.
int64_t retry_next_us(struct retry *retry);

// Something worked: the next pause is the shortest again.
void retry_reset(struct retry *retry);
