// What the flusher tells the writer, and what is done when it comes back: FLUSHED, entries up to a
// seq are in PostgreSQL; RETIRE, an entry never will be. The phase is FLUSHER_SETTLING while
// FLUSHED is out, and no step is taken while a RETIRE is: applied_seq moves only once the writer
// has made it durable. Part of the flusher; the pg worker's thread.
#pragma once

#include "pg/flusher_state.h"

// Tells the writer that the batch is in PostgreSQL. The batch stays: requests for its entries may
// still be on their way here.
void flush_report_flushed(struct flusher *flusher, uint64_t applied_seq);

// Tells the writer that the entry is not to be flushed, for this reason and with these words; the
// writer finishes `requests`, whose failures are filled (NULL where nobody waits).
void flush_report_retire(struct flusher *flusher, uint64_t seq, enum retire_reason reason,
                         const struct failure *failure, struct request *requests);
// The same in two steps, where there is more to say.
struct retire_message *flush_report_make_retire(uint64_t seq, enum retire_reason reason,
                                                const struct failure *failure,
                                                struct request *requests);
void flush_report_post_retire(struct flusher *flusher, struct retire_message *message);
