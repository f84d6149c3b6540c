#include "pg/key_range.h"

#include "base/check.h"

enum { CODE_MAX = 0x10FFFF, SURROGATE_FIRST = 0xD800, SURROGATE_LAST = 0xDFFF };

// The character that begins at `at` (RFC 3629, section 3; known to be well-formed).
static uint32_t decode(const uint8_t *at, size_t len)
{
    static const uint8_t LEAD_BITS[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    CHECK_VALUES(len >= 1 && len <= 4, "%zu bytes", len);
    uint32_t code = at[0] & LEAD_BITS[len];
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | (at[i] & 0x3FU);
    }
    return code;
}

static size_t encode(uint32_t code, uint8_t *out)
{
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t LEADS[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i > 1; i--) {
        out[i - 1] = (uint8_t)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (uint8_t)(LEADS[len] | code);
    return len;
}

size_t key_range_end(struct slice prefix, uint8_t *out)
{
    size_t len = prefix.len;
    while (len > 0) {
        size_t start = len - 1;
        while (start > 0 && (prefix.at[start] & 0xC0) == 0x80) {
            start--;
        }
        uint32_t code = decode(prefix.at + start, len - start);
        if (code < CODE_MAX) {
            // UTF-8 keeps the order of code points, and surrogates are no characters.
            uint32_t next = code + 1 == SURROGATE_FIRST ? SURROGATE_LAST + 1 : code + 1;
            memcpy(out, prefix.at, start);
            return start + encode(next, out + start);
        }
        len = start;
    }
    return 0;
}
