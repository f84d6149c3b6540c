// The outbox from open to close, and its transactions.
//
// Invariants: a seq is used once in the life of the outbox, since each start begins beyond a
// ceiling that was reserved durably; nothing of a transaction is known outside before its commit
// has returned; the file has room for a transaction before it is begun; a commit takes over all
// that is in the log or nothing, and raises the log's generation in the same transaction; or it is
// the mover's and leaves the log and its generation alone.
#include "cache/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"

static const char FILE_NAME[] = "outbox.mdb";
static const char UNFINISHED_NAME[] = "outbox.new";
static const char UNFINISHED_LOCK_NAME[] = "outbox.new-lock"; // made even with MDB_NOLOCK

static const size_t ROOM_CHUNK_BYTES = 1 << 20;
static const size_t ROOM_RESERVE_BYTES = 1 << 20; // for what makes room on a full disk
static const size_t MAP_SPARE_BYTES = 64u << 20;
static const int64_t DISK_FULL_BYTES = 1 << 20;

// ---- open and close

static enum error open_databases(struct outbox *outbox)
{
    const struct {
        const char *name;
        unsigned flags;
        MDB_dbi *dbi;
    } databases[] = {
        {"entries", MDB_INTEGERKEY, &outbox->entries},
        {"meta", 0, &outbox->meta},
        {"ids", 0, &outbox->ids},
        {"id_order", MDB_INTEGERKEY, &outbox->id_order},
        {"letters", MDB_INTEGERKEY, &outbox->letters},
    };
    for (size_t i = 0; i < sizeof databases / sizeof databases[0]; i++) {
        int code = mdb_dbi_open(outbox->txn, databases[i].name, databases[i].flags | MDB_CREATE,
                                databases[i].dbi);
        if (code != MDB_SUCCESS) {
            return environment_error(code);
        }
    }
    MDB_stat stat;
    int code = mdb_stat(outbox->txn, outbox->entries, &stat);
    outbox->page_bytes = code == MDB_SUCCESS ? stat.ms_psize : 0;
    return environment_error(code);
}

static enum error load_meta(struct outbox *outbox, struct failure *failure)
{
    enum error error = outbox_load_meta(outbox);
    if (error == ERROR_CORRUPT && outbox->state.layout > OUTBOX_LAYOUT_MAX) {
        return failure_set(failure, error,
                           "the outbox in %s was written by a later release of pgnear (layout "
                           "%" PRIu64 ", this one knows %d): it is not damaged; start that "
                           "release, and let it drain before you go back",
                           outbox->directory.path, outbox->state.layout, OUTBOX_LAYOUT_MAX);
    }
    return error;
}

// What the log and the ring are for counts from a commit on that says so.
static enum error settle_layout(struct outbox *outbox)
{
    if (outbox->committed.layout == outbox_layout(outbox)) {
        return ERROR_NONE;
    }
    enum error error = outbox_begin(outbox, 0);
    return error == ERROR_NONE ? outbox_commit(outbox) : error;
}

// The log and the ring of this run, where what the last one left is no use.
static enum error make_files(struct outbox *outbox, const struct outbox_options *options)
{
    enum error error = ERROR_NONE;
    if (outbox->log.fd < 0 && !options->goes_without_log) {
        error = outbox_make_log(outbox, options->capacity_bytes);
    }
    if (error == ERROR_NONE) {
        outbox_make_ring(outbox, false);
        error = settle_layout(outbox);
    }
    return error;
}

