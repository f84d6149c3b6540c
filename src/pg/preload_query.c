// COPY costs this side a third of what a SELECT does (docs/decisions/0012-preload-in-step.md). It
// takes no parameters: what it is given are numbers of ours and a key in hexadecimal digits.
#include "pg/preload_query.h"

#include "base/buffer.h"
#include "base/request.h"

enum { VARCHAR_MAX = 10485760 }; // characters, of PostgreSQL's

static void append_hex(struct buffer *sql, struct slice bytes)
{
    static const char DIGITS[] = "0123456789abcdef";
    uint8_t *out = buffer_reserve(sql, bytes.len * 2);
    for (size_t i = 0; i < bytes.len; i++) {
        *out++ = (uint8_t)DIGITS[bytes.at[i] >> 4];
        *out++ = (uint8_t)DIGITS[bytes.at[i] & 0x0F];
    }
    buffer_commit(sql, bytes.len * 2);
}

// The rows behind `after`, as many as are wanted. Their values are turned into text outside, so of
// these rows alone: where PostgreSQL sorts rather than follows the index, it would otherwise make
// the text of every row behind the key first. (A LIMIT is not pulled up.)
static void append_rows(struct buffer *sql, const char *table, struct slice after, size_t rows_max)
{
    buffer_printf(sql,
                  " FROM (SELECT key COLLATE \"C\" AS key, value, version, expires_at FROM %s"
                  " WHERE key > convert_from(decode('",
                  table);
    append_hex(sql, after);
    buffer_printf(sql,
                  "', 'hex'), 'UTF8') COLLATE \"C\" AND octet_length(key) <= %d"
                  " ORDER BY key COLLATE \"C\" LIMIT %zu) page",
                  KEY_BYTES_MAX, rows_max);
}

size_t preload_query_text_max(size_t json_bytes_max)
{
    return json_bytes_max < VARCHAR_MAX ? json_bytes_max : VARCHAR_MAX;
}

void preload_query_send(struct conn *conn, const struct unit *unit, const char *table,
                        struct slice after, size_t rows_max, size_t json_bytes_max)
{
    struct buffer sql = {0};
    if (rows_max == 1) {
        // Turned into text once.
        buffer_printf(&sql,
                      "COPY (SELECT key, CASE WHEN octet_length(json) <= %zu THEN json END,"
                      " version::int8, expires_at::timestamptz FROM"
                      " (SELECT key, value::text AS json, version, expires_at",
                      json_bytes_max);
        append_rows(&sql, table, after, rows_max);
        buffer_printf(&sql, " OFFSET 0) texts");
    } else {
        // What is longer is cut off there, without another look at what is not.
        buffer_printf(&sql,
                      "COPY (SELECT key, value::text::varchar(%zu), version::int8,"
                      " expires_at::timestamptz",
                      preload_query_text_max(json_bytes_max));
        append_rows(&sql, table, after, rows_max);
        buffer_printf(&sql, " ORDER BY key");
    }
    buffer_printf(&sql, ") TO STDOUT (FORMAT binary)");
    conn_send_one(conn, &(struct query){.sql = buffer_text(&sql)}, unit);
    buffer_deinit(&sql);
}
