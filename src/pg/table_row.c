// Pure functions over libpq's results; any thread.
#include "pg/table_row.h"

#include "base/check.h"
#include "pg/pg_array.h"
#include "json/json.h"

enum { COLUMN_KEY, COLUMN_JSON, COLUMN_VERSION, COLUMN_EXPIRES_AT };

// jsonb's text against our MessagePack: `"": false, ` is 11 bytes for 2, a control character 6 for
// 1, and numbers printed in full may take 8 times the limit, or 256 KiB (json.h).
enum { TEXT_PER_BYTE_MAX = 16, TEXT_BYTES_LEAST = 256 * 1024 };

// NULL has no address.
static struct slice field(const PGresult *result, int place, int column)
{
    bool is_null = PQgetisnull(result, place, column);
    return slice_of(is_null ? NULL : PQgetvalue(result, place, column),
                    (size_t)PQgetlength(result, place, column));
}

static int64_t read_int8(struct slice field)
{
    CHECK_VALUES(field.len == sizeof(int64_t), "%zu bytes", field.len);
    return pg_read_int8((const char *)field.at);
}

// PostgreSQL counts from 2000, knows both infinities, and reaches a little further than we do.
static int64_t read_time(struct slice field)
{
    if (field.at == NULL) {
        return 0;
    }
    int64_t time_us = read_int8(field);
    if (time_us == INT64_MAX) {
        return 0;
    }
    if (time_us > INT64_MAX - PG_EPOCH_US) {
        return INT64_MAX;
    }
    // 0 means none: whatever is as old as that has expired all the same.
    return time_us + PG_EPOCH_US > 0 ? time_us + PG_EPOCH_US : 1;
}

void table_row_select(struct buffer *sql, const char *table, const char *condition, bool updated_at)
{
    // OFFSET 0 keeps the text from being made once for its length and once more for itself.
    buffer_printf(sql,
                  "SELECT key, CASE WHEN octet_length(json) <= $2 THEN json END, version::int8,"
                  " expires_at::timestamptz%s FROM (SELECT key, value::text AS json, version, "
                  "expires_at%s FROM %s"
                  " WHERE %s OFFSET 0) rows",
                  updated_at ? ", updated_at::timestamptz" : "", updated_at ? ", updated_at" : "",
                  table, condition);
}

bool table_row_of_fields(const struct slice fields[TABLE_ROW_COLUMNS], struct table_row *row)
{
    struct slice version = fields[COLUMN_VERSION], expires_at = fields[COLUMN_EXPIRES_AT];
    bool fits = fields[COLUMN_KEY].at != NULL &&
                (version.at == NULL || version.len == sizeof(int64_t)) &&
                (expires_at.at == NULL || expires_at.len == sizeof(int64_t));
    if (!fits) {
        return false;
    }
    *row = (struct table_row){
        .key = fields[COLUMN_KEY],
        .has_json = fields[COLUMN_JSON].at != NULL,
        .json = fields[COLUMN_JSON],
        .version = version.at == NULL ? 0 : read_int8(version),
        .expires_at_us = read_time(expires_at),
    };
    return true;
}

void table_row_read(const PGresult *result, int place, struct table_row *row)
{
    CHECK_VALUES(PQnfields(result) >= TABLE_ROW_COLUMNS, "%d columns", PQnfields(result));
    struct slice fields[TABLE_ROW_COLUMNS];
    for (int column = 0; column < TABLE_ROW_COLUMNS; column++) {
        fields[column] = field(result, place, column);
    }
    CHECK(table_row_of_fields(fields, row));
}

int64_t table_row_time(const PGresult *result, int place, int column)
{
    return read_time(field(result, place, column));
}

size_t table_row_json_bytes_max(size_t value_bytes_max)
{
    size_t bytes = value_bytes_max * TEXT_PER_BYTE_MAX + TEXT_BYTES_LEAST;
    return bytes < JSON_INPUT_BYTES_MAX ? bytes : JSON_INPUT_BYTES_MAX;
}

enum error table_row_convert(const struct table_row *row, size_t value_bytes_max,
                             struct buffer *out, struct failure *failure)
{
    const struct json_limits limits = {.value_bytes_max = value_bytes_max};
    if (!row->has_json) {
        return failure_set(failure, ERROR_TOO_LARGE, "the value is larger than %zu bytes",
                           value_bytes_max);
    }
    return json_to_msgpack(row->json, &limits, out, failure);
}
