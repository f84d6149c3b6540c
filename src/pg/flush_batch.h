// The batch of the flusher: made of what the outbox holds after applied_seq, sent as one
// transaction on the flush connection, dropped or, once committed, reported. PostgreSQL has one at
// a time, which may be the next one while the writer still makes a committed one durable: a batch
// whose outcome no row of PostgreSQL's has to be kept for is followed at once. Part of the flusher;
// the pg worker's thread.
#pragma once

#include "pg/flusher_state.h"

// Makes the batch of entries up to `to_seq` that fit the limits. False where the outbox cannot be
// read: nothing can be flushed until somebody looks at it.
bool flush_batch_collect(struct flusher *flusher, const struct batch_limits *limits,
                         uint64_t to_seq);
// Collects and sends the next batch, from phase FLUSHER_IDLE; where nothing is left to flush, says
// so to those who wait for that.
void flush_batch_send(struct flusher *flusher);
// FLUSHED of the batch is back, in phase FLUSHER_SETTLING: it is gone, and idle is who has not sent
// the next one early.
void flush_batch_settled(struct flusher *flusher);
// Forgets the batch and is idle.
void flush_batch_drop(struct flusher *flusher);

// Nothing is sent for now: the status shows how old the oldest write is that waits.
void flush_batch_note_oldest(const struct flusher *flusher);

// Makes the batch after the one that is out, where there is a whole one and nothing speaks against
// it; flush_batch_send takes it. Nothing while some of the one that is out is still to be sent,
// which PostgreSQL would have to wait for. In phase FLUSHER_SENT or FLUSHER_SETTLING.
void flush_batch_look_ahead(struct flusher *flusher);
// Forgets it: entries were retired, the connection or what it agreed on is another.
void flush_batch_forget_ahead(struct flusher *flusher);
