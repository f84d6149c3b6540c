// What `top` shows fits the terminal.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "cli/top_view.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_columns_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
