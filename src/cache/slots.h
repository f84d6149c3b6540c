// Who reads the cache: LMDB's reader table, which direct readers of other processes share. The
// slots of dead processes are taken back, and a reader that holds a snapshot for long is named,
// since the pages that it sees cannot be used again. The writer thread's.
#pragma once

#include "cache/store.h"

enum { SLOTS_HELD_LONG_US = 5000000 };

// A process that reads an older snapshot than the last.
struct holder {
    int pid; // 0: none
    size_t snapshot;
};

struct slots {
    struct holder holder; // the oldest, as it was when last looked
    int64_t since_boot_us;
    bool told;
    bool has_others; // another process has the cache open
};

// Takes back what dead readers held, and finds who holds the oldest snapshot; that may be a thread
// of this process.
struct holder slots_oldest(const struct store *store);

// The same of other processes, once in a while: logs who died, and who has held one snapshot for
// SLOTS_HELD_LONG_US. True where there is such a one.
bool slots_look(struct slots *slots, const struct store *store, int64_t now_boot_us);
