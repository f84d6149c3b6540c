// The keys a scan is about: those that begin with `prefix` and come after `after`, in byte order,
// and the condition that says so in SQL. Pure; any thread.
#pragma once

#include "base/buffer.h"
#include "base/request.h"

struct key_range {
    struct slice prefix;
    struct slice after; // "": from the start
};

static inline bool key_range_has(const struct key_range *range, struct slice key)
{
    return slice_starts_with(key, range->prefix) && slice_compare(key, range->after) > 0;
}

// The least text, in byte order, that is greater than all that begin with `prefix`, into `out`,
// which has room for the prefix and 3 bytes more. Its length; 0 where there is none. A byte more
// would do for LMDB, but a parameter of PostgreSQL must be UTF-8: the last character is raised to
// the next one.
size_t key_range_end(struct slice prefix, uint8_t *out);
