// A direct-mapped table. Two keys with one hash of 64 bits cost a question to the node at worst.
#include "client/seen.h"

#include <stdlib.h>

#include "base/memory.h"

void seen_deinit(struct seen *seen)
{
    free(seen->slots);
    *seen = (struct seen){0};
}

void seen_note(struct seen *seen, uint64_t hash, int64_t version)
{
    if (seen->slots == NULL) {
        seen->slots = memory_zeroed(SEEN_SLOTS, sizeof *seen->slots);
    }
    seen->slots[hash % SEEN_SLOTS] = (struct seen_slot){.hash = hash, .version = version};
}
