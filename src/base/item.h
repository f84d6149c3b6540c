// The answer to a get, as the protocol has it: nil where there is nothing, else [value, version],
// with nil for a version that is not known yet. A node sends it, and the library makes it of what
// it finds in the node's cache.
#pragma once

#include "base/mpack.h"
#include "base/request.h"

// Where the value lies in it, and how much there is besides.
enum { ITEM_VALUE_AT = 1, ITEM_BYTES_MAX = ITEM_VALUE_AT + MPACK_INT_BYTES_MAX };

// Writes it at `at`, which has room for ITEM_BYTES_MAX and the value; where it ends.
static inline uint8_t *item_put(uint8_t *at, const struct item *item)
{
    if (!item->present) {
        return mpack_put_nil(at);
    }
    at = mpack_put_array(at, 2);
    memcpy(at, item->value.at, item->value.len);
    at += item->value.len;
    return item->has_version ? mpack_put_int(at, item->version) : mpack_put_nil(at);
}
