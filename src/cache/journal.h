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

// Its answer is decided in PostgreSQL.
static inline bool call_returns_result(const struct call *call)
{
    return call->method == METHOD_INCR || call->method == METHOD_MERGE ||
           call->method == METHOD_TOUCH || call->condition != CONDITION_NONE;
}

// Nothing of it has to be synced before it is answered. A write with an id is: the id is bound to
// it on the disk.
static inline bool item_is_memory_write(const struct turn_item *item)
{
    const struct call *call = &item_request(item)->call;
    return call->ack == ACK_MEMORY && call->id.len == 0 && !call_returns_result(call);
}

// Entries that PostgreSQL surely has: settled in the cache, and durably known to be there.
uint64_t journal_given_up_to(const struct writer *writer);

// ---- writes; journal_writes.c. A write that is refused has its fate and its failure set.

enum error journal_write(struct turn *turn, struct turn_item *item);
// Of a turn that goes without the outbox.
void journal_memory_write(struct turn *turn, struct turn_item *item);
void journal_refuse_full(struct turn_item *item);

// ---- PostgreSQL's side; journal_reports.c

enum error journal_answers(struct turn *turn, const struct flushed_message *flushed);
// Reads the retired entry into the item, for the cache.
enum error journal_retire(struct turn *turn, struct turn_item *item);
void journal_rewind(struct turn *turn, struct rewind_message *rewind);
