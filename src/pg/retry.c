#include "pg/retry.h"

#include <stdlib.h>

enum { PAUSE_FIRST_US = 50 * 1000, PAUSE_MAX_US = 5 * 1000 * 1000, DOUBLINGS_MAX = 7 };

int64_t retry_next_us(struct retry *retry)
{
    int64_t step_us = PAUSE_MAX_US;
    if (retry->failures < DOUBLINGS_MAX) {
        step_us = (int64_t)PAUSE_FIRST_US << retry->failures;
    }
    if (step_us > PAUSE_MAX_US) {
        step_us = PAUSE_MAX_US;
    }
    retry->failures++;
    return step_us / 2 + arc4random_uniform((uint32_t)(step_us / 2) + 1);
}

void retry_reset(struct retry *retry)
{
    retry->failures = 0;
}
