// When rows that PostgreSQL refuses to delete are passed over, and when they are tried again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "pg/reap_pass.h"

enum { ROWS_MAX = 1000 };

static const struct schema_names NAMES = {.reap_function = "reap"};

static void assert_asks(struct reap_pass *pass, int64_t at_us, const char *arguments)
{
    struct buffer sql = {0};
    reap_pass_ask(pass, &NAMES, ROWS_MAX, at_us, &sql);
    const char *call = strstr(buffer_text(&sql), "FROM ");
    assert_non_null(call);
    assert_string_equal(call, arguments);
    buffer_deinit(&sql);
}

static enum reap_news take(struct reap_pass *pass, int64_t at_us, int64_t removed, int64_t refused,
                           const char *key)
{
    struct reaped reaped = {
        .removed = removed,
        .refused = refused,
        .passed_at = refused > 0 ? "2026-01-01T00:00:00+00:00" : "",
        .passed_key = refused > 0 ? "it's" : "",
        .refused_key = key,
        .refused_sqlstate = refused > 0 ? "23503" : "",
        .refused_message = refused > 0 ? "held" : "",
    };
    return reap_pass_take(pass, &reaped, ROWS_MAX, at_us);
}

#define FIRST         "FROM reap(1000, '-infinity', NULL)"
#define BEHIND        "FROM reap(1000, '2026-01-01T00:00:00+00:00', 'it''s')"
#define AT_S(seconds) ((seconds) * (int64_t)CLOCK_US_PER_S)

static void what_is_refused_is_passed_over_for_a_while(void **state)
{
    (void)state;
    struct reap_pass pass = {0};
    assert_asks(&pass, AT_S(100), FIRST);
    assert_int_equal(take(&pass, AT_S(100), 5, 0, ""), REAP_NO_NEWS);
    assert_asks(&pass, AT_S(101), FIRST);
    assert_int_equal(take(&pass, AT_S(101), 5, 1, "k"), REAP_REFUSED);
    assert_int_equal(pass.found, 1);
    assert_string_equal(pass.reason.message, "\"k\": held");
    assert_string_equal(pass.reason.sqlstate, "23503");
    assert_asks(&pass, AT_S(102), BEHIND);
    assert_int_equal(take(&pass, AT_S(102), 5, 0, ""), REAP_NO_NEWS);
    assert_int_equal(take(&pass, AT_S(103), -1, 0, ""), REAP_NO_NEWS);
    assert_int_equal(pass.found, 1);
    // The same again is no news; another one is; none is.
    assert_asks(&pass, AT_S(112), FIRST);
    assert_int_equal(take(&pass, AT_S(112), 0, 1, "k"), REAP_NO_NEWS);
    assert_asks(&pass, AT_S(123), FIRST);
    assert_int_equal(take(&pass, AT_S(123), 0, 1, "l"), REAP_REFUSED);
    assert_asks(&pass, AT_S(134), FIRST);
    assert_int_equal(take(&pass, AT_S(134), 1, 0, ""), REAP_NONE_IS_NOW);
    assert_int_equal(pass.found, 0);
    reap_pass_deinit(&pass);
}

static void a_long_pass_is_followed_by_a_long_pause(void **state)
{
    (void)state;
    struct reap_pass pass = {0};
    assert_asks(&pass, AT_S(100), FIRST);
    assert_int_equal(take(&pass, AT_S(100), 0, ROWS_MAX, "k"), REAP_REFUSED);
    // It does not begin anew before it has come to its end.
    assert_asks(&pass, AT_S(120), BEHIND);
    assert_int_equal(take(&pass, AT_S(120), 0, ROWS_MAX, "m"), REAP_NO_NEWS);
    assert_int_equal(pass.found, 2 * ROWS_MAX);
    assert_int_equal(take(&pass, AT_S(120), 1, 0, ""), REAP_NO_NEWS);
    assert_asks(&pass, AT_S(299), BEHIND);
    // What the pass before found holds until this one has come to its end.
    assert_asks(&pass, AT_S(300), FIRST);
    assert_int_equal(take(&pass, AT_S(300), ROWS_MAX, 0, ""), REAP_NO_NEWS);
    assert_int_equal(pass.found, 2 * ROWS_MAX);
    assert_int_equal(take(&pass, AT_S(300), 1, 0, ""), REAP_NONE_IS_NOW);
    reap_pass_deinit(&pass);
}

static void an_outage_begins_it_anew(void **state)
{
    (void)state;
    struct reap_pass pass = {0};
    assert_asks(&pass, AT_S(100), FIRST);
    assert_int_equal(take(&pass, AT_S(100), 0, 1, "k"), REAP_REFUSED);
    reap_pass_restart(&pass);
    assert_int_equal(pass.found, 1);
    assert_asks(&pass, AT_S(101), FIRST);
    reap_pass_deinit(&pass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_refused_is_passed_over_for_a_while),
        cmocka_unit_test(a_long_pass_is_followed_by_a_long_pause),
        cmocka_unit_test(an_outage_begins_it_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
