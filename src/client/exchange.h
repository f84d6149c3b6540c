// One request and its response, repeated where the connection broke and a repeat does no harm.
#pragma once

#include "client/handle.h"

struct exchange {
    bool writes;        // a repeat could do something twice
    bool has_id;        // but for this
    int64_t timeout_ms; // 0: that of the handle
};

// Begins a request in the handle: its parameters, as many as announced, are then packed with the
// packer that it returns. Results of the last call are still valid, so that they can be packed.
msgpack_packer *exchange_begin(pgnear *handle, const char *method, uint32_t params_count);

// Takes the number of a request that is made later, with exchange_begin_as.
uint32_t exchange_reserve(pgnear *handle);
msgpack_packer *exchange_begin_as(pgnear *handle, uint32_t msgid, const char *method,
                                  uint32_t params_count);

// Sends the request and waits for the answer. `result` holds the result and is valid until the next
// call with the handle.
pgnear_code exchange_run(pgnear *handle, const struct exchange *exchange,
                         struct mpack_cursor *result, pgnear_error *error);

// PGNEAR_BAD_REQUEST for what is left of a deadline that has passed, which must not become the
// handle's timeout.
pgnear_code exchange_check_timeout(int64_t timeout_ms, pgnear_error *error);

// When a call with this timeout (0: that of the handle) gives up, by CLOCK_BOOTTIME.
int64_t exchange_deadline_us(const pgnear *handle, int64_t timeout_ms);

// For handle.c: the head of a request, whose msgid it returns, and a request on the connection as
// it is, without repeats. `result` is valid until something else comes in.
uint32_t exchange_pack_head(msgpack_packer *packer, pgnear *handle, const char *method,
                            uint32_t params_count);
pgnear_code exchange_once(pgnear *handle, struct slice frame, uint32_t msgid, int64_t deadline_us,
                          struct mpack_cursor *result, pgnear_error *error);
