#include "json/pair.h"

#include <stdlib.h>

enum { INSERTED_MAX = 24 }; // pairs that are sorted by insertion

static int compare(const uint8_t *begin, const struct pair *a, const struct pair *b)
{
    int order = pair_compare_keys(begin, a, b);
    return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

static int compare_for_qsort(const void *a, const void *b, void *begin)
{
    return compare(begin, a, b);
}

// Most objects have few keys, and many come nearly in order.
void pairs_sort(struct pair *pairs, uint32_t count, const uint8_t *begin)
{
    if (count > INSERTED_MAX) {
        qsort_r(pairs, count, sizeof *pairs, compare_for_qsort, (void *)(uintptr_t)begin);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct pair pair = pairs[i];
        uint32_t at = i;
        for (; at > 0 && compare(begin, &pairs[at - 1], &pair) > 0; at--) {
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = pair;
    }
}
