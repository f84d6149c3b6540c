// The journal phase of a turn, between the files that make it up. Errors are those of the outbox's
// transaction, which is open: ERROR_FULL undoes the whole of it.
#pragma once

#include "cache/turn.h"

// ---- items

static inline struct request *item_request(const struct turn_item *item)
{
    return (struct request *)item->message;
}

static inline bool item_is_request(const struct turn_item *item)
{
    return item->message->kind == MESSAGE_REQUEST;
}

static inline bool item_is_write(const struct turn_item *item)
{
    return item_is_request(item) && method_class(item_request(item)->call.method) == METHOD_WRITE;
}

static inline bool item_is_discard(const struct turn_item *item)
{
    return item_is_request(item) && item_request(item)->call.method == METHOD_DISCARD_DEAD_LETTER;
}

// Its answer is decided in PostgreSQL.
static inline bool call_returns_result(const struct call *call)
{
    return call->method == METHOD_INCR || call->method == METHOD_MERGE ||
           call->method == METHOD_TOUCH || call->method == METHOD_RETRY_DEAD_LETTER ||
           call->condition != CONDITION_NONE;
}

// Of a write: its entry is all of it that has to be on the disk before it is answered, if anything
// has to: the log will do.
static inline bool item_is_loggable(const struct turn_item *item)
{
    const struct call *call = &item_request(item)->call;
    return call->ack != ACK_POSTGRES && call->id.len == 0 && !call_returns_result(call);
}

// Nothing of it has to be synced before it is answered. A write with an id is: the id is bound to
// it on the disk.
static inline bool item_is_memory_write(const struct turn_item *item)
{
    const struct call *call = &item_request(item)->call;
    return call->ack == ACK_MEMORY && call->id.len == 0 && !call_returns_result(call);
}

// Of a write: it is refused no more.
static inline bool item_is_accepted(const struct turn_item *item)
{
    return item_is_write(item) && item->fate == FATE_APPLY;
}

// ---- writes; journal_writes.c. A write that is refused has its fate and its failure set.

enum error journal_write(struct turn *turn, struct turn_item *item);
// Of a turn that goes without the outbox for now.
void journal_memory_write(struct turn *turn, struct turn_item *item);
// They get their seqs, and are the newest of `memory`.
void journal_accept(struct turn *turn);
// They are not: the turn goes another way, under the numbers that it was given.
void journal_take_back(struct turn *turn);
void journal_refuse_full(struct turn_item *item);

// Refuses the write of the item: its fate is the answer.
void journal_refuse(struct turn_item *item, enum error error, const char *reason);

// ---- writes that are not known to be in the outbox; journal_memory.c

// Entries that PostgreSQL surely has: settled in the cache, and durably known to be there.
uint64_t journal_given_up_to(const struct writer *writer);
// What each commit writes down and gives up besides, in a `move` without rows.
void journal_confirm(struct turn *turn, struct outbox_move *move);

// Within a transaction, and the mover has none of them: appends them all.
enum error journal_move_memory(struct turn *turn);
// They are in the outbox.
void journal_note_moved(struct writer *writer);

// Leaves them to the mover, whose commit takes room for so many bytes. False where it cannot be.
bool journal_moves_apart(struct turn *turn, size_t room_bytes);
// Takes note of what the mover has done since, waiting for it where `waits`. With an error they are
// where they were, and nothing has happened.
enum error journal_take_move_back(struct turn *turn, bool waits);

// Adds those to the log's group that are in no group: the turn's own, and those before them that
// were acknowledged in memory only, since an ack from the disk covers all earlier ones.
void journal_group_memory(struct turn *turn);

// Looks after the files of the outbox, where that is due: makes the ring anew where it is gone, or
// there was no room; goes without the log where that is gone; says it where the outbox itself is.
void journal_look_after_files(struct turn *turn);

// ---- dead letters; journal_letters.c

// Makes the item's entry from the dead letter that the call names, and marks the letter. Where
// that is refused, the item has its fate.
enum error journal_retry(struct turn *turn, struct turn_item *item);
// The letter is gone with the commit, where there is one and nothing tries it again.
enum error journal_discard(struct turn *turn, struct turn_item *item);
// Letters that were tried again and are applied.
enum error journal_forget_letters(struct turn *turn, const struct flushed_message *flushed);
// An entry that tried a letter again is retired: the letter stays. `exists` says whether it does.
enum error journal_letter_stays(struct turn *turn, const struct turn_item *item, bool *exists);

// ---- PostgreSQL's side; journal_reports.c

// Whether a flush result has anything to be written down before it is passed on.
bool journal_concerns(const struct flushed_message *flushed);
enum error journal_flushed(struct turn *turn, const struct flushed_message *flushed);
// Reads the retired entry into the item, for the cache.
enum error journal_retire(struct turn *turn, struct turn_item *item);
enum error journal_bind(struct turn *turn, const struct bind_message *bind);
void journal_rewind(struct turn *turn, struct rewind_message *rewind);
