// The rows are found by LIMIT first and each turned into text once (a LIMIT is not pulled up).
#include "pg/preload_query.h"

#include <stdio.h>

#include "base/buffer.h"
#include "base/request.h"
#include "pg/pg_array.h"

enum { LIMIT_TEXT_BYTES = 24, QUERY_PARAMS = 3 };

void preload_query_send(struct conn *conn, const struct unit *unit, const char *table,
                        struct slice after, size_t rows_max, size_t json_bytes_max)
{
    struct buffer sql = {0};
    char bytes_text[LIMIT_TEXT_BYTES], rows_text[LIMIT_TEXT_BYTES];
    buffer_printf(&sql,
                  "SELECT key, CASE WHEN octet_length(json) <= $2 THEN json END, version::int8,"
                  " expires_at::timestamptz FROM (SELECT key, value::text AS json, version,"
                  " expires_at FROM %s WHERE key > $1 COLLATE \"C\" AND octet_length(key) <= %d"
                  " ORDER BY key COLLATE \"C\" LIMIT $3) page ORDER BY key COLLATE \"C\"",
                  table, KEY_BYTES_MAX);
    snprintf(bytes_text, sizeof bytes_text, "%zu", json_bytes_max);
    snprintf(rows_text, sizeof rows_text, "%zu", rows_max);
    const struct query query = {
        .sql = buffer_text(&sql),
        .params_count = QUERY_PARAMS,
        .types = (const Oid[]){PG_OID_TEXT, PG_OID_INT8, PG_OID_INT8},
        .values = (const char *const[]){(const char *)after.at, bytes_text, rows_text},
        .lengths = (const int[]){(int)after.len, 0, 0},
        .formats = (const int[]){1, 0, 0},
        .result_format = 1,
    };
    conn_send_one(conn, &query, unit);
    buffer_deinit(&sql);
}
