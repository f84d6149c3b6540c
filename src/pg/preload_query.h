// The query of a page of the preload. The pg worker's thread.
#pragma once

#include "base/slice.h"
#include "pg/conn.h"

// Sends one COPY on the idle `conn`: the `rows_max` rows of `table` (ready to stand in SQL) that
// follow the key `after` in byte order, but for those whose key is beyond our limit, as columns of
// table_row.h in the bytes of copy_rows.h. Where that is one, a value of more than `json_bytes_max`
// comes without its text; of several, a text may have been cut off where it is not shorter than
// preload_query_text_max bytes, and has no more characters. `unit` has the callbacks, on_copied
// among them.
void preload_query_send(struct conn *conn, const struct unit *unit, const char *table,
                        struct slice after, size_t rows_max, size_t json_bytes_max);
size_t preload_query_text_max(size_t json_bytes_max);
