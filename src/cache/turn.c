// A turn from the mailbox to the answers. Runs on the writer thread, or on the one that calls
// writer_turn.
//
// Invariants: an answer leaves after both commits; the control page gains trust after the commit
// of the cache; the pg worker sees a request before it sees its entry, since the newest visible
// seq is raised last.
#include "cache/answer.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "cache/journal.h"

enum { TURN_MESSAGES_MAX = 4096 };
// Of a turn: while others wait, and where little room is left besides; and in any case.
enum { EVICT_RECORDS_PER_STEP = 4096, EVICT_STEPS_TIGHT = 4, EVICT_STEPS_MAX = 16 };
enum { EVICT_ABOVE_PERCENT = 90, TIGHT_ABOVE_PERCENT = 95 };
enum { CONFIRM_DELAY_US = 1000000, UPKEEP_EVERY_US = 10000000 };
enum { ENTRY_OVERHEAD_BYTES = 64 }; // of the outbox, about
enum { HOT_HITS_MIN = 1000, HOT_HITS_A_WRITE = 4, HOT_AFTER_US = 10000000 };
enum { SLOTS_EVERY_US = 1000000, WALK_RECORDS_IDLE = 2048, WALK_RECORDS_BUSY = 128 };

// ---- taking messages

static void append_to_backlog(struct writer *writer, struct message *messages)
{
    struct message **last = &writer->backlog;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = messages;
}

static void add_item(struct turn *turn, struct message *message, bool is_settled)
{
    turn->items[turn->count++] = (struct turn_item){
        .message = message,
        .is_settled = is_settled,
        .is_durable = true,
    };
    turn->bytes += message->bytes;
}

static size_t count_messages(const struct message *message)
{
    size_t count = 0;
    while (message != NULL && count < TURN_MESSAGES_MAX) {
        count++;
        message = message->next;
    }
    return count;
}

// What waits for room on the disk comes first, then the oldest of the backlog.
static void take_messages(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (writer->backlog == NULL) {
        append_to_backlog(writer, mailbox_take(&writer->mailbox));
    }
    bool retries = writer->undurable != NULL && turn->now_boot_us >= writer->retry_boot_us;
    size_t count_max = count_messages(writer->backlog);
    for (struct message *each = writer->undurable; retries && each != NULL; each = each->next) {
        count_max++;
    }
    turn->items = memory_zeroed(count_max, sizeof *turn->items);
    while (retries && writer->undurable != NULL) {
        struct message *message = writer->undurable;
        writer->undurable = message->next;
        add_item(turn, message, message->kind != MESSAGE_RETIRE);
    }
    while (writer->backlog != NULL && turn->count < count_max &&
           (turn->bytes == 0 || turn->bytes + writer->backlog->bytes <= writer->turn_bytes_max)) {
        struct message *message = writer->backlog;
        writer->backlog = message->next;
        add_item(turn, message, false);
    }
}

static void put_off(struct turn *turn, struct turn_item *item)
{
    struct message **last = &turn->writer->undurable;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    item->message->next = NULL;
    *last = item->message;
}

// ---- after the commits

static void note_rewind(struct writer *writer, uint64_t applied_seq)
{
    retention_rewind(&writer->retention, applied_seq);
    size_t depth = outbox_count(&writer->outbox, applied_seq, UINT64_MAX) + writer->memory.count;
    status_set(writer->status, STATUS_OUTBOX_DEPTH, (int64_t)depth);
}

static void note_applied(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (turn->applied_seq < writer->applied_seq) {
        note_rewind(writer, turn->applied_seq);
    } else if (turn->applied_seq > writer->applied_seq) {
        size_t flushed = outbox_count(&writer->outbox, writer->applied_seq, turn->applied_seq);
        status_add(writer->status, STATUS_OUTBOX_DEPTH, -(int64_t)flushed);
        retention_note(&writer->retention, turn->applied_seq);
        if (writer->confirm_boot_us == 0) {
            writer->confirm_boot_us = turn->now_boot_us + CONFIRM_DELAY_US;
        }
    }
    writer->applied_seq = turn->applied_seq;
}

