// The two ways into the canonical form: from JSON text, which simdjson reads (text.cpp), and from a
// client's MessagePack, read here. Both tell a builder what they see. Runs on any thread; nothing
// is appended to the caller's buffer where the input turns out to be bad.
#include "json/json.h"

#include "base/mpack.h"
#include "json/builder.h"
#include "json/text.h"
#include "json/value.h"

static const char INPUT_TOO_LARGE[] = "larger than the limit";

// Ends a build: keeps what it made, or reports why not.
static enum error conclude(struct builder *builder, bool is_read, struct failure *failure)
{
    bool is_done = is_read && builder_finish(builder);
    enum error error = ERROR_NONE;
    if (!is_done) {
        const struct complaint *complaint = &builder->complaint;
        bool is_of_all = complaint->error == ERROR_TOO_LARGE && complaint->offset == 0;
        error = is_of_all ? failure_set(failure, complaint->error, "%s", complaint->reason)
                          : failure_set(failure, complaint->error, "%s at byte %zu",
                                        complaint->reason, complaint->offset);
    }
    builder_deinit(builder);
    return error;
}

enum error json_to_msgpack(struct slice text, const struct json_limits *limits, struct buffer *out,
                           struct failure *failure)
{
    if (text.len > JSON_INPUT_BYTES_MAX) {
        return failure_set(failure, ERROR_TOO_LARGE, "%s", INPUT_TOO_LARGE);
    }
    struct builder builder;
    builder_init(&builder, limits, out);
    bool is_read = text_read(text.at, text.len, &builder, &builder.complaint);
    return conclude(&builder, is_read, failure);
}

// Tells the builder of one token that is not a key.
static bool build_value(struct builder *builder, const struct value_token *token)
{
    switch (token->type) {
    case VALUE_NULL:
        return builder_null(builder);
    case VALUE_BOOL:
        return builder_bool(builder, token->boolean);
    case VALUE_NUMBER:
        return builder_number(builder, &token->number);
    case VALUE_STRING:
        return builder_string(builder, token->text.at, token->text.len);
    case VALUE_KEY:
        return builder_key(builder, token->text.at, token->text.len);
    case VALUE_OPEN_ARRAY:
        return builder_open_array(builder, token->count);
    case VALUE_OPEN_MAP:
        return builder_open_map(builder, token->count);
    case VALUE_CLOSE:
        builder_close(builder);
        return true;
    case VALUE_END:
        break;
    }
    return true;
}

static bool build_from_msgpack(struct builder *builder, struct slice msgpack)
{
    struct value_reader reader;
    struct value_token token;
    value_reader_init(&reader, msgpack);
    do {
        if (!value_next(&reader, &token, &builder->complaint)) {
            return false;
        }
        if (!build_value(builder, &token)) {
            builder->complaint.offset = token.offset;
            return false;
        }
    } while (token.type != VALUE_END);
    return true;
}

enum error json_canonicalize(struct slice msgpack, const struct json_limits *limits,
                             struct buffer *out, struct failure *failure)
{
    if (msgpack.len > JSON_INPUT_BYTES_MAX) {
        return failure_set(failure, ERROR_TOO_LARGE, "%s", INPUT_TOO_LARGE);
    }
    struct builder builder;
    builder_init(&builder, limits, out);
    bool is_read = build_from_msgpack(&builder, msgpack);
    return conclude(&builder, is_read, failure);
}
