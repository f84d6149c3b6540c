// The rows of `memory`: writes that are not known to be in the outbox, acknowledged in memory only
// or from the log. They are older than anything the turn appends, and go to the outbox in a commit
// of the turn or, where nobody waits for that, in one of the mover. Part of the journal phase of a
// turn.
//
// This thread alone changes them, under their mutex, since others read them (cache/accepted.h).
#include "cache/journal.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"

enum { MOVE_TRIM_MAX = 4096, MOVE_EXPIRE_MAX = 1024, FILES_EVERY_US = 1000000 };
enum { PREFETCH_ITEMS = 3, PREFETCH_BYTES = 256 };

static void change_rows(struct memory_writes *memory)
{
    pthread_mutex_lock(&memory->mutex);
}

static void rows_are_changed(struct memory_writes *memory)
{
    pthread_mutex_unlock(&memory->mutex);
}

// ---- the turn's own

// What a server loop has written comes from the cache of another processor.
static void prefetch_pairs(const struct turn *turn, size_t index)
{
    if (index < turn->count && item_is_write(&turn->items[index])) {
        struct slice pairs = item_request(&turn->items[index])->encoded_pairs;
        for (size_t at = 0; at < pairs.len && at < PREFETCH_BYTES; at += MEMORY_LINE_BYTES) {
            __builtin_prefetch(pairs.at + at);
        }
    }
}

void journal_accept(struct turn *turn)
{
    struct memory_writes *memory = &turn->writer->memory;
    turn->rows = rows_mark(&memory->rows);
    change_rows(memory);
    for (size_t i = 0; i < turn->count; i++) {
        struct turn_item *item = &turn->items[i];
        prefetch_pairs(turn, i + PREFETCH_ITEMS);
        if (item_is_write(item)) {
            journal_memory_write(turn, item);
        }
        if (item_is_accepted(item)) {
            rows_add(&memory->rows, &item->entry);
        }
    }
    rows_are_changed(memory);
}

void journal_take_back(struct turn *turn)
{
    struct memory_writes *memory = &turn->writer->memory;
    change_rows(memory);
    rows_cut(&memory->rows, turn->rows);
    rows_are_changed(memory);
}

// ---- what every commit says besides

// Entries that PostgreSQL surely has: settled in the cache, and durably known to be there.
uint64_t journal_given_up_to(const struct writer *writer)
{
    uint64_t durable_seq = writer->outbox.state.applied_seq;
    return writer->applied_seq < durable_seq ? writer->applied_seq : durable_seq;
}

void journal_confirm(struct turn *turn, struct outbox_move *move)
{
    struct writer *writer = turn->writer;
    uint64_t passed_seq = retention_passed_seq(&writer->retention);
    if (passed_seq > writer->trimmable_seq) {
        writer->trimmable_seq = passed_seq;
    }
    // What is applied is durably known to be so with this very commit.
    if (writer->trimmable_seq > writer->applied_seq) {
        writer->trimmable_seq = writer->applied_seq;
    }
    *move = (struct outbox_move){
        .applied_seq = writer->applied_seq,
        .server = writer->outbox.identity.server,
        .trim_seq = writer->trimmable_seq,
        .trim_count_max = MOVE_TRIM_MAX,
        .expire_count_max = MOVE_EXPIRE_MAX,
        .now_us = turn->now_us,
    };
}

// ---- in a commit of the turn

enum error journal_move_memory(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct rows_cursor cursor = rows_cursor_of(&writer->memory.rows);
    uint64_t seq;
    struct slice entry;
    enum error error = ERROR_NONE;
    if (writer->memory.count == 0) {
        return ERROR_NONE;
    }
    CHECK_VALUES(writer->memory.rows.count == writer->memory.count, "%zu of %zu rows",
                 writer->memory.rows.count, writer->memory.count);
    error = FAULT_POINT(MOVE_MEMORY) ? ERROR_SYSTEM : ERROR_NONE;
    while (error == ERROR_NONE && rows_next(&cursor, &seq, &entry)) {
        error = outbox_append_encoded(&writer->outbox, seq, entry);
    }
    return error;
}

void journal_note_moved(struct writer *writer)
{
    struct memory_writes *memory = &writer->memory;
    memory->count = 0;
    memory->bytes = 0;
    change_rows(memory);
    rows_clear(&memory->rows);
    rows_are_changed(memory);
    outbox_ring_clear(&writer->outbox.ring);
}

// ---- in a commit of the mover

