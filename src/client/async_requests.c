// What the application asks of a connection without waiting: a get that the map answers waits for
// the loop's next turn, and everything else for the socket. The loop's thread.

#include "client/async_state.h"

#include "base/check.h"
#include "client/gets.h"
#include "client/options.h"
#include "client/requests.h"

enum { PENDING_MAX = 65536, OUT_BYTES_MAX = 64 * 1024 * 1024 };
enum { READY_BYTES_MAX = 8 * 1024 * 1024 }; // beyond it the node is asked

size_t pgnear_async_pending(const pgnear_async *async)
{
    return pending_count(&async->pending) + async->ready.count;
}

static bool is_full(const pgnear_async *async)
{
    return pgnear_async_pending(async) >= PENDING_MAX;
}

pgnear_code async_send(pgnear_async *async, const struct exchange *exchange,
                       const struct asker *asker, pgnear_error *error)
{
    struct slice frame = buffer_slice(&async->shell->request);
    size_t waiting_bytes = buffer_len(&async->out);
    pgnear_code code = exchange_check_timeout(exchange->timeout_ms, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    if (!async_is_open(async)) {
        return outcome_set(error, PGNEAR_UNREACHABLE, "the connection to pgneard at %s has ended",
                           async->shell->socket_path);
    }
    if (is_full(async) || (waiting_bytes > 0 && waiting_bytes + frame.len > OUT_BYTES_MAX)) {
        return outcome_set(error, PGNEAR_OVERLOADED, "too many requests wait for pgneard at %s",
                           async->shell->socket_path);
    }
    const struct pending request = {
        .msgid = async->shell->request_msgid,
        .kind = asker->kind,
        .hash = asker->hash,
        .writes = exchange->writes,
        .is_noted = asker->is_noted,
        .told = asker->told,
        .out_end = async->sent_bytes + waiting_bytes + frame.len,
        .deadline_us = exchange_deadline_us(async->shell, exchange->timeout_ms),
        .callback = asker->callback,
        .context = asker->context,
    };
    pending_add(&async->pending, &request);
    buffer_append_slice(&async->out, frame);
    async_want_write(async, true);
    async_schedule(async, request.deadline_us);
    return PGNEAR_OK;
}

// Whether the map has answered; the callback comes with the loop's next turn.
static bool answer_directly(pgnear_async *async, pgnear_bytes key,
                            const pgnear_get_options *options, const struct asker *asker)
{
    pgnear_item item;
    if (!async_is_open(async) || is_full(async) || async->ready.bytes >= READY_BYTES_MAX ||
        !order_is_free(&async->pending.order, asker->hash) ||
        !get_look(async->shell, slice_of_bytes(key), options, &item)) {
        return false;
    }
    ready_add(&async->ready, &item, asker->callback, asker->context);
    async_schedule(async, 0);
    return true;
}

pgnear_code pgnear_async_get(pgnear_async *async, pgnear_bytes key,
                             const pgnear_get_options *options, pgnear_async_callback *callback,
                             void *context, pgnear_error *error)
{
    pgnear_get_options own;
    struct exchange exchange;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    const struct asker asker = {
        .kind = REQUEST_GET,
        .hash = sketch_hash(slice_of_bytes(key)),
        .is_noted = !own.has_at_version,
        .callback = callback,
        .context = context,
    };
    if (answer_directly(async, key, &own, &asker)) {
        return PGNEAR_OK;
    }
    code = request_get(async->shell, key, options, &exchange, error);
    return code != PGNEAR_OK ? code : async_send(async, &exchange, &asker, error);
}

static pgnear_code send_write(pgnear_async *async, pgnear_bytes key,
                              const struct exchange *exchange, pgnear_async_callback *callback,
                              void *context, pgnear_error *error)
{
    struct direct *direct = &async->shell->direct;
    uint64_t hash = sketch_hash(slice_of_bytes(key));
    const struct asker asker = {
        .kind = REQUEST_WRITE,
        .hash = hash,
        .told = direct_write_begin(direct, hash),
        .callback = callback,
        .context = context,
    };
    pgnear_code code = async_send(async, exchange, &asker, error);
    if (code != PGNEAR_OK) {
        direct_write_end(direct, hash, asker.told, false);
    }
    return code;
}

pgnear_code pgnear_async_set(pgnear_async *async, pgnear_bytes key, pgnear_bytes value,
                             const pgnear_write_options *options, pgnear_async_callback *callback,
                             void *context, pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_set(async->shell, key, value, options, &exchange, error);
    return code != PGNEAR_OK ? code : send_write(async, key, &exchange, callback, context, error);
}

pgnear_code pgnear_async_delete(pgnear_async *async, pgnear_bytes key,
                                const pgnear_write_options *options,
                                pgnear_async_callback *callback, void *context, pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_delete(async->shell, &key, 1, options, &exchange, error);
    return code != PGNEAR_OK ? code : send_write(async, key, &exchange, callback, context, error);
}

pgnear_code pgnear_async_call(pgnear_async *async, const char *method, pgnear_bytes params,
                              bool writes, const pgnear_call_options *options,
                              pgnear_async_callback *callback, void *context, pgnear_error *error)
{
    pgnear_call_options own;
    struct exchange exchange;
    const struct asker asker = {.kind = REQUEST_OTHER, .callback = callback, .context = context};
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code = code != PGNEAR_OK ? code
                             : request_call(async->shell, method, params, writes, &exchange, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange.timeout_ms = own.timeout_ms;
    return async_send(async, &exchange, &asker, error);
}
