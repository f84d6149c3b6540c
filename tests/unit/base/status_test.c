#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Nothing that has been counted is 0; what was not asked of PostgreSQL yet is not known to be.
static void what_was_not_measured_yet_is_unknown(void **state)
{
    (void)state;
    static const bool UNKNOWN[STATUS_COUNT] = {
        [STATUS_PG_NOTIFY_QUEUE] = true,
        [STATUS_PG_TABLE_ROWS] = true,
        [STATUS_PG_TABLE_BYTES] = true,
        [STATUS_TABLE_BACKUPS] = true,
    };
    struct status status;
    status_init(&status);
    for (int item = 0; item < STATUS_COUNT; item++) {
        assert_int_equal(status_get(&status, (enum status_item)item), UNKNOWN[item] ? -1 : 0);
    }
    status_deinit(&status);
}

static void an_error_stays_until_it_is_cleared(void **state)
{
    (void)state;
    struct status status;
    struct failure failure;
    status_init(&status);
    assert_false(status_get_error(&status, &failure));
    status_set_error(&status, TROUBLE_FLUSH, "42P01", "no such table");
    assert_true(status_get_error(&status, &failure));
    assert_int_equal(failure.error, ERROR_UNAVAILABLE);
    assert_string_equal(failure.message, "no such table");
    assert_string_equal(failure.sqlstate, "42P01");
    status_set_error(&status, TROUBLE_FLUSH, NULL, NULL);
    assert_false(status_get_error(&status, &failure));
    status_deinit(&status);
}

// A counter that fell to 0 would look like a restart to who sums it up.
static void what_is_on_or_off_is_a_gauge(void **state)
{
    (void)state;
    static const char ON[] = "1 while ";
    int found = 0;
    for (int item = 0; item < STATUS_COUNT; item++) {
        if (strncmp(status_help((enum status_item)item), ON, strlen(ON)) == 0) {
            found++;
            assert_int_equal(status_kind((enum status_item)item), STATUS_GAUGE);
        }
    }
    assert_true(found > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_not_measured_yet_is_unknown),
        cmocka_unit_test(what_is_on_or_off_is_a_gauge),
        cmocka_unit_test(an_error_stays_until_it_is_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
