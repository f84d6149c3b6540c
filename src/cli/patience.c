#include "cli/patience.h"

#include <time.h>

#include "base/clock.h"

enum { LIMIT_DEFAULT_MS = 60000, PAUSE_MIN_US = 5000, PAUSE_MAX_US = 500000 };

void patience_begin(struct patience *patience, int64_t limit_ms)
{
    limit_ms = limit_ms > 0 ? limit_ms : LIMIT_DEFAULT_MS;
    *patience = (struct patience){.limit_us = limit_ms * CLOCK_US_PER_MS};
    patience_renew(patience);
}

void patience_renew(struct patience *patience)
{
    patience->since_us = clock_boot_us();
    patience->pause_us = PAUSE_MIN_US;
}

bool patience_wait(struct patience *patience)
{
    if (clock_boot_us() - patience->since_us > patience->limit_us) {
        return false;
    }
    struct timespec pause = {.tv_nsec = patience->pause_us * 1000};
    nanosleep(&pause, NULL);
    int64_t longer_us = 2 * patience->pause_us;
    patience->pause_us = longer_us < PAUSE_MAX_US ? longer_us : PAUSE_MAX_US;
    return true;
}
