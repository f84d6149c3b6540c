// LMDB's side of both environments. Owns nothing; the writer and the start use it.
#include "cachefile/environment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "seqs are MDB_INTEGERKEY keys");

enum { MODE_FILE = 0640 };

// LMDB's slot of a reader is a cache line; the header before them is less than a page.
enum { LOCK_FILE_BYTES = ENVIRONMENT_READERS_MAX * 64 + 4096 };

enum error environment_error(int code)
{
    switch (code) {
    case MDB_SUCCESS:
        return ERROR_NONE;
    case MDB_NOTFOUND:
    case ENOENT:
        return ERROR_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case MDB_READERS_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERROR_FULL;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_PAGE_FULL:
        return ERROR_CORRUPT;
    default:
        return ERROR_SYSTEM;
    }
}

// LMDB makes its lock file sparse and maps it: the first reader of a page that the disk has no room
// for would be ended by SIGBUS, in this process or in one that reads directly. A lock file that is
// larger than LMDB would make it has as many more slots. Closed before LMDB locks it, since closing
// any descriptor of a file lets go of the process' locks.
static enum error reserve_lock_file(const char *path, struct failure *failure)
{
    size_t bytes = strlen(path) + sizeof "-lock";
    char *lock_path = memory_zeroed(bytes, 1);
    stpcpy(stpcpy(lock_path, path), "-lock");
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, MODE_FILE);
    int code = fd < 0 ? errno : posix_fallocate(fd, 0, LOCK_FILE_BYTES);
    if (fd >= 0) {
        close(fd);
    }
    enum error error = ERROR_NONE;
    if (code != 0) {
        error = failure_set(failure, environment_error(code), "no room for %s: %s", lock_path,
                            strerrordesc_np(code));
    }
    free(lock_path);
    return error;
}

enum error environment_open(MDB_env **env, const char *path, unsigned flags, size_t map_bytes,
                            struct failure *failure)
{
    MDB_env *opened = NULL;
    if ((flags & MDB_RDONLY) == 0) {
        enum error error = reserve_lock_file(path, failure);
        if (error != ERROR_NONE) {
            return error;
        }
    }
    int code = mdb_env_create(&opened);
    if (code == MDB_SUCCESS) {
        code = mdb_env_set_mapsize(opened, map_bytes);
    }
    if (code == MDB_SUCCESS) {
        code = mdb_env_set_maxreaders(opened, ENVIRONMENT_READERS_MAX);
    }
    if (code == MDB_SUCCESS) {
        code = mdb_env_set_maxdbs(opened, ENVIRONMENT_DBIS_MAX);
    }
    if (code == MDB_SUCCESS) {
        code = mdb_env_open(opened, path, flags | MDB_NOSUBDIR | MDB_NOTLS, MODE_FILE);
    }
    if (code != MDB_SUCCESS) {
        if (opened != NULL) {
            mdb_env_close(opened);
        }
        return failure_set(failure, environment_error(code), "cannot open %s: %s", path,
                           mdb_strerror(code));
    }
    *env = opened;
    return ERROR_NONE;
}

struct walking {
    MDB_txn *txn;
    environment_row_is_whole *row_is_whole;
    unsigned touched; // so that no look at a page is left out
};

static bool is_row_whole(struct walking *walking, const char *database, MDB_val key, MDB_val value)
{
    const uint8_t *bytes = value.mv_data;
    for (size_t i = 0; i < value.mv_size; i += 512) {
        walking->touched += bytes[i];
    }
    walking->touched += value.mv_size > 0 ? bytes[value.mv_size - 1] : 0u;
    return database == NULL || walking->row_is_whole == NULL ||
           walking->row_is_whole(database, key, value);
}

// Reads one database, or the names of all where `database` is NULL. False where there are not as
// many rows as it says, or where one is not whole.
static bool walk(struct walking *walking, MDB_dbi dbi, const char *database)
{
    MDB_stat stat;
    MDB_cursor *cursor;
    if (mdb_stat(walking->txn, dbi, &stat) != MDB_SUCCESS ||
        mdb_cursor_open(walking->txn, dbi, &cursor) != MDB_SUCCESS) {
        return false;
    }
    MDB_val key, value;
    size_t count = 0;
    int code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS &&
           count <= stat.ms_entries) {
        count++;
        if (!is_row_whole(walking, database, key, value)) {
            return false;
        }
        char name[64];
        MDB_dbi named;
        if (database == NULL && key.mv_size < sizeof name) {
            memcpy(name, key.mv_data, key.mv_size);
            name[key.mv_size] = '\0';
            if (mdb_dbi_open(walking->txn, name, 0, &named) != MDB_SUCCESS ||
                !walk(walking, named, name)) {
                return false;
            }
        }
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND && count == stat.ms_entries;
}

// The file reaches as far as the pages that are in use.
static bool is_whole(MDB_env *env)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat status;
    int fd;
    return mdb_env_info(env, &info) == MDB_SUCCESS && mdb_env_stat(env, &stat) == MDB_SUCCESS &&
           mdb_env_get_fd(env, &fd) == MDB_SUCCESS && fstat(fd, &status) == 0 &&
           (size_t)status.st_size >= (info.me_last_pgno + 1) * stat.ms_psize;
}

static bool can_be_read(const char *path, environment_row_is_whole *row_is_whole)
{
    MDB_env *env = NULL;
    // A map of 0 bytes: the size that the file itself names.
    if (environment_open(&env, path, MDB_RDONLY, 0, NULL) != ERROR_NONE) {
        return false;
    }
    struct walking walking = {.row_is_whole = row_is_whole};
    MDB_dbi names;
    return is_whole(env) && mdb_txn_begin(env, NULL, MDB_RDONLY, &walking.txn) == MDB_SUCCESS &&
           mdb_dbi_open(walking.txn, NULL, 0, &names) == MDB_SUCCESS && walk(&walking, names, NULL);
}

// The child leaves without a word and without a core, whatever a damaged page does to it.
static _Noreturn void read_in_child(const char *path, environment_row_is_whole *row_is_whole)
{
    static const int FATAL[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof FATAL / sizeof FATAL[0]; i++) {
        signal(FATAL[i], SIG_DFL);
    }
    struct rlimit no_core = {0};
    setrlimit(RLIMIT_CORE, &no_core);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDERR_FILENO);
    }
    _exit(can_be_read(path, row_is_whole) ? 0 : 1);
}

bool environment_is_sound(const char *path, environment_row_is_whole *row_is_whole)
{
    struct stat status;
    if (stat(path, &status) != 0 || status.st_size == 0) {
        return true;
    }
    pid_t child = fork();
    if (child == 0) {
        read_in_child(path, row_is_whole);
    }
    if (child < 0) {
        return true; // not known; the open says what is wrong with it, if it notices
    }
    int result = 0;
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(result) && WEXITSTATUS(result) == 0;
}

size_t environment_pages(MDB_txn *txn, const MDB_dbi *dbis, size_t count)
{
    size_t pages = 0;
    for (size_t i = 0; i < count; i++) {
        MDB_stat stat;
        int code = mdb_stat(txn, dbis[i], &stat);
        CHECK_VALUES(code == MDB_SUCCESS, "%s", mdb_strerror(code));
        pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    }
    return pages;
}

int environment_seek_behind(MDB_cursor *cursor, struct slice after, MDB_val *key, MDB_val *value)
{
    if (after.len == 0) {
        return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    }
    *key = environment_value(after);
    int code = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (code == MDB_SUCCESS && slice_equal(environment_slice(*key), after)) {
        code = mdb_cursor_get(cursor, key, value, MDB_NEXT);
    }
    return code;
}
