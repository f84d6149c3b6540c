// The sweep: after a gap in the feed, everything the cache holds is suspect until it has been
// compared with PostgreSQL (docs/architecture.md, "Rules of coherence", 9). Page by page, in byte
// order of the keys, the sweeper reads what the cache holds of older epochs, asks for the versions
// of those keys, and tells the writer which differ; the others are good again as soon as the
// sweep's hand has passed them.
//
// One page at a time is in flight, on a read connection that is shared in turns (read_pool.h), and
// no further page is read while the writer has more than it can take. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct sweeper;

struct sweeper *sweeper_create(struct worker *worker);
// NULL is allowed.
void sweeper_destroy(struct sweeper *sweeper);

// FEED_STARTED or FEED_REPLACED of `epoch` has been posted. Ends in worker_on_swept, unless it is
// stopped or started anew.
void sweeper_start(struct sweeper *sweeper, uint64_t epoch);
void sweeper_stop(struct sweeper *sweeper);

void sweeper_on_connected(struct sweeper *sweeper);
void sweeper_on_lost(struct sweeper *sweeper, const struct failure *failure);
