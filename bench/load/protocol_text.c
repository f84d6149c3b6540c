// RESP (redis.io, protocol specification), memcached's meta commands (protocol.txt: the shortest
// it has), and the echo, whose sizes are settled before.
#include "load/protocol.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "load/keys.h"

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    return put(at, text, strlen(text));
}

// The first line without its end; false where it is not whole.
static bool first_line(struct slice bytes, struct slice *line, size_t *consumed)
{
    const uint8_t *end = bytes.len == 0 ? NULL : memchr(bytes.at, '\n', bytes.len);
    if (end == NULL || end == bytes.at) {
        return false;
    }
    *line = slice_of(bytes.at, (size_t)(end - bytes.at) - 1);
    *consumed = (size_t)(end - bytes.at) + 1;
    return true;
}

static bool begins(struct slice line, const char *text)
{
    size_t len = strlen(text);
    return line.len >= len && memcmp(line.at, text, len) == 0;
}

static size_t number_at(const uint8_t *at, const uint8_t *end)
{
    size_t number = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        number = number * 10 + (size_t)(*at++ - '0');
    }
    return number;
}

// A value of `len` bytes and a line end behind a header of seen->consumed bytes.
static void take_value(struct slice bytes, size_t len, struct reply_seen *seen)
{
    size_t all = seen->consumed + len + 2;
    seen->kind = bytes.len < all ? REPLY_NEED_MORE : REPLY_HIT;
    seen->value = slice_of(bytes.at + seen->consumed, len);
    seen->consumed = all;
}

// ---- Redis

static uint8_t *put_bulk(uint8_t *at, const void *bytes, size_t len)
{
    at += sprintf((char *)at, "$%zu\r\n", len);
    at = put(at, bytes, len);
    return put_text(at, "\r\n");
}

static size_t redis_get(uint8_t *out, uint32_t tag, const char *key)
{
    (void)tag;
    uint8_t *at = put_text(out, "*2\r\n$3\r\nGET\r\n$16\r\n");
    at = put(at, key, KEY_TEXT_BYTES);
    at = put_text(at, "\r\n");
    return (size_t)(at - out);
}

static size_t redis_set(uint8_t *out, uint32_t tag, const char *key, struct slice value)
{
    (void)tag;
    uint8_t *at = put_text(out, "*3\r\n$3\r\nSET\r\n$16\r\n");
    at = put(at, key, KEY_TEXT_BYTES);
    at = put_text(at, "\r\n");
    at = put_bulk(at, value.at, value.len);
    return (size_t)(at - out);
}

static void redis_parse(struct slice bytes, struct reply_seen *seen)
{
    struct slice line;
    *seen = (struct reply_seen){.kind = REPLY_NEED_MORE};
    if (!first_line(bytes, &line, &seen->consumed)) {
        return;
    }
    if (begins(line, "$-1")) {
        seen->kind = REPLY_MISS;
    } else if (begins(line, "$")) {
        take_value(bytes, number_at(line.at + 1, line.at + line.len), seen);
    } else if (begins(line, "+")) {
        seen->kind = REPLY_DONE;
    } else {
        seen->kind = begins(line, "-") ? REPLY_ERROR : REPLY_BAD;
        seen->text = line;
    }
}

// ---- Memcached

static size_t memcached_get(uint8_t *out, uint32_t tag, const char *key)
{
    (void)tag;
    uint8_t *at = put_text(out, "mg ");
    at = put(at, key, KEY_TEXT_BYTES);
    at = put_text(at, " v\r\n");
    return (size_t)(at - out);
}

static size_t memcached_set(uint8_t *out, uint32_t tag, const char *key, struct slice value)
{
    (void)tag;
    uint8_t *at = put_text(out, "ms ");
    at = put(at, key, KEY_TEXT_BYTES);
    at += sprintf((char *)at, " %zu\r\n", value.len);
    at = put(at, value.at, value.len);
    at = put_text(at, "\r\n");
    return (size_t)(at - out);
}

static void memcached_parse(struct slice bytes, struct reply_seen *seen)
{
    struct slice line;
    *seen = (struct reply_seen){.kind = REPLY_NEED_MORE};
    if (!first_line(bytes, &line, &seen->consumed)) {
        return;
    }
    if (begins(line, "VA ")) {
        take_value(bytes, number_at(line.at + 3, line.at + line.len), seen);
    } else if (begins(line, "EN")) {
        seen->kind = REPLY_MISS;
    } else {
        seen->kind = begins(line, "HD") ? REPLY_DONE : REPLY_ERROR;
        seen->text = line;
    }
}

// ---- Echo

static size_t echo_request_bytes;
static size_t echo_reply_bytes;

void protocol_echo_set_sizes(size_t request_bytes, size_t reply_bytes)
{
    CHECK(request_bytes <= REQUEST_BYTES_MAX);
    echo_request_bytes = request_bytes;
    echo_reply_bytes = reply_bytes;
}

static size_t echo_get(uint8_t *out, uint32_t tag, const char *key)
{
    (void)tag;
    memset(out, 'e', echo_request_bytes);
    memcpy(out, key, echo_request_bytes < KEY_TEXT_BYTES ? echo_request_bytes : KEY_TEXT_BYTES);
    return echo_request_bytes;
}

static size_t echo_set(uint8_t *out, uint32_t tag, const char *key, struct slice value)
{
    (void)value;
    return echo_get(out, tag, key);
}

static void echo_parse(struct slice bytes, struct reply_seen *seen)
{
    bool whole = bytes.len >= echo_reply_bytes;
    *seen = (struct reply_seen){.kind = whole ? REPLY_DONE : REPLY_NEED_MORE,
                                .consumed = echo_reply_bytes};
}

const struct protocol PROTOCOL_REDIS = {"redis", redis_get, redis_set, NULL, redis_parse};
const struct protocol PROTOCOL_MEMCACHED = {"memcached", memcached_get, memcached_set, NULL,
                                            memcached_parse};
const struct protocol PROTOCOL_ECHO = {"echo", echo_get, echo_set, NULL, echo_parse};

const struct protocol *protocol_of_name(const char *name)
{
    static const struct protocol *const PROTOCOLS[] = {&PROTOCOL_PGNEAR, &PROTOCOL_REDIS,
                                                       &PROTOCOL_MEMCACHED, &PROTOCOL_ECHO};
    for (size_t i = 0; i < sizeof PROTOCOLS / sizeof *PROTOCOLS; i++) {
        if (strcmp(PROTOCOLS[i]->name, name) == 0) {
            return PROTOCOLS[i];
        }
    }
    return NULL;
}
