// A plain array: a key is compared with each prefix, which for the limit of a thousand costs less
// than the notification of one match.

#include "server/watch.h"

#include <stdlib.h>

#include "base/memory.h"

static const size_t CAPACITY_MIN = 4;

void watch_deinit(struct watch *watch, struct status *status)
{
    for (size_t i = 0; i < watch->count; i++) {
        free((void *)watch->prefixes[i].at);
    }
    status_add(status, STATUS_SERVER_WATCHERS, -(int64_t)watch->count);
    free(watch->prefixes);
    *watch = (struct watch){0};
}

// The place of the prefix, or the count.
static size_t find(const struct watch *watch, struct slice prefix)
{
    size_t i = 0;
    while (i < watch->count && !slice_equal(watch->prefixes[i], prefix)) {
        i++;
    }
    return i;
}

enum error watch_add(struct watch *watch, struct slice prefix, struct status *status,
                     struct failure *failure)
{
    if (find(watch, prefix) < watch->count) {
        return ERROR_NONE;
    }
    if (watch->count == WATCH_PREFIXES_MAX) {
        return failure_set(failure, ERROR_TOO_LARGE, "watch: %d prefixes are watched already",
                           WATCH_PREFIXES_MAX);
    }
    if (watch->count == watch->capacity) {
        watch->capacity = watch->capacity == 0 ? CAPACITY_MIN : watch->capacity * 2;
        watch->prefixes = memory_resize(watch->prefixes, watch->capacity * sizeof *watch->prefixes);
    }
    watch->prefixes[watch->count++] = slice_of(memory_string(prefix), prefix.len);
    status_add(status, STATUS_SERVER_WATCHERS, 1);
    return ERROR_NONE;
}

void watch_remove(struct watch *watch, struct slice prefix, struct status *status)
{
    size_t place = find(watch, prefix);
    if (place == watch->count) {
        return;
    }
    free((void *)watch->prefixes[place].at);
    watch->prefixes[place] = watch->prefixes[--watch->count];
    status_add(status, STATUS_SERVER_WATCHERS, -1);
}

bool watch_matches(const struct watch *watch, struct slice key)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (slice_starts_with(key, watch->prefixes[i])) {
            return true;
        }
    }
    return false;
}
