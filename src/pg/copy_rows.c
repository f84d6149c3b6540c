#include "pg/copy_rows.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

static const uint8_t SIGNATURE[] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xFF, '\r', '\n', 0};

enum { FLAGS_KNOWN = 0xFFFF }; // the others change the format
enum { HEADER_BYTES = sizeof SIGNATURE + 2 * sizeof(uint32_t) };

static int16_t read_int16(const uint8_t *at)
{
    uint16_t wire;
    memcpy(&wire, at, sizeof wire);
    return (int16_t)be16toh(wire);
}

static int32_t read_int32(const uint8_t *at)
{
    uint32_t wire;
    memcpy(&wire, at, sizeof wire);
    return (int32_t)be32toh(wire);
}

enum copy_step copy_rows_begin(struct slice *left)
{
    size_t known = left->len < sizeof SIGNATURE ? left->len : sizeof SIGNATURE;
    if (known > 0 && memcmp(left->at, SIGNATURE, known) != 0) {
        return COPY_BAD;
    }
    if (left->len < HEADER_BYTES) {
        return COPY_MORE;
    }
    int32_t flags = read_int32(left->at + sizeof SIGNATURE);
    int32_t extension = read_int32(left->at + sizeof SIGNATURE + sizeof flags);
    if ((flags & ~FLAGS_KNOWN) != 0 || extension < 0) {
        return COPY_BAD;
    }
    if (left->len - HEADER_BYTES < (size_t)extension) {
        return COPY_MORE;
    }
    size_t len = HEADER_BYTES + (size_t)extension;
    *left = slice_of(left->at + len, left->len - len);
    return COPY_ROW;
}

enum copy_step copy_rows_next(struct slice *left, struct slice *fields, size_t count)
{
    const uint8_t *at = left->at, *end = left->at + left->len;
    if (end - at < (ptrdiff_t)sizeof(int16_t)) {
        return COPY_MORE;
    }
    int16_t fields_count = read_int16(at);
    at += sizeof fields_count;
    if (fields_count == -1) {
        return at == end ? COPY_END : COPY_BAD;
    }
    if (fields_count < 0 || (size_t)fields_count != count) {
        return COPY_BAD;
    }
    for (size_t i = 0; i < count; i++) {
        if (end - at < (ptrdiff_t)sizeof(int32_t)) {
            return COPY_MORE;
        }
        int32_t len = read_int32(at);
        at += sizeof len;
        if (len < -1) {
            return COPY_BAD;
        }
        if (len > end - at) {
            return COPY_MORE;
        }
        fields[i] = slice_of(len < 0 ? NULL : at, len < 0 ? 0 : (size_t)len);
        at += len < 0 ? 0 : len;
    }
    *left = slice_of(at, (size_t)(end - at));
    return COPY_ROW;
}