bool journal_moves_apart(struct turn *turn, size_t room_bytes)
{
    struct writer *writer = turn->writer;
    struct memory_writes *memory = &writer->memory;
    if (!writer->mover.takes_orders || writer->retry_boot_us != 0 ||
        mover_is_busy(&writer->mover)) {
        return false;
    }
    // What appends nothing makes room itself.
    if (memory->count > 0 && outbox_make_room(&writer->outbox, room_bytes) != ERROR_NONE) {
        return false;
    }
    struct outbox_move move;
    journal_confirm(turn, &move);
    move.layout = outbox_layout(&writer->outbox);
    move.rows = memory->rows;
    memory->moving_count = memory->count;
    memory->moving_bytes = memory->bytes;
    writer->confirm_boot_us = 0;
    outbox_ring_note_moving(&writer->outbox.ring);
    change_rows(memory);
    mover_order(&writer->mover, &move);
    memory->rows = move.rows;
    rows_are_changed(memory);
    return true;
}

static void note_move(struct turn *turn, struct rows *moved)
{
    struct memory_writes *memory = &turn->writer->memory;
    turn->has_moved = true;
    memory->count -= memory->moving_count;
    memory->bytes -= memory->moving_bytes;
    change_rows(memory);
    rows_clear(moved);
    rows_are_changed(memory);
    status_add(turn->writer->status, STATUS_OUTBOX_COMMITS, 1);
}

enum error journal_take_move_back(struct turn *turn, bool waits)
{
    struct writer *writer = turn->writer;
    struct memory_writes *memory = &writer->memory;
    struct mover *mover = &writer->mover;
    if (!mover_take_back(mover, waits)) {
        return ERROR_NONE;
    }
    enum error error = mover->error;
    outbox_note_move(&writer->outbox, error, &mover->move.rows);
    outbox_ring_note_moved(&writer->outbox.ring, error == ERROR_NONE);
    memory->commit_us = mover->took_us;
    if (error == ERROR_NONE) {
        note_move(turn, &mover->move.rows);
    } else {
        // They are the oldest again.
        change_rows(memory);
        rows_precede(&memory->rows, &mover->move.rows);
        rows_are_changed(memory);
    }
    memory->moving_count = 0;
    memory->moving_bytes = 0;
    return error;
}

// ---- in a group of the log

static void group_rows(struct outbox_log *log, struct rows *rows)
{
    if (rows->last_seq <= log->last_seq) {
        return;
    }
    struct rows_cursor cursor = rows_cursor_after(rows, log->last_seq);
    uint64_t seq;
    struct slice entry;
    while (rows_next(&cursor, &seq, &entry)) {
        outbox_log_add_encoded(log, seq, entry);
    }
}

void journal_group_memory(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct outbox_log *log = &writer->outbox.log;
    // Those that are moving are not on the disk before the mover says so.
    if (mover_is_busy(&writer->mover)) {
        group_rows(log, &writer->mover.move.rows);
    }
    group_rows(log, &writer->memory.rows);
}

// ---- the ring

// Told once: PostgreSQL gets what is in it all the same, while this process lives.
static void look_after_outbox(struct writer *writer)
{
    bool is_lost = outbox_is_lost(&writer->outbox);
    const char *dir = writer->outbox.directory.path;
    if (is_lost && !writer->outbox_is_lost) {
        LOG_ERROR(
            "outbox deleted or moved away: what is acknowledged and not in PostgreSQL is lost "
            "when the daemon ends",
            LOG_TEXT("dir", dir));
    } else if (!is_lost && writer->outbox_is_lost) {
        LOG_INFO("outbox is back", LOG_TEXT("dir", dir));
    }
    writer->outbox_is_lost = is_lost;
}

void journal_look_after_files(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (turn->now_boot_us < writer->files_boot_us) {
        return;
    }
    writer->files_boot_us = turn->now_boot_us + FILES_EVERY_US;
    look_after_outbox(writer);
    bool ring_was_lost = outbox_leave_lost_ring(&writer->outbox);
    bool log_was_lost = outbox_leave_lost_log(&writer->outbox);
    if ((ring_was_lost || log_was_lost) && writer->memory.count > 0) {
        // What was in it alone is safe with the next commit of the outbox.
        writer->memory.oldest_boot_us = 0;
    }
    if (log_was_lost) { // which the next start must not look for
        writer->confirm_boot_us = turn->now_boot_us;
    }
    if (writer->outbox.ring.header == NULL && writer->memory.count == 0) {
        outbox_make_ring(&writer->outbox, true);
    }
    // A start has to know of it before anything is acknowledged from it.
    if (writer->outbox.ring.header != NULL && !outbox_rings(&writer->outbox) &&
        writer->confirm_boot_us == 0) {
        writer->confirm_boot_us = turn->now_boot_us;
    }
}
