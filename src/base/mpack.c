#include "base/mpack.h"

#include <endian.h>

#include "base/check.h"

// What a first byte says: how many bytes of length or number follow it, and what they mean.
enum shape { SHAPE_BAD, SHAPE_INLINE, SHAPE_UINT, SHAPE_INT, SHAPE_REAL, SHAPE_BODY, SHAPE_COUNT };

struct head {
    uint8_t shape;
    uint8_t type;
    uint8_t width;     // bytes of length or number
    uint8_t ext_extra; // 1 where a byte of ext type comes before the body
};

// The bytes 0xc0 to 0xdf; the rest of the table is ranges, see head_of.
static const struct head HEADS[32] = {
    [0x00] = {SHAPE_INLINE, MPACK_NIL, 0, 0},  [0x02] = {SHAPE_INLINE, MPACK_BOOL, 0, 0},
    [0x03] = {SHAPE_INLINE, MPACK_BOOL, 0, 0}, [0x04] = {SHAPE_BODY, MPACK_BIN, 1, 0},
    [0x05] = {SHAPE_BODY, MPACK_BIN, 2, 0},    [0x06] = {SHAPE_BODY, MPACK_BIN, 4, 0},
    [0x07] = {SHAPE_BODY, MPACK_EXT, 1, 1},    [0x08] = {SHAPE_BODY, MPACK_EXT, 2, 1},
    [0x09] = {SHAPE_BODY, MPACK_EXT, 4, 1},    [0x0a] = {SHAPE_REAL, MPACK_FLOAT, 4, 0},
    [0x0b] = {SHAPE_REAL, MPACK_FLOAT, 8, 0},  [0x0c] = {SHAPE_UINT, MPACK_UINT, 1, 0},
    [0x0d] = {SHAPE_UINT, MPACK_UINT, 2, 0},   [0x0e] = {SHAPE_UINT, MPACK_UINT, 4, 0},
    [0x0f] = {SHAPE_UINT, MPACK_UINT, 8, 0},   [0x10] = {SHAPE_INT, MPACK_INT, 1, 0},
    [0x11] = {SHAPE_INT, MPACK_INT, 2, 0},     [0x12] = {SHAPE_INT, MPACK_INT, 4, 0},
    [0x13] = {SHAPE_INT, MPACK_INT, 8, 0},     [0x14] = {SHAPE_BODY, MPACK_EXT, 0, 1},
    [0x15] = {SHAPE_BODY, MPACK_EXT, 0, 1},    [0x16] = {SHAPE_BODY, MPACK_EXT, 0, 1},
    [0x17] = {SHAPE_BODY, MPACK_EXT, 0, 1},    [0x18] = {SHAPE_BODY, MPACK_EXT, 0, 1},
    [0x19] = {SHAPE_BODY, MPACK_STR, 1, 0},    [0x1a] = {SHAPE_BODY, MPACK_STR, 2, 0},
    [0x1b] = {SHAPE_BODY, MPACK_STR, 4, 0},    [0x1c] = {SHAPE_COUNT, MPACK_ARRAY, 2, 0},
    [0x1d] = {SHAPE_COUNT, MPACK_ARRAY, 4, 0}, [0x1e] = {SHAPE_COUNT, MPACK_MAP, 2, 0},
    [0x1f] = {SHAPE_COUNT, MPACK_MAP, 4, 0},
};

static uint64_t read_big_endian(const uint8_t *at, uint8_t width)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (width) {
    case 1:
        return *at;
    case 2:
        memcpy(&two, at, sizeof two);
        return be16toh(two);
    case 4:
        memcpy(&four, at, sizeof four);
        return be32toh(four);
    default:
        memcpy(&eight, at, sizeof eight);
        return be64toh(eight);
    }
}

static int64_t sign_extend(uint64_t value, uint8_t width)
{
    unsigned unused_bits = 64u - 8u * width;
    return (int64_t)(value << unused_bits) >> unused_bits;
}

static double real_of(uint64_t bits, uint8_t width)
{
    if (width == 8) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    uint32_t narrow_bits = (uint32_t)bits;
    float narrow;
    memcpy(&narrow, &narrow_bits, sizeof narrow);
    return (double)narrow;
}

