#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"

_Noreturn void memory_exhausted(size_t bytes)
{
    // By nothing that may want memory itself.
    char text[80];
    int len =
        snprintf(text, sizeof text, "pgnear: out of memory: %zu bytes were asked for\n", bytes);
    (void)!write(STDERR_FILENO, text, (size_t)len);
    abort();
}

void *memory_zeroed(size_t count, size_t size)
{
    void *memory = FAULT_POINT(MEMORY) ? NULL : calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    if (memory == NULL) {
        memory_exhausted(count * size);
    }
    return memory;
}

void *memory_resize(void *memory, size_t size)
{
    void *moved = FAULT_POINT(MEMORY) ? NULL : realloc(memory, size > 0 ? size : 1);
    if (moved == NULL) {
        memory_exhausted(size);
    }
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
