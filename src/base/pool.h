// Blocks of one size, handed out again instead of going back to the allocator: for what one thread
// makes and ends tens of thousands of times a second. Not for two threads at once. A pool of all
// zeroes is a valid one that keeps nothing.
#pragma once

#include <stddef.h>

struct pool {
    size_t kept_max; // set by the owner; beyond it blocks are freed
    size_t kept;
    void *first; // of those kept
};

// `block_bytes` of any content, aligned for any type: the same number at each call of the pool's
// life. May be freed as well as returned. Out of memory ends the process.
void *pool_take(struct pool *pool, size_t block_bytes);

// Takes back what pool_take has given, or memory_resize for as much. In builds with the address
// sanitizer nothing is kept, so that it sees each use after the end.
void pool_return(struct pool *pool, void *block);

// Frees what is kept.
void pool_deinit(struct pool *pool);
