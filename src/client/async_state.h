// A connection without waiting, for the two files that make it: async.c has its life and what the
// loop asks of it, async_requests.c what the application asks of it. The loop's thread.
#pragma once

#include <pgnear/async.h>

#include "client/exchange.h"
#include "client/pending.h"
#include "client/ready.h"

struct pgnear_async {
    pgnear *shell; // packs requests and holds the link
    pgnear_async_hooks hooks;
    bool is_attached;
    bool is_ended;
    bool is_closing;
    int depth;           // of callbacks that are running
    struct buffer out;   // not sent yet
    uint64_t sent_bytes; // since the beginning
    int64_t timer_us;    // what the loop's timer is set to; INT64_MAX: nothing
    struct pending_requests pending;
    struct ready ready;
    pgnear_async_event_callback *on_event;
    void *event_context;
    pgnear_async_close_callback *on_close;
    void *close_context;
};

// Whether requests are taken and what comes in is looked at; false once it has ended or is left.
static inline bool async_is_open(const pgnear_async *async)
{
    return !async->is_ended && !async->is_closing;
}

// Has the loop say when the socket can be written, or not any more; nothing where there is no loop.
void async_want_write(pgnear_async *async, bool wanted);

// Has the loop call back at that time at the latest, by CLOCK_BOOTTIME.
void async_schedule(pgnear_async *async, int64_t deadline_us);

// Whose answer a request brings, and whom it goes to.
struct asker {
    enum request_kind kind;
    uint64_t hash;         // of its key, but for REQUEST_OTHER
    bool is_noted;         // a get whose answer is held against later ones
    struct seen_told told; // of a write with a key, as of direct_write_begin
    pgnear_async_callback *callback;
    void *context;
};

// Takes the request that lies packed in the shell. PGNEAR_UNREACHABLE once the connection has
// ended, PGNEAR_OVERLOADED where too many wait already: then the callback is not called.
pgnear_code async_send(pgnear_async *async, const struct exchange *exchange,
                       const struct asker *asker, pgnear_error *error);
