// Runs on the pg worker's thread, once for each notification heard. The JSON becomes MessagePack
// first, so that strings, escapes and UTF-8 are the JSON reader's business; what is here is shape.
#include "pg/payload.h"

#include "base/mpack.h"
#include "json/json.h"

// An array of MessagePack is never longer than its text, but an int may be: [0] is 3 bytes and 2.
enum { MSGPACK_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX };

enum { ENTRY_FIELDS_SET = 2, ENTRY_FIELDS_DELETE = 3 };

// The origin as it stands in the text. One with escapes is nobody's node, hence foreign.
static struct slice find_origin(struct slice bytes, struct slice decoded)
{
    const uint8_t *quote = memchr(bytes.at, '"', bytes.len);
    if (quote == NULL) {
        return slice_of(bytes.at, 0);
    }
    struct slice rest = slice_of(quote + 1, bytes.len - (size_t)(quote + 1 - bytes.at));
    bool is_plain =
        slice_starts_with(rest, decoded) && decoded.len < rest.len && rest.at[decoded.len] == '"';
    return slice_of(rest.at, is_plain ? decoded.len : 0);
}

static bool read_change(struct mpack_cursor *cursor, struct change *change)
{
    uint32_t fields;
    uint64_t deleted = 0;
    if (!mpack_read_array(cursor, &fields) || fields < ENTRY_FIELDS_SET ||
        fields > ENTRY_FIELDS_DELETE || !mpack_read_str(cursor, &change->key) ||
        !mpack_read_int(cursor, &change->version)) {
        return false;
    }
    if (fields == ENTRY_FIELDS_DELETE && (!mpack_read_uint(cursor, &deleted) || deleted != 1)) {
        return false;
    }
    change->op = deleted == 1 ? CHANGE_DELETE : CHANGE_SET;
    return true;
}

static bool read_changes(struct mpack_cursor *cursor, struct changes_message *changes)
{
    uint32_t count;
    if (!mpack_read_array(cursor, &count) || count > PAYLOAD_BYTES_MAX) {
        return false;
    }
    changes->changes = arena_alloc(&changes->arena, count * sizeof *changes->changes);
    for (uint32_t i = 0; i < count; i++) {
        struct change change;
        if (!read_change(cursor, &change)) {
            return false;
        }
        if (change.key.len > 0 && change.key.len <= KEY_BYTES_MAX) {
            change.key = arena_copy(&changes->arena, change.key);
            changes->changes[changes->changes_count++] = change;
        }
    }
    changes->message.bytes += changes->arena.bytes;
    return true;
}

static enum payload_kind decode_body(struct mpack_cursor *cursor, struct changes_message **changes)
{
    struct slice word;
    if (mpack_read_str(cursor, &word)) {
        return slice_equal(word, slice_of_string("truncate")) ? PAYLOAD_TRUNCATE
               : slice_equal(word, slice_of_string("sweep"))  ? PAYLOAD_SWEEP
                                                              : PAYLOAD_BAD;
    }
    struct changes_message *read = message_create(MESSAGE_CHANGES, sizeof *read);
    if (!read_changes(cursor, read)) {
        message_destroy(&read->message);
        return PAYLOAD_BAD;
    }
    *changes = read;
    return PAYLOAD_CHANGES;
}

enum payload_kind payload_decode(struct slice bytes, struct slice *origin,
                                 struct changes_message **changes)
{
    const struct json_limits limits = {.value_bytes_max = MSGPACK_BYTES_MAX};
    struct buffer msgpack = {0};
    enum payload_kind kind = PAYLOAD_BAD;
    if (bytes.len > 0 && bytes.len <= PAYLOAD_BYTES_MAX &&
        json_to_msgpack(bytes, &limits, &msgpack, NULL) == ERROR_NONE) {
        struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&msgpack));
        uint32_t fields;
        struct slice decoded;
        if (mpack_read_array(&cursor, &fields) && fields == 2 &&
            mpack_read_str(&cursor, &decoded)) {
            kind = decode_body(&cursor, changes);
            if (kind != PAYLOAD_BAD) {
                *origin = find_origin(bytes, decoded);
            }
        }
    }
    buffer_deinit(&msgpack);
    return kind;
}
