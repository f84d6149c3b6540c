#include "client/response.h"

#include "client/results.h"

enum { RESPONSE = 1, NOTIFICATION = 2 };

bool response_read(struct slice frame, struct response *response)
{
    struct mpack_cursor cursor = mpack_cursor_of(frame);
    uint32_t count;
    uint64_t type;
    *response = (struct response){0};
    if (!mpack_read_array(&cursor, &count) || !mpack_read_uint(&cursor, &type)) {
        return false;
    }
    response->is_event = type == NOTIFICATION;
    return response->is_event ||
           (type == RESPONSE && count == 4 && mpack_read_uint(&cursor, &response->msgid) &&
            mpack_skip(&cursor, &response->error) == DECODE_OK &&
            mpack_skip(&cursor, &response->result) == DECODE_OK);
}

void response_reply(const struct response *response, enum request_kind kind, pgnear_reply *reply,
                    pgnear_error *error)
{
    struct mpack_cursor nil = mpack_cursor_of(response->error);
    struct mpack_cursor cursor = mpack_cursor_of(response->result);
    *reply = (pgnear_reply){0};
    if (!mpack_read_nil(&nil)) {
        reply->code = outcome_of_response(response->error, error);
        reply->error = error;
        return;
    }
    reply->result = bytes_of_slice(response->result);
    bool good =
        kind == REQUEST_OTHER || (kind == REQUEST_GET ? result_item(&cursor, &reply->item)
                                                      : result_written(&cursor, &reply->written));
    if (!good) {
        reply->code = result_garbled(kind == REQUEST_GET ? "get" : "a write", error);
        reply->error = error;
    }
}

static bool read_changed(struct mpack_cursor *params, pgnear_event *event)
{
    uint32_t count;
    struct slice key;
    struct slice op;
    if (!mpack_read_array(params, &count) || count != 3 || !mpack_read_str(params, &key)) {
        return false;
    }
    event->has_version = mpack_read_int(params, &event->version);
    if ((!event->has_version && !mpack_read_nil(params)) || !mpack_read_str(params, &op)) {
        return false;
    }
    bool is_delete = slice_equal(op, slice_of_string("delete"));
    event->key = bytes_of_slice(key);
    event->kind = is_delete ? PGNEAR_EVENT_DELETE : PGNEAR_EVENT_SET;
    return is_delete || slice_equal(op, slice_of_string("set"));
}

bool response_event(struct slice frame, pgnear_event *event)
{
    struct mpack_cursor cursor = mpack_cursor_of(frame);
    uint32_t count;
    uint64_t type;
    struct slice method;
    *event = (pgnear_event){.kind = PGNEAR_EVENT_RESYNC};
    if (!mpack_read_array(&cursor, &count) || count != 3 || !mpack_read_uint(&cursor, &type) ||
        type != NOTIFICATION || !mpack_read_str(&cursor, &method)) {
        return false;
    }
    if (slice_equal(method, slice_of_string("changed"))) {
        return read_changed(&cursor, event);
    }
    return slice_equal(method, slice_of_string("resync"));
}
