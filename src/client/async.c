// A connection without waiting. It borrows from a handle what does not wait: the packing of a
// request, the stream, the options; a handle's blocking half is never used.
//
//      call --pack--> out --handle_write--> socket --handle_read--> frame --find--> callback
//      get  --look--> ready ----------------the loop's next turn------------------> callback
//
// A get that the map answers is looked for in the call, before anything that is asked for later,
// and called back before any answer that comes in later: so it is never told what is older than
// what was told before.
//
// One thread, the loop's. What would free the connection under a callback is done when the last has
// returned (`depth`).

#include "client/async_state.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "client/options.h"
#include "client/response.h"

enum { KEEP_BYTES_MAX = 256 * 1024 }; // of the memory of what was sent

// ---- The loop

void async_want_write(pgnear_async *async, bool wanted)
{
    if (async->is_attached && !async->is_ended) {
        (wanted ? async->hooks.add_write : async->hooks.del_write)(async->hooks.context);
    }
}

// A timer that is too early finds nothing to do and is set anew, so it is only ever moved forward.
void async_schedule(pgnear_async *async, int64_t deadline_us)
{
    if (deadline_us >= async->timer_us || !async->is_attached || async->is_ended) {
        return;
    }
    int64_t left_ms = clock_us_to_ms(deadline_us - clock_boot_us());
    async->timer_us = deadline_us;
    async->hooks.schedule_timer(async->hooks.context, left_ms > 0 ? left_ms : 0);
}

// ---- Answering

static void free_all(pgnear_async *async)
{
    CHECK(async->depth == 0 && pgnear_async_pending(async) == 0);
    if (async->is_attached) {
        async->hooks.cleanup(async->hooks.context);
    }
    buffer_deinit(&async->out);
    pgnear_close(async->shell);
    free(async);
}

static void enter(pgnear_async *async)
{
    async->depth++;
}

// The connection may be gone afterwards.
static void leave(pgnear_async *async)
{
    CHECK(async->depth > 0);
    async->depth--;
    if (async->depth == 0 && async->is_closing) {
        free_all(async);
    }
}

static void answer(pgnear_async *async, struct pending *pending, const pgnear_reply *reply)
{
    pending_take(&async->pending, pending);
    if (pending->kind == REQUEST_WRITE) {
        direct_write_end(&async->shell->direct, pending->hash, pending->told,
                         reply->code == PGNEAR_OK);
    }
    if (pending->callback != NULL) {
        pending->callback(async, reply, pending->context);
    }
    free(pending);
}

// `may_be_done`: the request may reach the node, or has.
static void answer_error(pgnear_async *async, struct pending *pending, bool may_be_done,
                         const pgnear_error *error)
{
    pgnear_error own = *error;
    if (pending->writes && may_be_done) {
        outcome_set(&own, PGNEAR_OUTCOME_UNKNOWN, "%s: the write may have been done or not",
                    error->message);
    }
    const pgnear_reply reply = {.code = own.code, .error = &own};
    answer(async, pending, &reply);
}

// What callbacks ask for meanwhile has its turn later, unless everything ends.
static void answer_ready(pgnear_async *async)
{
    for (size_t count = async->ready.count; count > 0 && async->ready.count > 0; count--) {
        ready_call(&async->ready, async);
    }
}

// Each callback may hand in new requests, which are refused from here on.
static void answer_all(pgnear_async *async, const pgnear_error *error)
{
    while (async->pending.first != NULL) {
        struct pending *pending = async->pending.first;
        answer_error(async, pending, pending->out_end <= async->sent_bytes, error);
    }
}

// Ends the connection once, from whatever depth. It is not gone before the caller leaves.
static void end(pgnear_async *async, pgnear_code code, const char *why)
{
    pgnear_error error;
    CHECK(async->depth > 0);
    if (async->is_ended) {
        return;
    }
    if (async->is_attached) {
        async->hooks.del_read(async->hooks.context);
        async->hooks.del_write(async->hooks.context);
    }
    async->is_ended = true;
    outcome_set(&error, code, "pgneard at %s %s", async->shell->socket_path, why);
    answer_ready(async);
    answer_all(async, &error);
    link_break(&async->shell->link);
    if (async->on_close != NULL && !async->is_closing) {
        async->on_close(async, &error, async->close_context);
    }
}

int64_t pgnear_async_clock_ms(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / (1000 * 1000);
}

// ---- What comes in

// False where the peer is no pgneard.
static bool take_frame(pgnear_async *async, struct slice frame)
{
    struct response response;
    pgnear_event event;
    if (!response_read(frame, &response)) {
        return false;
    }
    if (response.is_event) {
        if (async->on_event != NULL && response_event(frame, &event)) {
            async->on_event(async, &event, async->event_context);
        }
        return true;
    }
    struct pending *pending = pending_find(&async->pending, (uint32_t)response.msgid);
    if (pending != NULL) { // else the answer to what has timed out
        pgnear_reply reply;
        pgnear_error error;
        response_reply(&response, pending->kind, &reply, &error);
        if (pending->is_noted && reply.code == PGNEAR_OK) {
            direct_note(&async->shell->direct, pending->hash, &reply.item);
        }
        answer(async, pending, &reply);
    }
    return true;
}

