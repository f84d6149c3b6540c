// The envelope of MessagePack-RPC. What is inside the params is rpc_decode's; here they are known
// to be one well-formed array and no more.

#include "server/frames.h"

enum { RPC_REQUEST = 0, RPC_NOTIFICATION = 2, REQUEST_FIELDS = 4, NOTIFICATION_FIELDS = 3 };

// An array's first byte is the only one a message can begin with. Told early, so that a stranger
// who speaks another protocol is not waited for.
static bool may_begin_message(struct slice bytes)
{
    uint8_t first = bytes.at[0];
    return (first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd;
}

// The last field of a message that is known to be whole, so the rest of its bytes.
static bool take_params(struct mpack_cursor cursor, struct slice *params)
{
    *params = slice_of(cursor.at, (size_t)(cursor.end - cursor.at));
    uint32_t count;
    return mpack_read_array(&cursor, &count);
}

// NULL where the message, one whole value, is understood; else what is wrong with it, in words.
static const char *parse(struct slice message, struct frame *frame)
{
    struct mpack_cursor cursor = mpack_cursor_of(message);
    uint32_t fields;
    uint64_t type;
    uint64_t msgid = 0;
    if (!mpack_read_array(&cursor, &fields) || !mpack_read_uint(&cursor, &type)) {
        return "its type is no number";
    }
    bool is_request = type == RPC_REQUEST && fields == REQUEST_FIELDS;
    bool is_notification = type == RPC_NOTIFICATION && fields == NOTIFICATION_FIELDS;
    if (!is_request && !is_notification) {
        return "neither [0, msgid, method, params] nor [2, method, params]";
    }
    if (is_request && (!mpack_read_uint(&cursor, &msgid) || msgid > UINT32_MAX)) {
        return "its msgid is no uint32";
    }
    frame->kind = is_request ? FRAME_REQUEST : FRAME_NOTIFICATION;
    frame->msgid = (uint32_t)msgid;
    if (!mpack_read_str(&cursor, &frame->method)) {
        return "its method is no str";
    }
    return take_params(cursor, &frame->params) ? NULL : "its params are no array";
}

bool frame_msgid(struct slice bytes, uint32_t *msgid)
{
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    uint64_t type, number;
    if (!mpack_read_array(&cursor, &fields) || !mpack_read_uint(&cursor, &type) ||
        type != RPC_REQUEST || !mpack_read_uint(&cursor, &number) || number > UINT32_MAX) {
        return false;
    }
    *msgid = (uint32_t)number;
    return true;
}

// The bytes that stand for a get between the msgid and the key: "get" and an array of one
// parameter, or of two.
static const uint8_t GET_OF_ONE[] = {0xa3, 'g', 'e', 't', 0x91};
static const uint8_t GET_OF_TWO[] = {0xa3, 'g', 'e', 't', 0x92};
enum { EMPTY_MAP = 0x80 };

// The msgid and the key of a get, without the reader's tokens: it is asked for all kinds, and this
// is on the path of every hit. False where there is none of the kind, or it is not whole.
static bool take_msgid(struct mpack_cursor *cursor, uint32_t *msgid)
{
    enum { UINT8 = 0xcc, UINT32 = 0xce };
    const uint8_t *at = cursor->at;
    if (at == cursor->end) {
        return false;
    }
    uint32_t number = *at++;
    if (number > 0x7f) {
        if (number < UINT8 || number > UINT32) {
            return false;
        }
        size_t bytes = (size_t)1 << (number - UINT8);
        if ((size_t)(cursor->end - at) < bytes) {
            return false;
        }
        number = 0;
        for (size_t i = 0; i < bytes; i++) {
            number = number << 8 | *at++;
        }
    }
    *msgid = number;
    cursor->at = at;
    return true;
}

static bool take_key(struct mpack_cursor *cursor, struct slice *key)
{
    enum { STR8 = 0xd9, FIXSTR = 0xa0, FIXSTR_LEN = 0x1f };
    const uint8_t *at = cursor->at;
    size_t left = (size_t)(cursor->end - at);
    if (left < 2) {
        return false;
    }
    bool is_short = (*at & ~FIXSTR_LEN) == FIXSTR;
    if (!is_short && *at != STR8) {
        return mpack_read_str(cursor, key);
    }
    size_t head = is_short ? 1 : 2;
    size_t len = is_short ? *at & FIXSTR_LEN : at[1];
    if (left < head + len) {
        return false;
    }
    *key = slice_of(at + head, len);
    cursor->at = at + head + len;
    return true;
}

static bool take_bytes(struct mpack_cursor *cursor, const uint8_t *bytes, size_t len)
{
    if ((size_t)(cursor->end - cursor->at) < len || memcmp(cursor->at, bytes, len) != 0) {
        return false;
    }
    cursor->at += len;
    return true;
}

bool frame_next_get(const struct frame_reader *reader, struct slice bytes, size_t *consumed,
                    uint32_t *msgid, struct slice *key)
{
    static const uint8_t REQUEST[] = {0x94, RPC_REQUEST};
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t number;
    struct slice name;
    if (reader->scan.started || !take_bytes(&cursor, REQUEST, sizeof REQUEST) ||
        !take_msgid(&cursor, &number)) {
        return false;
    }
    bool has_options = take_bytes(&cursor, GET_OF_TWO, sizeof GET_OF_TWO);
    if ((!has_options && !take_bytes(&cursor, GET_OF_ONE, sizeof GET_OF_ONE)) ||
        !take_key(&cursor, &name)) {
        return false;
    }
    const uint8_t no_options = EMPTY_MAP;
    if (has_options && !take_bytes(&cursor, &no_options, 1)) {
        return false;
    }
    size_t len = (size_t)(cursor.at - bytes.at);
    if (len > reader->frame_bytes_max) {
        return false;
    }
    *consumed = len;
    *msgid = number;
    *key = name;
    return true;
}

enum decode frame_next(struct frame_reader *reader, struct slice bytes, size_t *consumed,
                       struct frame *frame, struct frame_fault *fault)
{
    if (bytes.len == 0) {
        return DECODE_NEED_MORE;
    }
    *fault = (struct frame_fault){0};
    bool too_long = bytes.len > reader->frame_bytes_max;
    struct slice allowed = slice_of(bytes.at, too_long ? reader->frame_bytes_max : bytes.len);
    enum decode decoded =
        may_begin_message(bytes) ? mpack_scan_more(&reader->scan, allowed) : DECODE_BAD;
    if (decoded == DECODE_NEED_MORE && too_long) {
        fault->has_msgid = frame_msgid(bytes, &fault->msgid);
        failure_note(&fault->failure, ERROR_TOO_LARGE, "a message of more than %zu bytes",
                     reader->frame_bytes_max);
        return DECODE_BAD;
    }
    if (decoded == DECODE_NEED_MORE) {
        return DECODE_NEED_MORE;
    }
    struct slice message =
        decoded == DECODE_OK ? slice_of(bytes.at, reader->scan.scanned) : allowed;
    const char *reason = decoded == DECODE_OK ? parse(message, frame) : "malformed MessagePack";
    if (reason == NULL) {
        *consumed = message.len;
        reader->scan = (struct mpack_scan){0};
        return DECODE_OK;
    }
    fault->has_msgid = frame_msgid(message, &fault->msgid);
    failure_note(&fault->failure, ERROR_BAD_REQUEST, "not a message of MessagePack-RPC: %s",
                 reason);
    return DECODE_BAD;
}
