// The loop's own way to PostgreSQL, for a key that the cache does not have: the question is sent,
// and its answer taken, on the loop's thread (fetch_port in base/ports.h), as long as the pg worker
// has nothing else to do. Otherwise the loop asks the pg worker, as for all else. The loop's
// thread.
#pragma once

#include <event2/event.h>

#include "base/ports.h"

struct own_fetch {
    struct fetch_port port; // .worker NULL: there is no such way
    int epoll_fd;           // readable once an answer is there
    struct event *event;    // of epoll_fd; NULL: there is none
    bool is_left;           // what has come is the pg worker's; the event is not pending
};

// `on_readable` calls own_fetch_take. ERROR_SYSTEM where file descriptors run out.
enum error own_fetch_open(struct own_fetch *own, const struct fetch_port *port,
                          struct event_base *base, event_callback_fn on_readable, void *context);
// Before the base is freed, and after the pg worker has ended.
void own_fetch_close(struct own_fetch *own);

// Takes the request, a read, and sends its question. False where it is for the pg worker's mailbox.
bool own_fetch_ask(struct own_fetch *own, struct request *request);
// Answers come home.
void own_fetch_take(struct own_fetch *own);
