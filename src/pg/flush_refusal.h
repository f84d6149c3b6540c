// A batch that PostgreSQL has refused. An error of a row is hunted down by halving what is sent
// until the entry is alone; that one becomes a dead letter where nobody waits for it, after what
// its keys hold was asked (pg/parking.h). An operator's error stops the flush with nothing parked.
// The connection's is tried again. Part of the flusher; the pg worker's thread.
#pragma once

#include "pg/flusher_state.h"

// Decides on the batch, which is in phase FLUSHER_SENT; the caller wakes the flusher afterwards.
void flush_refusal_take(struct flusher *flusher, const struct failure *failure);
