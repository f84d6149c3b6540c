// The record codec: what goes in comes out, and nothing else is taken for a record.

#include "cachefile/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct record EXAMPLES[] = {
    {.version = 7, .epoch = 3, .value = {(const uint8_t *)"\x01", 1}},
    {.version = 7,
     .stored_at_us = 0xffffffffff * RECORD_STORED_STEP_US,
     .origin = RECORD_ORIGIN_PRELOAD,
     .value = {(const uint8_t *)"\x01", 1}},
    {.version = -1, .epoch = UINT32_MAX, .expires_at_us = INT64_MAX, .absent = true},
    {.pending = true, .pending_seq = 1, .value = {(const uint8_t *)"\xa3yes", 4}},
    {.pending = true, .pending_seq = UINT64_MAX, .absent = true, .tainted = true, .stacked = true},
    {.pending = true, .pending_seq = 9, .stacked = true, .value = {(const uint8_t *)"\xc0", 1}},
};

enum { EXAMPLES_COUNT = sizeof EXAMPLES / sizeof EXAMPLES[0], BYTES_MAX = 64 };

static const struct slice KEY = {(const uint8_t *)"key", 3};

static void assert_same(const struct record *a, const struct record *b)
{
    assert_int_equal(a->pending, b->pending);
    assert_int_equal(a->absent, b->absent);
    assert_int_equal(a->tainted, b->tainted);
    assert_int_equal(a->stacked, b->stacked);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->expires_at_us, b->expires_at_us);
    assert_int_equal(a->pending_seq, b->pending_seq);
    assert_int_equal(a->stored_at_us, b->stored_at_us);
    assert_int_equal(a->origin, b->origin);
    assert_true(slice_equal(a->value, b->value));
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES_COUNT; i++) {
        // At an odd address, as LMDB may hand it out.
        uint8_t bytes[BYTES_MAX];
        size_t len = record_bytes(&EXAMPLES[i]);
        assert_in_range(len, RECORD_HEADER_BYTES, BYTES_MAX - 1);
        record_encode(&EXAMPLES[i], KEY, bytes + 1);
        struct record decoded;
        assert_int_equal(record_decode(slice_of(bytes + 1, len), &decoded), ERROR_NONE);
        assert_same(&decoded, &EXAMPLES[i]);
    }
}

static void a_cut_header_is_corrupt(void **state)
{
    (void)state;
    uint8_t bytes[BYTES_MAX];
    record_encode(&EXAMPLES[0], KEY, bytes);
    struct record decoded;
    for (size_t len = 0; len < RECORD_HEADER_BYTES; len++) {
        assert_int_equal(record_decode(slice_of(bytes, len), &decoded), ERROR_CORRUPT);
    }
    // A header without its value: present, and empty.
    assert_int_equal(record_decode(slice_of(bytes, RECORD_HEADER_BYTES), &decoded), ERROR_CORRUPT);
}

static void another_layout_and_unknown_flags_are_corrupt(void **state)
{
    (void)state;
    uint8_t bytes[BYTES_MAX];
    size_t len = record_bytes(&EXAMPLES[0]);
    struct record decoded;
    record_encode(&EXAMPLES[0], KEY, bytes);
    bytes[0] = RECORD_LAYOUT + 1;
    assert_int_equal(record_decode(slice_of(bytes, len), &decoded), ERROR_CORRUPT);
    record_encode(&EXAMPLES[0], KEY, bytes);
    bytes[1] |= 0x80;
    assert_int_equal(record_decode(slice_of(bytes, len), &decoded), ERROR_CORRUPT);
}

static void whatever_was_changed_is_not_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES_COUNT; i++) {
        uint8_t bytes[BYTES_MAX];
        struct slice all = slice_of(bytes, record_bytes(&EXAMPLES[i]));
        record_encode(&EXAMPLES[i], KEY, bytes);
        assert_true(record_is_whole(all, KEY));
        assert_false(record_is_whole(all, slice_of_string("kez")));
        assert_false(record_is_whole(slice_of(bytes, all.len - 1), KEY));
        for (size_t bit = 0; bit < all.len * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(record_is_whole(all, KEY));
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

// Any header either is refused or encodes to the same meaning again.
static void random_headers_are_refused_or_consistent(void **state)
{
    (void)state;
    unsigned seed = 20251102;
    print_message("seed %u\n", seed);
    int accepted = 0;
    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[RECORD_HEADER_BYTES + 1];
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)(rand_r(&seed) % 3 == 0 ? rand_r(&seed) : 0);
        }
        bytes[0] = RECORD_LAYOUT;
        bytes[1] &= 0x0f;
        struct record decoded, again;
        if (record_decode(slice_of(bytes, sizeof bytes), &decoded) != ERROR_NONE) {
            continue;
        }
        accepted++;
        uint8_t copy[sizeof bytes];
        record_encode(&decoded, KEY, copy);
        assert_int_equal(record_decode(slice_of(copy, sizeof copy), &again), ERROR_NONE);
        assert_same(&decoded, &again);
    }
    assert_true(accepted > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(a_cut_header_is_corrupt),
        cmocka_unit_test(another_layout_and_unknown_flags_are_corrupt),
        cmocka_unit_test(whatever_was_changed_is_not_whole),
        cmocka_unit_test(random_headers_are_refused_or_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
