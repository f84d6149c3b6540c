// What was promised and what has happened: every write that a client asked for, every state that a
// key had in PostgreSQL and for how long, and the checks of the promises (docs/guarantees.md)
// against them. The daemon knows nothing of it.
//
// A value carries the number of the write that made it (its token), so that a value tells which
// write it is of; a counter's value is a number and its writes are told apart by their seq.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/entry.h"

enum { KEYS_COUNT = 8, COUNTERS_FROM = 6, NODES_MAX = 4, NOBODY = -1 };

void ledger_start(void);

// Keys are picked among so many, at least 2, so that those who write meet.
extern int ledger_hot_keys;
int ledger_random_key(void);     // any
int ledger_random_counter(void); // of the counters
int ledger_random_plain(void);   // of the others

// ---- what keys hold in PostgreSQL

// A key's state in PostgreSQL from one commit to the next.
struct state {
    bool present;
    int64_t token; // counters: the value
    int64_t version;
    int64_t from_us;
    int64_t until_us; // INT64_MAX: now
    uint64_t order;   // of the commit; a state that a failover brought back keeps its own
};

// The key has a new state; returns its order.
uint64_t ledger_changed(int key, bool present, int64_t token, int64_t version);
// The newest state of the key was lost with its commit: the one before is back.
void ledger_lost(int key, const struct state *back);
struct state ledger_state(int key);
// Somebody asked PostgreSQL for the key, in this step.
void ledger_selected(int key);
uint64_t ledger_selected_step(int key); // the last time

// ---- writes

enum write_op { WRITE_SET, WRITE_DELETE, WRITE_INCR };

struct write {
    int node; // NOBODY: not through pgnear
    int key;
    enum write_op op;
    int64_t amount;
    uint64_t number; // of the node's writes, in the order in which they were asked for
    uint64_t seq;    // 0: not journaled yet
    enum ack ack;
    bool acked; // a client holds the answer
    uint64_t acked_seq;
    bool conditional;
    int64_t if_version; // that its condition names; 0: none
    bool lost;          // its ack allowed that, and its time came
    bool withdrawn;     // answered with an error that says that it is not done
    bool retired;       // taken out of the flushing
    bool applied;       // in PostgreSQL, or made nothing by a later write of its batch
    bool effective;     // in PostgreSQL by itself
    bool undone;        // a failover lost it, once at least
};

// The number of the write, from 1.
int64_t ledger_write(const struct write *write);
struct write *ledger_write_of(int64_t number);
// The write holds `seq` in its node's outbox, as found there.
void ledger_journaled(int node, const struct entry *entry);
uint64_t ledger_journaled_seq(int node);
uint64_t ledger_applied_seq(int node); // in PostgreSQL
void ledger_acked(int64_t number, uint64_t seq);
// It was answered that nothing was done.
void ledger_withdrawn(int64_t number);
// Its entry was taken out of the flushing, for whatever reason.
void ledger_retired(int node, uint64_t seq);
// `flush` was answered.
void ledger_flushed(int node, uint64_t seq);
// What was acknowledged in memory is gone with the machine, unless it was found in the outbox or a
// later write was acknowledged as more than that.
void ledger_machine_lost(int node);

// ---- a node's batch

struct batch_change {
    int key;
    enum write_op op;
    int64_t token;        // of a set without a result; 0: not known from the value
    uint64_t seq;         // of a write with a result; 0: not known from the statement
    bool effect;          // false: a condition failed
    int64_t before_token; // of a write on a condition: what it replaces, and its version
    int64_t before_version;
    uint64_t order;
};

struct batch_commit {
    int node;
    uint64_t from_seq;
    uint64_t to_seq;
    size_t changes_count;
    struct batch_change *changes;
};

// Checks that the batch is the next of its node, whole and in order; then notes it.
void ledger_batch(const struct batch_commit *batch);
// A change by a node's write in a transaction that does not say whose flush it is.
void ledger_unguarded(const struct batch_change *change);
// A failover lost it.
void ledger_batch_lost(const struct batch_commit *batch);

// ---- reads

struct read_floor {
    uint64_t number; // the newest acknowledged write of the node to the key
    int64_t since_us;
};

// What a read that begins now may not fall behind.
struct read_floor ledger_floor(int node, int key);
// `sync` was answered that was asked for at `since_us`.
void ledger_synced(int node, int64_t since_us);
// A process of the node begins: what the last one knew of `sync` is not promised by this one.
void ledger_restarted(int node);

struct seen {
    bool present;
    bool pending; // no version: this node's own write
    int64_t token;
    int64_t version;
    int64_t current_us; // what was read was the truth at this time or later
};

void ledger_read(int node, int key, const struct read_floor *floor, const struct seen *seen);

// ---- the end

// Everything has come to rest: every acknowledged write is in PostgreSQL.
void ledger_check_end(void);