// Splits a first byte into its head and the number or length that it carries itself.
static struct head head_of(uint8_t first, uint64_t *carried)
{
    *carried = 0;
    if (first <= 0x7f) {
        *carried = first;
        return (struct head){SHAPE_UINT, MPACK_UINT, 0, 0};
    }
    if (first <= 0x8f) {
        *carried = first & 0x0fu;
        return (struct head){SHAPE_COUNT, MPACK_MAP, 0, 0};
    }
    if (first <= 0x9f) {
        *carried = first & 0x0fu;
        return (struct head){SHAPE_COUNT, MPACK_ARRAY, 0, 0};
    }
    if (first <= 0xbf) {
        *carried = first & 0x1fu;
        return (struct head){SHAPE_BODY, MPACK_STR, 0, 0};
    }
    if (first >= 0xe0) {
        *carried = (uint64_t)(int64_t)(int8_t)first;
        return (struct head){SHAPE_INT, MPACK_INT, 0, 0};
    }
    if (first >= 0xd4 && first <= 0xd8) {
        *carried = 1ull << (first - 0xd4); // fixext 1, 2, 4, 8, 16
    } else {
        *carried = first == 0xc3; // true
    }
    return HEADS[first - 0xc0];
}

static void set_int(struct mpack_token *token, int64_t value)
{
    if (value >= 0) {
        token->type = MPACK_UINT;
        token->uint = (uint64_t)value;
    } else {
        token->type = MPACK_INT;
        token->sint = value;
    }
}

static enum decode read_body(const uint8_t **at, const uint8_t *end, struct head head, uint64_t len,
                             struct mpack_token *token)
{
    if ((uint64_t)(end - *at) < len + head.ext_extra) {
        return DECODE_NEED_MORE;
    }
    if (head.ext_extra > 0) {
        token->ext_type = (int8_t) * (*at)++;
    }
    token->body = slice_of(*at, (size_t)len);
    *at += len;
    return DECODE_OK;
}

enum decode mpack_next(struct mpack_cursor *cursor, struct mpack_token *token)
{
    const uint8_t *at = cursor->at;
    if (at == cursor->end) {
        return DECODE_NEED_MORE;
    }
    uint64_t number;
    struct head head = head_of(*at++, &number);
    if (head.shape == SHAPE_BAD) {
        return DECODE_BAD;
    }
    if (head.width > 0) {
        if (cursor->end - at < head.width) {
            return DECODE_NEED_MORE;
        }
        number = read_big_endian(at, head.width);
        at += head.width;
    }
    *token = (struct mpack_token){.type = (enum mpack_type)head.type};
    switch ((enum shape)head.shape) {
    case SHAPE_BODY: {
        enum decode decoded = read_body(&at, cursor->end, head, number, token);
        if (decoded != DECODE_OK) {
            return decoded;
        }
        break;
    }
    case SHAPE_INT:
        set_int(token, head.width > 0 ? sign_extend(number, head.width) : (int64_t)number);
        break;
    case SHAPE_REAL:
        token->real = real_of(number, head.width);
        break;
    case SHAPE_COUNT:
        token->count = (uint32_t)number;
        break;
    case SHAPE_UINT:
        token->uint = number;
        break;
    case SHAPE_INLINE:
    case SHAPE_BAD:
        token->boolean = number != 0;
        break;
    }
    cursor->at = at;
    return DECODE_OK;
}

// The first bytes whose meaning needs no table.
enum {
    FIXINT_MAX = 0x7f,
    FIXMAP = 0x80,
    FIXARRAY = 0x90,
    FIXCOUNT_MASK = 0xf0,
    FIXSTR = 0xa0,
    FIXSTR_MASK = 0xe0,
    STR8 = 0xd9,
};

// Steps over small numbers and short texts, which most of a message is. False at anything else, and
// where it is not whole.
static inline bool step_over_short(struct mpack_cursor *cursor)
{
    const uint8_t *at = cursor->at;
    size_t left = (size_t)(cursor->end - at);
    size_t bytes = 0;
    if (left == 0) {
        return false;
    }
    if (*at <= FIXINT_MAX) {
        bytes = 1;
    } else if ((*at & FIXSTR_MASK) == FIXSTR) {
        bytes = 1 + (size_t)(*at & (uint8_t)~FIXSTR_MASK);
    } else if (*at == STR8 && left > 1) {
        bytes = 2 + (size_t)at[1];
    }
    if (bytes == 0 || bytes > left) {
        return false;
    }
    cursor->at = at + bytes;
    return true;
}

enum decode mpack_scan_more(struct mpack_scan *scan, struct slice bytes)
{
    CHECK_VALUES(scan->scanned <= bytes.len, "%zu of %zu", scan->scanned, bytes.len);
    if (!scan->started) {
        scan->started = true;
        scan->missing = 1;
    }
    if (bytes.len == 0) {
        return DECODE_NEED_MORE; // bytes.at may be NULL, which no offset may be added to
    }
    struct mpack_cursor cursor = {.at = bytes.at + scan->scanned, .end = bytes.at + bytes.len};
    while (scan->missing > 0) {
        if (step_over_short(&cursor)) {
            scan->scanned = (size_t)(cursor.at - bytes.at);
            scan->missing--;
            continue;
        }
        struct mpack_token token;
        enum decode decoded = mpack_next(&cursor, &token);
        if (decoded != DECODE_OK) {
            return decoded;
        }
        scan->scanned = (size_t)(cursor.at - bytes.at);
        scan->missing--;
        if (token.type == MPACK_ARRAY) {
            scan->missing += token.count;
        } else if (token.type == MPACK_MAP) {
            scan->missing += 2 * (uint64_t)token.count;
        }
    }
    return DECODE_OK;
}

