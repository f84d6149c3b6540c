// JSON text in and out, for callers of the library. Without a handle; any thread.

#include <stdlib.h>

#include "client/handle.h"
#include "json/json.h"

// The node decides what is too large for it; this is only what jsonb can hold at all.
static const struct json_limits LIMITS = {.value_bytes_max = JSON_INPUT_BYTES_MAX};

// The memory becomes the caller's, where the caller wants it. A buffer that was only filled begins
// where its memory does.
static void hand_out(struct buffer *buffer, void **memory)
{
    if (memory == NULL) {
        buffer_deinit(buffer);
    } else {
        *memory = buffer->bytes;
    }
}

pgnear_code pgnear_from_json(pgnear_bytes json, void **msgpack, size_t *msgpack_len,
                             pgnear_error *error)
{
    struct buffer out = {0};
    struct failure failure = {0};
    if (json_to_msgpack(slice_of_bytes(json), &LIMITS, &out, &failure) != ERROR_NONE) {
        buffer_deinit(&out);
        return outcome_of_failure(&failure, error);
    }
    if (msgpack_len != NULL) {
        *msgpack_len = buffer_len(&out);
    }
    hand_out(&out, msgpack);
    return PGNEAR_OK;
}

pgnear_code pgnear_to_json(pgnear_bytes msgpack, bool pretty, char **json, size_t *json_len,
                           pgnear_error *error)
{
    struct buffer out = {0};
    struct failure failure = {0};
    if (json_from_msgpack(slice_of_bytes(msgpack), pretty, &out, &failure) != ERROR_NONE) {
        buffer_deinit(&out);
        return outcome_of_failure(&failure, error);
    }
    size_t len = buffer_len(&out);
    buffer_append(&out, "", 1);
    if (json_len != NULL) {
        *json_len = len;
    }
    void *text = NULL;
    hand_out(&out, json != NULL ? &text : NULL);
    if (json != NULL) {
        *json = text;
    }
    return PGNEAR_OK;
}

void pgnear_free(void *memory)
{
    free(memory);
}
