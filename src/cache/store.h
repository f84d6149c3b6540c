// The cache's LMDB environment: `cache.mdb` in the cache's directory with the databases `records`
// (key -> record) and `memory` (seq -> entry acknowledged in memory only, until it is in the
// outbox). Disposable: whatever is wrong with it, it is wiped and made anew.
//
// The map is written in place (MDB_WRITEMAP) and never synced, so its file is preallocated whole:
// a page that the disk has no room for would be a SIGBUS.
#pragma once

#include "base/entry.h"
#include "base/ports.h"
#include "cachefile/control.h"
#include "cachefile/environment.h"
#include "cachefile/record.h"
#include "cachefile/sketch.h"

// The clocks that the cache goes by; a test or a simulation brings its own.
struct cache_clock {
    void *context;
    int64_t (*boot_us)(void *context);
    int64_t (*real_us)(void *context);
};

struct store {
    struct directory directory;
    struct control control;
    struct sketch sketch;
    struct cache_clock clock;
    struct status *status;
    MDB_env *env;
    MDB_dbi records;
    MDB_dbi memory;
    size_t map_bytes;
    size_t page_bytes;
    size_t fill_bytes_max; // a larger value is not worth the room
    struct buffer moving;  // the writer's: a value on its way out of its old place
    bool serves;           // between store_mark_serving and store_close
};

struct store_options {
    const char *dir;
    size_t size_bytes;
    struct cache_clock clock;
    struct status *status;
    const char *boot_id;
    const char *node; // of the outbox whose pending writes the cache may hold
    uint64_t source;  // hash of the server and table whose rows it holds
    bool group_reads; // the group of the files may read the cache directly
};

// What the start found, for the recovery.
struct store_found {
    bool wiped;          // there was something, and it could not be used
    uint64_t lost_count; // memory-acknowledged writes that were in it, as far as is known
    uint64_t lost_seq;   // the newest of them
};

// Before the process has threads. ERROR_IN_USE, ERROR_CONFIG (file system, size) or ERROR_SYSTEM
// (no room, no rights): all with words.
enum error store_open(struct store *store, const struct store_options *options,
                      struct store_found *found, struct failure *failure);
// Accepts a store of which store_open failed.
void store_close(struct store *store);

// Marks the files as whole or not: a store that is not clean is wiped after a machine crash, and
// at any start where it was `spoiled`.
// Serving is what direct readers believe in: the calling thread must outlive it.
void store_mark_serving(struct store *store);
void store_mark_clean(struct store *store);
void store_mark_spoiled(struct store *store);

// PostgreSQL's clock now. Any thread.
int64_t store_now_us(struct store *store);
int64_t store_boot_us(const struct store *store);

// Pages in use as a part of the map.
size_t store_used_bytes(const struct store *store, MDB_txn *txn);
size_t store_entries(const struct store *store, MDB_txn *txn);

// ---- within a transaction of the writer's

// ERROR_NOT_FOUND where there is none; ERROR_CORRUPT.
enum error store_get(const struct store *store, MDB_txn *txn, struct slice key,
                     struct record *record);
// ERROR_FULL where the map is. Slices of the record may be of what it replaces.
enum error store_put(struct store *store, MDB_txn *txn, struct slice key,
                     const struct record *record);
// Fine where there is none.
enum error store_delete(const struct store *store, MDB_txn *txn, struct slice key);
