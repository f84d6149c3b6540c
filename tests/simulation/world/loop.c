// The loop without a loop: a base is the list of its pending events, in the order in which they
// were added, so that the same calls make the same list.
#include "simulation/world/loop.h"

#include <event2/event_struct.h>
#include <event2/thread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "simulation/world/machine.h"

enum { PENDING_MAX = 1024, US_PER_S = 1000000 };

struct event_base {
    struct event *pending[PENDING_MAX];
    size_t count;
    bool broken;
};

// What is kept in the public part of libevent's struct.
static short *flags_of(struct event *event)
{
    return &event->ev_evcallback.evcb_flags;
}

static int64_t due_us(const struct event *event)
{
    return event->ev_timeout.tv_sec * (int64_t)US_PER_S + event->ev_timeout.tv_usec;
}

static void list(struct event *event, short flag)
{
    struct event_base *base = event->ev_base;
    short *flags = flags_of(event);
    if ((*flags & (EVLIST_TIMEOUT | EVLIST_ACTIVE | EVLIST_INSERTED)) == 0) {
        CHECK_VALUES(base->count < PENDING_MAX, "%zu", base->count);
        base->pending[base->count++] = event;
    }
    *flags = (short)(*flags | flag);
}

static void unlist(struct event *event)
{
    struct event_base *base = event->ev_base;
    size_t place = 0;
    while (place < base->count && base->pending[place] != event) {
        place++;
    }
    if (place < base->count) {
        for (size_t i = place + 1; i < base->count; i++) {
            base->pending[i - 1] = base->pending[i];
        }
        base->count--;
    }
    *flags_of(event) = EVLIST_INIT;
}

// ---- libevent's functions, as the daemon calls them

struct event_base *event_base_new(void)
{
    return memory_zeroed(1, sizeof(struct event_base));
}

void event_base_free(struct event_base *base)
{
    CHECK_VALUES(base->count == 0, "%zu events are pending", base->count);
    free(base);
}

int event_base_dispatch(struct event_base *base)
{
    (void)base;
    CHECK(false);
    return -1;
}

int event_base_loopbreak(struct event_base *base)
{
    base->broken = true;
    return 0;
}

int event_assign(struct event *event, struct event_base *base, evutil_socket_t fd, short events,
                 event_callback_fn callback, void *context)
{
    *event = (struct event){.ev_base = base, .ev_fd = fd, .ev_events = events};
    event->ev_evcallback.evcb_flags = EVLIST_INIT;
    event->ev_evcallback.evcb_cb_union.evcb_callback = callback;
    event->ev_evcallback.evcb_arg = context;
    return 0;
}

struct event *event_new(struct event_base *base, evutil_socket_t fd, short events,
                        event_callback_fn callback, void *context)
{
    struct event *event = memory_zeroed(1, sizeof *event);
    event_assign(event, base, fd, events, callback, context);
    return event;
}

void event_free(struct event *event)
{
    unlist(event);
    free(event);
}

int event_add(struct event *event, const struct timeval *timeout)
{
    if (timeout == NULL) {
        list(event, EVLIST_INSERTED);
        return 0;
    }
    int64_t at_us = machine.now_us + timeout->tv_sec * (int64_t)US_PER_S + timeout->tv_usec;
    event->ev_timeout = (struct timeval){.tv_sec = at_us / US_PER_S, .tv_usec = at_us % US_PER_S};
    list(event, EVLIST_TIMEOUT);
    return 0;
}

int event_del(struct event *event)
{
    unlist(event);
    return 0;
}

int event_del_noblock(struct event *event)
{
    return event_del(event);
}

int evthread_use_pthreads(void)
{
    return 0;
}

int event_pending(const struct event *event, short events, struct timeval *at)
{
    (void)events;
    CHECK(at == NULL);
    return (event->ev_evcallback.evcb_flags & (EVLIST_TIMEOUT | EVLIST_ACTIVE)) != 0;
}

void event_active(struct event *event, int result, short calls)
{
    (void)result;
    (void)calls;
    list(event, EVLIST_ACTIVE);
}

evutil_socket_t event_get_fd(const struct event *event)
{
    return event->ev_fd;
}

// ---- the scheduler's side

size_t loop_due(struct event_base *base, struct event **due, size_t count_max)
{
    size_t count = 0;
    for (size_t i = 0; i < base->count && count < count_max; i++) {
        struct event *event = base->pending[i];
        short flags = *flags_of(event);
        if ((flags & EVLIST_ACTIVE) != 0 ||
            ((flags & EVLIST_TIMEOUT) != 0 && due_us(event) <= machine.now_us)) {
            due[count++] = event;
        }
    }
    return count;
}

int64_t loop_next_us(const struct event_base *base)
{
    int64_t next_us = INT64_MAX;
    for (size_t i = 0; i < base->count; i++) {
        struct event *event = base->pending[i];
        short flags = *flags_of(event);
        if ((flags & EVLIST_ACTIVE) != 0) {
            return machine.now_us;
        }
        if ((flags & EVLIST_TIMEOUT) != 0 && due_us(event) < next_us) {
            next_us = due_us(event);
        }
    }
    return next_us;
}

void loop_fire(struct event *event)
{
    if ((event->ev_events & EV_PERSIST) == 0) {
        unlist(event);
    }
    event->ev_evcallback.evcb_cb_union.evcb_callback(event->ev_fd, event->ev_events,
                                                     event->ev_evcallback.evcb_arg);
}

bool loop_is_broken(const struct event_base *base)
{
    return base->broken;
}
