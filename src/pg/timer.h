// libevent's timers in microseconds. The loop's thread.
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

// The timer fires once, `delay_us` from now or at once where that is past; an earlier arming is
// forgotten.
void timer_arm(struct event *timer, int64_t delay_us);
void timer_disarm(struct event *timer);
bool timer_is_armed(const struct event *timer);
