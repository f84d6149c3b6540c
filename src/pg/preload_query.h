// The SELECT of a page of the preload. The pg worker's thread.
#pragma once

#include "base/slice.h"
#include "pg/conn.h"

// Sends one query on the idle `conn`: the `rows_max` rows of `table` (ready to stand in SQL) that
// follow the key `after` in byte order, but for those whose key is beyond our limit, as columns of
// table_row.h; a value of more than `json_bytes_max` comes without its text. `unit` has the
// callbacks.
void preload_query_send(struct conn *conn, const struct unit *unit, const char *table,
                        struct slice after, size_t rows_max, size_t json_bytes_max);
