// Any answer of PostgreSQL with the columns that the reading modules ask for, as somebody else's
// table may yield: a key, any text as the value, a version and any time. What is taken is a value
// that prints again; the times have an order. The first 17 bytes are the numbers and what is NULL.
#include "base/check.h"
#include "base/mpack.h"
#include "pg/pg_array.h"
#include "pg/table_row.h"
#include "json/json.h"

enum { COLUMNS = 4, NUMBERS_BYTES = 17, VALUE_BYTES_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static PGresult *result_of(const uint8_t *bytes, size_t len)
{
    static char names[COLUMNS][12] = {"key", "value", "version", "expires_at"};
    PGresAttDesc columns[COLUMNS] = {0};
    for (size_t i = 0; i < COLUMNS; i++) {
        columns[i].name = names[i];
        columns[i].format = 1;
    }
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    CHECK(result != NULL && PQsetResultAttrs(result, COLUMNS, columns) == 1);
    size_t key_len = (len - NUMBERS_BYTES) / 4;
    char *at = (char *)(uintptr_t)bytes;
    char *key = at + NUMBERS_BYTES;
    int value_len = (bytes[16] & 1) != 0 ? -1 : (int)(len - NUMBERS_BYTES - key_len);
    CHECK(PQsetvalue(result, 0, 0, key, (int)key_len) == 1);
    CHECK(PQsetvalue(result, 0, 1, value_len < 0 ? NULL : key + key_len, value_len) == 1);
    CHECK(PQsetvalue(result, 0, 2, at, 8) == 1);
    bool never = (bytes[16] & 2) != 0;
    CHECK(PQsetvalue(result, 0, 3, never ? NULL : at + 8, never ? -1 : 8) == 1);
    return result;
}

static void check_time(const PGresult *result, const struct table_row *row)
{
    int64_t stored = PQgetisnull(result, 0, 3) ? INT64_MAX : pg_read_int8(PQgetvalue(result, 0, 3));
    CHECK(row->expires_at_us >= 0);
    CHECK((row->expires_at_us == 0) == (stored == INT64_MAX));
    CHECK(row->expires_at_us == 0 || table_row_is_expired(row, INT64_MAX));
}

static void check_value(const struct table_row *row)
{
    struct buffer value = {0}, text = {0};
    struct failure failure = {0};
    enum error error = table_row_convert(row, VALUE_BYTES_MAX, &value, &failure);
    if (error == ERROR_NONE) {
        struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&value));
        CHECK(row->has_json && buffer_len(&value) <= VALUE_BYTES_MAX);
        CHECK(mpack_skip(&cursor, NULL) == DECODE_OK && cursor.at == cursor.end);
        CHECK(json_from_msgpack(buffer_slice(&value), false, &text, &failure) == ERROR_NONE);
    } else {
        CHECK(buffer_len(&value) == 0 && failure.message[0] != '\0');
    }
    buffer_deinit(&value);
    buffer_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < NUMBERS_BYTES) {
        return 0;
    }
    PGresult *result = result_of(bytes, len);
    struct table_row row;
    table_row_read(result, 0, &row);
    CHECK(row.version == pg_read_int8((const char *)bytes));
    check_time(result, &row);
    check_value(&row);
    PQclear(result);
    return 0;
}
