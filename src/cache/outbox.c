// The outbox from open to close, its transactions and its meta records.
//
// Invariants: a seq is used once in the life of the outbox, since each start begins beyond a
// ceiling that was reserved durably; nothing of a transaction is known outside before its commit
// has returned; the file has room for a transaction before it is begun.
#include "cache/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/mpack.h"

static const char FILE_NAME[] = "outbox.mdb";

enum { OUTBOX_LAYOUT = 1, SEQ_CHUNK = 1 << 20, BINDING_FIELDS = 3 };

static const size_t ROOM_CHUNK_BYTES = 1 << 20;
static const size_t ROOM_RESERVE_BYTES = 1 << 20; // for what makes room on a full disk
static const size_t MAP_SPARE_BYTES = 64u << 20;
static const int64_t DISK_FULL_BYTES = 1 << 20;

// ---- meta

static enum error meta_put(struct outbox *outbox, const char *name, struct slice value)
{
    MDB_val key = environment_value(slice_of_string(name));
    MDB_val bytes = environment_value(value);
    return environment_error(mdb_put(outbox->txn, outbox->meta, &key, &bytes, 0));
}

static enum error meta_get(struct outbox *outbox, const char *name, struct slice *value)
{
    MDB_val key = environment_value(slice_of_string(name));
    MDB_val bytes;
    int code = mdb_get(outbox->txn, outbox->meta, &key, &bytes);
    if (code == MDB_SUCCESS) {
        *value = environment_slice(bytes);
    }
    return environment_error(code);
}

static enum error meta_put_number(struct outbox *outbox, const char *name, uint64_t number)
{
    return meta_put(outbox, name, slice_of(&number, sizeof number));
}

// Leaves `number` as it is where there is none.
static enum error meta_get_number(struct outbox *outbox, const char *name, uint64_t *number)
{
    struct slice value;
    enum error error = meta_get(outbox, name, &value);
    if (error == ERROR_NOT_FOUND) {
        return ERROR_NONE;
    }
    if (error == ERROR_NONE && value.len != sizeof *number) {
        error = ERROR_CORRUPT;
    }
    if (error == ERROR_NONE) {
        memcpy(number, value.at, sizeof *number);
    }
    return error;
}

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

static enum error load_incarnations(struct outbox *outbox)
{
    struct slice list;
    enum error error = meta_get(outbox, "incarnations", &list);
    if (error == ERROR_NOT_FOUND) {
        return ERROR_NONE;
    }
    if (error != ERROR_NONE || list.len % UUID_BYTES != 0 ||
        list.len > sizeof outbox->incarnations) {
        return ERROR_CORRUPT;
    }
    memcpy(outbox->incarnations, list.at, list.len);
    outbox->incarnations_count = list.len / UUID_BYTES;
    return ERROR_NONE;
}

// Adds this start to the list; the oldest makes room.
static enum error journal_incarnation(struct outbox *outbox)
{
    char list[OUTBOX_INCARNATIONS_MAX][UUID_BYTES];
    size_t kept = outbox->incarnations_count;
    size_t skipped = kept == OUTBOX_INCARNATIONS_MAX ? 1 : 0;
    memcpy(list, outbox->incarnations + skipped, (kept - skipped) * UUID_BYTES);
    memcpy(list[kept - skipped], outbox->identity.incarnation, UUID_BYTES);
    return meta_put(outbox, "incarnations", slice_of(list, (kept - skipped + 1) * UUID_BYTES));
}

static enum error load_node(struct outbox *outbox)
{
    struct slice node;
    enum error error = meta_get(outbox, "node", &node);
    if (error == ERROR_NONE) {
        if (node.len != UUID_BYTES || node.at[UUID_BYTES - 1] != '\0') {
            return ERROR_CORRUPT;
        }
        memcpy(outbox->identity.node, node.at, UUID_BYTES);
        return ERROR_NONE;
    }
    char uuid[BOOT_ID_BYTES];
    if (error != ERROR_NOT_FOUND || directory_random_uuid(uuid) != ERROR_NONE) {
        return ERROR_SYSTEM;
    }
    memcpy(outbox->identity.node, uuid, UUID_BYTES);
    return meta_put(outbox, "node", slice_of(outbox->identity.node, UUID_BYTES));
}

// One string of the binding; false where there is none or it is too long.
static bool read_text(struct mpack_cursor *cursor, char *text, size_t text_bytes)
{
    struct slice read;
    if (!mpack_read_str(cursor, &read) || read.len >= text_bytes) {
        return false;
    }
    memcpy(text, read.at, read.len);
    text[read.len] = '\0';
    return true;
}

