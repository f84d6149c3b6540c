#include "base/pool.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

#ifdef __SANITIZE_ADDRESS__
enum { KEEPS = 0 };
#else
enum { KEEPS = 1 };
#endif

// What a kept block begins with.
struct kept {
    struct kept *next;
};

void *pool_take(struct pool *pool, size_t block_bytes)
{
    CHECK(block_bytes >= sizeof(struct kept));
    struct kept *block = pool->first;
    if (block == NULL) {
        return memory_resize(NULL, block_bytes);
    }
    pool->first = block->next;
    pool->kept--;
    return block;
}

void pool_return(struct pool *pool, void *block)
{
    if (!KEEPS || pool->kept >= pool->kept_max) {
        free(block);
        return;
    }
    struct kept *kept = block;
    kept->next = pool->first;
    pool->first = kept;
    pool->kept++;
}

void pool_deinit(struct pool *pool)
{
    while (pool->first != NULL) {
        struct kept *block = pool->first;
        pool->first = block->next;
        free(block);
    }
    pool->kept = 0;
}
