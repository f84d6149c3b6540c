// The rows of `memory`: writes that are in the cache and not in the outbox yet, acknowledged in
// memory only or from the log. They are older than anything the turn appends. Part of the journal
// phase of a turn.
#include "cache/journal.h"

#include <errno.h>

#include "base/fault.h"

typedef enum error (*visit_row)(struct writer *writer, uint64_t seq, struct slice bytes);

static enum error visit_rows(struct writer *writer, MDB_cursor *cursor, uint64_t first_seq,
                             visit_row visit, size_t *count)
{
    MDB_val value;
    MDB_val key = environment_number(&first_seq);
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == MDB_SUCCESS) {
        struct entry entry;
        uint64_t seq = environment_number_of(key);
        enum error error = entry_decode(seq, environment_slice(value), &entry);
        if (error == ERROR_NONE) {
            error = visit(writer, seq, environment_slice(value));
        }
        if (error != ERROR_NONE) {
            return error;
        }
        ++*count;
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return code == MDB_NOTFOUND ? ERROR_NONE : environment_error(code);
}

static enum error visit_memory(struct writer *writer, uint64_t first_seq, visit_row visit,
                               size_t *count)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    int code = FAULT_POINT(MOVE_MEMORY) ? ENOMEM
                                        : mdb_txn_begin(writer->store.env, NULL, MDB_RDONLY, &txn);
    if (code != MDB_SUCCESS) {
        return environment_error(code);
    }
    code = mdb_cursor_open(txn, writer->store.memory, &cursor);
    if (code != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return environment_error(code);
    }
    enum error error = visit_rows(writer, cursor, first_seq, visit, count);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return error;
}

static enum error append_row(struct writer *writer, uint64_t seq, struct slice bytes)
{
    return outbox_append_encoded(&writer->outbox, seq, bytes);
}

enum error journal_move_memory(struct turn *turn)
{
    struct writer *writer = turn->writer;
    size_t count = 0;
    if (writer->memory.count == 0) {
        return ERROR_NONE;
    }
    enum error error = visit_memory(writer, writer->memory.first_seq, append_row, &count);
    // With the commit, what is in the log counts no more: none may be missing.
    return error == ERROR_NONE && count != writer->memory.count ? ERROR_CORRUPT : error;
}

static enum error group_row(struct writer *writer, uint64_t seq, struct slice bytes)
{
    outbox_log_add_encoded(&writer->outbox.log, seq, bytes);
    return ERROR_NONE;
}

enum error journal_group_memory(struct turn *turn)
{
    struct writer *writer = turn->writer;
    const struct memory_writes *memory = &writer->memory;
    uint64_t logged_seq = writer->outbox.log.last_seq;
    size_t count = 0;
    if (memory->count == 0 || memory->last_seq <= logged_seq) {
        return ERROR_NONE;
    }
    uint64_t first_seq = logged_seq < memory->first_seq ? memory->first_seq : logged_seq + 1;
    return visit_memory(writer, first_seq, group_row, &count);
}
