// The journal phase of a turn: one synced commit of the outbox for all that the turn has to make
// durable: its writes, the memory-acknowledged ones before them, ids and their answers, and what
// PostgreSQL's side asks to be written down. A turn that has only memory writes goes without.
//
// Invariants: seqs are given in mailbox order; a memory write is in the outbox before any write
// with a larger seq; a write is either in the commit with its id, or answered with an error.
#include "cache/journal.h"

#include <errno.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"

enum { TRIM_COUNT_MAX = 4096, EXPIRE_COUNT_MAX = 1024, RETRY_AFTER_US = 100000 };

// ---- whether a commit is needed

static bool needs_outbox(const struct turn *turn, const struct turn_item *item)
{
    switch ((enum message_kind)item->message->kind) {
    case MESSAGE_REQUEST:
        if (item_is_write(item)) {
            return !item_is_memory_write(item);
        }
        return item_is_discard(item) ||
               (method_flushes(item_request(item)->call.method) && turn->writer->memory.count > 0);
    case MESSAGE_RETIRE:
    case MESSAGE_BIND:
    case MESSAGE_REWIND:
        return true;
    case MESSAGE_FLUSHED:
        return journal_concerns((struct flushed_message *)item->message);
    default:
        return false;
    }
}

static bool is_due(int64_t at_boot_us, int64_t now_boot_us)
{
    return at_boot_us != 0 && now_boot_us >= at_boot_us;
}

static bool memory_is_due(const struct turn *turn)
{
    return turn->now_boot_us >= writer_memory_due_boot_us(turn->writer);
}

// Whether the turn's memory writes surely fit into the outbox later.
static bool memory_has_capacity(const struct turn *turn)
{
    const struct writer *writer = turn->writer;
    size_t used = (size_t)status_get(writer->status, STATUS_OUTBOX_BYTES);
    size_t capacity = writer->outbox.capacity_pages * writer->outbox.page_bytes;
    return used + 2 * (writer->memory.bytes + turn->bytes) + 64 * writer->outbox.page_bytes <
           capacity;
}

static bool needs_commit(const struct turn *turn)
{
    const struct writer *writer = turn->writer;
    bool memory_writes = false;
    for (size_t i = 0; i < turn->count; i++) {
        if (needs_outbox(turn, &turn->items[i])) {
            return true;
        }
        memory_writes = memory_writes || item_is_write(&turn->items[i]);
    }
    bool lacks_room =
        memory_writes && (!memory_has_capacity(turn) || writer->retry_boot_us != 0 ||
                          writer->outbox.next_seq + turn->count > writer->outbox.committed.ceiling);
    return lacks_room || memory_is_due(turn) || is_due(writer->confirm_boot_us, turn->now_boot_us);
}

// ---- memory-acknowledged writes

// Appends the rows of `memory`, which are older than anything the turn appends.
static enum error move_memory(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (writer->memory.count == 0) {
        return ERROR_NONE;
    }
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
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
    uint64_t first_seq = writer->memory.first_seq;
    key = environment_number(&first_seq);
    enum error error = ERROR_NONE;
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == MDB_SUCCESS && error == ERROR_NONE) {
        struct entry entry;
        error = entry_decode(environment_number_of(key), environment_slice(value), &entry);
        if (error == ERROR_NONE) {
            error = outbox_append_encoded(&writer->outbox, entry.seq, environment_slice(value));
        }
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return error == ERROR_NONE && code != MDB_NOTFOUND ? environment_error(code) : error;
}

static enum error journal_item(struct turn *turn, struct turn_item *item)
{
    struct outbox *outbox = &turn->writer->outbox;
    switch ((enum message_kind)item->message->kind) {
    case MESSAGE_REQUEST:
        if (item_is_discard(item)) {
            return journal_discard(turn, item);
        }
        return item_is_write(item) ? journal_write(turn, item) : ERROR_NONE;
    case MESSAGE_FLUSHED:
        return journal_flushed(turn, (struct flushed_message *)item->message);
    case MESSAGE_RETIRE:
        return journal_retire(turn, item);
    case MESSAGE_BIND:
        return outbox_bind(outbox, &((struct bind_message *)item->message)->binding);
    case MESSAGE_REWIND:
        journal_rewind(turn, (struct rewind_message *)item->message);
        return ERROR_NONE;
    default:
        return ERROR_NONE;
    }
}

// ---- upkeep that rides along

// Entries that PostgreSQL surely has: settled in the cache, and durably known to be there.
uint64_t journal_given_up_to(const struct writer *writer)
{
    uint64_t durable_seq = writer->outbox.state.applied_seq;
    return writer->applied_seq < durable_seq ? writer->applied_seq : durable_seq;
}

