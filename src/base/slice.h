// A borrowed run of bytes: never owns, never NUL-terminated. It dies with the buffer, LMDB
// transaction or message it points into; whoever keeps it longer copies it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *at;
    size_t len;
};

static inline struct slice slice_of(const void *at, size_t len)
{
    struct slice slice = {(const uint8_t *)at, len};
    return slice;
}

static inline struct slice slice_of_string(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

// Byte order, the order of LMDB and of COLLATE "C": negative, 0 or positive as a < b, =, >.
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.at, b.at, common);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_starts_with(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len &&
           (prefix.len == 0 || memcmp(text.at, prefix.at, prefix.len) == 0);
}

// For printf's "%.*s".
#define SLICE_FORMAT(slice) (int)(slice).len, (const char *)(slice).at