// Everything that the start reads and writes, in one commit.
static enum error load(struct outbox *outbox, const struct outbox_options *options,
                       struct failure *failure)
{
    int code = mdb_txn_begin(outbox->env, NULL, 0, &outbox->txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    enum error error = open_databases(outbox);
    if (error == ERROR_NONE) {
        outbox->capacity_pages = options->capacity_bytes / outbox->page_bytes;
        outbox->id_pages_max = outbox->capacity_pages / 2 + 4;
        error = load_meta(outbox, failure);
    }
    if (error == ERROR_NONE) {
        error = outbox_take_over_log(outbox, options, failure);
    }
    if (error == ERROR_NONE) {
        error = outbox_take_over_ring(outbox, failure);
    }
    if (error != ERROR_NONE) {
        outbox_abort(outbox);
        return error;
    }
    error = outbox_commit(outbox);
    if (error == ERROR_NONE) {
        error = make_files(outbox, options);
    }
    if (error == ERROR_NONE) {
        outbox_forget_lost_log(outbox);
    }
    return error;
}

static bool ignore_entry(void *context, const struct entry *entry)
{
    (void)context;
    (void)entry;
    return true;
}

static enum error damaged(const struct outbox *outbox, struct failure *failure)
{
    return failure_set(failure, ERROR_CORRUPT,
                       "the outbox in %s is damaged: put a good copy of %s in its place, or move "
                       "it away to start with an empty one; what it holds and PostgreSQL does not "
                       "is lost then",
                       outbox->directory.path, FILE_NAME);
}

static enum error unwritable(const struct outbox *outbox, enum error error, struct failure *failure)
{
    return failure_set(failure, error, "cannot write to the outbox in %s: %s",
                       outbox->directory.path,
                       error == ERROR_FULL ? "the disk is full" : error_text(error));
}

static enum error fill_new(struct outbox *outbox)
{
    int code = mdb_txn_begin(outbox->env, NULL, 0, &outbox->txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    enum error error = open_databases(outbox);
    if (error != ERROR_NONE) {
        outbox_abort(outbox);
        return error;
    }
    code = mdb_txn_commit(outbox->txn);
    outbox->txn = NULL;
    return environment_error(code);
}

// A new file takes its name only once it is whole: one that was being made when power was lost must
// not be taken for one that is damaged.
static enum error make_file(struct outbox *outbox, const char *path, size_t map_bytes,
                            struct failure *failure)
{
    char *unfinished = directory_path(&outbox->directory, UNFINISHED_NAME);
    unlink(unfinished);
    enum error error = environment_open(&outbox->env, unfinished, MDB_NOLOCK, map_bytes, failure);
    if (error != ERROR_NONE) {
        free(unfinished);
        return error;
    }
    error = fill_new(outbox);
    mdb_env_close(outbox->env);
    outbox->env = NULL;
    if (error == ERROR_NONE && rename(unfinished, path) != 0) {
        error = ERROR_SYSTEM;
    }
    if (error == ERROR_NONE) {
        error = directory_sync(&outbox->directory);
    }
    free(unfinished);
    return error == ERROR_NONE ? ERROR_NONE : unwritable(outbox, error, failure);
}

static enum error open_environment(struct outbox *outbox, const char *path, size_t capacity_bytes,
                                   struct failure *failure)
{
    struct stat status;
    bool exists = stat(path, &status) == 0;
    if (exists && (status.st_size == 0 || !environment_is_sound(path, NULL))) {
        return damaged(outbox, failure);
    }
    // LMDB itself never takes a smaller map than the pages in use.
    size_t map_bytes = capacity_bytes * 3 + MAP_SPARE_BYTES;
    if (FAULT_POINT(OUTBOX_OPEN)) {
        return failure_set(failure, ERROR_SYSTEM, "cannot open %s: fault point", path);
    }
    enum error error = exists ? ERROR_NONE : make_file(outbox, path, map_bytes, failure);
    if (error == ERROR_NONE) {
        error = environment_open(&outbox->env, path, MDB_NORDAHEAD, map_bytes, failure);
    }
    return error == ERROR_CORRUPT ? damaged(outbox, failure) : error;
}

static enum error load_and_check(struct outbox *outbox, const struct outbox_options *options,
                                 struct failure *failure)
{
    struct failure log_failure = {0};
    enum error error = load(outbox, options, &log_failure);
    if (log_failure.error != ERROR_NONE) {
        *failure = log_failure;
        return error;
    }
    if (error == ERROR_NONE) {
        error = outbox_visit(outbox, 0, UINT64_MAX, ignore_entry, NULL);
    }
    if (error == ERROR_CORRUPT) {
        return damaged(outbox, failure);
    }
    if (error != ERROR_NONE) {
        return unwritable(outbox, error, failure);
    }
    return ERROR_NONE;
}

static enum error boot_id_of(const struct outbox_options *options, char boot_id[BOOT_ID_BYTES],
                             struct failure *failure)
{
    if (options->boot_id != NULL) {
        strncpy(boot_id, options->boot_id, BOOT_ID_BYTES - 1);
        return ERROR_NONE;
    }
    enum error error = directory_boot_id(boot_id);
    return error == ERROR_NONE ? error
                               : failure_set(failure, error, "cannot read the kernel's boot id");
}

enum error outbox_open(struct outbox *outbox, const struct outbox_options *options,
                       struct failure *failure)
{
    size_t capacity_bytes = options->capacity_bytes;
    *outbox = (struct outbox){
        .log = OUTBOX_LOG_NONE,
        .ring = OUTBOX_RING_NONE,
    };
    enum error error = boot_id_of(options, outbox->boot_id, failure);
    if (error == ERROR_NONE) {
        error = directory_open(&outbox->directory, options->dir, DIRECTORY_DURABLE, failure);
    }
    if (error != ERROR_NONE) {
        return error;
    }
    char *path = directory_path(&outbox->directory, FILE_NAME);
    error = open_environment(outbox, path, capacity_bytes, failure);
    // Nobody else has it: the directory is locked, and an unfinished file is never more than made.
    unlinkat(outbox->directory.fd, UNFINISHED_LOCK_NAME, 0);
    free(path);
    if (error == ERROR_NONE) {
        error = load_and_check(outbox, options, failure);
    }
    if (error != ERROR_NONE) {
        outbox_close(outbox);
        return error;
    }
    outbox->identity.applied_seq = outbox->state.applied_seq;
    outbox->identity.reapply_seq = outbox->state.reapply_seq;
    outbox->identity.former_seq = outbox->state.former_seq;
    int dead = 0;
    mdb_reader_check(outbox->env, &dead);
    return ERROR_NONE;
}

bool outbox_is_lost(const struct outbox *outbox)
{
    mdb_filehandle_t fd;
    struct stat here, there;
    if (mdb_env_get_fd(outbox->env, &fd) != MDB_SUCCESS) {
        return false;
    }
    if (stat(outbox->directory.path, &there) != 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
    }
    return directory_has_lost(&outbox->directory, FILE_NAME, fd) ||
           (fstat(outbox->directory.fd, &here) == 0 &&
            (here.st_dev != there.st_dev || here.st_ino != there.st_ino));
}

bool outbox_leave_lost_log(struct outbox *outbox)
{
    if (!outbox_log_is_in_use(&outbox->log) ||
        !directory_has_lost(&outbox->directory, OUTBOX_LOG_FILE, outbox->log.fd)) {
        return false;
    }
    LOG_ERROR("log of the outbox deleted or moved away; every commit is the outbox's own from here "
              "on",
              LOG_TEXT("file", OUTBOX_LOG_FILE), LOG_TEXT("dir", outbox->directory.path));
    outbox->log.has_failed = true;
    return true;
}

void outbox_rest(struct outbox *outbox)
{
    if (outbox->state.layout == OUTBOX_LAYOUT_ALONE || outbox->log.count > 0) {
        return;
    }
    CHECK_VALUES(outbox->ring.count == 0, "%zu in the ring", outbox->ring.count);
    outbox_log_close(&outbox->log);
    outbox_ring_close(&outbox->ring);
    enum error error = outbox_begin(outbox, 0);
    if (error == ERROR_NONE) {
        error = outbox_commit(outbox);
    }
    if (error != ERROR_NONE) {
        LOG_WARNING("outbox log not put away", LOG_TEXT("error", error_text(error)));
    }
}

void outbox_close(struct outbox *outbox)
{
    if (outbox->txn != NULL) {
        outbox_abort(outbox);
    }
    if (outbox->env != NULL) {
        mdb_env_close(outbox->env);
    }
    outbox_log_close(&outbox->log);
    outbox_ring_close(&outbox->ring);
    directory_close(&outbox->directory);
    buffer_deinit(&outbox->encoding);
    *outbox = (struct outbox){
        .directory = {.fd = -1, .lock_fd = -1},
        .log = OUTBOX_LOG_NONE,
        .ring = OUTBOX_RING_NONE,
    };
}

// ---- transactions

// Grows the file by whole chunks.
enum error outbox_make_room(struct outbox *outbox, size_t bytes)
{
    if (FAULT_POINT(OUTBOX_ROOM)) {
        return ERROR_FULL;
    }
    MDB_envinfo info;
    int fd;
    CHECK(mdb_env_info(outbox->env, &info) == MDB_SUCCESS);
    CHECK(mdb_env_get_fd(outbox->env, &fd) == MDB_SUCCESS);
    size_t needed = (info.me_last_pgno + 1) * outbox->page_bytes + 2 * bytes + ROOM_RESERVE_BYTES;
    if (needed <= outbox->allocated_bytes) {
        return ERROR_NONE;
    }
    size_t target = (needed / ROOM_CHUNK_BYTES + 1) * ROOM_CHUNK_BYTES;
    if (fallocate(fd, 0, 0, (off_t)target) != 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            outbox->allocated_bytes = SIZE_MAX; // the commit says when the disk is full
            return ERROR_NONE;
        }
        return environment_error(errno);
    }
    outbox->allocated_bytes = target;
    return ERROR_NONE;
}

enum error outbox_begin(struct outbox *outbox, size_t bytes)
{
    CHECK(outbox->txn == NULL);
    enum error error = bytes > 0 ? outbox_make_room(outbox, bytes) : ERROR_NONE;
    if (error == ERROR_NONE) {
        error = FAULT_POINT(OUTBOX_BEGIN)
                    ? ERROR_SYSTEM
                    : environment_error(mdb_txn_begin(outbox->env, NULL, 0, &outbox->txn));
    }
    return error;
}

void outbox_abort(struct outbox *outbox)
{
    CHECK(outbox->txn != NULL);
    mdb_txn_abort(outbox->txn);
    outbox->txn = NULL;
    outbox->taken_over = 0;
    outbox->state = outbox->committed;
}

// All of the log or nothing: with the commit, what is in it counts no more.
static void end_generation(struct outbox *outbox)
{
    const struct outbox_log *log = &outbox->log;
    CHECK_VALUES(
        outbox->moved + outbox->taken_over == log->count && outbox->state.last_seq >= log->last_seq,
        "%zu and %zu of %zu of the log, up to %llu of %llu", outbox->moved, outbox->taken_over,
        log->count, (unsigned long long)outbox->state.last_seq, (unsigned long long)log->last_seq);
    outbox->state.generation += log->is_touched;
    outbox->state.layout = outbox_layout(outbox);
}

static int commit(MDB_txn *txn)
{
    (void)FAULT_POINT(OUTBOX_BEFORE_SYNC);
    int code = FAULT_POINT(OUTBOX_DISK_FULL) ? ENOSPC : FAULT_POINT(OUTBOX_SYNC) ? EIO : 0;
    if (code != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

enum error outbox_write_out(struct outbox *outbox)
{
    enum error error = outbox_put_state(outbox);
    MDB_txn *txn = outbox->txn;
    outbox->txn = NULL;
    if (error != ERROR_NONE) {
        mdb_txn_abort(txn);
        return error;
    }
    int code = commit(txn);
    if (code == MDB_SUCCESS) {
        return ERROR_NONE;
    }
    // LMDB reports a short write as EIO.
    int64_t free_bytes = code == EIO ? directory_free_bytes(outbox->directory.path) : -1;
    if (free_bytes >= 0 && free_bytes < DISK_FULL_BYTES) {
        return ERROR_FULL;
    }
    error = environment_error(code);
    if (error != ERROR_FULL) {
        LOG_ERROR("outbox commit failed", LOG_TEXT("error", mdb_strerror(code)));
    }
    return error;
}

uint64_t outbox_layout(const struct outbox *outbox)
{
    bool logs = outbox_log_is_in_use(&outbox->log);
    if (outbox->ring.header != NULL) {
        return logs ? OUTBOX_LAYOUT_LOGGED_AND_RINGED : OUTBOX_LAYOUT_RINGED;
    }
    return logs ? OUTBOX_LAYOUT_LOGGED : OUTBOX_LAYOUT_ALONE;
}

enum error outbox_commit(struct outbox *outbox)
{
    CHECK(outbox->txn != NULL);
    end_generation(outbox);
    enum error error = outbox_write_out(outbox);
    outbox->taken_over = 0;
    if (error != ERROR_NONE) {
        outbox->state = outbox->committed;
        return error;
    }
    outbox->committed = outbox->state;
    outbox->moved = 0;
    outbox_log_begin(&outbox->log, outbox->state.generation);
    (void)FAULT_POINT(OUTBOX_AFTER_SYNC);
    return ERROR_NONE;
}

bool outbox_has_seq(const struct outbox *outbox)
{
    return outbox->next_seq <= outbox->committed.ceiling;
}

uint64_t outbox_take_seq(struct outbox *outbox)
{
    if (outbox->next_seq > outbox->state.ceiling) {
        CHECK(outbox->txn != NULL);
        outbox->state.ceiling = outbox->next_seq + OUTBOX_SEQ_CHUNK;
    }
    return outbox->next_seq++;
}

size_t outbox_used_bytes(const struct outbox *outbox, MDB_txn *txn)
{
    const MDB_dbi dbis[] = {outbox->entries, outbox->letters};
    return environment_pages(txn, dbis, 2) * outbox->page_bytes;
}

// Entries are taken to be of one size.
size_t outbox_held_bytes(struct outbox *outbox, size_t waiting)
{
    const MDB_dbi entries = outbox->entries, letters = outbox->letters;
    MDB_txn *txn;
    MDB_stat stat;
    if (mdb_txn_begin(outbox->env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) {
        return 0;
    }
    size_t pages = environment_pages(txn, &letters, 1);
    int code = mdb_stat(txn, entries, &stat);
    CHECK_VALUES(code == MDB_SUCCESS, "%s", mdb_strerror(code));
    if (stat.ms_entries > 0) {
        size_t held = waiting < stat.ms_entries ? waiting : stat.ms_entries;
        pages += environment_pages(txn, &entries, 1) * held / stat.ms_entries;
    }
    mdb_txn_abort(txn);
    return pages * outbox->page_bytes;
}
