// config.example.toml and pgneard.toml(5) in the tree are what the table of settings makes.
// PGNEAR_UPDATE=1 in the environment writes them anew.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"

static void read_file(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len;
    do {
        len = fread(buffer_reserve(out, 4096), 1, 4096, file);
        buffer_commit(out, len);
    } while (len > 0);
    fclose(file);
}

static void write_file(const char *path, const struct buffer *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text->bytes, 1, buffer_len(text), file), buffer_len(text));
    assert_int_equal(fclose(file), 0);
}

static void compare(const char *path, void (*write)(struct buffer *))
{
    struct buffer expected = {0}, found = {0};
    write(&expected);
    if (getenv("PGNEAR_UPDATE") != NULL) {
        write_file(path, &expected);
    }
    read_file(path, &found);
    assert_int_equal(buffer_len(&found), buffer_len(&expected));
    assert_memory_equal(found.bytes, expected.bytes, buffer_len(&expected));
    buffer_deinit(&expected);
    buffer_deinit(&found);
}

static void example_is_current(void **state)
{
    (void)state;
    compare(PGNEAR_SOURCE_DIR "/config.example.toml", config_write_example);
}

static void manual_is_current(void **state)
{
    (void)state;
    compare(PGNEAR_SOURCE_DIR "/docs/man/pgneard.toml.5", config_write_manual);
}

static void example_loads(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    setenv("DATABASE_URL", "postgres://localhost/app", 1);
    assert_int_equal(
        config_load(PGNEAR_SOURCE_DIR "/config.example.toml", NULL, &settings, &failure),
        ERROR_NONE);
    assert_string_equal(settings.postgres.conninfo, "postgres://localhost/app");
    config_deinit(&settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_is_current),
        cmocka_unit_test(manual_is_current),
        cmocka_unit_test(example_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
