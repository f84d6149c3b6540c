// The keys that were heard of while rows are on their way: what is on its way of them may be older
// than what was heard (rule 4). The pg worker's thread.
#pragma once

#include "base/arena.h"
#include "base/slice.h"

enum { MARKS_MAX = 4096 };

// {0} is empty.
struct marks {
    struct arena arena;
    struct slice keys[MARKS_MAX];
    size_t count;
    bool all; // every key: because of what was heard, or because there were too many
};

void marks_clear(struct marks *marks);
void marks_add(struct marks *marks, struct slice key);
// Before the first marks_has after a marks_add.
void marks_sort(struct marks *marks);
bool marks_has(const struct marks *marks, struct slice key);
