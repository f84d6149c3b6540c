// The cache's LMDB environment: `cache.mdb` in the cache's directory with the database `records`
// (key -> record). Disposable: whatever is wrong with it, it is wiped and made anew. The release
// before had another one, `memory` (seq -> entry acknowledged in memory only), which the first
// start takes over (STORE_MEMORY).
//
// The map is written in place (MDB_WRITEMAP) and never synced, so its file is preallocated whole:
// a page that the disk has no room for would be a SIGBUS.
#pragma once

#include "base/entry.h"
#include "base/ports.h"
#include "cache/hot.h"
#include "cachefile/control.h"
#include "cachefile/environment.h"
#include "cachefile/memtable.h"
#include "cachefile/record.h"
#include "cachefile/sketch.h"

// The clocks that the cache goes by; a test or a simulation brings its own.
struct cache_clock {
    void *context;
    int64_t (*boot_us)(void *context);
    int64_t (*real_us)(void *context);
};

#define STORE_FILE      "cache.mdb"
#define STORE_LOCK_FILE "cache.mdb-lock"
#define STORE_MEMORY    "memory"

// One generation of the files, while anybody of the daemon reads it.
struct store_files {
    MDB_env *env;
    MDB_dbi records;
    size_t users; // under the store's files_mutex: readers, and the store for the present one
};

struct store {
    struct directory directory;
    struct control control;
    struct sketch sketch;
    struct hot hot;                  // the writer's
    struct memtable_writer memtable; // the writer's, but for what readers copy
    struct cache_clock clock;
    struct status *status;
    // The present generation, as the writer thread uses it:
    MDB_env *env;
    MDB_dbi records;
    size_t touched_bytes; // of its file, as far as store_touch_ahead has been
    // The same for readers, which follow when it changes:
    struct store_files *_Atomic files;
    pthread_mutex_t files_mutex;
    bool group_reads;
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
    uint64_t lost_count; // memory-acknowledged writes that the release before had in it
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
// Serving is what direct readers believe in: the calling thread must outlive it. With it the
// memtable begins, so all that is pending is in LMDB by then.
void store_mark_serving(struct store *store);
void store_mark_clean(struct store *store);
void store_mark_spoiled(struct store *store);

// Leaves behind a reader that holds pages: goes on in new files, with what is pending and some of
// what is warm. Readers of the daemon follow with their next
// begin, those of other processes see the generation change; the old files' room is free once the
// last of them is gone. The writer thread, between transactions. ERROR_SYSTEM or ERROR_FULL where
// there is no room for new files: nothing has changed then.
enum error store_renew(struct store *store, struct failure *failure);

// A reader's hold on the present files; any thread. store_has_moved answers whether `files` are not
// the present ones any more.
struct store_files *store_acquire(struct store *store);
void store_release(struct store *store, struct store_files *files);
static inline bool store_has_moved(struct store *store, const struct store_files *files)
{
    return atomic_load_explicit(&store->files, memory_order_acquire) != files;
}

// PostgreSQL's clock now. Any thread.
int64_t store_now_us(struct store *store);
int64_t store_boot_us(const struct store *store);

// Pages in use as a part of the map.
size_t store_used_bytes(const struct store *store, MDB_txn *txn);
// Of the map, what was never used yet.
size_t store_room_bytes(const struct store *store);
size_t store_entries(const struct store *store, MDB_txn *txn);

// Has the kernel make the pages for about so many bytes more than are used, many at a time: a page
// of the map that was never used costs a fault of its own, which takes five times as long. The
// writer thread, between transactions.
void store_touch_ahead(struct store *store, size_t bytes);

// Whether the key is there with that very version, which nothing of this node's that is held as
// pending, in the memtable or here, overlays. Where that cannot be read, it is not. The writer
// thread, between transactions.
bool store_holds(const struct store *store, struct slice key, int64_t version);

// ---- of store_files.c, for the opening of a store

// Opens the files of the present names, with map_bytes of room.
enum error store_open_files(struct store *store, struct failure *failure);
// What LMDB made goes by the mask of the process, which is not what readers need. The owner may
// read and write, and so much more the group where it may read at all.
void store_give_right(const struct store *store, const char *name, mode_t group_mode);

// ---- within a transaction of the writer's
//
// What changes or drops a record by other ways takes it out of the hot tier first.

// A cursor of `records`, for what is read and then written of one key after the other: a record
// that was found is replaced where it is, without another walk down the tree. Closed before the
// commit.
enum error store_open_cursor(const struct store *store, MDB_txn *txn, MDB_cursor **cursor);

// ERROR_NOT_FOUND where there is none; ERROR_CORRUPT.
enum error store_get(MDB_cursor *cursor, struct slice key, struct record *record);
// ERROR_FULL where the map is. `held` is what store_get has found of the key just before, with the
// same cursor and nothing written since; the record's value may be its value. NULL: it was not
// looked for, or is not there, and the record's slices are of nothing there.
enum error store_put(struct store *store, MDB_cursor *cursor, struct slice key,
                     const struct record *held, const struct record *record);
// Adding many records in byte order of their keys: where nothing that is held comes after the first
// of them, each is appended, without a walk down the tree and into pages that are left full.
// Nothing else is written to the records in between.
struct store_adding {
    MDB_cursor *cursor;
    bool appends;
};
enum error store_adding_begin(const struct store *store, MDB_txn *txn, struct slice first_key,
                              struct store_adding *adding);
// Only where the key has no record; `added` says whether. ERROR_FULL where the map is. The record's
// slices are of nothing in the cache. Keys that are not in order only cost more.
enum error store_add(struct store_adding *adding, struct slice key, const struct record *record,
                     bool *added);
void store_adding_end(struct store_adding *adding);
// Fine where there is none.
enum error store_delete(struct store *store, MDB_txn *txn, struct slice key);
