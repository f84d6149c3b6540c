// Allocation that never returns NULL: every size that a peer can choose is bounded before it gets
// here, so a failure means the machine is out of memory, and the process ends with a message.
#pragma once

#include <stddef.h>

#include "base/slice.h"

enum { MEMORY_LINE_BYTES = 64 }; // of the processor's cache

// Ends the process with that message; the next one starts from what is durable, as after kill -9.
// `bytes` is what was asked for. Any thread.
_Noreturn void memory_exhausted(size_t bytes);

// Zeroed memory for the caller to free().
void *memory_zeroed(size_t count, size_t size);

// As realloc(), for the caller to free().
void *memory_resize(void *memory, size_t size);

// A NUL-terminated copy of the slice, for the caller to free().
char *memory_string(struct slice slice);
