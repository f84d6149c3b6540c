// Bytes that live and die together at addresses that do not move: what a message that crosses
// threads owns. An arena of all zeroes is a valid empty one. Not for two threads at once.
#pragma once

#include "base/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t bytes; // handed out so far
};

// Frees everything handed out; the arena is empty and usable again.
void arena_deinit(struct arena *arena);

// Zeroed, aligned for any type, valid until arena_deinit.
void *arena_alloc(struct arena *arena, size_t size);

// A copy that lives as long as the arena.
struct slice arena_copy(struct arena *arena, struct slice slice);