static enum error load_binding(struct outbox *outbox)
{
    struct slice bytes;
    enum error error = meta_get(outbox, "binding", &bytes);
    if (error != ERROR_NONE) {
        return error == ERROR_NOT_FOUND ? ERROR_NONE : error;
    }
    struct outbox_binding *binding = &outbox->identity.binding;
    struct mpack_cursor cursor = mpack_cursor_of(bytes);
    uint32_t fields;
    bool whole = mpack_read_array(&cursor, &fields) && fields == BINDING_FIELDS &&
                 read_text(&cursor, binding->system_identifier, SYSTEM_IDENTIFIER_BYTES) &&
                 read_text(&cursor, binding->database, DATABASE_BYTES) &&
                 read_text(&cursor, binding->table, TABLE_BYTES);
    return whole ? ERROR_NONE : ERROR_CORRUPT;
}

static enum error check_layout(struct outbox *outbox)
{
    uint64_t layout = 0;
    enum error error = meta_get_number(outbox, "layout", &layout);
    if (error == ERROR_NONE && layout == 0) {
        return meta_put_number(outbox, "layout", OUTBOX_LAYOUT);
    }
    return error == ERROR_NONE && layout != OUTBOX_LAYOUT ? ERROR_CORRUPT : error;
}

static enum error load_numbers(struct outbox *outbox)
{
    struct outbox_state *state = &outbox->state;
    enum error error = meta_get_number(outbox, "applied", &state->applied_seq);
    if (error == ERROR_NONE) {
        error = meta_get_number(outbox, "trimmed", &state->trimmed_seq);
    }
    if (error == ERROR_NONE) {
        error = meta_get_number(outbox, "ceiling", &state->ceiling);
    }
    MDB_cursor *cursor;
    if (error != ERROR_NONE || mdb_cursor_open(outbox->txn, outbox->entries, &cursor) != 0) {
        return error != ERROR_NONE ? error : ERROR_SYSTEM;
    }
    MDB_val key, value;
    state->last_seq =
        state->applied_seq > state->trimmed_seq ? state->applied_seq : state->trimmed_seq;
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == MDB_SUCCESS &&
        environment_number_of(key) > state->last_seq) {
        state->last_seq = environment_number_of(key);
    }
    mdb_cursor_close(cursor);
    if (state->last_seq > state->ceiling) {
        return ERROR_CORRUPT;
    }
    outbox->next_seq = state->ceiling + 1;
    state->ceiling += SEQ_CHUNK;
    return ERROR_NONE;
}

static enum error new_incarnation(struct outbox *outbox)
{
    char uuid[BOOT_ID_BYTES];
    enum error error = directory_random_uuid(uuid);
    if (error == ERROR_NONE) {
        memcpy(outbox->identity.incarnation, uuid, UUID_BYTES);
        error = journal_incarnation(outbox);
    }
    return error;
}

