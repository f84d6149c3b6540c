#include "base/memory.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/fault.h"

void *memory_zeroed(size_t count, size_t size)
{
    void *memory = FAULT_POINT(MEMORY) ? NULL : calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    CHECK_VALUES(memory != NULL, "out of memory: %zu x %zu bytes", count, size);
    return memory;
}

void *memory_resize(void *memory, size_t size)
{
    void *moved = FAULT_POINT(MEMORY) ? NULL : realloc(memory, size > 0 ? size : 1);
    CHECK_VALUES(moved != NULL, "out of memory: %zu bytes", size);
    return moved;
}

char *memory_string(struct slice slice)
{
    char *copy = memory_zeroed(slice.len + 1, 1);
    if (slice.len > 0) {
        memcpy(copy, slice.at, slice.len);
    }
    return copy;
}
