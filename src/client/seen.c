// A table of sets of four. Two keys with one hash of 64 bits cost a question to the node at worst.
#include "client/seen.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

_Static_assert(sizeof(struct seen_set) == 64, "a cache line");

void seen_deinit(struct seen *seen)
{
    free(seen->sets);
    *seen = (struct seen){0};
}

void seen_add(struct seen *seen, uint64_t hash, int64_t version)
{
    if (seen->sets == NULL) {
        seen->sets = memory_zeroed(SEEN_SETS, sizeof *seen->sets);
    }
    struct seen_slot *ways = seen->sets[hash % SEEN_SETS].ways;
    memmove(ways + 1, ways, (SEEN_WAYS - 1) * sizeof *ways);
    ways[0] = (struct seen_slot){.hash = hash, .version = version};
}

struct seen_told seen_take(struct seen *seen, uint64_t hash)
{
    struct seen_told told = {0};
    told.was_told = seen_find(seen, hash, &told.version);
    seen_drop(seen, hash);
    return told;
}

void seen_give_back(struct seen *seen, uint64_t hash, struct seen_told told)
{
    if (told.was_told && seen_slot_of(seen, hash) == NULL) {
        seen_add(seen, hash, told.version);
    }
}

void seen_drop(struct seen *seen, uint64_t hash)
{
    struct seen_slot *slot = seen_slot_of(seen, hash);
    if (slot != NULL) {
        *slot = (struct seen_slot){0};
    }
}
