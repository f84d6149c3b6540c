// The clocks. Deadlines and staleness use CLOCK_BOOTTIME, which goes on while the machine is
// suspended and never jumps. PostgreSQL's time, by which keys expire, is told from it as well. What
// people see, and PostgreSQL's time until it was heard of, is CLOCK_REALTIME.
#pragma once

#include <stdint.h>

enum { CLOCK_US_PER_MS = 1000, CLOCK_US_PER_S = 1000000 };

// Whole milliseconds, rounded up: what is left of a time that has not come is never 0.
static inline int64_t clock_us_to_ms(int64_t us)
{
    return us / CLOCK_US_PER_MS + (us % CLOCK_US_PER_MS > 0);
}

// Microseconds since boot, suspension included.
int64_t clock_boot_us(void);

// Microseconds since 1970.
int64_t clock_real_us(void);
