#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

static const size_t CHUNK_MIN_BYTES = 512;

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t capacity;
    bool is_lent;
    alignas(max_align_t) uint8_t bytes[];
};

void arena_lend(struct arena *arena, void *memory, size_t size)
{
    CHECK(arena->chunks == NULL && size >= sizeof(struct arena_chunk));
    struct arena_chunk *chunk = memory;
    *chunk = (struct arena_chunk){.capacity = size - sizeof *chunk, .is_lent = true};
    arena->chunks = chunk;
}

void arena_deinit(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        if (!chunk->is_lent) {
            free(chunk);
        }
        chunk = next;
    }
    *arena = (struct arena){0};
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t size)
{
    size_t grown = arena->bytes > CHUNK_MIN_BYTES ? arena->bytes : CHUNK_MIN_BYTES;
    size_t capacity = size > grown ? size : grown;
    struct arena_chunk *chunk = memory_resize(NULL, sizeof *chunk + capacity);
    *chunk = (struct arena_chunk){.next = arena->chunks, .capacity = capacity};
    arena->chunks = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc_raw(arena, size), 0, size);
}

void *arena_alloc_raw(struct arena *arena, size_t size)
{
    size_t aligned = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->capacity - chunk->used < aligned) {
        chunk = add_chunk(arena, aligned);
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += aligned;
    arena->bytes += aligned;
    return memory;
}

struct slice arena_copy(struct arena *arena, struct slice slice)
{
    if (slice.len == 0) {
        return slice_of("", 0);
    }
    void *copy = arena_alloc_raw(arena, slice.len);
    memcpy(copy, slice.at, slice.len);
    return slice_of(copy, slice.len);
}
