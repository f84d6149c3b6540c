// Percentiles against a sorted list of the same durations, and what is forgotten when.

#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static const int64_t MINUTE_US = 60ll * CLOCK_US_PER_S;

static int compare(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

static void percentiles_are_at_most_an_eighth_too_large(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static int64_t durations[COUNT];
    static struct histogram histogram;
    struct histogram_view view = {.count = 0};
    uint64_t random = 88172645463325252ull, sum = 0;
    memset(&histogram, 0, sizeof histogram);
    for (size_t i = 0; i < COUNT; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        durations[i] = (int64_t)(random >> (30 + random % 33)); // of every magnitude
        durations[i] = durations[i] < (1ll << 36) ? durations[i] : (1ll << 36) - 1;
        sum += (uint64_t)durations[i];
        histogram_record(&histogram, 1, durations[i], MINUTE_US);
    }
    histogram_look(&view, &histogram, MINUTE_US);
    qsort(durations, COUNT, sizeof durations[0], compare);
    assert_int_equal(view.count, COUNT);
    assert_int_equal(view.sum_us, sum);
    static const unsigned PER_MILLE[] = {1, 100, 500, 900, 990, 999, 1000};
    for (size_t i = 0; i < sizeof PER_MILLE / sizeof PER_MILLE[0]; i++) {
        int64_t exact = durations[COUNT / 1000 * PER_MILLE[i] - 1];
        int64_t told = histogram_percentile_us(&view, PER_MILLE[i]);
        assert_true(told >= exact);
        assert_true(told <= exact + exact / 8 + 1);
    }
}

static void extremes_stay_in_range(void **state)
{
    (void)state;
    static struct histogram histogram;
    struct histogram_view view = {.count = 0};
    memset(&histogram, 0, sizeof histogram);
    assert_int_equal(histogram_percentile_us(&view, 500), -1);
    histogram_record(&histogram, 1, -5, 0);
    histogram_look(&view, &histogram, 0);
    assert_int_equal(histogram_percentile_us(&view, 1000), 0);
    histogram_record(&histogram, 1, INT64_MAX, 0);
    view = (struct histogram_view){.count = 0};
    histogram_look(&view, &histogram, 0);
    assert_int_equal(histogram_percentile_us(&view, 1000), (1ll << 36) - 1);
}

static void several_at_once_count_as_so_many(void **state)
{
    (void)state;
    static struct histogram histogram;
    struct histogram_view view = {.count = 0};
    memset(&histogram, 0, sizeof histogram);
    histogram_record(&histogram, 3, 7, 0);
    histogram_record(&histogram, 1, 9, 0);
    histogram_look(&view, &histogram, 0);
    assert_int_equal(view.count, 4);
    assert_int_equal(view.recent, 4);
    assert_int_equal(view.sum_us, 30);
    assert_int_equal(histogram_percentile_us(&view, 750), 7);
    assert_int_equal(histogram_percentile_us(&view, 760), 9);
}

static void what_is_older_than_two_minutes_is_forgotten(void **state)
{
    (void)state;
    static struct histogram histogram;
    memset(&histogram, 0, sizeof histogram);
    for (int minute = 10; minute < 16; minute++) {
        histogram_record(&histogram, 1, minute, minute * MINUTE_US);
        struct histogram_view view = {.count = 0};
        histogram_look(&view, &histogram, minute * MINUTE_US + 1);
        assert_int_equal(view.recent, minute == 10 ? 1 : 2);
        assert_int_equal(view.count, minute - 9);
        assert_int_equal(histogram_percentile_us(&view, 1000), minute);
        assert_int_equal(histogram_percentile_us(&view, 1), minute == 10 ? 10 : minute - 1);
    }
    struct histogram_view later = {.count = 0};
    histogram_look(&later, &histogram, 17 * MINUTE_US);
    assert_int_equal(later.recent, 0);
    assert_int_equal(later.count, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_at_most_an_eighth_too_large),
        cmocka_unit_test(extremes_stay_in_range),
        cmocka_unit_test(several_at_once_count_as_so_many),
        cmocka_unit_test(what_is_older_than_two_minutes_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
