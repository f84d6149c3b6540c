// The SQL as text: names and how they are made to fit, and templates filled without remainder. What
// the SQL does is in tests/system/schema_test.c.

#include "pg/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES_63 "abcdefghijklmnopqrstuvwxyz0123456789_abcdefghijklmnopqrstuvwxyz"

// Heap text, NUL-terminated.
static char *text_of(void (*build)(const struct schema_options *, struct buffer *),
                     const struct schema_options *options)
{
    struct buffer out = {0};
    build(options, &out);
    buffer_append(&out, "", 1);
    char *text = strdup((const char *)buffer_slice(&out).at);
    buffer_deinit(&out);
    return text;
}

static void names_stand_in_the_schema_of_the_table(void **state)
{
    (void)state;
    struct table_name table = {.schema = "My App", .table = "kv"};
    struct schema_names names;
    schema_names_of(&table, &names);
    assert_string_equal(names.schema, "\"My App\"");
    assert_string_equal(names.table, "\"My App\".\"kv\"");
    assert_string_equal(names.sequence, "\"My App\".\"kv_version_seq\"");
    assert_string_equal(names.node_table, "\"My App\".\"pgnear_node\"");
    assert_string_equal(names.version_function, "\"My App\".\"kv_pgnear_version\"");
    assert_string_equal(names.notify_function, "\"My App\".\"kv_pgnear_notify\"");
    assert_string_equal(names.advance, "\"My App\".\"pgnear_advance\"");
    assert_string_equal(names.merge_patch, "\"My App\".\"pgnear_merge_patch\"");
    assert_string_equal(names.within, "\"My App\".\"pgnear_within\"");
    assert_string_equal(names.incr_value, "\"My App\".\"pgnear_incr_value\"");
    assert_string_equal(names.lift_versions, "\"My App\".\"pgnear_lift_versions\"");
}

// Nodes of all releases must meet on one channel, so its name is fixed here.
static void the_channel_never_changes(void **state)
{
    (void)state;
    char channel[SCHEMA_CHANNEL_BYTES];
    schema_channel(&(struct table_name){.schema = "public", .table = "kv_store"}, channel);
    assert_string_equal(channel, "pgnear_841e0b2f5669b68d");
    char other[SCHEMA_CHANNEL_BYTES];
    schema_channel(&(struct table_name){.schema = "publi", .table = "ckv_store"}, other);
    assert_string_not_equal(channel, other);
    assert_int_equal(strlen(other), strlen("pgnear_") + 16);
}

static void assert_fits(const char *qualified)
{
    struct table_name name;
    assert_int_equal(table_name_parse(qualified, &name, NULL), ERROR_NONE);
}

static void long_names_are_cut_and_stay_distinct(void **state)
{
    (void)state;
    struct table_name a = {.schema = "s", .table = BYTES_63};
    struct table_name b = a;
    b.table[IDENTIFIER_BYTES_MAX - 1] = 'y';
    struct schema_names names_a;
    struct schema_names names_b;
    schema_names_of(&a, &names_a);
    schema_names_of(&b, &names_b);
    assert_fits(names_a.sequence);
    assert_fits(names_a.version_function);
    assert_fits(names_a.notify_function);
    assert_string_not_equal(names_a.sequence, names_b.sequence);
    assert_string_not_equal(names_a.notify_function, names_b.notify_function);
}

static void a_name_is_not_cut_within_a_character(void **state)
{
    (void)state;
    for (size_t ascii_len = 0; ascii_len < 3; ascii_len++) {
        struct table_name table = {.schema = "s"};
        memset(table.table, 'a', ascii_len);
        for (size_t at = ascii_len; at + 3 <= IDENTIFIER_BYTES_MAX; at += 3) {
            memcpy(table.table + at, "\xE2\x82\xAC", 3);
        }
        struct schema_names names;
        schema_names_of(&table, &names);
        // The hash comes after whole characters only.
        const char *hash = strstr(names.sequence, "_");
        assert_non_null(hash);
        size_t kept = (size_t)(hash - names.sequence) - strlen("\"s\".\"");
        assert_int_equal((kept - ascii_len) % 3, 0);
    }
}

static void no_placeholder_is_left(void **state)
{
    (void)state;
    struct schema_options options = {.table = {.schema = "app", .table = "kv"}, .partitions = 2};
    char *create = text_of(schema_create_sql, &options);
    char *drop = text_of(schema_drop_sql, &options);
    char *check = text_of(schema_check_sql, &options);
    assert_null(strchr(create, '@'));
    assert_null(strchr(drop, '@'));
    assert_null(strchr(check, '@'));
    free(create);
    free(drop);
    free(check);
}

static void a_name_is_never_taken_for_a_placeholder(void **state)
{
    (void)state;
    struct schema_options options = {.table = {.schema = "@table@", .table = "@tag@"}};
    char *create = text_of(schema_create_sql, &options);
    assert_non_null(strstr(create, "CREATE TABLE \"@table@\".\"@tag@\" ("));
    free(create);
}

static void the_dollar_tag_is_in_no_name(void **state)
{
    (void)state;
    struct schema_options options = {.table = {.schema = "$pgnear1$", .table = "a$pgnear$b"}};
    char *create = text_of(schema_create_sql, &options);
    assert_null(strstr(create, "DO $pgnear$"));
    assert_null(strstr(create, "DO $pgnear1$"));
    assert_non_null(strstr(create, "DO $pgnear2$"));
    assert_non_null(strstr(create, "$pgnear2_body$"));
    free(create);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

static void options_show_in_the_script(void **state)
{
    (void)state;
    struct schema_options options = {.table = {.schema = "app", .table = "kv"}};
    char *plain = text_of(schema_create_sql, &options);
    assert_null(strstr(plain, "PARTITION BY"));
    assert_non_null(strstr(plain, "USING btree (updated_at)"));
    options.partitions = 16;
    options.updated_at_index = UPDATED_AT_BRIN;
    char *partitioned = text_of(schema_create_sql, &options);
    assert_non_null(strstr(partitioned, ") PARTITION BY HASH (key)"));
    assert_int_equal(count_of(partitioned, " PARTITION OF \"app\".\"kv\""), 16);
    assert_non_null(strstr(partitioned, "USING brin (updated_at)"));
    options.updated_at_index = UPDATED_AT_NONE;
    char *bare = text_of(schema_create_sql, &options);
    assert_null(strstr(bare, "(updated_at)"));
    assert_null(strstr(bare, "CREATE TABLE \"app\".\"kv_history\""));
    options.versioning = true;
    char *versioned = text_of(schema_create_sql, &options);
    assert_non_null(strstr(versioned, "CREATE TABLE \"app\".\"kv_history\""));
    char *dropped = text_of(schema_drop_sql, &options);
    assert_null(strstr(dropped, "kv_history"));
    free(versioned);
    free(dropped);
    free(plain);
    free(partitioned);
    free(bare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_stand_in_the_schema_of_the_table),
        cmocka_unit_test(the_channel_never_changes),
        cmocka_unit_test(long_names_are_cut_and_stay_distinct),
        cmocka_unit_test(a_name_is_not_cut_within_a_character),
        cmocka_unit_test(no_placeholder_is_left),
        cmocka_unit_test(a_name_is_never_taken_for_a_placeholder),
        cmocka_unit_test(the_dollar_tag_is_in_no_name),
        cmocka_unit_test(options_show_in_the_script),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