static void take_frames(pgnear_async *async)
{
    for (;;) {
        // What a callback has asked for was looked at before the next frame came in.
        answer_ready(async);
        if (!async_is_open(async)) {
            break;
        }
        struct slice frame;
        enum link_result result = link_receive(&async->shell->link, 0, &frame);
        if (result == LINK_LATE) {
            break;
        }
        if (result == LINK_BROKEN) {
            end(async, PGNEAR_UNREACHABLE, "closed the connection");
        } else if (result == LINK_BAD || !take_frame(async, frame)) {
            end(async, PGNEAR_PROTOCOL, "sent what is not its protocol");
        }
    }
}

void pgnear_async_handle_read(pgnear_async *async)
{
    enter(async);
    take_frames(async);
    leave(async);
}

static void send_out(pgnear_async *async)
{
    size_t sent;
    enum link_result result = link_send(&async->shell->link, buffer_slice(&async->out), 0, &sent);
    async->sent_bytes += sent;
    buffer_consume(&async->out, sent);
    if (buffer_len(&async->out) == 0) {
        buffer_clear(&async->out, KEEP_BYTES_MAX);
        async_want_write(async, false);
    }
    if (result == LINK_BROKEN || result == LINK_BAD) {
        end(async, PGNEAR_UNREACHABLE, "closed the connection");
    }
}

void pgnear_async_handle_write(pgnear_async *async)
{
    if (!async_is_open(async)) {
        return;
    }
    enter(async);
    answer_ready(async);
    if (async_is_open(async)) {
        send_out(async);
    }
    // What link_send has read to make room is in the link, and no readiness tells of it.
    take_frames(async);
    leave(async);
}

// A callback may end everything, so each looks anew.
static void answer_late(pgnear_async *async, int64_t *next_us)
{
    int64_t now_us = clock_boot_us();
    struct pending *late;
    pgnear_error error;
    outcome_set(&error, PGNEAR_TIMEOUT, "pgneard at %s did not answer in time",
                async->shell->socket_path);
    while ((late = pending_late(&async->pending, now_us, next_us)) != NULL) {
        // Its frame goes out all the same, once the socket takes it.
        answer_error(async, late, true, &error);
    }
}

void pgnear_async_handle_timer(pgnear_async *async)
{
    int64_t next_us = INT64_MAX;
    enter(async);
    async->timer_us = INT64_MAX;
    answer_ready(async);
    if (async_is_open(async)) {
        answer_late(async, &next_us);
        async_schedule(async, next_us);
    }
    leave(async);
}

// ---- Life

static void on_hello(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    (void)context;
    if (reply->code != PGNEAR_OK ||
        handle_take_hello(async->shell, slice_of_bytes(reply->result), NULL) != PGNEAR_OK) {
        end(async, PGNEAR_PROTOCOL, "does not answer hello as this library expects");
    }
}

static pgnear_code connect_and_greet(pgnear_async *async, pgnear_error *error)
{
    const struct exchange exchange = {.timeout_ms = async->shell->connect_timeout_ms};
    const struct asker asker = {.kind = REQUEST_OTHER, .callback = on_hello};
    if (link_connect(&async->shell->link, async->shell->socket_path, 0) != LINK_OK) {
        return outcome_set(error, PGNEAR_UNREACHABLE, "cannot connect to pgneard at %s: %s",
                           async->shell->socket_path, strerrordesc_np(errno));
    }
    mpack_pack_string(exchange_begin(async->shell, "hello", 1), async->shell->client_name);
    return async_send(async, &exchange, &asker, error);
}

pgnear_code pgnear_async_open(const char *socket_path, const pgnear_options *options,
                              pgnear_async **async, pgnear_error *error)
{
    pgnear_async *opened = memory_zeroed(1, sizeof *opened);
    opened->timer_us = INT64_MAX;
    pgnear_code code = handle_create(socket_path, options, &opened->shell, error);
    code = code != PGNEAR_OK ? code : connect_and_greet(opened, error);
    if (code != PGNEAR_OK) {
        pgnear_close(opened->shell);
        free(opened);
        return code;
    }
    *async = opened;
    return PGNEAR_OK;
}

void pgnear_async_close(pgnear_async *async)
{
    if (async == NULL || async->is_closing) {
        return;
    }
    async->is_closing = true;
    enter(async);
    end(async, PGNEAR_UNREACHABLE, "was left by this program");
    leave(async);
}

pgnear_code pgnear_async_attach(pgnear_async *async, const pgnear_async_hooks *hooks,
                                pgnear_error *error)
{
    pgnear_async_hooks own;
    pgnear_code code = options_take(&own, sizeof own, hooks, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    if (async->is_attached || own.size == 0) {
        return outcome_set(error, PGNEAR_BAD_REQUEST,
                           own.size == 0 ? "a connection is attached by hooks, not by none"
                                         : "the connection is attached already");
    }
    async->hooks = own;
    async->is_attached = true;
    own.add_read(own.context);
    async_want_write(async, buffer_len(&async->out) > 0);
    int64_t next_us;
    pending_late(&async->pending, INT64_MIN, &next_us);
    async_schedule(async, next_us);
    return PGNEAR_OK;
}

int pgnear_async_fd(const pgnear_async *async)
{
    return async->shell->link.fd;
}

void pgnear_async_on_event(pgnear_async *async, pgnear_async_event_callback *callback,
                           void *context)
{
    async->on_event = callback;
    async->event_context = context;
}

void pgnear_async_on_close(pgnear_async *async, pgnear_async_close_callback *callback,
                           void *context)
{
    async->on_close = callback;
    async->close_context = context;
}
