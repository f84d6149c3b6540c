// Table names by SQL's rules for identifiers, and names and texts written into SQL.

#include "pg/table_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// 63 and 64 bytes.
#define BYTES_63 "abcdefghijklmnopqrstuvwxyz0123456789_abcdefghijklmnopqrstuvwxyz"
#define BYTES_64 BYTES_63 "x"

static void names_are_read_as_sql_reads_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *schema;
        const char *table;
    } CASES[] = {
        {"kv_store", "", "kv_store"},
        {"app.kv", "app", "kv"},
        {"\"My App\".\"Kv store\"", "My App", "Kv store"},
        {"App.Kv_Store", "app", "kv_store"},
        {"\"App\".Kv", "App", "kv"},
        {"_a$1", "", "_a$1"},
        {"  app . kv\t", "app", "kv"},
        {"\"a\"\"b\"", "", "a\"b"},
        {"\"\"\"\"", "", "\""},
        {"\"a.b\".c", "a.b", "c"},
        {"\"1st\"", "", "1st"},
        {"\" \"", "", " "},
        {"select", "", "select"},
        {"Gr\xC3\xB6\xC3\x9F"
         "E",
         "",
         "gr\xC3\xB6\xC3\x9F"
         "e"},
        {BYTES_63, "", BYTES_63},
        {"\"" BYTES_63 "\"." BYTES_63, BYTES_63, BYTES_63},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct table_name name;
        struct failure failure = {.error = ERROR_NONE};
        enum error error = table_name_parse(CASES[i].text, &name, &failure);
        if (error != ERROR_NONE) {
            fail_msg("%s: %s", CASES[i].text, failure.message);
        }
        assert_string_equal(name.schema, CASES[i].schema);
        assert_string_equal(name.table, CASES[i].table);
    }
}

static void what_is_no_name_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *reason;
    } CASES[] = {
        {"", "a name is missing"},
        {"  ", "a name is missing"},
        {".kv", "a name is missing"},
        {"app.", "a name is missing"},
        {"app..kv", "a name is missing"},
        {"\"\"", "a quoted name is empty"},
        {"app.\"\"", "a quoted name is empty"},
        {"\"kv", "a quoted name lacks its closing quote"},
        {"\"kv\"\"", "a quoted name lacks its closing quote"},
        {"\"", "a quoted name lacks its closing quote"},
        {"1st", "a name that begins with '1' must stand in double quotes"},
        {"$a", "a name that begins with '$' must stand in double quotes"},
        {"'kv'", "a name that begins with ''' must stand in double quotes"},
        {"kv-store", "'-' is not allowed here; such a name must stand in double quotes"},
        {"kv store", "'s' is not allowed here; such a name must stand in double quotes"},
        {"kv;", "';' is not allowed here; such a name must stand in double quotes"},
        {"\"a\"b", "'b' is not allowed here; such a name must stand in double quotes"},
        {"a\"b\"", "'\"' is not allowed here; such a name must stand in double quotes"},
        {"db.app.kv", "more than a schema and a table are named"},
        {BYTES_64, "a name has 64 bytes, more than 63"},
        {"app.\"" BYTES_64 "\"", "a name has 64 bytes, more than 63"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct table_name name = {.table = "untouched"};
        struct failure failure;
        assert_int_equal(table_name_parse(CASES[i].text, &name, &failure), ERROR_CONFIG);
        assert_string_equal(failure.message, CASES[i].reason);
        assert_string_equal(name.table, "untouched");
    }
}

static void a_failure_is_optional(void **state)
{
    (void)state;
    struct table_name name;
    assert_int_equal(table_name_parse("1", &name, NULL), ERROR_CONFIG);
}

static void assert_written(void (*quote)(struct buffer *, const char *), const char *text,
                           const char *expected)
{
    struct buffer out = {0};
    quote(&out, text);
    buffer_append(&out, "", 1);
    assert_string_equal((const char *)buffer_slice(&out).at, expected);
    buffer_deinit(&out);
}

static void quotes_are_doubled(void **state)
{
    (void)state;
    assert_written(quote_identifier, "kv", "\"kv\"");
    assert_written(quote_identifier, "a\"b\\'", "\"a\"\"b\\'\"");
    assert_written(quote_literal, "kv", "'kv'");
    assert_written(quote_literal, "it's \"x\"", "'it''s \"x\"'");
    assert_written(quote_literal, "a\\'b", " E'a\\\\''b'");
    assert_written(quote_literal, "", "''");
}

static void the_longest_qualified_name_fits(void **state)
{
    (void)state;
    char quotes[IDENTIFIER_BYTES_MAX + 1] = {0};
    memset(quotes, '"', IDENTIFIER_BYTES_MAX);
    char out[QUALIFIED_NAME_BYTES];
    quote_qualified(quotes, quotes, out);
    assert_int_equal(strlen(out), 2 * (2 * IDENTIFIER_BYTES_MAX + 2) + 1);
    quote_qualified("", "kv", out);
    assert_string_equal(out, "\"kv\"");
    quote_qualified("My App", "kv", out);
    assert_string_equal(out, "\"My App\".\"kv\"");
}

static void what_is_quoted_is_read_back(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"kv", "Kv store", "a\"\"b", "\\", ".", BYTES_63};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char quoted[QUALIFIED_NAME_BYTES];
        quote_qualified(NAMES[i], "t", quoted);
        struct table_name name;
        assert_int_equal(table_name_parse(quoted, &name, NULL), ERROR_NONE);
        assert_string_equal(name.schema, NAMES[i]);
        assert_string_equal(name.table, "t");
    }
}

static void messages_leave_the_schema_out(void **state)
{
    (void)state;
    struct table_name name = {.schema = "public", .table = "kv"};
    char message[] = "relation \"public.kv\" is not \"public.kv_2\", see \"public.kv\"";
    table_name_shorten(&name, message);
    assert_string_equal(message, "relation \"kv\" is not \"public.kv_2\", see \"kv\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_as_sql_reads_them),
        cmocka_unit_test(what_is_no_name_is_refused_with_the_reason),
        cmocka_unit_test(a_failure_is_optional),
        cmocka_unit_test(quotes_are_doubled),
        cmocka_unit_test(the_longest_qualified_name_fits),
        cmocka_unit_test(what_is_quoted_is_read_back),
        cmocka_unit_test(messages_leave_the_schema_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
