#include "base/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static void a_rate_is_that_of_the_last_ten_seconds(void **state)
{
    (void)state;
    struct rate rate;
    memset(&rate, 0, sizeof rate);
    for (int64_t second = 100; second < 130; second++) {
        rate_note(&rate, 30, second * CLOCK_US_PER_S);
        rate_note(&rate, 20, second * CLOCK_US_PER_S + 5);
    }
    assert_true(rate_per_second(&rate, 130ll * CLOCK_US_PER_S) == 50);
    assert_true(rate_per_second(&rate, 135ll * CLOCK_US_PER_S) == 25);
    assert_true(rate_per_second(&rate, 160ll * CLOCK_US_PER_S) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_that_of_the_last_ten_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
