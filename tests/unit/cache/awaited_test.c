// What is remembered of keys whose writes wait for their results.
#include "cache/awaited.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char KEY[] = "k";

static struct slice key(void)
{
    return slice_of(KEY, sizeof KEY - 1);
}

static void a_notify_taints_what_is_under_way(void **state)
{
    (void)state;
    struct awaited awaited = {0};
    awaited_taint(&awaited, key());
    awaited_add(&awaited, key(), 1);
    assert_true(awaited_settle(&awaited, key(), 1));
    awaited_add(&awaited, key(), 2);
    awaited_taint(&awaited, key());
    awaited_add(&awaited, key(), 3);
    assert_false(awaited_settle(&awaited, key(), 2));
    assert_false(awaited_settle(&awaited, key(), 3));
    assert_null(awaited.keys);
    awaited_deinit(&awaited);
}

// The later one is taken back, in whatever order that, the notify and another write come.
static void a_write_that_is_taken_back_hides_no_earlier_one(void **state)
{
    (void)state;
    for (int order = 0; order < 3; order++) {
        struct awaited awaited = {0};
        awaited_add(&awaited, key(), 1);
        awaited_add(&awaited, key(), 2);
        for (int step = 0; step < 3; step++) {
            switch ((order + step) % 3) {
            case 0:
                awaited_take_back(&awaited, key(), 2);
                break;
            case 1:
                awaited_taint(&awaited, key());
                break;
            default:
                awaited_add(&awaited, key(), 3);
            }
        }
        assert_false(awaited_settle(&awaited, key(), 1));
        awaited_deinit(&awaited);
    }
}

static void nothing_is_left_of_what_is_taken_back(void **state)
{
    (void)state;
    struct awaited awaited = {0};
    awaited_add(&awaited, key(), 1);
    awaited_add(&awaited, key(), 2);
    awaited_take_back(&awaited, key(), 2);
    awaited_pass(&awaited, 1);
    assert_non_null(awaited.keys);
    awaited_take_back(&awaited, key(), 2);
    assert_int_equal(awaited.left_count, 1);
    awaited_pass(&awaited, 2);
    assert_null(awaited.keys);
    assert_int_equal(awaited.left_count, 0);
    // One that waits on, behind the one that is taken back, is kept until its result.
    awaited_add(&awaited, key(), 3);
    awaited_take_back(&awaited, key(), 3);
    awaited_add(&awaited, key(), 4);
    awaited_pass(&awaited, 3);
    assert_true(awaited_settle(&awaited, key(), 4));
    assert_null(awaited.keys);
    // Of one that is not the newest nothing is left to be passed.
    awaited_add(&awaited, key(), 5);
    awaited_add(&awaited, key(), 6);
    awaited_take_back(&awaited, key(), 5);
    assert_int_equal(awaited.left_count, 0);
    assert_true(awaited_settle(&awaited, key(), 6));
    assert_int_equal(awaited.left_count, 0);
    awaited_deinit(&awaited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_notify_taints_what_is_under_way),
        cmocka_unit_test(a_write_that_is_taken_back_hides_no_earlier_one),
        cmocka_unit_test(nothing_is_left_of_what_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
