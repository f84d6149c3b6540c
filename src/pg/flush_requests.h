// Who waits for the flush, and what they are told: writes whose answer comes from PostgreSQL, and
// calls that wait until the outbox is flushed. Where their time is up, a write that was never sent
// is taken back, all else stays queued and its outcome is unknown. Part of the flusher; the pg
// worker's thread.
#pragma once

#include "pg/batch.h"
#include "pg/flusher_state.h"

// Finishes the flushes that have nothing left to wait for.
void flush_requests_finish(struct flusher *flusher);
// Those whose deadline has passed; arms the timer for the next.
void flush_requests_expire(struct flusher *flusher);
// Arms the timer for the first deadline, after somebody has come or gone.
void flush_requests_arm(struct flusher *flusher);
// The end: nobody waits any more.
void flush_requests_fail_all(struct flusher *flusher);

// Fills the replies of `requests`, which waited for `entry` and are linked by sibling.
void flush_requests_answer(const struct batch_entry *entry, struct request *requests);
// The error of a write that PostgreSQL refused with this code: REJECTED, or TOO_LARGE.
enum error flush_requests_error_of(const char *sqlstate);
// Fills the failures of `requests` with words of their own: "Failed to set key "k": <message>".
void flush_requests_fill_failures(struct request *requests, enum error error,
                                  const struct failure *failure);
