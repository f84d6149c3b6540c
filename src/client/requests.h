// Requests that are made in one place for every way of sending them: alone, in a batch, or without
// waiting. Each packs one whole frame into handle->request and says how it may be repeated. Nothing
// is sent; on failure nothing is in the frame that should be.
#pragma once

#include "client/exchange.h"

pgnear_code request_get(pgnear *handle, pgnear_bytes key, const pgnear_get_options *options,
                        struct exchange *exchange, pgnear_error *error);
pgnear_code request_set(pgnear *handle, pgnear_bytes key, pgnear_bytes value,
                        const pgnear_write_options *options, struct exchange *exchange,
                        pgnear_error *error);
pgnear_code request_delete(pgnear *handle, const pgnear_bytes *keys, size_t count,
                           const pgnear_write_options *options, struct exchange *exchange,
                           pgnear_error *error);
// `params` is one MessagePack array.
pgnear_code request_call(pgnear *handle, const char *method, pgnear_bytes params, bool writes,
                         struct exchange *exchange, pgnear_error *error);

// Packs the options of a write, which are whole, as the last parameter of a request that was begun.
void request_end_write(pgnear *handle, const pgnear_write_options *options,
                       struct exchange *exchange);

// A value that is not exactly one MessagePack value would make another request of one it is in:
// PGNEAR_INVALID_VALUE.
pgnear_code request_check_value(const char *method, pgnear_bytes value, pgnear_error *error);
