// A sorted array is searched; it is made of a plain one once all has been heard.
#include "pg/marks.h"

#include <stdlib.h>

void marks_clear(struct marks *marks)
{
    arena_deinit(&marks->arena);
    marks->count = 0;
    marks->all = false;
}

void marks_add(struct marks *marks, struct slice key)
{
    if (marks->all) {
        return;
    }
    if (marks->count == MARKS_MAX) {
        marks->all = true;
        return;
    }
    marks->keys[marks->count++] = arena_copy(&marks->arena, key);
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

void marks_sort(struct marks *marks)
{
    qsort(marks->keys, marks->count, sizeof marks->keys[0], compare_keys);
}

bool marks_has(const struct marks *marks, struct slice key)
{
    return marks->all || (marks->count > 0 && bsearch(&key, marks->keys, marks->count,
                                                      sizeof marks->keys[0], compare_keys) != NULL);
}
