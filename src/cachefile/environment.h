// What the cache and the outbox share of LMDB: opening an environment, its errors as ours, the
// check of its pages, the pages in use.
#pragma once

#include <lmdb.h>

#include "base/error.h"
#include "base/slice.h"

enum { ENVIRONMENT_READERS_MAX = 1024, ENVIRONMENT_DBIS_MAX = 8 };

// MDB_* and errno as an error: NOT_FOUND, FULL (map, disk, quota or reader table), CORRUPT, SYSTEM.
enum error environment_error(int code);

// Opens `path` (a file, its lock file beside it) with `flags` and a map of `map_bytes`.
enum error environment_open(MDB_env **env, const char *path, unsigned flags, size_t map_bytes,
                            struct failure *failure);

// Whether a row of the database of that name is what was written.
typedef bool environment_row_is_whole(const char *database, MDB_val key, MDB_val value);

// Whether every row of every database of the file can be read and is whole (`row_is_whole` may be
// NULL), found out in a child process, since LMDB trusts its pages and a damaged one may end the
// process. A file that does not exist or is empty is fine. To be called before the process has
// threads.
bool environment_is_sound(const char *path, environment_row_is_whole *row_is_whole);

// Pages of the databases' trees within `txn`.
size_t environment_pages(MDB_txn *txn, const MDB_dbi *dbis, size_t count);

static inline MDB_val environment_value(struct slice slice)
{
    return (MDB_val){.mv_size = slice.len, .mv_data = (void *)(uintptr_t)slice.at};
}

static inline struct slice environment_slice(MDB_val value)
{
    return slice_of(value.mv_data, value.mv_size);
}

// A number as the key of an MDB_INTEGERKEY database; `number` must outlive the use of the key.
static inline MDB_val environment_number(const uint64_t *number)
{
    return (MDB_val){.mv_size = sizeof *number, .mv_data = (void *)(uintptr_t)number};
}

static inline uint64_t environment_number_of(MDB_val key)
{
    uint64_t number = 0;
    memcpy(&number, key.mv_data, key.mv_size < sizeof number ? key.mv_size : sizeof number);
    return number;
}

// Moves the cursor to the first key greater than `after`, or to the first of all where `after` is
// empty; the code of mdb_cursor_get.
int environment_seek_behind(MDB_cursor *cursor, struct slice after, MDB_val *key, MDB_val *value);
