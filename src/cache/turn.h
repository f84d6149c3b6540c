// One turn of the writer as a value: the messages it handles, and what became of each.
#pragma once

#include "cache/writer_state.h"

enum fate {
    FATE_APPLY,  // goes on to the cache
    FATE_ANSWER, // the reply is filled: home with it, the cache has no part in it
    FATE_ATTACH, // a repeat of a write that is under way: PostgreSQL's side answers it
};

// What a turn knows of one message.
struct turn_item {
    struct message *message;
    enum fate fate;
    bool is_settled;     // the cache has no part in it in this turn
    bool is_durable;     // what had to be journaled is
    uint64_t key_hash;   // of a write of one key, in the cache phase; 0: not known
    struct entry entry;  // of a write, or of what a RETIRE retires
    struct buffer bytes; // what `entry` points into
};

// Whether it is a write that has been given its entry in this turn.
static inline bool item_has_entry(const struct turn_item *item)
{
    return item->message->kind == MESSAGE_REQUEST && item->fate == FATE_APPLY &&
           item->entry.seq != 0;
}

struct turn {
    struct writer *writer;
    struct turn_item *items;
    size_t count;
    size_t bytes; // of the messages, about
    int64_t now_boot_us;
    int64_t now_us;         // PostgreSQL's clock
    bool is_journaled;      // the outbox committed something of the turn's
    bool has_moved;         // it committed what came before
    bool is_logged;         // its writes are, or may be, in the outbox's log
    bool is_ringed;         // they are in its ring
    struct rows_mark rows;  // those of `memory` before its own
    int64_t accepted_bytes; // of the writes that were accepted, about
    // Of the cache phase; begun anew at each try:
    MDB_txn *txn;
    MDB_cursor *records; // of the transaction
    struct page_view page;
    bool page_changed;
    bool is_aside;              // what apply_get has found last is in the memtable
    uint64_t key_hash;          // of the key that it looked for
    bool changes_cache;         // something in LMDB was written or dropped
    struct server_start server; // that answers from now on; .started_us == 0: as before
    bool skips_fills;           // the map is too full for them
    int64_t pending_count;      // in LMDB
    uint64_t applied_seq;
    int64_t fills;
    int64_t invalidations;
    int64_t repairs;
    size_t used_bytes;
    size_t entries;
    uint64_t decided_seq; // the newest entry laid over again whose result PostgreSQL decides
    bool is_applied;      // the cache committed something
};

// ---- journal.c: the outbox's part. Settles the fate of every write. On ERROR_FULL the writes are
// answered with OVERLOADED, what else had to be journaled is not durable, and the turn goes on;
// other errors end the node.
enum error journal_turn(struct turn *turn);

// ---- apply.c: the cache's part: every item that goes on, in order, in one commit.
enum error apply_turn(struct turn *turn);

// Within a transaction: lays the entries of the outbox after `after_seq` up to `up_to_seq` over
// the cache, as pending again.
enum error apply_unapplied(struct turn *turn, uint64_t after_seq, uint64_t up_to_seq);

// ---- turn.c

// Takes messages from the backlog and the mailbox, does the turn, answers.
void turn_run(struct writer *writer);
