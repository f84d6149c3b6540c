// Keeps STATUS_PG_TABLE_ROWS, STATUS_PG_TABLE_BYTES and STATUS_TABLE_BACKUPS at most 10 s old while
// PostgreSQL is there, and at -1 while it is away. Rows are counted exactly as long as that takes
// PostgreSQL less than 200 ms, and estimated as the planner does it beyond. The count gives way to
// the sweep and the preload: at the start nothing is told of the rows until it is made, or after
// some seconds the estimate. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct table_stats;

struct table_stats *table_stats_create(struct worker *worker);
// NULL is allowed.
void table_stats_destroy(struct table_stats *stats);

void table_stats_on_connected(struct table_stats *stats);
void table_stats_on_lost(struct table_stats *stats, const struct failure *failure);
// The sweep or the preload has ended.
void table_stats_on_quiet(struct table_stats *stats);

// As counted or estimated last, told or not; -1: not known.
int64_t table_stats_rows(const struct table_stats *stats);
