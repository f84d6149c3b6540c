// The size of the table for people.

#include "server/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void sizes_have_one_decimal_of_1024s(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } SIZES[] = {
        {0, "0.0 B"},          {512, "512.0 B"},         {1023, "1023.0 B"},
        {1024, "1.0 KB"},      {40960, "40.0 KB"},       {1048524, "1023.9 KB"},
        {1048575, "1.0 MB"}, // never "1024.0 KB"
        {1048576, "1.0 MB"},   {2411725, "2.3 MB"},      {5ll << 30, "5.0 GB"},
        {3ll << 40, "3.0 TB"}, {INT64_MAX, "8192.0 PB"},
    };
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        assert_string_equal(stats_size_text(SIZES[i].bytes).text, SIZES[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_have_one_decimal_of_1024s)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
