#include "server/own_fetch.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/check.h"

enum error own_fetch_open(struct own_fetch *own, const struct fetch_port *port,
                          struct event_base *base, event_callback_fn on_readable, void *context)
{
    *own = (struct own_fetch){.port = *port, .epoll_fd = -1};
    if (port->worker == NULL) {
        return ERROR_NONE;
    }
    own->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (own->epoll_fd < 0) {
        return ERROR_SYSTEM;
    }
    own->event = event_new(base, own->epoll_fd, EV_READ | EV_PERSIST, on_readable, context);
    CHECK(own->event != NULL && event_add(own->event, NULL) == 0);
    return ERROR_NONE;
}

void own_fetch_close(struct own_fetch *own)
{
    if (own->event != NULL) {
        event_free(own->event);
        close(own->epoll_fd);
        own->event = NULL;
    }
}

// One key, as it is now: an answer of a few kilobytes, mostly.
static bool is_small(const struct call *call)
{
    return call->method == METHOD_TTL || (call->method == METHOD_GET && !call->has_at_version);
}

bool own_fetch_ask(struct own_fetch *own, struct request *request)
{
    if (own->port.worker == NULL || !is_small(&request->call) ||
        !own->port.ask(own->port.worker, request, own->epoll_fd)) {
        return false;
    }
    if (own->is_left) {
        own->is_left = false;
        CHECK(event_add(own->event, NULL) == 0);
    }
    return true;
}

void own_fetch_take(struct own_fetch *own)
{
    if (!own->port.on_ready(own->port.worker, own->epoll_fd)) {
        // It stays readable until the worker has seen to it.
        own->is_left = true;
        CHECK(event_del(own->event) == 0);
    }
}
