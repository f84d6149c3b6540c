// MessagePack-RPC. The common answer is told by its bytes; everything else goes through the reader
// that the daemon uses.
#include "load/protocol.h"

#include <string.h>

#include "base/mpack.h"
#include "load/keys.h"

static const char *set_ack;

void protocol_pgnear_set_ack(const char *ack)
{
    set_ack = ack;
}

static uint8_t *put_string(uint8_t *at, const char *text, size_t len)
{
    *at++ = (uint8_t)(0xa0 | len); // fixstr: what is written here is shorter than 32 bytes
    memcpy(at, text, len);
    return at + len;
}

// [0, tag, method, [...: the caller goes on with `params` values.
static uint8_t *begin(uint8_t *at, uint32_t tag, const char *method, unsigned params)
{
    *at++ = 0x94;
    *at++ = 0x00;
    *at++ = 0xcd; // uint16, whatever the tag: all requests of a kind have one size
    *at++ = (uint8_t)(tag >> 8);
    *at++ = (uint8_t)tag;
    at = put_string(at, method, strlen(method));
    *at++ = (uint8_t)(0x90 | params);
    return at;
}

static size_t write_get(uint8_t *out, uint32_t tag, const char *key)
{
    uint8_t *at = begin(out, tag, "get", 1);
    at = put_string(at, key, KEY_TEXT_BYTES);
    return (size_t)(at - out);
}

static size_t write_set(uint8_t *out, uint32_t tag, const char *key, struct slice value)
{
    uint8_t *at = begin(out, tag, "set", set_ack == NULL ? 2 : 3);
    at = put_string(at, key, KEY_TEXT_BYTES);
    memcpy(at, value.at, value.len);
    at += value.len;
    if (set_ack != NULL) {
        *at++ = 0x81;
        at = put_string(at, "ack", 3);
        at = put_string(at, set_ack, strlen(set_ack));
    }
    return (size_t)(at - out);
}

static size_t write_scan(uint8_t *out, uint32_t tag, const char *key, uint32_t limit)
{
    uint8_t *at = begin(out, tag, "scan", 1);
    *at++ = 0x82;
    at = put_string(at, "after", 5);
    at = put_string(at, key, KEY_TEXT_BYTES);
    at = put_string(at, "limit", 5);
    *at++ = 0xcd;
    *at++ = (uint8_t)(limit >> 8);
    *at++ = (uint8_t)limit;
    return (size_t)(at - out);
}

// A get's answer is nil or [value, version], where the value is a string; a write's or a scan's
// begins with a map.
static enum reply_kind kind_of(struct mpack_cursor result, struct slice *value)
{
    struct mpack_cursor ahead = result;
    uint32_t count;
    if (mpack_read_nil(&ahead)) {
        return REPLY_MISS;
    }
    if (mpack_read_array(&ahead, &count) && count == 2 && mpack_skip(&ahead, value) == DECODE_OK) {
        return REPLY_HIT;
    }
    return REPLY_DONE;
}

// An unsigned integer in any form. NULL where there is none, or it is not whole.
static const uint8_t *take_uint(const uint8_t *at, const uint8_t *end, uint64_t *number)
{
    if (at == end || (*at > 0x7f && (*at < 0xcc || *at > 0xcf))) {
        return NULL;
    }
    if (*at <= 0x7f) {
        *number = *at;
        return at + 1;
    }
    ptrdiff_t bytes = (ptrdiff_t)1 << (*at++ - 0xcc);
    if (end - at < bytes) {
        return NULL;
    }
    *number = 0;
    for (ptrdiff_t i = 0; i < bytes; i++) {
        *number = *number << 8 | *at++;
    }
    return at;
}

// Behind a string of 32 to 65535 bytes, as all values here are. NULL where there is none.
static const uint8_t *skip_string(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 3 || (*at != 0xd9 && *at != 0xda)) {
        return NULL;
    }
    ptrdiff_t len = *at == 0xd9 ? 2 + at[1] : 3 + (at[1] << 8 | at[2]);
    return end - at < len ? NULL : at + len;
}

// The answer to a get that found a string with a version, told by its bytes, so that this client
// is not slower than that of the text protocols. False says nothing.
static bool parse_hit(struct slice bytes, struct reply_seen *seen)
{
    const uint8_t *at = bytes.at;
    const uint8_t *end = bytes.at + bytes.len;
    uint64_t tag, version;
    if (bytes.len < 4 || at[0] != 0x94 || at[1] != 0x01 ||
        (at = take_uint(at + 2, end, &tag)) == NULL || tag > UINT16_MAX || end - at < 2 ||
        at[0] != 0xc0 || at[1] != 0x92) {
        return false;
    }
    const uint8_t *value = at + 2;
    const uint8_t *behind = skip_string(value, end);
    if (behind == NULL || (at = take_uint(behind, end, &version)) == NULL) {
        return false;
    }
    seen->kind = REPLY_HIT;
    seen->tag = (uint32_t)tag;
    seen->value = slice_of(value, (size_t)(behind - value));
    seen->consumed = (size_t)(at - bytes.at);
    return true;
}

static void parse(struct slice bytes, struct reply_seen *seen)
{
    *seen = (struct reply_seen){.kind = REPLY_NEED_MORE, .has_tag = true};
    if (bytes.len == 0 || parse_hit(bytes, seen)) {
        return;
    }
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    struct slice message;
    enum decode decoded = mpack_skip(&cursor, &message);
    if (decoded != DECODE_OK) {
        seen->kind = decoded == DECODE_BAD ? REPLY_BAD : REPLY_NEED_MORE;
        return;
    }
    seen->consumed = message.len;
    cursor = mpack_cursor_of(message);
    uint32_t fields;
    uint64_t type, tag;
    struct slice error;
    if (!mpack_read_array(&cursor, &fields) || fields != 4 || !mpack_read_uint(&cursor, &type) ||
        type != 1 || !mpack_read_uint(&cursor, &tag) || tag > UINT16_MAX) {
        seen->kind = REPLY_BAD;
        return;
    }
    seen->tag = (uint32_t)tag;
    if (mpack_read_nil(&cursor)) {
        seen->kind = kind_of(cursor, &seen->value);
    } else {
        seen->kind = mpack_skip(&cursor, &error) == DECODE_OK ? REPLY_ERROR : REPLY_BAD;
        seen->text = error;
    }
}

const struct protocol PROTOCOL_PGNEAR = {"pgnear", write_get, write_set, write_scan, parse};
