// The SELECTs of a scan. Their answers are bounded in rows and bytes by themselves, so that neither
// side holds more than was meant for it. The pg worker's thread.
#pragma once

#include "pg/conn.h"
#include "pg/key_range.h"
#include "pg/table_row.h"

struct scan_query {
    const char *table; // ready to stand in SQL
    size_t rows_max;
    size_t json_bytes_max; // a longer value comes without its text
    size_t text_bytes_max; // the answer ends after the row that reaches it
    bool is_kept;          // a range's: as a statement that the server keeps (prepared.h)
};

// Sends a query on the idle `conn`: the rows of the range in byte order of their keys
// (scan_answer), keys that are too long for us among them, without their values. `unit` has the
// callbacks.
void scan_query_range(const struct scan_query *query, const struct key_range *range,
                      struct conn *conn, struct unit unit);
// The rows of those keys, in the same form.
void scan_query_keys(const struct scan_query *query, const struct slice *keys, size_t keys_count,
                     struct conn *conn, struct unit unit);

// The rows of an answer, for the caller to free; they live as long as the result.
struct scan_answer {
    struct table_row *rows;
    size_t rows_count;
    size_t found_count; // more than rows_count: the answer was cut off by text_bytes_max
    size_t text_bytes;
    size_t long_count; // of keys beyond our limit
};
void scan_answer_read(const PGresult *result, struct scan_answer *answer);
