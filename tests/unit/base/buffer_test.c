// The buffer against its contract, and against a plain array under a long random run.

#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

static void assert_holds(const struct buffer *buffer, const char *expected)
{
    assert_int_equal(buffer_len(buffer), strlen(expected));
    assert_true(slice_equal(buffer_slice(buffer), slice_of_string(expected)));
}

static void zeroes_are_an_empty_buffer(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_int_equal(buffer_len(&buffer), 0);
    buffer_append(&buffer, NULL, 0);
    buffer_consume(&buffer, 0);
    buffer_clear(&buffer, 0);
    assert_holds(&buffer, "");
    buffer_deinit(&buffer);
}

static void fills_at_the_end_and_empties_from_the_front(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "near ", 5);
    buffer_append_slice(&buffer, slice_of_string("cache"));
    assert_holds(&buffer, "near cache");
    buffer_consume(&buffer, 5);
    assert_holds(&buffer, "cache");
    buffer_consume(&buffer, 5);
    assert_holds(&buffer, "");
    buffer_deinit(&buffer);
}

static void reserved_room_counts_once_it_is_committed(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    memcpy(buffer_reserve(&buffer, 1000), "abc", 3);
    assert_int_equal(buffer_len(&buffer), 0);
    buffer_commit(&buffer, 3);
    assert_holds(&buffer, "abc");
    buffer_deinit(&buffer);
}

static void text_ends_where_the_bytes_end(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_string_equal(buffer_text(&buffer), "");
    for (int i = 0; i < 1000; i++) { // at each capacity
        assert_int_equal(strlen(buffer_text(&buffer)), i);
        buffer_append(&buffer, "x", 1);
        assert_int_equal(buffer_len(&buffer), i + 1);
    }
    buffer_consume(&buffer, 999);
    assert_string_equal(buffer_text(&buffer), "x");
    assert_holds(&buffer, "x");
    buffer_deinit(&buffer);
}

static void printf_appends_without_its_terminator(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_printf(&buffer, "%s=%d", "key", 42);
    buffer_printf(&buffer, "%s", "");
    buffer_printf(&buffer, ";");
    assert_holds(&buffer, "key=42;");
    buffer_deinit(&buffer);
}

static void consumed_room_is_used_again(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "x", 1);
    size_t capacity = buffer.capacity;
    // Never more than half full, so a buffer that reuses its front never grows.
    for (size_t i = 0; i < capacity * 4; i++) {
        buffer_append(&buffer, "x", 1);
        if (buffer_len(&buffer) > capacity / 2) {
            buffer_consume(&buffer, capacity / 4);
        }
    }
    assert_int_equal(buffer.capacity, capacity);
    buffer_deinit(&buffer);
}

static void clear_keeps_a_small_memory_and_frees_a_large_one(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "small", 5);
    const uint8_t *bytes = buffer.bytes;
    buffer_clear(&buffer, buffer.capacity);
    assert_int_equal(buffer_len(&buffer), 0);
    assert_ptr_equal(buffer.bytes, bytes);
    buffer_clear(&buffer, buffer.capacity - 1);
    assert_null(buffer.bytes);
    assert_int_equal(buffer.capacity, 0);
    buffer_append(&buffer, "again", 5);
    assert_holds(&buffer, "again");
    buffer_deinit(&buffer);
}

// Appends and consumes numbered bytes at random: what is read back counts on without a gap.
static void random_run_loses_and_repeats_nothing(void **state)
{
    (void)state;
    unsigned seed = 20251101;
    print_message("seed %u\n", seed);
    struct buffer buffer = {0};
    uint8_t written = 0;
    uint8_t expected = 0;
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)rand_r(&seed) % 300;
        uint8_t *room = buffer_reserve(&buffer, len);
        for (size_t i = 0; i < len; i++) {
            room[i] = written++;
        }
        buffer_commit(&buffer, len);

        size_t taken = (size_t)rand_r(&seed) % (buffer_len(&buffer) + 1);
        struct slice readable = buffer_slice(&buffer);
        CHECK(taken == 0 || readable.at != NULL);
        for (size_t i = 0; i < taken; i++) {
            assert_int_equal(readable.at[i], expected++);
        }
        buffer_consume(&buffer, taken);
        assert_int_equal((uint8_t)(written - expected), (uint8_t)buffer_len(&buffer));
    }
    buffer_deinit(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroes_are_an_empty_buffer),
        cmocka_unit_test(fills_at_the_end_and_empties_from_the_front),
        cmocka_unit_test(reserved_room_counts_once_it_is_committed),
        cmocka_unit_test(text_ends_where_the_bytes_end),
        cmocka_unit_test(printf_appends_without_its_terminator),
        cmocka_unit_test(consumed_room_is_used_again),
        cmocka_unit_test(clear_keeps_a_small_memory_and_frees_a_large_one),
        cmocka_unit_test(random_run_loses_and_repeats_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
