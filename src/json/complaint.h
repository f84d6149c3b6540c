// What is wrong with a value, and where in the input.
#pragma once

#include <stddef.h>

#include "base/error.h"

struct complaint {
    enum error error;
    const char *reason; // static
    size_t offset;      // in bytes
};

// Sets all of it and returns false, for readers to return in turn.
static inline bool complain(struct complaint *complaint, enum error error, const char *reason,
                            size_t offset)
{
    complaint->error = error;
    complaint->reason = reason;
    complaint->offset = offset;
    return false;
}
