// A method's name and its params -> struct call. Pure but for the decoder's own working memory.
#pragma once

#include "base/mpack.h"
#include "base/request.h"

// One thread's. All zeroes but for the settings, which are constant.
struct rpc_decoder {
    size_t value_bytes_max;
    int64_t timeout_ms; // where the options name none
    enum ack ack;       // the same
    // Working memory: what the last call's pairs point to.
    struct pair *pairs;
    size_t pairs_capacity;
    struct buffer values;
};

void rpc_decoder_deinit(struct rpc_decoder *decoder);

// Slices of the call point into `params` and, values, into the decoder: until its next call.
// ERROR_UNKNOWN_METHOD; ERROR_BAD_REQUEST naming the parameter or option; ERROR_INVALID_KEY,
// ERROR_INVALID_VALUE and ERROR_TOO_LARGE naming the key.
enum error rpc_decode_call(struct rpc_decoder *decoder, struct slice method, struct slice params,
                           struct call *call, struct failure *failure);

// As rpc_decode_call, for a get of `key` without options.
enum error rpc_decode_get(struct rpc_decoder *decoder, struct slice key, struct call *call,
                          struct failure *failure);
