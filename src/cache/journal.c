// The journal phase of a turn, by one of three ways:
//
//   outbox  one synced commit for all that the turn has to make durable: its writes, those before
//           them that are in memory and in the log, ids and their answers, and what PostgreSQL's
//           side asks to be written down
//   log     one group, where nothing but entries has to be durable; the writes go to the outbox
//   with
//           its next commit
//   ring    no sync, where all its writes are acknowledged in memory: it survives the process
//
// What is in the ring and in the log moves to the outbox by the first way, or in a commit of the
// mover while turns go on by the others (journal_memory.c).
//
// Invariants: seqs are given in mailbox order; a write is in the outbox before any write with a
// larger seq; in the log are all that are not in the outbox, up to the newest that a group was
// written for; a write is either in the commit with its id, or answered with an error.
#include "cache/journal.h"

#include <errno.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"

enum { RETRY_AFTER_US = 100000 };

// Where a disk is nearly full, room comes and goes with each flush: what of it is said.
#define SAY_FULL_AFTER_US INT64_C(10000000)

// ---- whether a commit is needed

static bool needs_outbox(const struct turn *turn, const struct turn_item *item)
{
    switch ((enum message_kind)item->message->kind) {
    case MESSAGE_REQUEST:
        if (item_is_write(item)) {
            return !item_is_memory_write(item) || !outbox_rings(&turn->writer->outbox);
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

// Nobody waits, so that the outbox's commit may be the turn's own. A turn that was long, on a slow
// disk, leaves no one idle: those who were answered may be here.
static bool is_idle(const struct turn *turn)
{
    return turn->count == 0 && turn->now_boot_us >= writer_idle_boot_us(turn->writer);
}

static bool commit_is_due(const struct turn *turn)
{
    const struct writer *writer = turn->writer;
    return turn->now_boot_us >= writer_memory_due_boot_us(writer) ||
           is_due(writer->confirm_boot_us, turn->now_boot_us);
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

static bool item_flushes(const struct turn_item *item)
{
    return item_is_request(item) && method_flushes(item_request(item)->call.method);
}

// What the writes of a turn may be acknowledged from.
struct needs {
    bool writes;
    bool log;
    bool outbox;
};

static struct needs needs_of(const struct turn *turn)
{
    struct needs needs = {0};
    bool flushes = false;
    for (size_t i = 0; i < turn->count && !needs.outbox; i++) {
        const struct turn_item *item = &turn->items[i];
        bool writes = item_is_write(item);
        bool syncs = needs_outbox(turn, item);
        bool is_loggable = writes && item_is_loggable(item);
        needs.writes = needs.writes || writes;
        needs.log = needs.log || (syncs && is_loggable);
        flushes = flushes || item_flushes(&turn->items[i]);
        // Who flushes waits for the outbox: the log would be a sync on the way.
        needs.outbox = (syncs && !is_loggable) || (flushes && needs.writes);
    }
    return needs;
}

static bool lacks_room(const struct turn *turn)
{
    const struct writer *writer = turn->writer;
    return !memory_has_capacity(turn) || writer->retry_boot_us != 0 ||
           writer->outbox.next_seq + turn->count > writer->outbox.committed.ceiling;
}

// About what the turn appends to the outbox, at once or later.
static size_t appended_bytes(const struct turn *turn)
{
    const struct writer *writer = turn->writer;
    return 2 * (turn->bytes + writer->memory.bytes) + turn->count * writer->outbox.page_bytes;
}

enum way { WAY_RING, WAY_LOG, WAY_OUTBOX };

// What is acknowledged from the log must fit into the outbox later, whatever others write to the
// disk until then.
static enum way way_of_log(struct turn *turn)
{
    struct outbox *outbox = &turn->writer->outbox;
    bool is_logged = outbox_log_is_in_use(&outbox->log) &&
                     outbox_make_room(outbox, appended_bytes(turn)) == ERROR_NONE;
    return is_logged ? WAY_LOG : WAY_OUTBOX;
}

static enum way way_of(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct needs needs = needs_of(turn);
    if (needs.outbox || (needs.writes && lacks_room(turn))) {
        return WAY_OUTBOX;
    }
    if (mover_is_busy(&writer->mover)) {
        // As many again as it has wait for it.
        if (needs.writes && writer_memory_due_boot_us(writer) == 0) {
            return WAY_OUTBOX;
        }
    } else if (is_idle(turn) ||
               (commit_is_due(turn) && !journal_moves_apart(turn, appended_bytes(turn)))) {
        return WAY_OUTBOX;
    }
    return needs.log ? way_of_log(turn) : WAY_RING;
}

static enum error journal_item(struct turn *turn, struct turn_item *item)
{
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
        return journal_bind(turn, (const struct bind_message *)item->message);
    case MESSAGE_REWIND:
        journal_rewind(turn, (struct rewind_message *)item->message);
        return ERROR_NONE;
    default:
        return ERROR_NONE;
    }
}

// ---- the phase

static void note_committed(struct turn *turn)
{
    struct writer *writer = turn->writer;
    turn->is_journaled = true;
    journal_note_moved(writer);
    writer->confirm_boot_us = 0;
    writer->retry_boot_us = 0;
    if (writer->is_said_full) {
        writer->is_said_full = false;
        LOG_INFO("outbox grows again", LOG_TEXT("dir", writer->outbox.directory.path));
    }
    status_add(writer->status, STATUS_OUTBOX_COMMITS, 1);
}

// Ends the transaction, in which `error` has happened.
static enum error commit(struct turn *turn, enum error error)
{
    struct writer *writer = turn->writer;
    if (error != ERROR_NONE) {
        outbox_abort(&writer->outbox);
        return error;
    }
    int64_t begun_us = writer_boot_us(writer);
    error = outbox_commit(&writer->outbox);
    writer->memory.commit_us = writer_boot_us(writer) - begun_us;
    return error;
}

// One commit of the outbox: what is applied, what is in memory and in the log, and then, item by
// item, what the turn adds. `bytes` as outbox_begin has it.
static enum error commit_items(struct turn *turn, size_t bytes,
                               enum error (*journal)(struct turn *turn, struct turn_item *item))
{
    enum error error = journal_take_move_back(turn, true);
    // Where the disk was full for the mover, it may have room now.
    if (error == ERROR_NONE || error == ERROR_FULL) {
        error = outbox_begin(&turn->writer->outbox, bytes);
    }
    if (error != ERROR_NONE) {
        return error;
    }
    struct outbox_move confirmed;
    journal_confirm(turn, &confirmed);
    error = outbox_confirm(&turn->writer->outbox, &confirmed);
    if (error == ERROR_NONE) {
        error = journal_move_memory(turn);
    }
    for (size_t i = 0; error == ERROR_NONE && i < turn->count; i++) {
        error = journal(turn, &turn->items[i]);
    }
    error = commit(turn, error);
    if (error == ERROR_NONE) {
        note_committed(turn);
    }
    return error;
}

static enum error journal_all(struct turn *turn)
{
    bool appends = turn->writer->memory.count > 0;
    for (size_t i = 0; i < turn->count; i++) {
        appends = appends || item_is_write(&turn->items[i]);
    }
    return commit_items(turn, appends ? appended_bytes(turn) : 0, journal_item);
}

// The disk or the map of the outbox is full.
static void await_room(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (!writer->is_said_full && turn->now_boot_us >= writer->say_full_boot_us) {
        writer->is_said_full = true;
        writer->say_full_boot_us = turn->now_boot_us + SAY_FULL_AFTER_US;
        LOG_ERROR("outbox cannot grow", LOG_TEXT("dir", writer->outbox.directory.path),
                  LOG_INT("free_bytes", directory_free_bytes(writer->outbox.directory.path)));
    }
    writer->retry_boot_us = turn->now_boot_us + RETRY_AFTER_US;
    writer->confirm_boot_us = writer->retry_boot_us;
}

// Nothing of the turn was journaled.
static void note_full(struct turn *turn)
{
    await_room(turn);
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

// ---- writes that go without the outbox for now

static enum error ring_accepted(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (writer->memory.rows.count == turn->rows.count) {
        return ERROR_NONE; // it has no writes, and there need be no ring
    }
    enum error error = outbox_ring_add(&writer->outbox.ring, writer->last_seq,
                                       rows_cursor_from(&writer->memory.rows, turn->rows));
    turn->is_ringed = error == ERROR_NONE;
    return error;
}

// One group for all of them.
static enum error log_accepted(struct turn *turn)
{
    struct outbox_log *log = &turn->writer->outbox.log;
    outbox_log_group(log);
    journal_group_memory(turn);
    enum error error = log->group_count > 0 ? outbox_log_write(log) : ERROR_NONE;
    if (error == ERROR_NONE) {
        status_add(turn->writer->status, STATUS_OUTBOX_LOG_GROUPS, log->group_count > 0);
    }
    turn->is_logged = error != ERROR_FULL;
    return error;
}

static enum error journal_accepted(struct turn *turn, struct turn_item *item)
{
    return item_is_accepted(item) ? outbox_append(&turn->writer->outbox, &item->entry) : ERROR_NONE;
}

// What the ring did not take goes to the log, and what that did not take to the outbox. A write
// that may be on the disk is never answered as one that was not done: where the log has failed, the
// outbox's commit is the last chance.
static enum error accept_turn(struct turn *turn, enum way way)
{
    enum error error = ERROR_FULL;
    journal_accept(turn);
    if (way == WAY_RING) {
        error = ring_accepted(turn);
        way = error == ERROR_FULL ? way_of_log(turn) : way;
    }
    if (way == WAY_LOG) {
        error = log_accepted(turn);
    }
    if (error == ERROR_NONE) {
        return ERROR_NONE;
    }
    journal_take_back(turn);
    error = commit_items(turn, appended_bytes(turn), journal_accepted);
    return error == ERROR_FULL && turn->is_logged ? ERROR_SYSTEM : error;
}

// ---- the turn

enum error journal_turn(struct turn *turn)
{
    enum error error = journal_take_move_back(turn, false);
    if (error == ERROR_FULL) {
        await_room(turn);
    } else if (error != ERROR_NONE) {
        return error;
    }
    // An order says whether there is a ring, by which what that takes meanwhile must stand.
    if (!mover_is_busy(&turn->writer->mover)) {
        journal_look_after_files(turn);
    }
    enum way way = way_of(turn);
    error = way == WAY_OUTBOX ? journal_all(turn) : accept_turn(turn, way);
    if (error == ERROR_FULL) {
        note_full(turn);
    }
    return error;
}