// The writes that were accepted: the newest seq, and the rows of `memory`.
static void note_accepted(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct memory_writes *memory = &writer->memory;
    for (size_t i = 0; i < turn->count; i++) {
        const struct turn_item *item = &turn->items[i];
        if (!item_has_entry(item)) {
            continue;
        }
        writer->last_seq = item->entry.seq;
        status_add(writer->status, STATUS_OUTBOX_DEPTH, 1);
        turn->accepted_bytes +=
            (int64_t)(item->entry.pairs.len + item->entry.id.len) + ENTRY_OVERHEAD_BYTES;
        if (turn->is_journaled) {
            continue;
        }
        if (memory->count == memory->moving_count) {
            memory->oldest_boot_us = turn->now_boot_us;
        }
        memory->count++;
        memory->bytes += item->message->bytes;
    }
}

// Only now that what another server's rows were is out of the cache: a start that finds the former
// one does it again. The outbox hears of it with its next commit, since the cache may be lost: what
// names the former server there makes a start look closer than it need, which costs nothing.
static void publish_server(struct turn *turn)
{
    struct writer *writer = turn->writer;
    struct outbox *outbox = &writer->outbox;
    if (turn->server.started_us == 0) {
        return;
    }
    control_note_server(writer->store.control.page, turn->server.started_us, turn->server.timeline);
    outbox->identity.server = turn->server;
    if (!server_start_is_same(&turn->server, &outbox->committed.server) &&
        writer->confirm_boot_us == 0) {
        writer->confirm_boot_us = turn->now_boot_us + CONFIRM_DELAY_US;
    }
}

static void publish(struct turn *turn)
{
    struct writer *writer = turn->writer;
    writer->pending_count = turn->pending_count;
    note_accepted(turn);
    note_applied(turn);
    if (turn->page_changed) {
        writer->page = turn->page;
        control_publish(writer->store.control.page, &writer->page);
    }
    publish_server(turn);
    struct status *status = writer->status;
    status_set(status, STATUS_OUTBOX_LAST_SEQ, (int64_t)writer->last_seq);
    status_add(status, STATUS_OUTBOX_ACCEPTED_BYTES, turn->accepted_bytes);
    if (!turn->is_applied) {
        return;
    }
    status_set(status, STATUS_CACHE_PENDING,
               writer->pending_count + (int64_t)memtable_count(&writer->store.memtable));
    status_set(status, STATUS_CACHE_EPOCH, (int64_t)writer->page.epoch);
    status_set(status, STATUS_CACHE_BYTES, (int64_t)turn->used_bytes);
    status_set(status, STATUS_CACHE_ENTRIES, (int64_t)turn->entries);
    status_add(status, STATUS_CACHE_FILLS, turn->fills);
    status_add(status, STATUS_CACHE_INVALIDATIONS, turn->invalidations);
    status_add(status, STATUS_CACHE_AUDIT_REPAIRED, turn->repairs);
}

static void answer(struct turn *turn)
{
    struct writer *writer = turn->writer;
    mailbox_cork();
    for (size_t i = 0; i < turn->count; i++) {
        struct turn_item *item = &turn->items[i];
        if (item->is_durable) {
            answer_item(turn, item);
        } else {
            put_off(turn, item);
        }
        buffer_deinit(&item->bytes);
    }
    // Last: from now on the flusher sees the turn's entries.
    int64_t journaled_seq = (int64_t)writer->outbox.committed.last_seq;
    if (status_get(writer->status, STATUS_OUTBOX_JOURNALED_SEQ) != journaled_seq) {
        status_set(writer->status, STATUS_OUTBOX_JOURNALED_SEQ, journaled_seq);
        mailbox_wake(writer->pg);
    }
    mailbox_uncork();
    if (turn->is_logged) {
        writer->memory.answered_boot_us = writer_boot_us(writer);
    }
}

static bool do_phases(struct turn *turn)
{
    struct writer *writer = turn->writer;
    enum error error = writer->failed ? ERROR_INTERNAL : journal_turn(turn);
    if (error != ERROR_NONE && error != ERROR_FULL) {
        writer_fail(writer, "outbox failed", error, false);
        return false;
    }
    (void)FAULT_POINT(BETWEEN_COMMITS);
    error = apply_turn(turn);
    if (error != ERROR_NONE) {
        writer_fail(writer, "cache failed", error, true);
        return false;
    }
    (void)FAULT_POINT(BEFORE_ANSWERS);
    return true;
}

// ---- upkeep

