// The prefixes that one connection watches, and whether it is owed a resync. One thread's.
#pragma once

#include "base/slice.h"
#include "base/status.h"

enum { WATCH_PREFIXES_MAX = 1000 };

// All zeroes is one that watches nothing.
struct watch {
    struct slice *prefixes; // own copies
    size_t count;
    size_t capacity;
    bool owes_resync; // events were dropped since the last one
};

void watch_deinit(struct watch *watch, struct status *status);

// Adding what is watched and removing what is not change nothing. ERROR_TOO_LARGE beyond the
// limit. Keep STATUS_SERVER_WATCHERS.
enum error watch_add(struct watch *watch, struct slice prefix, struct status *status,
                     struct failure *failure);
void watch_remove(struct watch *watch, struct slice prefix, struct status *status);

// Whether any of the prefixes is one of the key.
bool watch_matches(const struct watch *watch, struct slice key);
