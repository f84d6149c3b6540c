// Answers backup, backups, restore and cleanup_backups, and makes the scheduled backups, of which
// each is one node's only. Each job is a task on a connection of its own (backup_task.h).
//
//   backup, restore --> writer --> flusher: drained up to the request --> task --> reply home
//
// After a restore this node drops what it holds clean, in the FIFO to the writer and before the
// answer: whoever reads after it reads PostgreSQL. The other nodes follow by the notifications of
// the triggers. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct backup;

struct backup *backup_create(struct worker *worker);
// NULL is allowed. Every request was finished (backup_refuse_all).
void backup_destroy(struct backup *backup);

// BACKUP and RESTORE, once the outbox is drained; BACKUPS and CLEANUP_BACKUPS. Finishes the request
// exactly once. OVERLOADED beyond a few at a time, UNAVAILABLE without a connection, REJECTED in
// PostgreSQL's words, TIMEOUT where nothing was done, OUTCOME_UNKNOWN where that is not known.
void backup_request(struct backup *backup, struct request *request);

// Finishes one of these requests with the failure, in the request's own words.
void backup_fail(struct backup *backup, struct request *request, const struct failure *failure);
// Whether a request can be done now, or is refused at once by backup_request.
bool backup_is_open(const struct backup *backup);

void backup_on_connected(struct backup *backup);
void backup_on_lost(struct backup *backup, const struct failure *failure);

// The end: finishes every request with `failure`.
void backup_refuse_all(struct backup *backup, const struct failure *failure);
