// The rows of a page are found by LIMIT first and turned into text once (a LIMIT is not pulled up);
// then a running sum of their lengths cuts the answer, always after its first row. Keys that are
// too long for us take their place among them: to look for as many others in the same statement, or
// for these alone in another, may read the whole table behind the page.
#include "pg/scan_query.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "pg/pg_array.h"
#include "pg/prepared.h"

enum { PG_OID_TEXT_ARRAY = 1009, COLUMN_FOUND = 4 };

static void add_sql(struct buffer *sql, const struct scan_query *query, const char *condition)
{
    buffer_printf(
        sql,
        "SELECT key, CASE WHEN len <= %zu THEN json END, version, expires_at, found FROM ("
        "SELECT *, count(*) OVER () AS found, sum(CASE WHEN len <= %zu THEN len ELSE 0 END)"
        " OVER (ORDER BY key COLLATE \"C\" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        " AS before FROM (SELECT *, octet_length(coalesce(json, key)) AS len FROM ("
        "SELECT key, CASE WHEN octet_length(key) <= %d THEN value::text END AS json,"
        " version::int8, expires_at::timestamptz FROM %s"
        " WHERE %s ORDER BY key COLLATE \"C\" LIMIT %zu) page) sized) summed"
        " WHERE coalesce(before, 0) < %zu ORDER BY key COLLATE \"C\"",
        query->json_bytes_max, query->json_bytes_max, KEY_BYTES_MAX, query->table, condition,
        query->rows_max, query->text_bytes_max);
}

// $1 is `after`, $2 the prefix, $3 the end of its range, where there is one.
static void add_range(struct buffer *condition, bool has_end)
{
    buffer_printf(condition, "key > $1 COLLATE \"C\" AND key >= $2 COLLATE \"C\"%s",
                  has_end ? " AND key < $3 COLLATE \"C\"" : "");
}

void scan_query_range(const struct scan_query *query, const struct key_range *range,
                      struct conn *conn, struct unit unit)
{
    static const Oid TYPES[] = {PG_OID_TEXT, PG_OID_TEXT, PG_OID_TEXT};
    uint8_t end[KEY_BYTES_MAX + 3];
    CHECK_VALUES(range->prefix.len <= KEY_BYTES_MAX, "%zu bytes", range->prefix.len);
    size_t end_len = key_range_end(range->prefix, end);
    struct buffer condition = {0}, sql = {0};
    add_range(&condition, end_len > 0);
    add_sql(&sql, query, buffer_text(&condition));
    struct query rows = {
        .sql = buffer_text(&sql),
        .params_count = end_len > 0 ? 3 : 2,
        .types = TYPES,
        .values = (const char *const[]){(const char *)range->after.at,
                                        (const char *)range->prefix.at, (const char *)end},
        .lengths = (const int[]){(int)range->after.len, (int)range->prefix.len, (int)end_len},
        .formats = (const int[]){1, 1, 1},
        .result_format = 1,
    };
    char name[PREPARED_NAME_BYTES];
    if (query->is_kept) {
        prepared_name(rows.sql, TYPES, (size_t)rows.params_count, name);
        rows.name = name;
    }
    conn_send_one(conn, &rows, &unit);
    buffer_deinit(&condition);
    buffer_deinit(&sql);
}

void scan_query_keys(const struct scan_query *query, const struct slice *keys, size_t keys_count,
                     struct conn *conn, struct unit unit)
{
    struct buffer sql = {0}, array_bytes = {0};
    struct pg_array array;
    pg_array_begin(&array, &array_bytes, PG_OID_TEXT);
    for (size_t i = 0; i < keys_count; i++) {
        pg_array_text(&array, keys[i]);
    }
    pg_array_end(&array);
    add_sql(&sql, query, "key = ANY ($1)");
    const struct query rows = {
        .sql = buffer_text(&sql),
        .params_count = 1,
        .types = (const Oid[]){PG_OID_TEXT_ARRAY},
        .values = (const char *const[]){(const char *)buffer_slice(&array_bytes).at},
        .lengths = (const int[]){(int)buffer_len(&array_bytes)},
        .formats = (const int[]){1},
        .result_format = 1,
    };
    conn_send_one(conn, &rows, &unit);
    buffer_deinit(&array_bytes);
    buffer_deinit(&sql);
}

void scan_answer_read(const PGresult *result, struct scan_answer *answer)
{
    size_t count = (size_t)PQntuples(result);
    *answer = (struct scan_answer){
        .rows = memory_zeroed(count + 1, sizeof *answer->rows),
        .rows_count = count,
    };
    for (size_t i = 0; i < count; i++) {
        table_row_read(result, (int)i, &answer->rows[i]);
        answer->text_bytes += answer->rows[i].json.len;
        answer->long_count += answer->rows[i].key.len > KEY_BYTES_MAX;
    }
    if (count > 0) {
        answer->found_count = (size_t)pg_read_int8(PQgetvalue(result, 0, COLUMN_FOUND));
    }
}
