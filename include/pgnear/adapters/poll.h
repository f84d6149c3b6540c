// libpgnear in a loop of the application's own around poll(2).
//
//      struct pgnear_poll adapter;
//      pgnear_poll_attach(node, &adapter);
//      while (...) {
//          struct pollfd entry = pgnear_poll_entry(&adapter);
//          poll(&entry, 1, pgnear_poll_timeout(&adapter));
//          pgnear_poll_handle(&adapter, entry.revents);
//      }
//
// All in this header.
#ifndef PGNEAR_ADAPTERS_POLL_H
#define PGNEAR_ADAPTERS_POLL_H

#include <pgnear/async.h>
#include <poll.h>

// What the loop has to know, in the caller's memory until the connection is closed.
struct pgnear_poll {
    pgnear_async *async; // NULL once it is closed
    short events;
    bool has_timer;
    int64_t timer_ms; // by pgnear_poll_now
};

// Milliseconds of CLOCK_MONOTONIC. Any thread; cannot fail.
// [thread: any; blocks: no; memory: none; errors: none]
static inline int64_t pgnear_poll_now(void)
{
    return pgnear_async_clock_ms(); // ISO C has no such clock
}

static inline void pgnear_poll_add_read(void *context)
{
    ((struct pgnear_poll *)context)->events |= POLLIN;
}

static inline void pgnear_poll_del_read(void *context)
{
    ((struct pgnear_poll *)context)->events &= (short)~POLLIN;
}

static inline void pgnear_poll_add_write(void *context)
{
    ((struct pgnear_poll *)context)->events |= POLLOUT;
}

static inline void pgnear_poll_del_write(void *context)
{
    ((struct pgnear_poll *)context)->events &= (short)~POLLOUT;
}

static inline void pgnear_poll_schedule(void *context, int64_t after_ms)
{
    struct pgnear_poll *adapter = (struct pgnear_poll *)context;
    adapter->has_timer = true;
    adapter->timer_ms = pgnear_poll_now() + after_ms;
}

static inline void pgnear_poll_cleanup(void *context)
{
    struct pgnear_poll *adapter = (struct pgnear_poll *)context;
    adapter->async = NULL;
    adapter->events = 0;
    adapter->has_timer = false;
}

// Connects `async` to a loop that polls with `adapter`, which stays the caller's and outlives the
// connection. PGNEAR_BAD_REQUEST where it is attached already. Does not block. The loop's thread.
// [thread: loop; blocks: no; memory: none; errors: local]
static inline pgnear_code pgnear_poll_attach(pgnear_async *async, struct pgnear_poll *adapter)
{
    pgnear_async_hooks hooks = {sizeof(pgnear_async_hooks), adapter,
                                pgnear_poll_add_read,       pgnear_poll_del_read,
                                pgnear_poll_add_write,      pgnear_poll_del_write,
                                pgnear_poll_schedule,       pgnear_poll_cleanup};
    adapter->async = async;
    adapter->events = 0;
    adapter->has_timer = false;
    adapter->timer_ms = 0;
    return pgnear_async_attach(async, &hooks, NULL);
}

// What to poll for; a descriptor of -1, which poll(2) passes over, once the connection has ended.
// The loop's thread; cannot fail.
// [thread: loop; blocks: no; memory: none; errors: none]
static inline struct pollfd pgnear_poll_entry(const struct pgnear_poll *adapter)
{
    struct pollfd entry;
    entry.fd = adapter->async == NULL ? -1 : pgnear_async_fd(adapter->async);
    entry.events = adapter->events;
    entry.revents = 0;
    return entry;
}

// How long poll(2) may wait, in milliseconds; -1 without an end. The loop's thread; cannot fail.
// [thread: loop; blocks: no; memory: none; errors: none]
static inline int pgnear_poll_timeout(const struct pgnear_poll *adapter)
{
    int64_t left_ms = adapter->has_timer ? adapter->timer_ms - pgnear_poll_now() : -1;
    if (!adapter->has_timer) {
        return -1;
    }
    return left_ms < 0 ? 0 : left_ms > 3600000 ? 3600000 : (int)left_ms;
}

// Does what poll(2) found to do, and calls callbacks. Does not block. The loop's thread.
// [thread: loop; blocks: no; memory: none; errors: none]
static inline void pgnear_poll_handle(struct pgnear_poll *adapter, short revents)
{
    if (adapter->async != NULL && (revents & POLLOUT) != 0) {
        pgnear_async_handle_write(adapter->async);
    }
    if (adapter->async != NULL && (revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        pgnear_async_handle_read(adapter->async);
    }
    if (adapter->async != NULL && adapter->has_timer && pgnear_poll_now() >= adapter->timer_ms) {
        adapter->has_timer = false;
        pgnear_async_handle_timer(adapter->async);
    }
}

#endif
