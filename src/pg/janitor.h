// Takes away what nobody wants any more, a bounded batch at a time: rows that have expired, and
// history beyond postgres.history_keep. Every node looks, and the functions in PostgreSQL let one
// at a time do it, by an advisory lock that dies with their transaction. Rows go as by anybody's
// DELETE: caches and watchers of all nodes hear of it. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct janitor;

struct janitor *janitor_create(struct worker *worker);
// NULL is allowed.
void janitor_destroy(struct janitor *janitor);

void janitor_on_connected(struct janitor *janitor);
void janitor_on_lost(struct janitor *janitor, const struct failure *failure);

// Whether PostgreSQL refuses to delete expired rows, all or some: why, for `check`.
bool janitor_cannot_reap(const struct janitor *janitor, struct failure *failure);
