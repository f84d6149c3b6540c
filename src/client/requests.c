// One thread at a time, that of the handle.

#include "client/requests.h"

#include "client/gets.h"
#include "client/options.h"

pgnear_code request_check_value(const char *method, pgnear_bytes value, pgnear_error *error)
{
    struct mpack_cursor cursor = mpack_cursor_of(slice_of_bytes(value));
    if (value.len == 0 || mpack_skip(&cursor, NULL) != DECODE_OK || cursor.at != cursor.end) {
        return outcome_set(error, PGNEAR_INVALID_VALUE,
                           "Failed to %s: the value is not one MessagePack value", method);
    }
    return PGNEAR_OK;
}

pgnear_code request_get(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                        struct exchange *exchange, pgnear_error *error)
{
    pgnear_get_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    exchange_begin(handle, "get", 2);
    get_pack(handle, slice_of_bytes(key), &own);
    *exchange = (struct exchange){.timeout_ms = own.timeout_ms};
    return PGNEAR_OK;
}

void request_end_write(pgnear *handle, const pgnear_write_options *options,
                       struct exchange *exchange)
{
    struct opts opts;
    opts_init(&opts, handle, options->timeout_ms);
    opts_add_write(&opts, options);
    opts_pack(&opts);
    *exchange = (struct exchange){
        .writes = true, .has_id = options->id.len > 0, .timeout_ms = options->timeout_ms};
}

pgnear_code request_set(pgnear *handle, pgnear_bytes key, pgnear_bytes value,
                        const pgnear_write_options *options, struct exchange *exchange,
                        pgnear_error *error)
{
    pgnear_write_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code = code != PGNEAR_OK ? code : request_check_value("set", value, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_packer *packer = exchange_begin(handle, "set", 3);
    mpack_pack_slice(packer, slice_of_bytes(key));
    mpack_pack_raw(packer, slice_of_bytes(value));
    request_end_write(handle, &own, exchange);
    return PGNEAR_OK;
}

pgnear_code request_delete(pgnear *handle, const pgnear_bytes *keys, size_t count,
                           const pgnear_write_options *options, struct exchange *exchange,
                           pgnear_error *error)
{
    pgnear_write_options own;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    if (code != PGNEAR_OK) {
        return code;
    }
    msgpack_packer *packer = exchange_begin(handle, "delete", 2);
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++) {
        mpack_pack_slice(packer, slice_of_bytes(keys[i]));
    }
    request_end_write(handle, &own, exchange);
    return PGNEAR_OK;
}

pgnear_code request_call(pgnear *handle, const char *method, pgnear_bytes params, bool writes,
                         struct exchange *exchange, pgnear_error *error)
{
    struct mpack_cursor cursor = mpack_cursor_of(slice_of_bytes(params));
    struct mpack_cursor whole = cursor;
    uint32_t count;
    if (params.len == 0 || mpack_skip(&whole, NULL) != DECODE_OK || whole.at != whole.end ||
        !mpack_read_array(&cursor, &count)) {
        return outcome_set(error, PGNEAR_BAD_REQUEST, "params must be one MessagePack array");
    }
    mpack_pack_raw(exchange_begin(handle, method, count),
                   slice_of(cursor.at, (size_t)(cursor.end - cursor.at)));
    *exchange = (struct exchange){.writes = writes};
    return PGNEAR_OK;
}
