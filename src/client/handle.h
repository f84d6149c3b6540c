// What a pgnear handle holds, for the files of the library. One thread at a time.
#pragma once

#include <sys/types.h>

#include "base/arena.h"
#include "client/direct.h"
#include "client/link.h"
#include "client/outcome.h"

enum {
    EVENTS_BYTES_MAX =
        4 * 1024 * 1024,        // of events that wait to be taken; then they become a resync
    GRACE_MS = 500,             // for the node's own answer at the deadline to arrive
    TIMEOUT_DEFAULT_MS = 30000, // where neither the call nor the handle sets one
    TIMEOUT_MAX_MS = 86400000,  // what a node takes
};

struct pgnear {
    pid_t pid; // of the process that opened it
    char *socket_path;
    char *client_name;
    int64_t timeout_ms; // 0: not set
    int64_t connect_timeout_ms;
    struct link link;
    bool socket_only;     // no direct reads
    struct direct direct; // what `get` and its like look into first
    uint32_t next_msgid;
    // A request while it is made and sent, so that it can be sent again:
    struct buffer request;
    uint32_t request_msgid;
    struct buffer opts;
    msgpack_packer packer; // aimed at `request`
    // What was handed out by the last call:
    struct arena results;
    struct arena found;      // by a direct mget
    size_t lent_event_bytes; // at the front of `events`
    // Events:
    struct buffer watched; // the watched prefixes, a MessagePack str each
    struct buffer events;  // notifications that came while an answer was waited for, as frames
    bool resync;           // events were lost since the last one that was taken
};

// A handle that is not connected. For pgnear_open and what sends in its own way.
pgnear_code handle_create(const char *socket_path, const pgnear_options *options, pgnear **handle,
                          pgnear_error *error);

// Takes what a node says of itself in its answer to hello. PGNEAR_PROTOCOL where it is none that
// this library understands.
pgnear_code handle_take_hello(pgnear *handle, struct slice answer, pgnear_error *error);

// PGNEAR_FORKED in another process than that which opened the handle.
pgnear_code handle_check(const pgnear *handle, pgnear_error *error);

// Takes back what the last call handed out. PGNEAR_FORKED in another process.
pgnear_code handle_enter(pgnear *handle, pgnear_error *error);

// The same where handle_check has been asked: most calls find nothing to take back.
void handle_free_handed_out(pgnear *handle);
static inline void handle_let_go(pgnear *handle)
{
    if (handle->results.chunks != NULL || handle->found.chunks != NULL ||
        handle->lent_event_bytes > 0) {
        handle_free_handed_out(handle);
    }
}

// Connects where there is no connection, and watches again what was watched.
pgnear_code handle_connect(pgnear *handle, int64_t deadline_us, pgnear_error *error);
// Closes the connection; where prefixes are watched, events may now be missed.
void handle_disconnect(pgnear *handle);

// Keeps a notification for pgnear_next_event.
void handle_keep_event(pgnear *handle, struct slice frame);

static inline struct slice slice_of_bytes(pgnear_bytes bytes)
{
    return slice_of(bytes.at, bytes.len);
}

static inline pgnear_bytes bytes_of_slice(struct slice slice)
{
    return (pgnear_bytes){.at = slice.at, .len = slice.len};
}
