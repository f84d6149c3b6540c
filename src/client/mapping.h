// The files of a node's cache as this process has them mapped, for reading only. All handles of the
// process that read the same cache share one mapping, since LMDB must not open a file twice in one
// process: closing one would drop the file locks of the other, and with them its reader slots.
//
// Any thread. A mapping is not taken over by a child after fork(): the child makes its own, and
// leaves what it inherited as it is.
#pragma once

#include <lmdb.h>

#include "cachefile/control.h"
#include "cachefile/memtable.h"
#include "cachefile/sketch.h"
#include "cachefile/tally.h"
#include "cachefile/tier.h"

struct mapping {
    struct control_page *page;
    struct sketch sketch;     // empty where this process may not write it
    struct tier tier;         // empty where there is none
    struct memtable memtable; // the same
    struct tally tally;       // empty where this process may not write it
    MDB_env *env;
    MDB_dbi records;
    uint64_t generation; // of the files that are open
    // Of mapping.c, under its mutex:
    struct mapping *next;
    size_t users;
    uint64_t device;
    uint64_t cache_inode;
    uint64_t control_inode;
};

// The cache in the directory, served by the daemon of the node `node` (its UUID in text) now, in
// this process's namespace of pids. NULL where it cannot be read directly, for whatever reason.
struct mapping *mapping_attach(const char *directory, struct slice node);

// One more user of the same.
void mapping_share(struct mapping *mapping);

// A user less; the last one closes it. The user's transactions are gone by then.
void mapping_release(struct mapping *mapping);

// Whether the daemon serves the very files that are open. No system call.
static inline bool mapping_is_served(const struct mapping *mapping)
{
    return control_is_served(mapping->page);
}

// Of the memtable that lies over the records now; 0: none.
static inline uint64_t mapping_memtable_life(const struct mapping *mapping)
{
    return atomic_load_explicit(&mapping->page->memtable_life, memory_order_acquire);
}

static inline bool mapping_is_present(const struct mapping *mapping)
{
    return atomic_load_explicit(&mapping->page->generation, memory_order_acquire) ==
               mapping->generation &&
           memtable_is_of(&mapping->memtable, mapping_memtable_life(mapping));
}
