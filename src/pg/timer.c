#include "pg/timer.h"

#include "base/check.h"
#include "base/clock.h"

void timer_arm(struct event *timer, int64_t delay_us)
{
    if (delay_us < 0) {
        delay_us = 0;
    }
    struct timeval delay = {
        .tv_sec = delay_us / CLOCK_US_PER_S,
        .tv_usec = delay_us % CLOCK_US_PER_S,
    };
    CHECK(evtimer_add(timer, &delay) == 0);
}

void timer_disarm(struct event *timer)
{
    CHECK(evtimer_del(timer) == 0);
}

bool timer_is_armed(const struct event *timer)
{
    return evtimer_pending(timer, NULL) != 0;
}
