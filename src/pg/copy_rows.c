#include "pg/copy_rows.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

static const uint8_t SIGNATURE[] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xFF, '\r', '\n', 0};

enum { FLAGS_KNOWN = 0xFFFF }; // the others change the format

static bool take(struct slice *left, void *out, size_t len)
{
    if (left->len < len) {
        return false;
    }
    memcpy(out, left->at, len);
    *left = slice_of(left->at + len, left->len - len);
    return true;
}

static bool take_int16(struct slice *left, int16_t *number)
{
    uint16_t wire;
    if (!take(left, &wire, sizeof wire)) {
        return false;
    }
    *number = (int16_t)be16toh(wire);
    return true;
}

static bool take_int32(struct slice *left, int32_t *number)
{
    uint32_t wire;
    if (!take(left, &wire, sizeof wire)) {
        return false;
    }
    *number = (int32_t)be32toh(wire);
    return true;
}

// So many bytes as the number before them says; none where it is -1.
static bool take_run(struct slice *left, struct slice *run)
{
    int32_t len;
    if (!take_int32(left, &len) || len < -1 || (len > 0 && (size_t)len > left->len)) {
        return false;
    }
    size_t taken = len < 0 ? 0 : (size_t)len;
    *run = slice_of(len < 0 ? NULL : left->at, taken);
    *left = slice_of(left->at + taken, left->len - taken);
    return true;
}

bool copy_rows_begin(struct copy_rows *rows, struct slice bytes)
{
    uint8_t signature[sizeof SIGNATURE];
    int32_t flags;
    struct slice extension;
    rows->left = bytes;
    return take(&rows->left, signature, sizeof signature) &&
           memcmp(signature, SIGNATURE, sizeof SIGNATURE) == 0 && take_int32(&rows->left, &flags) &&
           (flags & ~FLAGS_KNOWN) == 0 && take_run(&rows->left, &extension) && extension.at != NULL;
}

enum copy_step copy_rows_next(struct copy_rows *rows, struct slice *fields, size_t count)
{
    int16_t fields_count;
    if (!take_int16(&rows->left, &fields_count)) {
        return COPY_BAD;
    }
    if (fields_count == -1) {
        return rows->left.len == 0 ? COPY_END : COPY_BAD;
    }
    if (fields_count < 0 || (size_t)fields_count != count) {
        return COPY_BAD;
    }
    for (size_t i = 0; i < count; i++) {
        if (!take_run(&rows->left, &fields[i])) {
            return COPY_BAD;
        }
    }
    return COPY_ROW;
}
