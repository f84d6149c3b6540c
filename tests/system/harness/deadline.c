#include "system/harness/deadline.h"

#include <time.h>

#include "base/clock.h"

enum { PAUSE_FIRST_US = 500, PAUSE_MAX_US = 20000 };

struct deadline deadline_in(int64_t ms)
{
    return (struct deadline){.at_us = clock_boot_us() + ms * CLOCK_US_PER_MS,
                             .pause_us = PAUSE_FIRST_US};
}

int deadline_left_ms(const struct deadline *deadline)
{
    int64_t left_us = deadline->at_us - clock_boot_us();
    return left_us <= 0 ? 0 : (int)((left_us + CLOCK_US_PER_MS - 1) / CLOCK_US_PER_MS);
}

bool deadline_again(struct deadline *deadline)
{
    if (deadline_left_ms(deadline) == 0) {
        return false;
    }
    struct timespec pause = {.tv_nsec = (long)deadline->pause_us * 1000};
    nanosleep(&pause, NULL);
    if (deadline->pause_us * 2 <= PAUSE_MAX_US) {
        deadline->pause_us *= 2;
    }
    return true;
}
