// The files of the cache's generations: opening them, readers' hold on them, and the next
// generation in the middle of serving.
//
// Direct readers need to read the pages and the control page, and to write LMDB's lock file, where
// their slots are, the sketch and the tally; the group of the files is given that and nothing else.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "cache/store.h"

enum {
    TOUCH_STEP_BYTES = 256 << 10, // the kernel makes larger folios of more at a time
    TOUCH_LEAST_BYTES = 64 << 10,
    TOUCH_BYTES_MAX = 8 << 20,
};

// What LMDB made goes by the mask of the process, which is not what readers need.
void store_give_right(const struct store *store, const char *name, mode_t group_mode)
{
    mode_t mode = store->group_reads ? group_mode : 0600;
    if (fchmodat(store->directory.fd, name, mode, 0) != 0) {
        LOG_WARNING("rights not set", LOG_TEXT("file", name),
                    LOG_TEXT("dir", store->directory.path),
                    LOG_TEXT("error", strerrordesc_np(errno)));
    }
}

static enum error open_databases(struct store *store, struct store_files *files)
{
    MDB_txn *txn;
    MDB_stat stat;
    int code = mdb_txn_begin(files->env, NULL, 0, &txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_dbi_open(txn, "records", MDB_CREATE, &files->records);
    if (code == MDB_SUCCESS) {
        code = mdb_stat(txn, files->records, &stat);
    }
    if (code != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return environment_error(code);
    }
    store->page_bytes = stat.ms_psize;
    return environment_error(mdb_txn_commit(txn));
}

static enum error preallocate(struct store *store, MDB_env *env, struct failure *failure)
{
    int fd;
    CHECK(mdb_env_get_fd(env, &fd) == MDB_SUCCESS);
    int code = directory_reserve(fd, store->map_bytes);
    if (code != 0) {
        return failure_set(failure, ERROR_SYSTEM,
                           "cannot reserve cache.size = %zu bytes in %s (%lld are free): %s",
                           store->map_bytes, store->directory.path,
                           (long long)directory_free_bytes(store->directory.path),
                           strerrordesc_np(code));
    }
    return ERROR_NONE;
}

static enum error open_named(struct store *store, const char *name, struct store_files **files,
                             struct failure *failure)
{
    struct store_files opened = {.users = 1};
    if (FAULT_POINT(CACHE_OPEN)) {
        return failure_set(failure, ERROR_SYSTEM, "cannot open %s: fault point", name);
    }
    char *path = directory_path(&store->directory, name);
    enum error error = environment_open(&opened.env, path,
                                        MDB_WRITEMAP | MDB_NOSYNC | MDB_NOMEMINIT | MDB_NORDAHEAD,
                                        store->map_bytes, failure);
    free(path);
    if (error != ERROR_NONE) {
        return error;
    }
    // Before the first page is written through the map.
    error = preallocate(store, opened.env, failure);
    if (error == ERROR_NONE) {
        error = open_databases(store, &opened);
        if (error != ERROR_NONE) {
            failure_note(failure, error, "cannot use the cache in %s", store->directory.path);
        }
    }
    if (error != ERROR_NONE) {
        mdb_env_close(opened.env);
        return error;
    }
    *files = memory_zeroed(1, sizeof **files);
    **files = opened;
    return ERROR_NONE;
}

static uint64_t inode_of(const struct store_files *files)
{
    struct stat status;
    int fd;
    CHECK(mdb_env_get_fd(files->env, &fd) == MDB_SUCCESS);
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

// Makes them the present ones, for the writer and for readers.
static void present(struct store *store, struct store_files *files)
{
    store->env = files->env;
    store->records = files->records;
    store->touched_bytes = 0;
    atomic_store_explicit(&store->files, files, memory_order_release);
}

enum error store_open_files(struct store *store, struct failure *failure)
{
    struct store_files *files;
    enum error error = open_named(store, STORE_FILE, &files, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    store_give_right(store, STORE_LOCK_FILE, 0660);
    store_give_right(store, STORE_FILE, 0640);
    atomic_store(&store->control.page->cache_inode, inode_of(files));
    present(store, files);
    return ERROR_NONE;
}

// What is behind the pages in use nobody reads, and LMDB writes before it reads.
void store_touch_ahead(struct store *store, size_t bytes)
{
    static uint8_t zeroes[TOUCH_STEP_BYTES]; // the kernel's own page of them, many times
    size_t used_bytes = store->map_bytes - store_room_bytes(store);
    // Half-full pages, and copies of those on the way to them.
    size_t more_bytes = 2 * bytes + TOUCH_LEAST_BYTES;
    size_t wanted = used_bytes + (more_bytes < TOUCH_BYTES_MAX ? more_bytes : TOUCH_BYTES_MAX);
    if (wanted <= store->touched_bytes) {
        return;
    }
    int fd;
    CHECK(mdb_env_get_fd(store->env, &fd) == MDB_SUCCESS);
    size_t at = store->touched_bytes > used_bytes ? store->touched_bytes : used_bytes;
    while (at < wanted && at < store->map_bytes) {
        size_t left = store->map_bytes - at;
        size_t step = left < sizeof zeroes ? left : sizeof zeroes;
        if (pwrite(fd, zeroes, step, (off_t)at) != (ssize_t)step) {
            break; // it goes without
        }
        at += step;
    }
    store->touched_bytes = at > wanted ? at : wanted;
}

struct store_files *store_acquire(struct store *store)
{
    pthread_mutex_lock(&store->files_mutex);
    struct store_files *files = atomic_load(&store->files);
    files->users++;
    pthread_mutex_unlock(&store->files_mutex);
    return files;
}

void store_release(struct store *store, struct store_files *files)
{
    pthread_mutex_lock(&store->files_mutex);
    files->users--;
    bool last = files->users == 0;
    pthread_mutex_unlock(&store->files_mutex);
    if (last) {
        mdb_env_close(files->env);
        free(files);
    }
}

// ---- a new generation in the middle of serving

static const char NEXT_FILE[] = "cache.mdb.next";
static const char NEXT_LOCK_FILE[] = "cache.mdb.next-lock";

enum { COPY_RECORDS_PER_COMMIT = 4096, COPY_WARM_PART = 8 };

struct copying {
    struct store *store;
    struct store_files *to;
    MDB_txn *txn;
    size_t count;      // since the last commit
    size_t warm_bytes; // that may still be copied
};

static int commit_some(struct copying *copying)
{
    if (++copying->count < COPY_RECORDS_PER_COMMIT) {
        return MDB_SUCCESS;
    }
    copying->count = 0;
    int code = mdb_txn_commit(copying->txn);
    copying->txn = NULL;
    return code != MDB_SUCCESS ? code : mdb_txn_begin(copying->to->env, NULL, 0, &copying->txn);
}

static bool is_worth_copying(struct copying *copying, MDB_val key, MDB_val value)
{
    struct record record;
    if (record_decode(environment_slice(value), &record) != ERROR_NONE) {
        return false;
    }
    size_t bytes = key.mv_size + value.mv_size;
    bool warm = !record.pending && bytes <= copying->warm_bytes &&
                sketch_cool(&copying->store->sketch, environment_slice(key));
    copying->warm_bytes -= warm ? bytes : 0;
    return record.pending || warm;
}

// The records that count.
static int copy_records(struct copying *copying, MDB_txn *from)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(from, copying->store->records, &cursor);
    if (code != MDB_SUCCESS) {
        return code;
    }
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        if (!is_worth_copying(copying, key, value)) {
            continue;
        }
        code = mdb_put(copying->txn, copying->to->records, &key, &value, MDB_APPEND);
        code = code != MDB_SUCCESS ? code : commit_some(copying);
        if (code != MDB_SUCCESS) {
            break;
        }
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

static enum error copy_files(struct store *store, struct store_files *to)
{
    struct copying copying = {
        .store = store,
        .to = to,
        .warm_bytes = store->map_bytes / COPY_WARM_PART,
    };
    MDB_txn *from;
    int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &from);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_txn_begin(to->env, NULL, 0, &copying.txn);
    if (code == MDB_SUCCESS) {
        code = copy_records(&copying, from);
    }
    if (code == MDB_SUCCESS) {
        code = mdb_txn_commit(copying.txn);
    } else if (copying.txn != NULL) {
        mdb_txn_abort(copying.txn);
    }
    mdb_txn_abort(from);
    return environment_error(code);
}

static void unlink_next(const struct store *store)
{
    unlinkat(store->directory.fd, NEXT_FILE, 0);
    unlinkat(store->directory.fd, NEXT_LOCK_FILE, 0);
}

// A direct reader that has the new file has its lock file, too; one that opened the old file
// meanwhile finds another inode on the control page.
static enum error take_names(struct store *store, const struct store_files *files)
{
    int fd = store->directory.fd;
    store_give_right(store, NEXT_LOCK_FILE, 0660);
    store_give_right(store, NEXT_FILE, 0640);
    atomic_store(&store->control.page->cache_inode, inode_of(files));
    atomic_fetch_add(&store->control.page->generation, 1);
    bool renamed = renameat(fd, NEXT_LOCK_FILE, fd, STORE_LOCK_FILE) == 0 &&
                   renameat(fd, NEXT_FILE, fd, STORE_FILE) == 0;
    return renamed ? ERROR_NONE : ERROR_SYSTEM;
}

enum error store_renew(struct store *store, struct failure *failure)
{
    struct store_files *files;
    unlink_next(store);
    enum error error = open_named(store, NEXT_FILE, &files, failure);
    if (error != ERROR_NONE) {
        unlink_next(store);
        return error;
    }
    error = copy_files(store, files);
    error = error != ERROR_NONE ? error : take_names(store, files);
    if (error != ERROR_NONE) {
        mdb_env_close(files->env);
        free(files);
        unlink_next(store);
        return failure_set(failure, error, "cannot begin a new generation of the cache in %s",
                           store->directory.path);
    }
    // Records were left behind: what the tier holds of them is not told of changes any more.
    hot_drop_all(&store->hot);
    struct store_files *old = atomic_load(&store->files);
    present(store, files);
    store_release(store, old);
    return ERROR_NONE;
}
