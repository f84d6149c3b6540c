// Which layout the settings ask for, and what things are called there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "pg/document.h"

static struct schema_options options_of(const char *table, const char *id, const char *column)
{
    const struct postgres_settings settings = {
        .table = "kv_store",
        .partitions = 4,
        .document = {.table = (char *)table,
                     .id_column = "Id",
                     .id = (char *)id,
                     .column = (char *)column},
    };
    struct schema_options options;
    struct failure failure;
    assert_int_equal(layout_options(&settings, &options, &failure), ERROR_NONE);
    return options;
}

static void a_table_is_read_and_written_by_its_name(void **state)
{
    (void)state;
    struct schema_options options = options_of(NULL, NULL, NULL);
    struct schema_names names;
    assert_ptr_not_equal(layout_of(&options), &LAYOUT_DOCUMENT);
    layout_settle(&options, "app");
    layout_of(&options)->names(&options, &names);
    assert_string_equal(names.table, "\"app\".\"kv_store\"");
    assert_string_equal(names.pairs, names.table);
    assert_string_equal(names.open, "");
    assert_string_equal(names.close, "");
    assert_int_equal(options.partitions, 4);
}

static void a_document_has_a_part_of_the_companion(void **state)
{
    (void)state;
    struct schema_options options = options_of("Game_Sessions", "0", "\"Game Name\"");
    struct schema_names names;
    assert_ptr_equal(layout_of(&options), &LAYOUT_DOCUMENT);
    assert_string_equal(layout_of(&options)->home(&options)->table, "game_sessions");
    assert_string_equal(options.document.id_column, "id");
    assert_string_equal(options.document.column, "Game Name");
    assert_int_equal(options.partitions, 0);
    // Its own name, like all that is made of it, is no longer than a name may be.
    assert_int_equal(strlen(options.table.table), strlen("pgnear_document_0123456789abcdef"));
    layout_settle(&options, "s");
    layout_of(&options)->names(&options, &names);
    assert_memory_equal(names.table, "\"s\".\"pgnear_document_", 20);
    assert_non_null(strstr(names.pairs, "_pairs\""));
    assert_non_null(strstr(names.open, "_open\""));
    assert_non_null(strstr(names.close, "_write\""));
}

static void documents_are_told_apart(void **state)
{
    (void)state;
    const struct schema_options all[] = {
        options_of("t", "0", "c"),
        options_of("t", "1", "c"),
        options_of("t", "0", "d"),
        options_of("u", "0", "c"),
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(all[i].table.table, all[j].table.table);
        }
    }
    // The same document is the same, however its names are written.
    assert_string_equal(options_of("\"t\"", "0", " C ").table.table, all[0].table.table);
}

static void what_is_no_column_is_refused(void **state)
{
    (void)state;
    const struct postgres_settings settings = {
        .document = {.table = "t", .id_column = "id", .id = "0", .column = "t.c"},
    };
    struct schema_options options;
    struct failure failure;
    assert_int_equal(layout_options(&settings, &options, &failure), ERROR_CONFIG);
    assert_string_equal(failure.message, "t.c is not the name of a column");
}

// What is put into the scripts is put in as it is, whatever it looks like.
static void scripts_take_names_as_they_are(void **state)
{
    (void)state;
    struct schema_options options = options_of("\"t $pgnear$ @table@\"", "$pgnear1$ @id@ '", "c");
    layout_settle(&options, "s");
    struct buffer sql = {0};
    layout_of(&options)->create_sql(&options, &sql);
    buffer_append(&sql, "", 1);
    const char *text = (const char *)buffer_slice(&sql).at;
    assert_non_null(strstr(text, "\"s\".\"t $pgnear$ @table@\""));
    assert_non_null(strstr(text, "'$pgnear1$ @id@ '''"));
    assert_non_null(strstr(text, "DO $pgnear2$"));
    buffer_deinit(&sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_read_and_written_by_its_name),
        cmocka_unit_test(a_document_has_a_part_of_the_companion),
        cmocka_unit_test(documents_are_told_apart),
        cmocka_unit_test(what_is_no_column_is_refused),
        cmocka_unit_test(scripts_take_names_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
