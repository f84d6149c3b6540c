// Bytes that live and die together at addresses that do not move: what a message that crosses
// threads owns. An arena of all zeroes is a valid empty one. Not for two threads at once.
#pragma once

#include "base/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t bytes; // handed out so far
};

// Lets an empty arena begin in memory of the owner's, aligned for any type, which arena_deinit
// leaves alone; what does not fit goes elsewhere.
void arena_lend(struct arena *arena, void *memory, size_t size);

// Frees everything handed out; the arena is empty and usable again, without what it was lent.
void arena_deinit(struct arena *arena);

// Aligned for any type, valid until arena_deinit. arena_alloc's are zeroed.
void *arena_alloc(struct arena *arena, size_t size);
void *arena_alloc_raw(struct arena *arena, size_t size);

// A copy that lives as long as the arena.
struct slice arena_copy(struct arena *arena, struct slice slice);
