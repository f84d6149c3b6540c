// A batch, but for its runs.

#include "client/batch_state.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "client/options.h"
#include "client/requests.h"

enum { REQUESTS_MAX = 10000 };

pgnear_batch *pgnear_batch_create(pgnear *handle)
{
    CHECK(handle != NULL);
    pgnear_batch *batch = memory_zeroed(1, sizeof *batch);
    batch->handle = handle;
    return batch;
}

void pgnear_batch_destroy(pgnear_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    buffer_deinit(&batch->frames);
    arena_deinit(&batch->results);
    free(batch->requests);
    free(batch);
}

// A request whose bytes in `frames` are these; what else it is, is for the caller to say.
static pgnear_code add(pgnear_batch *batch, struct slice bytes, enum request_kind kind,
                       struct batch_request **request, pgnear_error *error)
{
    if (batch->count == REQUESTS_MAX ||
        (batch->count > 0 && buffer_len(&batch->frames) + bytes.len > BATCH_BYTES_MAX)) {
        return outcome_set(error, PGNEAR_TOO_LARGE,
                           "a batch has at most %d requests and %d bytes: run it first",
                           REQUESTS_MAX, BATCH_BYTES_MAX);
    }
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity == 0 ? 64 : 2 * batch->capacity;
        batch->requests = memory_resize(batch->requests, batch->capacity * sizeof *batch->requests);
    }
    size_t begin = buffer_len(&batch->frames);
    buffer_append_slice(&batch->frames, bytes);
    *request = &batch->requests[batch->count++];
    **request = (struct batch_request){.kind = kind, .begin = begin, .end = begin + bytes.len};
    return PGNEAR_OK;
}

// Takes the request that lies packed in the handle.
static pgnear_code add_packed(pgnear_batch *batch, enum request_kind kind, pgnear_bytes key,
                              const struct exchange *exchange, pgnear_error *error)
{
    struct batch_request *request;
    pgnear_code code = add(batch, buffer_slice(&batch->handle->request), kind, &request, error);
    if (code == PGNEAR_OK) {
        request->repeatable = !exchange->writes || exchange->has_id;
        request->msgid = batch->handle->request_msgid;
        request->hash = sketch_hash(slice_of_bytes(key));
    }
    return code;
}

pgnear_code pgnear_batch_get(pgnear_batch *batch, pgnear_bytes key,
                             const pgnear_get_options *options, pgnear_error *error)
{
    pgnear_get_options own;
    struct batch_request *request;
    pgnear_code code = options_take(&own, sizeof own, options, error);
    code = code != PGNEAR_OK ? code : add(batch, slice_of_bytes(key), REQUEST_GET, &request, error);
    if (code == PGNEAR_OK) {
        request->repeatable = true;
        request->msgid = exchange_reserve(batch->handle);
        request->hash = sketch_hash(slice_of_bytes(key));
        request->options = own;
    }
    return code;
}

pgnear_code pgnear_batch_set(pgnear_batch *batch, pgnear_bytes key, pgnear_bytes value,
                             const pgnear_write_options *options, pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_set(batch->handle, key, value, options, &exchange, error);
    return code != PGNEAR_OK ? code : add_packed(batch, REQUEST_WRITE, key, &exchange, error);
}

pgnear_code pgnear_batch_delete(pgnear_batch *batch, pgnear_bytes key,
                                const pgnear_write_options *options, pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_delete(batch->handle, &key, 1, options, &exchange, error);
    return code != PGNEAR_OK ? code : add_packed(batch, REQUEST_WRITE, key, &exchange, error);
}

pgnear_code pgnear_batch_call(pgnear_batch *batch, const char *method, pgnear_bytes params,
                              bool writes, pgnear_error *error)
{
    struct exchange exchange;
    pgnear_code code = request_call(batch->handle, method, params, writes, &exchange, error);
    return code != PGNEAR_OK
               ? code
               : add_packed(batch, REQUEST_OTHER, (pgnear_bytes){0}, &exchange, error);
}
