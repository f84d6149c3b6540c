// Rows of the table as the reading modules ask for them: in binary, with the value as JSON text
// and only where it is not beyond a limit, so that no answer of PostgreSQL takes more memory than
// was meant for it.
#pragma once

#include <libpq-fe.h>

#include "base/buffer.h"
#include "base/error.h"

enum { TABLE_ROW_COLUMNS = 4 };

// The first four columns of such a query: key, value::text or NULL, version::int8,
// expires_at::timestamptz.
struct table_row {
    struct slice key;
    bool has_json; // false: beyond the limit of the query
    struct slice json;
    int64_t version;
    int64_t expires_at_us; // since 1970; 0: none
};

// Appends the query of these columns for the rows of `table` that meet the condition, with values
// up to $2 bytes of JSON text. `updated_at`: that is a fifth column.
void table_row_select(struct buffer *sql, const char *table, const char *condition,
                      bool updated_at);

// Row `place` of such a result; slices live as long as the result.
void table_row_read(const PGresult *result, int place, struct table_row *row);

// The same of the fields of such a row in binary, where a NULL has no address; slices live as long
// as these. False where they cannot be of these columns.
bool table_row_of_fields(const struct slice fields[TABLE_ROW_COLUMNS], struct table_row *row);

// A timestamptz, in microseconds since 1970; 0 where NULL or 'infinity', the ends of int64 where it
// lies beyond.
int64_t table_row_time(const PGresult *result, int place, int column);

// The longest text of a value that may be within `value_bytes_max` of MessagePack. Above it nothing
// is worth asking for.
size_t table_row_json_bytes_max(size_t value_bytes_max);

// Appends the row's value as canonical MessagePack. Appends nothing on failure: ERROR_TOO_LARGE
// where the row is beyond pgnear's limits, with the reason.
enum error table_row_convert(const struct table_row *row, size_t value_bytes_max,
                             struct buffer *out, struct failure *failure);

static inline bool table_row_is_expired(const struct table_row *row, int64_t now_us)
{
    return row->expires_at_us != 0 && row->expires_at_us <= now_us;
}
