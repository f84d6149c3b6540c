// bench_lru KEYS CAPACITY DISTRIBUTION OPERATIONS SEED SEED: the hit ratio that a cache of CAPACITY
// entries has by exact LRU on the very keys that bench_load draws: a run of OPERATIONS with the
// first seed to warm up, and one with the second that counts.
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "load/keys.h"

enum { NONE = UINT32_MAX };

// All keys, those that are held in a list by age. `head` is the latest.
struct lru {
    uint32_t *newer;
    uint32_t *older;
    uint8_t *held;
    uint32_t head;
    uint32_t tail;
    uint64_t count;
    uint64_t capacity;
};

static void take_out(struct lru *lru, uint32_t key)
{
    uint32_t newer = lru->newer[key];
    uint32_t older = lru->older[key];
    *(newer == NONE ? &lru->head : &lru->older[newer]) = older;
    *(older == NONE ? &lru->tail : &lru->newer[older]) = newer;
    lru->held[key] = 0;
    lru->count--;
}

static void put_first(struct lru *lru, uint32_t key)
{
    lru->newer[key] = NONE;
    lru->older[key] = lru->head;
    *(lru->head == NONE ? &lru->tail : &lru->newer[lru->head]) = key;
    lru->head = key;
    lru->held[key] = 1;
    lru->count++;
}

static uint64_t run(struct lru *lru, enum distribution distribution, uint64_t keys,
                    uint64_t operations, uint64_t seed)
{
    struct key_chooser chooser;
    uint64_t hits = 0;
    keys_init(&chooser, distribution, keys, 0, seed);
    for (uint64_t i = 0; i < operations; i++) {
        uint32_t key = (uint32_t)keys_next(&chooser);
        if (lru->held[key] != 0) {
            hits++;
            take_out(lru, key);
        } else if (lru->count == lru->capacity) {
            take_out(lru, lru->tail);
        }
        put_first(lru, key);
    }
    return hits;
}

int main(int argc, char **argv)
{
    enum distribution distribution;
    if (argc != 7 || !distribution_of_name(argv[3], &distribution)) {
        fprintf(stderr, "usage: bench_lru KEYS CAPACITY DISTRIBUTION OPERATIONS SEED SEED\n");
        return 2;
    }
    uint64_t keys = strtoull(argv[1], NULL, 10);
    uint64_t operations = strtoull(argv[4], NULL, 10);
    struct lru lru = {.head = NONE, .tail = NONE, .capacity = strtoull(argv[2], NULL, 10)};
    CHECK(keys > 0 && keys < NONE && lru.capacity > 0 && operations > 0);
    lru.newer = memory_zeroed(keys, sizeof *lru.newer);
    lru.older = memory_zeroed(keys, sizeof *lru.older);
    lru.held = memory_zeroed(keys, sizeof *lru.held);
    run(&lru, distribution, keys, operations, strtoull(argv[5], NULL, 10));
    uint64_t hits = run(&lru, distribution, keys, operations, strtoull(argv[6], NULL, 10));
    printf("{\"hit_ratio\": %.6f}\n", (double)hits / (double)operations);
    free(lru.newer);
    free(lru.older);
    free(lru.held);
    return 0;
}
