// The keys are one parameter, a binary array.
#include "pg/audit_query.h"

#include <stdio.h>

#include "base/buffer.h"
#include "base/check.h"
#include "pg/pg_array.h"
#include "pg/table_row.h"

enum {
    TEXT_BYTES_MAX = 16 << 20, // of the values of one answer
    LIMIT_TEXT_BYTES = 24,
    PG_OID_TEXT_ARRAY = 1009
};

void audit_query_send(struct conn *conn, const struct unit *unit, const char *table,
                      const struct audit_sample *samples, size_t count)
{
    CHECK(count > 0);
    struct buffer sql = {0}, keys = {0};
    struct pg_array array;
    pg_array_begin(&array, &keys, PG_OID_TEXT);
    for (size_t i = 0; i < count; i++) {
        pg_array_text(&array, samples[i].key);
    }
    pg_array_end(&array);
    table_row_select(&sql, table, "key = ANY ($1)", true);
    char limit[LIMIT_TEXT_BYTES];
    snprintf(limit, sizeof limit, "%zu", TEXT_BYTES_MAX / count);
    const struct query query = {
        .sql = buffer_text(&sql),
        .params_count = 2,
        .types = (const Oid[]){PG_OID_TEXT_ARRAY, PG_OID_INT8},
        .values = (const char *const[]){(const char *)buffer_slice(&keys).at, limit},
        .lengths = (const int[]){(int)buffer_len(&keys), 0},
        .formats = (const int[]){1, 0},
        .result_format = 1,
    };
    conn_send_one(conn, &query, unit);
    buffer_deinit(&keys);
    buffer_deinit(&sql);
}
