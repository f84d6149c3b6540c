// The SELECT of what PostgreSQL has of the records that are audited. The pg worker's thread.
#pragma once

#include "pg/audit_sample.h"
#include "pg/conn.h"

// Behind the columns of table_row.h.
enum { AUDIT_COLUMN_UPDATED_AT = 4 };

// Sends one query on the idle `conn` for the rows of `table` (ready to stand in SQL) with the keys
// of the `count` samples, one or more, as columns of table_row.h and the time of their last change;
// values that would make the answer too large come without their text. `unit` has the callbacks.
void audit_query_send(struct conn *conn, const struct unit *unit, const char *table,
                      const struct audit_sample *samples, size_t count);
