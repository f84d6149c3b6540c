// The outbox's way to PostgreSQL: one connection, one batch in flight, each batch one transaction
// that begins by advancing the node's row, so that every entry is applied exactly once.
//
//      outbox grew --linger--> visit, batch --unit--> COMMIT --FLUSHED--> writer --back--> next
//
// After a lost connection the node's row is read before anything is sent (claim): it alone knows
// whether the batch that was in flight has been committed. The pg worker's thread.
#pragma once

#include "base/messages.h"

struct flusher;
struct worker;

struct flusher *flusher_create(struct worker *worker);
// Everything that waits has been answered with flusher_shut. NULL is allowed.
void flusher_destroy(struct flusher *flusher);

// The worker is ready: connect, claim, flush.
void flusher_on_ready(struct flusher *flusher);
// It no longer is: the connection is closed, what was in flight is undecided until the next claim.
void flusher_on_unready(struct flusher *flusher);

// A write whose answer comes from PostgreSQL, or a flush. Flushing goes on with flusher_wake.
void flusher_request(struct flusher *flusher, struct request *request);
// A read waits until the writes up to `seq` are applied: no reason to linger.
void flusher_want(struct flusher *flusher, uint64_t seq);
// The outbox may have grown.
void flusher_wake(struct flusher *flusher);
// FLUSHED or RETIRE has come back from the writer.
void flusher_on_returned(struct flusher *flusher, struct message *message);

// PostgreSQL holds this node's writes up to `applied_seq`, and their results were lost but for
// `recorded` (of pgnear_node). Tells the writer; handshake_on_settled hears when that is durable.
void flusher_settle(struct flusher *flusher, uint64_t applied_seq, struct slice recorded);
// What was applied was lost: entries up to `lost_to_seq` are applied again, conditions only where
// the state is the one they saw; of those up to `decided_seq` it is known that they held.
// `is_row_behind`: of those that had been applied again, too.
void flusher_on_rewound(struct flusher *flusher, uint64_t decided_seq, uint64_t lost_to_seq,
                        bool is_row_behind);

// Nothing is with the writer: applied_seq is all that is known.
bool flusher_is_quiet(const struct flusher *flusher);
// Everything journaled is in PostgreSQL.
bool flusher_is_drained(const struct flusher *flusher);
// No write up to `seq` is still on its way.
bool flusher_has_reached(const struct flusher *flusher, uint64_t seq);

// The end: closes the connection and answers what still waits.
void flusher_shut(struct flusher *flusher);
