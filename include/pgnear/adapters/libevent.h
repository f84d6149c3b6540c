// libpgnear in a loop of libevent 2: include it after nothing, link with -levent_core.
//
//      pgnear_libevent_attach(node, base);
//
// All in this header, so that libpgnear itself does not need libevent.
#ifndef PGNEAR_ADAPTERS_LIBEVENT_H
#define PGNEAR_ADAPTERS_LIBEVENT_H

#include <event2/event.h>
#include <pgnear/async.h>
#include <stdlib.h>

struct pgnear_libevent {
    pgnear_async *async;
    struct event *read;
    struct event *write;
    struct event *timer;
};

static inline void pgnear_libevent_on_read(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    pgnear_async_handle_read(((struct pgnear_libevent *)context)->async);
}

static inline void pgnear_libevent_on_write(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    pgnear_async_handle_write(((struct pgnear_libevent *)context)->async);
}

static inline void pgnear_libevent_on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    pgnear_async_handle_timer(((struct pgnear_libevent *)context)->async);
}

static inline void pgnear_libevent_add_read(void *context)
{
    event_add(((struct pgnear_libevent *)context)->read, NULL);
}

static inline void pgnear_libevent_del_read(void *context)
{
    event_del(((struct pgnear_libevent *)context)->read);
}

static inline void pgnear_libevent_add_write(void *context)
{
    event_add(((struct pgnear_libevent *)context)->write, NULL);
}

static inline void pgnear_libevent_del_write(void *context)
{
    event_del(((struct pgnear_libevent *)context)->write);
}

static inline void pgnear_libevent_schedule(void *context, int64_t after_ms)
{
    struct timeval after;
    after.tv_sec = (time_t)(after_ms / 1000);
    after.tv_usec = (suseconds_t)(after_ms % 1000 * 1000);
    event_add(((struct pgnear_libevent *)context)->timer, &after);
}

static inline void pgnear_libevent_cleanup(void *context)
{
    struct pgnear_libevent *adapter = (struct pgnear_libevent *)context;
    struct event *events[3] = {adapter->read, adapter->write, adapter->timer};
    for (int i = 0; i < 3; i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    free(adapter);
}

// Connects `async` to the loop of `base`, on whose thread everything happens from now on. What it
// allocates is freed with the connection, to be closed before the base is freed. Does not block.
// PGNEAR_INTERNAL where there is no memory; PGNEAR_BAD_REQUEST where it is attached already.
// [thread: loop; blocks: no; memory: none; errors: local]
static inline pgnear_code pgnear_libevent_attach(pgnear_async *async, struct event_base *base)
{
    struct pgnear_libevent *adapter =
        (struct pgnear_libevent *)calloc(1, sizeof(struct pgnear_libevent));
    pgnear_async_hooks hooks = {sizeof(pgnear_async_hooks), adapter,
                                pgnear_libevent_add_read,   pgnear_libevent_del_read,
                                pgnear_libevent_add_write,  pgnear_libevent_del_write,
                                pgnear_libevent_schedule,   pgnear_libevent_cleanup};
    pgnear_code code = PGNEAR_INTERNAL;
    int fd = pgnear_async_fd(async);
    if (adapter == NULL) {
        return code;
    }
    adapter->async = async;
    adapter->read = event_new(base, fd, EV_READ | EV_PERSIST, pgnear_libevent_on_read, adapter);
    adapter->write = event_new(base, fd, EV_WRITE | EV_PERSIST, pgnear_libevent_on_write, adapter);
    adapter->timer = event_new(base, -1, 0, pgnear_libevent_on_timer, adapter);
    if (adapter->read != NULL && adapter->write != NULL && adapter->timer != NULL) {
        code = pgnear_async_attach(async, &hooks, NULL);
    }
    if (code != PGNEAR_OK) {
        pgnear_libevent_cleanup(adapter);
    }
    return code;
}

#endif
