// watch, unwatch and the events. Events come in three places, in this order of age: kept in the
// handle while an answer was waited for, the mark of a loss behind them, and the socket.

#include "base/clock.h"
#include "client/exchange.h"
#include "client/options.h"
#include "client/response.h"
#include "client/results.h"

static pgnear_code run_with_prefix(pgnear *handle, const char *method, pgnear_bytes prefix,
                                   const pgnear_call_options *options, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    mpack_pack_slice(exchange_begin(handle, method, 1), slice_of_bytes(prefix));
    struct mpack_cursor result;
    return exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
}

// Takes the prefix off the list of those to be watched again.
static void forget_prefix(pgnear *handle, struct slice prefix)
{
    struct buffer kept = {0};
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&handle->watched));
    msgpack_packer packer;
    mpack_packer_init(&packer, &kept);
    struct slice each;
    while (mpack_read_str(&cursor, &each)) {
        if (!slice_equal(each, prefix)) {
            mpack_pack_slice(&packer, each);
        }
    }
    buffer_deinit(&handle->watched);
    handle->watched = kept;
}

pgnear_code pgnear_watch(pgnear *handle, pgnear_bytes prefix, const pgnear_call_options *options,
                         pgnear_error *error)
{
    pgnear_code code = run_with_prefix(handle, "watch", prefix, options, error);
    if (code == PGNEAR_OK) {
        forget_prefix(handle, slice_of_bytes(prefix));
        msgpack_packer packer;
        mpack_packer_init(&packer, &handle->watched);
        mpack_pack_slice(&packer, slice_of_bytes(prefix));
    }
    return code;
}

pgnear_code pgnear_unwatch(pgnear *handle, pgnear_bytes prefix, const pgnear_call_options *options,
                           pgnear_error *error)
{
    pgnear_code code = run_with_prefix(handle, "unwatch", prefix, options, error);
    if (code == PGNEAR_OK) {
        forget_prefix(handle, slice_of_bytes(prefix));
    }
    return code;
}

// The oldest event that the handle itself holds.
static bool take_kept(pgnear *handle, pgnear_event *event)
{
    while (buffer_len(&handle->events) > handle->lent_event_bytes) {
        struct slice kept = buffer_slice(&handle->events);
        struct mpack_cursor cursor = mpack_cursor_of(
            slice_of(kept.at + handle->lent_event_bytes, kept.len - handle->lent_event_bytes));
        struct slice frame;
        if (mpack_skip(&cursor, &frame) != DECODE_OK) {
            break;
        }
        handle->lent_event_bytes += frame.len;
        if (response_event(frame, event)) {
            return true;
        }
    }
    if (handle->resync) {
        handle->resync = false;
        *event = (pgnear_event){.kind = PGNEAR_EVENT_RESYNC};
        return true;
    }
    return false;
}

// Waits for an event from the socket, connecting where needed within the handle's time for that;
// what reconnecting itself says comes before it.
static pgnear_code await_event(pgnear *handle, int64_t deadline_us, pgnear_event *event,
                               pgnear_error *error)
{
    for (;;) {
        pgnear_code code = handle_connect(handle, INT64_MAX, error);
        if (code != PGNEAR_OK) {
            return code;
        }
        if (take_kept(handle, event)) {
            return PGNEAR_OK;
        }
        struct slice frame;
        enum link_result received = link_receive(&handle->link, deadline_us, &frame);
        if (received == LINK_LATE) {
            return outcome_set(error, PGNEAR_TIMEOUT, "no event came in time");
        }
        if (received != LINK_OK) {
            handle_disconnect(handle);
        } else if (response_event(frame, event)) {
            return PGNEAR_OK;
        }
    }
}

pgnear_code pgnear_next_event(pgnear *handle, int64_t timeout_ms, pgnear_event *event,
                              pgnear_error *error)
{
    pgnear_code code = handle_enter(handle, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    if (buffer_len(&handle->watched) == 0) {
        return outcome_set(error, PGNEAR_BAD_REQUEST, "nothing is watched with this handle");
    }
    pgnear_event found;
    int64_t deadline_us =
        timeout_ms < 0 ? INT64_MAX : clock_boot_us() + timeout_ms * (int64_t)CLOCK_US_PER_MS;
    code = await_event(handle, deadline_us, &found, error);
    if (code == PGNEAR_OK && event != NULL) {
        *event = found;
    }
    return code;
}
