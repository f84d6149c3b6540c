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
};

// Sends two queries on the idle `conn`: index 0 the rows of the range in byte order of their keys
// (scan_answer), index 1 the first bytes of keys that are too long for us, about as far as the
// rows reach. `unit` has the callbacks.
void scan_query_range(const struct scan_query *query, const struct key_range *range,
                      struct conn *conn, struct unit unit);
// Index 0: the rows of those keys, in the same form.
void scan_query_keys(const struct scan_query *query, const struct slice *keys, size_t keys_count,
                     struct conn *conn, struct unit unit);

// The rows of an answer, for the caller to free; they live as long as the result.
struct scan_answer {
    struct table_row *rows;
    size_t rows_count;
    size_t found_count; // more than rows_count: the answer was cut off by text_bytes_max
    size_t text_bytes;
};
void scan_answer_read(const PGresult *result, struct scan_answer *answer);