enum decode mpack_skip(struct mpack_cursor *cursor, struct slice *value)
{
    struct mpack_scan scan = {0};
    struct slice rest = slice_of(cursor->at, (size_t)(cursor->end - cursor->at));
    enum decode decoded = mpack_scan_more(&scan, rest);
    if (decoded == DECODE_OK) {
        if (value != NULL) {
            *value = slice_of(cursor->at, scan.scanned);
        }
        cursor->at += scan.scanned;
    }
    return decoded;
}

// Takes the next token where it is of the wanted type.
static bool take(struct mpack_cursor *cursor, enum mpack_type type, struct mpack_token *token)
{
    struct mpack_cursor next = *cursor;
    if (mpack_next(&next, token) != DECODE_OK || token->type != type) {
        return false;
    }
    *cursor = next;
    return true;
}

bool mpack_read_nil(struct mpack_cursor *cursor)
{
    struct mpack_token token;
    return take(cursor, MPACK_NIL, &token);
}

bool mpack_read_bool(struct mpack_cursor *cursor, bool *value)
{
    struct mpack_token token;
    if (!take(cursor, MPACK_BOOL, &token)) {
        return false;
    }
    *value = token.boolean;
    return true;
}

bool mpack_read_uint(struct mpack_cursor *cursor, uint64_t *value)
{
    struct mpack_token token;
    if (cursor->at != cursor->end && *cursor->at <= FIXINT_MAX) {
        *value = *cursor->at++;
        return true;
    }
    if (!take(cursor, MPACK_UINT, &token)) {
        return false;
    }
    *value = token.uint;
    return true;
}

bool mpack_read_int(struct mpack_cursor *cursor, int64_t *value)
{
    struct mpack_token token;
    struct mpack_cursor next = *cursor;
    if (mpack_next(&next, &token) != DECODE_OK) {
        return false;
    }
    if (token.type == MPACK_INT) {
        *value = token.sint;
    } else if (token.type == MPACK_UINT && token.uint <= INT64_MAX) {
        *value = (int64_t)token.uint;
    } else {
        return false;
    }
    *cursor = next;
    return true;
}

bool mpack_read_str(struct mpack_cursor *cursor, struct slice *value)
{
    struct mpack_token token;
    const uint8_t *at = cursor->at;
    if (at != cursor->end && (*at & FIXSTR_MASK) == FIXSTR) {
        size_t len = *at & (uint8_t)~FIXSTR_MASK;
        if ((size_t)(cursor->end - at) <= len) {
            return false;
        }
        *value = slice_of(at + 1, len);
        cursor->at = at + 1 + len;
        return true;
    }
    if (!take(cursor, MPACK_STR, &token)) {
        return false;
    }
    *value = token.body;
    return true;
}

bool mpack_read_array(struct mpack_cursor *cursor, uint32_t *count)
{
    struct mpack_token token;
    if (cursor->at != cursor->end && (*cursor->at & FIXCOUNT_MASK) == FIXARRAY) {
        *count = *cursor->at++ & (uint8_t)~FIXCOUNT_MASK;
        return true;
    }
    if (!take(cursor, MPACK_ARRAY, &token)) {
        return false;
    }
    *count = token.count;
    return true;
}

bool mpack_read_map(struct mpack_cursor *cursor, uint32_t *count)
{
    struct mpack_token token;
    if (cursor->at != cursor->end && (*cursor->at & FIXCOUNT_MASK) == FIXMAP) {
        *count = *cursor->at++ & (uint8_t)~FIXCOUNT_MASK;
        return true;
    }
    if (!take(cursor, MPACK_MAP, &token)) {
        return false;
    }
    *count = token.count;
    return true;
}

static int append_to_buffer(void *buffer, const char *bytes, size_t len)
{
    buffer_append(buffer, bytes, len);
    return 0;
}

void mpack_packer_init(msgpack_packer *packer, struct buffer *out)
{
    msgpack_packer_init(packer, out, append_to_buffer);
}

void mpack_pack_slice(msgpack_packer *packer, struct slice text)
{
    msgpack_pack_str(packer, text.len);
    msgpack_pack_str_body(packer, text.at, text.len);
}

void mpack_pack_string(msgpack_packer *packer, const char *text)
{
    mpack_pack_slice(packer, slice_of_string(text));
}

void mpack_pack_raw(msgpack_packer *packer, struct slice msgpack)
{
    append_to_buffer(packer->data, (const char *)msgpack.at, msgpack.len);
}
