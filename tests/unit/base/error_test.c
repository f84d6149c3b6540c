// The table of errors and the particulars of one.

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_error_has_a_text_and_a_code(void **state)
{
    (void)state;
    for (int i = 1; i < ERROR_COUNT; i++) {
        assert_true(strlen(error_wire_code((enum error)i)) > 0);
        assert_true(strlen(error_text((enum error)i)) > 0);
    }
}

static void codes_are_those_of_the_protocol(void **state)
{
    (void)state;
    assert_string_equal(error_wire_code(ERROR_NONE), "");
    assert_string_equal(error_wire_code(ERROR_BAD_REQUEST), "BAD_REQUEST");
    assert_string_equal(error_wire_code(ERROR_OUTCOME_UNKNOWN), "OUTCOME_UNKNOWN");
    assert_string_equal(error_wire_code(ERROR_FULL), "OVERLOADED");
    assert_string_equal(error_wire_code(ERROR_CORRUPT), "INTERNAL");
}

// A client repeats what is retryable by itself. To repeat a write of unknown outcome might apply
// it twice.
static void only_what_was_not_done_is_retryable(void **state)
{
    (void)state;
    assert_true(error_is_retryable(ERROR_UNAVAILABLE));
    assert_true(error_is_retryable(ERROR_TIMEOUT));
    assert_true(error_is_retryable(ERROR_OVERLOADED));
    assert_true(error_is_retryable(ERROR_FULL));
    assert_false(error_is_retryable(ERROR_OUTCOME_UNKNOWN));
    assert_false(error_is_retryable(ERROR_CONFLICT));
    assert_false(error_is_retryable(ERROR_REJECTED));
    assert_false(error_is_retryable(ERROR_INVALID_VALUE));
}

static void failure_returns_its_error_and_forgets_the_last(void **state)
{
    (void)state;
    struct failure failure = {.has_version = true, .version = 7, .has_seq = true, .seq = 9};
    memcpy(failure.sqlstate, "42P01", SQLSTATE_BYTES);

    enum error error = failure_set(&failure, ERROR_TOO_LARGE, "%d bytes", 70);

    assert_int_equal(error, ERROR_TOO_LARGE);
    assert_int_equal(failure.error, ERROR_TOO_LARGE);
    assert_string_equal(failure.message, "70 bytes");
    assert_string_equal(failure.sqlstate, "");
    assert_false(failure.has_version);
    assert_false(failure.has_seq);
}

static void failure_may_have_no_place(void **state)
{
    (void)state;
    assert_int_equal(failure_set(NULL, ERROR_DENIED, "%s", "unseen"), ERROR_DENIED);
}

// Whatever the length, the message is the longest run of whole characters that fits.
static void assert_cut_to(const char *character, size_t before, size_t expected_len)
{
    char text[FAILURE_MESSAGE_BYTES * 2];
    memset(text, 'a', before);
    size_t len = before;
    while (len + strlen(character) < sizeof text) {
        memcpy(text + len, character, strlen(character));
        len += strlen(character);
    }
    text[len] = '\0';

    struct failure failure;
    failure_note(&failure, ERROR_INTERNAL, "%s", text);

    assert_int_equal(strlen(failure.message), expected_len);
    assert_memory_equal(failure.message, text, expected_len);
}

static void long_message_is_cut_between_characters(void **state)
{
    (void)state;
    size_t room = FAILURE_MESSAGE_BYTES - 1;
    assert_cut_to("b", 0, room);
    assert_cut_to("é", room - 2, room);
    assert_cut_to("é", room - 1, room - 1);
    assert_cut_to("€", room - 3, room);
    assert_cut_to("€", room - 2, room - 2);
    assert_cut_to("€", room - 1, room - 1);
    assert_cut_to("😀", room - 4, room);
    assert_cut_to("😀", room - 3, room - 3);
    assert_cut_to("😀", room - 1, room - 1);
}

static void message_that_just_fits_is_whole(void **state)
{
    (void)state;
    char text[FAILURE_MESSAGE_BYTES];
    memset(text, 'x', sizeof text - 1);
    memcpy(text + sizeof text - 3, "é", sizeof "é");
    struct failure failure;
    failure_note(&failure, ERROR_INTERNAL, "%s", text);
    assert_string_equal(failure.message, text);
}

static void a_failure_names_its_setting(void **state)
{
    (void)state;
    struct failure failure = {0};
    assert_int_equal(failure_of_setting(&failure, ERROR_NONE, "cache.dir"), ERROR_NONE);
    assert_string_equal(failure.message, "");
    failure_note(&failure, ERROR_IN_USE, "%s is in use", "/d");
    assert_int_equal(failure_of_setting(&failure, ERROR_IN_USE, "cache.dir"), ERROR_IN_USE);
    assert_int_equal(failure.error, ERROR_IN_USE);
    assert_string_equal(failure.message, "cache.dir: /d is in use");
    assert_int_equal(failure_of_setting(NULL, ERROR_IN_USE, "cache.dir"), ERROR_IN_USE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_text_and_a_code),
        cmocka_unit_test(codes_are_those_of_the_protocol),
        cmocka_unit_test(only_what_was_not_done_is_retryable),
        cmocka_unit_test(failure_returns_its_error_and_forgets_the_last),
        cmocka_unit_test(failure_may_have_no_place),
        cmocka_unit_test(a_failure_names_its_setting),
        cmocka_unit_test(long_message_is_cut_between_characters),
        cmocka_unit_test(message_that_just_fits_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
