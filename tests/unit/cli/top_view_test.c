// What `top` shows fits the terminal, and what is wrong is in sight.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cli/top_view.h"
#include "json/json.h"

static const char *fit(const char *text, size_t rows, size_t columns)
{
    static char fitting[256];
    struct buffer out = {0};
    top_fit(slice_of_string(text), rows, columns, &out);
    assert_true(buffer_len(&out) < sizeof fitting);
    snprintf(fitting, sizeof fitting, "%.*s", SLICE_FORMAT(buffer_slice(&out)));
    buffer_deinit(&out);
    return fitting;
}

static void lines_and_columns_are_cut(void **state)
{
    (void)state;
    assert_string_equal(fit("one\ntwo\nthree\n", 24, 80), "one\ntwo\nthree\n");
    assert_string_equal(fit("one\ntwo\nthree\n", 4, 80), "one\ntwo\nthree");
    assert_string_equal(fit("one\ntwo\nthree\n", 3, 80), "one\ntwo");
    assert_string_equal(fit("one\ntwo\nthree\n", 1, 80), "one");
    assert_string_equal(fit("one\n\nthree\n", 24, 2), "on\n\nth\n");
    assert_string_equal(fit("\xc3\xa4\xc3\xb6\xc3\xbc", 24, 2), "\xc3\xa4\xc3\xb6");
    assert_string_equal(fit("one\ntwo\n", 0, 0), "one\ntwo\n");
}

static void view(const char *stats, const char *trouble, struct buffer *out)
{
    struct buffer map = {0};
    struct failure failure;
    struct json_limits limits = {.value_bytes_max = 1 << 16};
    assert_int_equal(json_to_msgpack(slice_of_string(stats), &limits, &map, &failure), ERROR_NONE);
    struct buffer all = {0};
    top_view(buffer_slice(&map), buffer_slice(&map), 1, slice_of_string(trouble), &all);
    top_fit(buffer_slice(&all), 24, 80, out);
    buffer_append(out, "", 1);
    buffer_deinit(&all);
    buffer_deinit(&map);
}

// A busy node in trouble, on a terminal of 80 columns.
static void what_is_wrong_is_in_sight(void **state)
{
    (void)state;
    struct buffer shown = {0};
    view("{\"count\":123456789,\"size\":\"12.3 GB\",\"backups\":30,"
         "\"cache\":{\"entries\":98765432,\"bytes\":1073741824,\"audit_stale\":3},"
         "\"outbox\":{\"depth\":1234567,\"age_us\":86400000000,\"bytes\":268435456,"
         "\"dead_letters\":17},\"postgres\":{\"state\":\"catching_up\",\"gaps\":5},"
         "\"server\":{\"connections\":1024}}",
         "connection to server at \"10.11.12.13\", port 5432 failed: Connection refused\tIs the "
         "server "
         "running on that host and accepting TCP/IP connections?",
         &shown);
    const char *text = buffer_text(&shown);
    static const char *const IN_SIGHT[] = {
        "node       catching_up  clients 1024  requests 0/s  errors 0/s  rows",
        "\ntrouble    connection to server at \"10.11.12.13\", port 5432 failed: Connection\n",
        "\n           refused\tIs the server running on that host and accepting TCP/IP\n",
        "\n           connections?\n",
        "  hit 0.0 %  missed 0/s  suspect 0/s  direct 0/s",
        "  evicted 0/s  stale 3",
        "depth 1234567  age 86400.0 s  dead letters 17",
        "notifications 0/s  gaps 5",
    };
    for (size_t i = 0; i < sizeof IN_SIGHT / sizeof IN_SIGHT[0]; i++) {
        if (strstr(text, IN_SIGHT[i]) == NULL) {
            fail_msg("\"%s\" is not in:\n%s", IN_SIGHT[i], text);
        }
    }
    buffer_clear(&shown, 0);
    view("{}", "", &shown);
    assert_null(strstr(buffer_text(&shown), "trouble"));
    buffer_deinit(&shown);
}

// Words without an end are cut before a character.
static void long_words_are_cut(void **state)
{
    (void)state;
    char words[200] = "";
    for (int i = 0; i < 60; i++) {
        strcat(words, "\xc3\xa4");
    }
    struct buffer shown = {0};
    view("{}", words, &shown);
    char expected[100] = "\ntrouble    ";
    strncat(expected, words, 68);
    assert_non_null(strstr(buffer_text(&shown), strcat(expected, "\n           \xc3\xa4")));
    buffer_deinit(&shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_columns_are_cut),
        cmocka_unit_test(what_is_wrong_is_in_sight),
        cmocka_unit_test(long_words_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
