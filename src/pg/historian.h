// Answers from the history of the table: `history`, and get and mget with `at_version`. What the
// table itself holds counts as the newest version of its key, so that rows older than the history
// have one as well. BAD_REQUEST where versioning is off. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct historian;

struct historian *historian_create(struct worker *worker);
// NULL is allowed. Nothing waits any more.
void historian_destroy(struct historian *historian);

void historian_request(struct historian *historian, struct request *request);
void historian_on_connected(struct historian *historian);
void historian_on_lost(struct historian *historian, const struct failure *failure);
// The end: finishes every request held.
void historian_refuse_all(struct historian *historian, const struct failure *failure);