// A few steps, and more of them while nobody waits for the next turn: where what is held is warm,
// the hand looks at many records before it drops one.
static void evict(struct writer *writer, size_t used_bytes)
{
    size_t percent = writer->store.map_bytes / 100;
    int awaited_max = used_bytes > percent * TIGHT_ABOVE_PERCENT ? EVICT_STEPS_TIGHT : 1;
    for (int steps = 0; steps < EVICT_STEPS_MAX && used_bytes > percent * EVICT_ABOVE_PERCENT;
         steps++) {
        bool is_awaited = writer->backlog != NULL || !mailbox_is_empty(&writer->mailbox);
        size_t freed_bytes;
        if ((is_awaited && steps >= awaited_max) ||
            eviction_run(&writer->eviction, &writer->store,
                         used_bytes - percent * EVICT_ABOVE_PERCENT, EVICT_RECORDS_PER_STEP,
                         &freed_bytes) != ERROR_NONE) {
            return;
        }
        used_bytes -= freed_bytes < used_bytes ? freed_bytes : used_bytes;
    }
}

// Whether the server loops read so much, and so much more than is written, that what the hot tier
// saves them is worth what it costs the writer. Asked every SLOTS_EVERY_US.
static bool is_read_by_socket(const struct turn *turn)
{
    struct writer *writer = turn->writer;
    int64_t hits = status_get(writer->status, STATUS_CACHE_HITS);
    int64_t writes = status_get(writer->status, STATUS_OUTBOX_LAST_SEQ);
    int64_t new_hits = hits - writer->hits_seen;
    if (new_hits >= HOT_HITS_MIN && new_hits >= (writes - writer->writes_seen) * HOT_HITS_A_WRITE) {
        writer->read_until_boot_us = turn->now_boot_us + HOT_AFTER_US;
    }
    writer->hits_seen = hits;
    writer->writes_seen = writes;
    return turn->now_boot_us < writer->read_until_boot_us;
}

// A reader that stands still is named; where the room it holds is needed, it is left behind before
// a write finds none.
static void look_after_readers(struct turn *turn)
{
    struct writer *writer = turn->writer;
    if (turn->now_boot_us < writer->slots_boot_us) {
        return;
    }
    writer->slots_boot_us = turn->now_boot_us + SLOTS_EVERY_US;
    size_t tight_bytes = writer->store.map_bytes / 100 * (100 - EVICT_ABOVE_PERCENT);
    if (slots_look(&writer->slots, &writer->store, turn->now_boot_us) &&
        store_room_bytes(&writer->store) < tight_bytes) {
        writer_renew_cache(writer, writer->slots.holder.pid);
    }
    tallies_look(&writer->tallies, writer->status, turn->now_boot_us);
    hot_set_read(&writer->store.hot,
                 writer->slots.has_others || writer->has_readers || is_read_by_socket(turn));
}

static void look_after(struct turn *turn)
{
    struct writer *writer = turn->writer;
    bool connected = status_get(writer->status, STATUS_PG_FLUSHABLE) == 1;
    retention_tick(&writer->retention, turn->now_boot_us, connected);
    answer_owed_resyncs(writer);
    look_after_readers(turn);
    if (turn->now_boot_us < writer->upkeep_boot_us) {
        return;
    }
    writer->upkeep_boot_us = turn->now_boot_us + UPKEEP_EVERY_US;
    int dead = 0;
    mdb_reader_check(writer->outbox.env, &dead);
    // Ids and retained entries grow old without a message; a commit looks after them.
    if (writer->confirm_boot_us == 0) {
        writer->confirm_boot_us = turn->now_boot_us;
    }
}

// After the answers: who was answered need not wait for it.
static void look_after_hot(struct turn *turn)
{
    struct store *store = &turn->writer->store;
    size_t records_max = turn->count > 0 ? WALK_RECORDS_BUSY : WALK_RECORDS_IDLE;
    hot_catch_up(&store->hot, store->env, store->records);
    hot_walk(&store->hot, store->env, store->records, turn->now_boot_us, records_max);
    status_set(turn->writer->status, STATUS_CACHE_HOT_ENTRIES, (int64_t)store->hot.entries);
}

void turn_run(struct writer *writer)
{
    struct turn turn = {
        .writer = writer,
        .now_boot_us = writer_boot_us(writer),
        .now_us = store_now_us(&writer->store),
    };
    look_after(&turn);
    take_messages(&turn);
    if (do_phases(&turn)) {
        publish(&turn);
        answer(&turn);
        if (turn.is_journaled || turn.has_moved) {
            writer_measure_outbox(writer);
        }
        evict(writer, turn.used_bytes);
        look_after_hot(&turn);
    } else {
        answer_turn_failed(&turn);
    }
    free(turn.items);
}
