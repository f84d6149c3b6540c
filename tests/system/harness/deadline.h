// How long a test waits for a condition before it gives up. A condition is asked for at growing
// intervals; the deadline only bounds a failure, so it is generous.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Slower than anything that works, sanitizers and a busy machine included.
enum { DEADLINE_MS = 90000 };

struct deadline {
    int64_t at_us;    // CLOCK_BOOTTIME
    int64_t pause_us; // before the condition is asked for again
};

struct deadline deadline_in(int64_t ms);

// Milliseconds left for poll(); 0 once it has passed.
int deadline_left_ms(const struct deadline *deadline);

// Pauses shortly and answers true, or answers false once the deadline has passed:
// `while (!condition()) { if (!deadline_again(&deadline)) { fail } }`.
bool deadline_again(struct deadline *deadline);
