// ping, hello, flush, sync, invalidate, check, stats, and any method by name. None of them could do
// harm twice.

#include "client/exchange.h"
#include "client/options.h"
#include "client/requests.h"
#include "client/results.h"

// Methods without options of their own: a parameter less, and the timeout is the library's alone.
static pgnear_code run_plain(pgnear *handle, const pgnear_call_options *options,
                             struct mpack_cursor *result, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    return code != PGNEAR_OK
               ? code
               : exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, result,
                              error);
}

static pgnear_code give_bytes(const char *method, struct mpack_cursor *result, pgnear_bytes *out,
                              pgnear_error *error)
{
    struct slice bytes;
    if (mpack_skip(result, &bytes) != DECODE_OK) {
        return result_garbled(method, error);
    }
    if (out != NULL) {
        *out = bytes_of_slice(bytes);
    }
    return PGNEAR_OK;
}

pgnear_code pgnear_ping(pgnear *handle, const pgnear_call_options *options, pgnear_error *error)
{
    exchange_begin(handle, "ping", 0);
    struct mpack_cursor result;
    pgnear_code code = run_plain(handle, options, &result, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    struct slice pong;
    bool good = mpack_read_str(&result, &pong) && slice_equal(pong, slice_of_string("pong"));
    return good ? PGNEAR_OK : result_garbled("ping", error);
}

pgnear_code pgnear_hello(pgnear *handle, const pgnear_call_options *options, pgnear_bytes *hello,
                         pgnear_error *error)
{
    mpack_pack_string(exchange_begin(handle, "hello", 1), handle->client_name);
    struct mpack_cursor result;
    pgnear_code code = run_plain(handle, options, &result, error);
    return code != PGNEAR_OK ? code : give_bytes("hello", &result, hello, error);
}

pgnear_code pgnear_stats(pgnear *handle, const pgnear_call_options *options, pgnear_bytes *stats,
                         pgnear_error *error)
{
    exchange_begin(handle, "stats", 0);
    struct mpack_cursor result;
    pgnear_code code = run_plain(handle, options, &result, error);
    return code != PGNEAR_OK ? code : give_bytes("stats", &result, stats, error);
}

pgnear_code pgnear_check(pgnear *handle, const pgnear_call_options *options,
                         const pgnear_check_item **items, size_t *count, pgnear_error *error)
{
    exchange_begin(handle, "check", 0);
    struct mpack_cursor result;
    pgnear_code code = run_plain(handle, options, &result, error);
    if (code == PGNEAR_OK && !result_checks(handle, &result, items, count)) {
        code = result_garbled("check", error);
    }
    return code;
}

pgnear_code pgnear_invalidate(pgnear *handle, pgnear_bytes key, const pgnear_call_options *options,
                              uint64_t *dropped, pgnear_error *error)
{
    msgpack_packer *packer = exchange_begin(handle, "invalidate", key.len > 0 ? 1 : 0);
    if (key.len > 0) {
        mpack_pack_slice(packer, slice_of_bytes(key));
    }
    struct mpack_cursor result;
    pgnear_code code = run_plain(handle, options, &result, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    uint64_t answered;
    if (!mpack_read_uint(&result, &answered)) {
        return result_garbled("invalidate", error);
    }
    if (dropped != NULL) {
        *dropped = answered;
    }
    return PGNEAR_OK;
}

pgnear_code pgnear_flush(pgnear *handle, uint64_t up_to_seq, const pgnear_call_options *options,
                         uint64_t *seq, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "flush", 1);
    struct opts opts;
    opts_init(&opts, handle, own.timeout_ms);
    if (up_to_seq > 0) {
        opts_add_uint(&opts, "seq", up_to_seq);
    }
    opts_pack(&opts);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    pgnear_written flushed;
    if (!result_written(&result, &flushed)) {
        return result_garbled("flush", error);
    }
    if (seq != NULL) {
        *seq = flushed.seq;
    }
    return PGNEAR_OK;
}

pgnear_code pgnear_sync(pgnear *handle, const pgnear_call_options *options, pgnear_error *error)
{
    pgnear_call_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "sync", 1);
    opts_pack_timeout(handle, own.timeout_ms);
    struct mpack_cursor result;
    code = exchange_run(handle, &(struct exchange){.timeout_ms = own.timeout_ms}, &result, error);
    bool done = false;
    if (code == PGNEAR_OK && !(mpack_read_bool(&result, &done) && done)) {
        return result_garbled("sync", error);
    }
    return code;
}

pgnear_code pgnear_call(pgnear *handle, const char *method, pgnear_bytes params, bool writes,
                        const pgnear_call_options *options, pgnear_bytes *result,
                        pgnear_error *error)
{
    pgnear_call_options own;
    struct exchange exchange;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code =
        code != PGNEAR_OK ? code : request_call(handle, method, params, writes, &exchange, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange.timeout_ms = own.timeout_ms;
    struct mpack_cursor answer;
    code = exchange_run(handle, &exchange, &answer, error);
    return code != PGNEAR_OK ? code : give_bytes(method, &answer, result, error);
}
