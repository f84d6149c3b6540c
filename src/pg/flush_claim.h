// The claim: after each connect the flusher sees that it is on the server of the control
// connection, and reads the node's row there FOR UPDATE, so that a batch still in flight at an old
// backend settles first, and learns up to where this node's writes are applied. What was applied
// while its results were lost is reported without being sent again. Then it looks for triggers of
// others (pg/batch_sql.h). Part of the flusher, as are flusher_settle and flusher_on_rewound here;
// the pg worker's thread.
#pragma once

#include "pg/flusher_state.h"

// Sends the claim, from phase FLUSHER_IDLE.
void flush_claim(struct flusher *flusher);
