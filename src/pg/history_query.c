// Both queries yield the same columns: the place among the keys asked for (from 1), the version,
// whether it is a set, its value as text where that is not too long, and when it was made.
//
// The row that stands in the table is a version too, and may be older than the history.
#include "pg/history_query.h"

#include <stdio.h>

#include "base/check.h"
#include "pg/pg_array.h"
#include "pg/table_row.h"
#include "json/json.h"

enum { PG_OID_TEXT_ARRAY = 1009, NUMBER_TEXT_BYTES = 24, PARAMS_COUNT = 2 };
enum { COLUMN_PLACE, COLUMN_VERSION, COLUMN_IS_SET, COLUMN_JSON, COLUMN_CHANGED_AT };

// What is known of key `i.key` where the versions meet `condition`, a comparison.
static void add_versions(struct buffer *sql, const struct worker *worker, const char *condition)
{
    buffer_printf(sql,
                  "SELECT h.version, h.op = 'set' AS is_set, h.value, h.changed_at FROM %s h"
                  " WHERE h.key = i.key AND h.version %s UNION ALL"
                  " SELECT t.version, true, t.value, t.updated_at FROM %s t"
                  " WHERE t.key = i.key AND t.version %s AND NOT EXISTS (SELECT FROM %s h"
                  " WHERE h.key = t.key AND h.version = t.version)",
                  worker->names.history, condition, worker->table, condition,
                  worker->names.history);
}

// The text is made of the rows of the page only, and a running sum of its lengths ends the answer,
// always after its first row.
static void add_sql(struct buffer *sql, const struct worker *worker, const struct call *call)
{
    size_t json_bytes_max = table_row_json_bytes_max(worker->settings->server.max_value_bytes);
    bool is_history = call->method == METHOD_HISTORY;
    buffer_printf(
        sql,
        "SELECT place, version::int8, is_set, CASE WHEN len <= %zu THEN json END,"
        " changed_at::timestamptz FROM (SELECT *, sum(CASE WHEN len <= %zu THEN len ELSE 0 END)"
        " OVER (ORDER BY place, version DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        " AS before FROM (SELECT *, coalesce(octet_length(json), 0) AS len FROM ("
        "SELECT i.place, found.version, found.is_set, found.value::text AS json, found.changed_at"
        " FROM unnest($1) WITH ORDINALITY AS i (key, place) CROSS JOIN LATERAL (",
        json_bytes_max, json_bytes_max);
    add_versions(sql, worker, is_history ? "< $2" : "= $2");
    buffer_printf(sql,
                  " ORDER BY 1 DESC LIMIT %u) found OFFSET 0) page) sized) summed"
                  " WHERE coalesce(before, 0) < %d ORDER BY place, version DESC",
                  is_history ? call->limit : 1, SCAN_BYTES_MAX);
}

void history_query_send(struct worker *worker, const struct call *call, struct conn *conn,
                        struct unit unit)
{
    struct buffer sql = {0}, keys = {0};
    struct pg_array array;
    pg_array_begin(&array, &keys, PG_OID_TEXT);
    for (size_t i = 0; i < call->pairs_count; i++) {
        pg_array_text(&array, call->pairs[i].key);
    }
    pg_array_end(&array);
    add_sql(&sql, worker, call);
    bool is_history = call->method == METHOD_HISTORY;
    int64_t bound = !is_history ? call->at_version : call->has_before ? call->before : INT64_MAX;
    char version[NUMBER_TEXT_BYTES];
    snprintf(version, sizeof version, "%lld", (long long)bound);
    const struct query query = {
        .sql = buffer_text(&sql),
        .params_count = PARAMS_COUNT,
        .types = (const Oid[PARAMS_COUNT]){PG_OID_TEXT_ARRAY, PG_OID_INT8},
        .values = (const char *const[PARAMS_COUNT]){(const char *)buffer_slice(&keys).at, version},
        .lengths = (const int[PARAMS_COUNT]){(int)buffer_len(&keys), 0},
        .formats = (const int[PARAMS_COUNT]){1, 0},
        .result_format = 1,
    };
    conn_send_one(conn, &query, &unit);
    buffer_deinit(&keys);
    buffer_deinit(&sql);
}

// ---- Answers

static int64_t int8_at(const PGresult *result, int row, int column)
{
    return pg_read_int8(PQgetvalue(result, row, column));
}

static void read_value(const PGresult *result, int row, size_t value_bytes_max, struct arena *arena,
                       struct item *item, struct failure *failure)
{
    struct table_row found = {
        .has_json = !PQgetisnull(result, row, COLUMN_JSON),
        .json = slice_of(PQgetvalue(result, row, COLUMN_JSON),
                         (size_t)PQgetlength(result, row, COLUMN_JSON)),
    };
    struct buffer msgpack = {0};
    struct failure why;
    if (table_row_convert(&found, value_bytes_max, &msgpack, &why) == ERROR_NONE) {
        item->value = arena_copy(arena, buffer_slice(&msgpack));
    } else {
        failure_note(failure, ERROR_TOO_LARGE, "version %lld is beyond the limits: %s",
                     (long long)item->version, why.message);
    }
    buffer_deinit(&msgpack);
}

void history_query_read(const PGresult *result, size_t value_bytes_max, struct request *request,
                        struct failure *failure)
{
    const struct call *call = &request->call;
    struct reply *reply = &request->reply;
    bool is_history = call->method == METHOD_HISTORY;
    int rows = PQntuples(result);
    struct item *items = reply_items(reply, is_history ? (size_t)rows : call->pairs_count);
    for (int row = 0; row < rows; row++) {
        size_t place = is_history ? (size_t)row : (size_t)int8_at(result, row, COLUMN_PLACE) - 1;
        CHECK_VALUES(place < reply->items_count, "%zu", place);
        struct item *item = &items[place];
        item->present = *PQgetvalue(result, row, COLUMN_IS_SET) != 0;
        item->has_version = true;
        item->version = int8_at(result, row, COLUMN_VERSION);
        item->at_us = int8_at(result, row, COLUMN_CHANGED_AT) + PG_EPOCH_US;
        if (item->present) {
            read_value(result, row, value_bytes_max, &reply->arena, item, failure);
        }
    }
}
