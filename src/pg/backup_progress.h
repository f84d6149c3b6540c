// How far the copies of this node have come: while there are any, each second one query for the
// application_name that they tell it by (backup_sql.h). STATUS_PG_BACKUP_JOBS and
// STATUS_PG_BACKUP_ROWS follow. Behind a pooler that keeps names to itself the rows stay 0.
//
// The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct backup_progress;

struct backup_progress *backup_progress_create(struct worker *worker);
// NULL is allowed.
void backup_progress_destroy(struct backup_progress *progress);

// What the orders carry as `progress`: no other node's is the same. Lives as long as `progress`.
const char *backup_progress_name(const struct backup_progress *progress);

// A job that copies rows begins, or has ended. Jobs of one table copy one after the other, so there
// is one number for all.
void backup_progress_begin(struct backup_progress *progress);
void backup_progress_end(struct backup_progress *progress);
