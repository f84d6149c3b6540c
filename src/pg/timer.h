// The pg worker's events, libevent's, with times in microseconds. Their callbacks hold the helm
// (helm.h) of the thread that made them, if it has one.
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

// As event_new and evtimer_new, but never NULL; freed by timer_free. On the loop's own thread, not
// by a guest.
struct event *timer_new_event(struct event_base *base, evutil_socket_t fd, short events,
                              event_callback_fn callback, void *context);
struct event *timer_new(struct event_base *base, event_callback_fn callback, void *context);
void timer_free(struct event *event);

// The timer fires once, `delay_us` from now or at once where that is past; an earlier arming is
// forgotten.
void timer_arm(struct event *timer, int64_t delay_us);
// By a guest: its callback may still run once, where it waits for the helm.
void timer_disarm(struct event *timer);
bool timer_is_armed(const struct event *timer);