// Everything that the start reads and writes, in one commit.
static enum error load(struct outbox *outbox)
{
    int code = mdb_txn_begin(outbox->env, NULL, 0, &outbox->txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    enum error (*const steps[])(struct outbox *) = {
        open_databases, check_layout,      load_node,       load_binding,
        load_numbers,   load_incarnations, new_incarnation,
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        enum error error = steps[i](outbox);
        if (error != ERROR_NONE) {
            outbox_abort(outbox);
            return error;
        }
    }
    return outbox_commit(outbox);
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

static enum error open_environment(struct outbox *outbox, const char *path, size_t capacity_bytes,
                                   struct failure *failure)
{
    struct stat status;
    bool exists = stat(path, &status) == 0;
    if (exists && (status.st_size == 0 || !environment_is_sound(path))) {
        return damaged(outbox, failure);
    }
    // LMDB itself never takes a smaller map than the pages in use.
    size_t map_bytes = capacity_bytes * 3 + MAP_SPARE_BYTES;
    enum error error = environment_open(&outbox->env, path, MDB_NORDAHEAD, map_bytes, failure);
    if (error == ERROR_CORRUPT) {
        return damaged(outbox, failure);
    }
    if (error == ERROR_NONE && !exists) {
        error = directory_sync(&outbox->directory);
    }
    return error;
}

static enum error load_and_check(struct outbox *outbox, struct failure *failure)
{
    enum error error = load(outbox);
    if (error == ERROR_NONE) {
        error = outbox_visit(outbox, 0, UINT64_MAX, ignore_entry, NULL);
    }
    if (error == ERROR_CORRUPT) {
        return damaged(outbox, failure);
    }
    if (error != ERROR_NONE) {
        return failure_set(failure, error, "cannot write to the outbox in %s: %s",
                           outbox->directory.path,
                           error == ERROR_FULL ? "the disk is full" : error_text(error));
    }
    return ERROR_NONE;
}

enum error outbox_open(struct outbox *outbox, const char *dir, size_t capacity_bytes,
                       struct failure *failure)
{
    *outbox = (struct outbox){0};
    enum error error = directory_open(&outbox->directory, dir, DIRECTORY_DURABLE, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    char *path = directory_path(&outbox->directory, FILE_NAME);
    error = open_environment(outbox, path, capacity_bytes, failure);
    free(path);
    if (error == ERROR_NONE) {
        error = load_and_check(outbox, failure);
    }
    if (error != ERROR_NONE) {
        outbox_close(outbox);
        return error;
    }
    outbox->capacity_pages = capacity_bytes / outbox->page_bytes;
    outbox->id_pages_max = outbox->capacity_pages / 2 + 4;
    outbox->identity.applied_seq = outbox->state.applied_seq;
    int dead = 0;
    mdb_reader_check(outbox->env, &dead);
    return ERROR_NONE;
}

void outbox_close(struct outbox *outbox)
{
    if (outbox->txn != NULL) {
        outbox_abort(outbox);
    }
    if (outbox->env != NULL) {
        mdb_env_close(outbox->env);
    }
    directory_close(&outbox->directory);
    *outbox = (struct outbox){.directory = {.fd = -1, .lock_fd = -1}};
}

bool outbox_knows_incarnation(const struct outbox *outbox, const char *incarnation)
{
    for (size_t i = 0; i < outbox->incarnations_count; i++) {
        if (strcmp(outbox->incarnations[i], incarnation) == 0) {
            return true;
        }
    }
    return false;
}

// ---- transactions

// Grows the file by whole chunks, ahead of need.
static enum error make_room(struct outbox *outbox, size_t bytes)
{
    if (FAULT_POINT("outbox_room")) {
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
    enum error error = bytes > 0 ? make_room(outbox, bytes) : ERROR_NONE;
    if (error == ERROR_NONE) {
        error = environment_error(mdb_txn_begin(outbox->env, NULL, 0, &outbox->txn));
    }
    return error;
}

void outbox_abort(struct outbox *outbox)
{
    CHECK(outbox->txn != NULL);
    mdb_txn_abort(outbox->txn);
    outbox->txn = NULL;
    outbox->state = outbox->committed;
}

static enum error put_changed_numbers(struct outbox *outbox)
{
    const struct outbox_state *now = &outbox->state;
    const struct outbox_state *then = &outbox->committed;
    enum error error = ERROR_NONE;
    if (now->ceiling != then->ceiling) {
        error = meta_put_number(outbox, "ceiling", now->ceiling);
    }
    if (error == ERROR_NONE && now->applied_seq != then->applied_seq) {
        error = meta_put_number(outbox, "applied", now->applied_seq);
    }
    if (error == ERROR_NONE && now->trimmed_seq != then->trimmed_seq) {
        error = meta_put_number(outbox, "trimmed", now->trimmed_seq);
    }
    return error;
}

enum error outbox_commit(struct outbox *outbox)
{
    CHECK(outbox->txn != NULL);
    enum error error = put_changed_numbers(outbox);
    if (error != ERROR_NONE) {
        outbox_abort(outbox);
        return error;
    }
    if (FAULT_POINT("before_outbox_sync")) {
        outbox_abort(outbox);
        return ERROR_FULL;
    }
    int code = mdb_txn_commit(outbox->txn);
    outbox->txn = NULL;
    if (code != MDB_SUCCESS) {
        outbox->state = outbox->committed;
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
    outbox->committed = outbox->state;
    (void)FAULT_POINT("after_outbox_sync");
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
        outbox->state.ceiling = outbox->next_seq + SEQ_CHUNK;
    }
    return outbox->next_seq++;
}

enum error outbox_bind(struct outbox *outbox, const struct outbox_binding *binding)
{
    CHECK(outbox->txn != NULL);
    struct buffer bytes = {0};
    msgpack_packer packer;
    mpack_packer_init(&packer, &bytes);
    msgpack_pack_array(&packer, BINDING_FIELDS);
    mpack_pack_string(&packer, binding->system_identifier);
    mpack_pack_string(&packer, binding->database);
    mpack_pack_string(&packer, binding->table);
    enum error error = meta_put(outbox, "binding", buffer_slice(&bytes));
    buffer_deinit(&bytes);
    return error;
}

size_t outbox_used_bytes(const struct outbox *outbox, MDB_txn *txn)
{
    const MDB_dbi dbis[] = {outbox->entries, outbox->letters};
    return environment_pages(txn, dbis, 2) * outbox->page_bytes;
}
