// Who joins which flight, and how long the answer of one that has landed is kept.

#include "pg/flights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW_US = 1000 };

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
    flights_join(flights, key(), 0, &waiter);
    assert_null(flights_kept(&waiter));
    assert_int_equal(flights_take(flights, 1, NOW_US, &flight), 1);
    flights_land(flights, flight);
    assert_ptr_equal(flight_next_waiter(flight), &waiter);
    flights_keep(flights, flight, &answer, 1);
}

// Whether somebody who asks now is answered without a flight. A flight is taken and landed.
static bool is_answered(struct flights *flights, int64_t since_boot_us)
{
    struct flight_waiter waiter = {0};
    struct flight *flight;
    flights_join(flights, key(), since_boot_us, &waiter);
    const struct answer *kept = flights_kept(&waiter);
    flights_leave(&waiter);
    if (kept != NULL) {
        assert_int_equal(kept->version, 7);
        assert_true(slice_equal(kept->value, slice_of_string("\xa1v")));
        return true;
    }
    flights_join(flights, key(), since_boot_us, &waiter);
    assert_int_equal(flights_take(flights, 1, NOW_US, &flight), 1);
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
    assert_true(is_answered(&flights, 0));
    flights_release(&flights, 0);
    assert_true(is_answered(&flights, 0));
    flights_release(&flights, 1);
    assert_false(is_answered(&flights, 0));
    flights_deinit(&flights);
}

static void a_mark_forgets_what_is_kept(void **state)
{
    (void)state;
    struct flights flights = {0};
    keep_one(&flights);
    flights_mark(&flights, key());
    assert_false(is_answered(&flights, 0));
    keep_one(&flights);
    flights_mark_all(&flights);
    assert_false(is_answered(&flights, 0));
    flights_deinit(&flights);
}

static void who_wants_it_fresh_is_not_answered_from_it(void **state)
{
    (void)state;
    struct flights flights = {0};
    keep_one(&flights);
    assert_false(is_answered(&flights, INT64_MAX));
    keep_one(&flights);
    flights_deinit(&flights);
}

static void what_was_asked_too_long_ago_is_asked_again(void **state)
{
    (void)state;
    struct flights flights = {0};
    keep_one(&flights);
    assert_true(is_answered(&flights, NOW_US));
    assert_true(flights_has(&flights, key(), NOW_US));
    assert_false(flights_has(&flights, key(), NOW_US + 1));
    assert_false(is_answered(&flights, NOW_US + 1));
    flights_deinit(&flights);
}

// A flight under way: who comes too late for it gets one of its own, and it is not cached.
static void a_flight_of_too_long_ago_is_not_joined(void **state)
{
    (void)state;
    struct flights flights = {0};
    struct flight_waiter waiters[3] = {0};
    struct flight *sent, *next;
    flights_join(&flights, key(), NOW_US + 1, &waiters[0]);
    assert_int_equal(flights_take(&flights, 1, NOW_US, &sent), 1);
    flights_join(&flights, key(), NOW_US, &waiters[1]);
    assert_ptr_equal(waiters[1].flight, sent);
    flights_join(&flights, key(), NOW_US + 1, &waiters[2]);
    assert_true(sent->is_marked);
    assert_int_equal(flights_take(&flights, 1, NOW_US + 1, &next), 1);
    assert_ptr_equal(waiters[2].flight, next);
    struct flight *const flown[] = {sent, next};
    for (int i = 0; i < 2; i++) {
        flights_land(&flights, flown[i]);
        while (flight_next_waiter(flown[i]) != NULL) {
        }
        flight_free(flown[i]);
    }
    flights_deinit(&flights);
}

// Marked while it was sent, and sent again once a later flight's answer is kept.
static void a_flight_put_back_takes_the_place_of_what_is_kept(void **state)
{
    (void)state;
    struct flights flights = {0};
    struct flight_waiter waiter = {0};
    struct flight *flight;
    flights_join(&flights, key(), 0, &waiter);
    assert_int_equal(flights_take(&flights, 1, NOW_US, &flight), 1);
    flights_mark(&flights, key());
    keep_one(&flights);
    flights_put_back(&flights, flight, false);
    assert_null(flights_kept(&waiter));
    assert_int_equal(flights_take(&flights, 1, NOW_US, &flight), 1);
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
        cmocka_unit_test(what_was_asked_too_long_ago_is_asked_again),
        cmocka_unit_test(a_flight_of_too_long_ago_is_not_joined),
        cmocka_unit_test(a_flight_put_back_takes_the_place_of_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