// Writes down what is applied and gives up what has been retained long enough.
static enum error confirm(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct outbox *outbox = &writer->outbox;
    if (writer->applied_seq > outbox->state.applied_seq) {
        outbox->state.applied_seq = writer->applied_seq;
    }
    uint64_t passed_seq = retention_passed_seq(&writer->retention);
    if (passed_seq > writer->trimmable_seq) {
        writer->trimmable_seq = passed_seq;
    }
    if (writer->trimmable_seq > journal_given_up_to(writer)) {
        writer->trimmable_seq = journal_given_up_to(writer);
    }
    enum error error = outbox_trim(outbox, writer->trimmable_seq, TRIM_COUNT_MAX);
    bool more;
    return error == ERROR_NONE ? outbox_expire_ids(outbox, turn->now_us, EXPIRE_COUNT_MAX, &more)
                               : error;
}

// ---- the phase

static enum error journal_all(struct turn *turn)
{
    struct outbox *outbox = &turn->writer->outbox;
    size_t bytes =
        2 * (turn->bytes + turn->writer->memory.bytes) + turn->count * outbox->page_bytes;
    bool appends = turn->writer->memory.count > 0;
    for (size_t i = 0; i < turn->count; i++) {
        appends = appends || item_is_write(&turn->items[i]);
    }
    enum error error = outbox_begin(outbox, appends ? bytes : 0);
    if (error != ERROR_NONE) {
        return error;
    }
    error = confirm(turn);
    if (error == ERROR_NONE) {
        error = move_memory(turn);
    }
    for (size_t i = 0; error == ERROR_NONE && i < turn->count; i++) {
        error = journal_item(turn, &turn->items[i]);
    }
    if (error != ERROR_NONE) {
        outbox_abort(outbox);
        return error;
    }
    int64_t begun_us = writer_boot_us(turn->writer);
    error = outbox_commit(outbox);
    turn->writer->memory.commit_us = writer_boot_us(turn->writer) - begun_us;
    return error;
}

static void note_memory_moved(struct memory_writes *memory)
{
    memory->moved_seq = memory->last_seq;
    memory->count = 0;
    memory->bytes = 0;
    memory->first_seq = 0;
}

static void note_committed(struct turn *turn)
{
    struct writer *writer = turn->writer;
    turn->is_journaled = true;
    note_memory_moved(&writer->memory);
    writer->confirm_boot_us = 0;
    if (writer->retry_boot_us != 0) {
        LOG_INFO("outbox grows again", LOG_TEXT("dir", writer->outbox.directory.path));
    }
    writer->retry_boot_us = 0;
    status_add(writer->status, STATUS_OUTBOX_COMMITS, 1);
}

// The disk or the map of the outbox is full: nothing of the turn was journaled.
static void note_full(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (writer->retry_boot_us == 0) {
        LOG_ERROR("outbox cannot grow", LOG_TEXT("dir", writer->outbox.directory.path),
                  LOG_INT("free_bytes", directory_free_bytes(writer->outbox.directory.path)));
    }
    writer->retry_boot_us = turn->now_boot_us + RETRY_AFTER_US;
    writer->confirm_boot_us = writer->retry_boot_us;
    for (size_t i = 0; i < turn->count; i++) {
        struct turn_item *item = &turn->items[i];
        if (item_is_write(item) || item_is_discard(item)) {
            journal_refuse_full(item);
        } else if (needs_outbox(turn, item) && !item_is_request(item)) {
            item->is_durable = false;
            // A retired entry could not be read; its keys are dropped once it could.
            item->is_settled = item->is_settled || item->message->kind == MESSAGE_RETIRE;
        }
    }
}

// The turn's writes are all of memory: they get their seqs, and the cache's commit keeps them.
static void accept_memory_writes(struct turn *turn)
{
    for (size_t i = 0; i < turn->count; i++) {
        if (item_is_write(&turn->items[i])) {
            journal_memory_write(turn, &turn->items[i]);
        }
    }
}

enum error journal_turn(struct turn *turn)
{
    if (!needs_commit(turn)) {
        accept_memory_writes(turn);
        return ERROR_NONE;
    }
    enum error error = journal_all(turn);
    if (error == ERROR_NONE) {
        note_committed(turn);
    } else if (error == ERROR_FULL) {
        note_full(turn);
    }
    return error;
}

enum error journal_rescue(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (writer->memory.count == 0) {
        return ERROR_NONE;
    }
    enum error error = outbox_begin(&writer->outbox, 2 * writer->memory.bytes);
    if (error != ERROR_NONE) {
        return error;
    }
    error = move_memory(turn);
    if (error != ERROR_NONE) {
        outbox_abort(&writer->outbox);
        return error;
    }
    error = outbox_commit(&writer->outbox);
    if (error == ERROR_NONE) {
        note_memory_moved(&writer->memory);
    }
    return error;
}
