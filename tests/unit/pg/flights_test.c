// Who joins which flight, and how long the answer of one that has landed is kept.

#include "pg/flights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct slice key(void)
{
    return slice_of_string("k");
}

// Sends the key's flight for `waiter` and lands it with version 7, kept until fill 1.
static void keep_one(struct flights *flights)
{
    struct flight_waiter waiter = {0};
    struct flight *flight;
    const struct answer answer = {
        .is_present = true, .value = slice_of_string("\xa1v"), .version = 7};
    flights_join(flights, key(), false, &waiter);
    assert_null(flights_kept(&waiter));
    assert_int_equal(flights_take(flights, 1, &flight), 1);
    flights_land(flights, flight);
    assert_ptr_equal(flight_next_waiter(flight), &waiter);
    flights_keep(flights, flight, &answer, 1);
}

// Whether somebody who asks now is answered without a flight. A flight is taken and landed.
static bool is_answered(struct flights *flights, bool fresh)
{
    struct flight_waiter waiter = {0};
    struct flight *flight;
    flights_join(flights, key(), fresh, &waiter);
    const struct answer *kept = flights_kept(&waiter);
    flights_leave(&waiter);
    if (kept != NULL) {
        assert_int_equal(kept->version, 7);
        assert_true(slice_equal(kept->value, slice_of_string("\xa1v")));
        return true;
    }
    flights_join(flights, key(), fresh, &waiter);
    assert_int_equal(flights_take(flights, 1, &flight), 1);
    flights_land(flights, flight);
    assert_ptr_equal(flight_next_waiter(flight), &waiter);
    flight_free(flight);
    return false;
}

static void a_kept_answer_serves_until_its_fill_is_done(void **state)
{
    (void)state;
    struct flights flights = {0};
    keep_one(&flights);
    assert_true(is_answered(&flights, false));
    flights_release(&flights, 0);
    assert_true(is_answered(&flights, false));
    flights_release(&flights, 1);
    assert_false(is_answered(&flights, false));
    flights_deinit(&flights);
}

static void a_mark_forgets_what_is_kept(void **state)
{
    (void)state;
    struct flights flights = {0};
    keep_one(&flights);
    flights_mark(&flights, key());
    assert_false(is_answered(&flights, false));
    keep_one(&flights);
    flights_mark_all(&flights);
    assert_false(is_answered(&flights, false));
    flights_deinit(&flights);
}

static void who_wants_it_fresh_is_not_answered_from_it(void **state)
{
    (void)state;
    struct flights flights = {0};
    keep_one(&flights);
    assert_false(is_answered(&flights, true));
    keep_one(&flights);
    flights_deinit(&flights);
}

// Marked while it was sent, and sent again once a later flight's answer is kept.
static void a_flight_put_back_takes_the_place_of_what_is_kept(void **state)
{
    (void)state;
    struct flights flights = {0};
    struct flight_waiter waiter = {0};
    struct flight *flight;
    flights_join(&flights, key(), false, &waiter);
    assert_int_equal(flights_take(&flights, 1, &flight), 1);
    flights_mark(&flights, key());
    keep_one(&flights);
    flights_put_back(&flights, flight, false);
    assert_null(flights_kept(&waiter));
    assert_int_equal(flights_take(&flights, 1, &flight), 1);
    flights_land(&flights, flight);
    assert_ptr_equal(flight_next_waiter(flight), &waiter);
    flight_free(flight);
    flights_deinit(&flights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_answer_serves_until_its_fill_is_done),
        cmocka_unit_test(a_mark_forgets_what_is_kept),
        cmocka_unit_test(who_wants_it_fresh_is_not_answered_from_it),
        cmocka_unit_test(a_flight_put_back_takes_the_place_of_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
