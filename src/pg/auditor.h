// The audit: in the background, cache.audit_rate records a second are compared with PostgreSQL,
// though nothing speaks against them. In a sound world it finds nothing; what it finds was never
// announced (a trigger was disabled, a partition was written while it was detached) or is a fault
// of pgnear, and the operator wants to know.
//
// A hand goes through the cache in byte order of the keys and begins anew at its end. A difference
// alone means nothing, since its notification may be on its way. The record is stale where it is
// still held unchanged once a heartbeat that was sent after PostgreSQL's answer has come back and
// been applied: what committed before the answer was announced before that heartbeat, if it ever
// was. Such a record is dropped, its key announced to watchers, and the log says what is known of
// it, never the value.
//
// One query a tick on a read connection that is shared in turns (read_pool.h), with at most
// AUDIT_KEYS_MAX keys; nothing while the node is not live and swept. The pg worker's thread.
#pragma once

#include "pg/worker.h"

enum { AUDIT_RATE_MAX = 10000, AUDIT_KEYS_MAX = 1000 };

struct auditor;

struct auditor *auditor_create(struct worker *worker);
// NULL is allowed.
void auditor_destroy(struct auditor *auditor);

void auditor_on_connected(struct auditor *auditor);
// cache.audit_rate may have changed.
void auditor_wake(struct auditor *auditor);
void auditor_on_lost(struct auditor *auditor, const struct failure *failure);
