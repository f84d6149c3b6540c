#include "pg/timer.h"

#include <event2/event_struct.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "pg/helm.h"

struct guarded {
    struct event event; // first: handed out
    struct helm *helm;
    event_callback_fn callback;
    void *context;
};

static void on_event(evutil_socket_t fd, short events, void *context)
{
    struct guarded *guarded = context;
    struct helm *helm = guarded->helm; // the callback may free it
    (void)FAULT_POINT(PG_TURN);
    if (helm != NULL) {
        helm_take(helm);
    }
    guarded->callback(fd, events, guarded->context);
    if (helm != NULL) {
        helm_leave(helm);
    }
}

struct event *timer_new_event(struct event_base *base, evutil_socket_t fd, short events,
                              event_callback_fn callback, void *context)
{
    CHECK(!helm_is_visited());
    struct guarded *guarded = memory_zeroed(1, sizeof *guarded);
    guarded->helm = helm_of_thread();
    guarded->callback = callback;
    guarded->context = context;
    CHECK(event_assign(&guarded->event, base, fd, events, on_event, guarded) == 0);
    return &guarded->event;
}

struct event *timer_new(struct event_base *base, event_callback_fn callback, void *context)
{
    return timer_new_event(base, -1, 0, callback, context);
}

void timer_free(struct event *event)
{
    CHECK(!helm_is_visited());
    CHECK(event_del(event) == 0);
    free(event);
}

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
    CHECK(event_del_noblock(timer) == 0);
}

bool timer_is_armed(const struct event *timer)
{
    return evtimer_pending(timer, NULL) != 0;
}
