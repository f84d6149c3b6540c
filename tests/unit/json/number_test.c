// Numbers: which kind and spelling a number gets, that equal numbers get the same, and the range,
// which is that of PostgreSQL's numeric.

#include "json/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mpack.h"

static const struct json_limits LIMITS = JSON_LIMITS_DEFAULT;

static enum error read_text(const char *text, struct buffer *out)
{
    return json_to_msgpack(slice_of_string(text), &LIMITS, out, NULL);
}

static void assert_prints(struct slice msgpack, const char *expected)
{
    struct buffer text = {0};
    struct failure failure;
    if (json_number_text(msgpack, &text, &failure) != ERROR_NONE) {
        fail_msg("%s: %s", expected, failure.message);
    }
    buffer_append(&text, "", 1);
    assert_string_equal((const char *)buffer_slice(&text).at, expected);
    buffer_deinit(&text);
}

static void kinds_and_spellings(void **state)
{
    (void)state;
    enum { INT, FLOAT, DECIMAL };
    static const struct {
        const char *text;
        int kind;
        const char *printed;
    } CASES[] = {
        {"0", INT, "0"},
        {"-0", INT, "0"},
        {"-0.00e7", INT, "0"},
        {"0e1073741822", INT, "0"},
        {"1.0", INT, "1"},
        {"1e2", INT, "100"},
        {"12300e-2", INT, "123"},
        {"0.00012e5", INT, "12"},
        {"9223372036854775807", INT, "9223372036854775807"},
        {"18446744073709551615", INT, "18446744073709551615"},
        {"1844674407370955161500e-2", INT, "18446744073709551615"},
        {"1e19", INT, "10000000000000000000"},
        {"-9223372036854775808", INT, "-9223372036854775808"},
        {"-9.223372036854775808E+18", INT, "-9223372036854775808"},
        {"18446744073709551616", DECIMAL, "18446744073709551616"},
        {"-9223372036854775809", DECIMAL, "-9223372036854775809"},
        {"-10000000000000000000", FLOAT, "-1e19"},
        {"1e20", FLOAT, "1e20"},
        {"0.1", FLOAT, "0.1"},
        {"0.10", FLOAT, "0.1"},
        {"-123.456e-3", FLOAT, "-0.123456"},
        {"3.141592653589793", FLOAT, "3.141592653589793"},
        {"0.1000000000000000055511151231257827", DECIMAL, "0.1000000000000000055511151231257827"},
        {"0.30000000000000004", FLOAT, "0.30000000000000004"},
        {"0.30000000000000005", DECIMAL, "0.30000000000000005"},
        {"9007199254740993.5", DECIMAL, "9007199254740993.5"},
        {"1180591620717411300000", FLOAT, "1180591620717411300000"},
        {"1180591620717411303424", DECIMAL, "1180591620717411303424"},
        {"1.7976931348623157e308", FLOAT, "1.7976931348623157e308"},
        {"1.7976931348623159e308", DECIMAL, "1.7976931348623159e308"},
        {"2.2250738585072014e-308", FLOAT, "2.2250738585072014e-308"},
        {"5e-324", FLOAT, "5e-324"},
        {"4e-324", DECIMAL, "4e-324"},
        {"2e-324", DECIMAL, "2e-324"},
        {"1e400", DECIMAL, "1e400"},
        {"-1.50e-400", DECIMAL, "-1.5e-400"},
        {"0.000001", FLOAT, "0.000001"},
        {"0.0000001", FLOAT, "1e-7"},
        {"12345678901234567890123", DECIMAL, "12345678901234567890123"},
        {"1.00000000000000000001", DECIMAL, "1.00000000000000000001"},
        {"10000000000000000000100000000000000000000", DECIMAL, "1.00000000000000000001e40"},
        {"100000000000000000001000000e-26", DECIMAL, "1.00000000000000000001"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buffer out = {0};
        struct mpack_token token;
        assert_int_equal(read_text(CASES[i].text, &out), ERROR_NONE);
        struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&out));
        assert_int_equal(mpack_next(&cursor, &token), DECODE_OK);
        int kind = token.type == MPACK_EXT ? DECIMAL : token.type == MPACK_FLOAT ? FLOAT : INT;
        if (kind != CASES[i].kind) {
            fail_msg("%s: kind %d", CASES[i].text, kind);
        }
        assert_prints(buffer_slice(&out), CASES[i].printed);
        buffer_deinit(&out);
    }
}

static void append_zeros(struct buffer *out, size_t count)
{
    memset(buffer_reserve(out, count), '0', count);
    buffer_commit(out, count);
}

// The verdicts of PostgreSQL 15 on '...'::jsonb.
static void range_is_that_of_numeric(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        size_t zeros; // between head and tail
        const char *tail;
        bool accepted;
    } CASES[] = {
        {"1e131071", 0, "", true},
        {"1e131072", 0, "", false},
        {"9.9e131071", 0, "", true},
        {"99e131071", 0, "", false},
        {"0.01e131073", 0, "", true},
        {"0.1e131073", 0, "", false},
        {"-1e131071", 0, "", true},
        {"1", 131071, "", true},
        {"1", 131072, "", false},
        {"1", 131072, "e-1", true},
        {"1", 200000, "e-100000", false},
        {"1e-16383", 0, "", true},
        {"1e-16384", 0, "", false},
        {"1.5e-16383", 0, "", false},
        {"1.5e-16382", 0, "", true},
        {"10e-16384", 0, "", false},
        {"0e-16383", 0, "", true},
        {"0e-16384", 0, "", false},
        {"0.0e-16383", 0, "", false},
        {"0.", 20000, "", false},
        {"0.", 20000, "1", false},
        {"0.", 16382, "1", true},
        {"0.", 16383, "1", false},
        {"1.", 16383, "", true},
        {"1.", 16384, "", false},
        {"0.", 40000, "1e40000", true},
        {"0e1073741822", 0, "", true},
        {"0e1073741823", 0, "", false},
        {"0e-999999999", 0, "", false},
        {"1e999999999999", 0, "", false},
        {"0e99999999999999999999", 0, "", false},
        {"1e-99999999999999999999", 0, "", false},
        {"1e0000000000000000000000005", 0, "", true},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buffer text = {0};
        struct buffer out = {0};
        buffer_append_slice(&text, slice_of_string(CASES[i].head));
        append_zeros(&text, CASES[i].zeros);
        buffer_append_slice(&text, slice_of_string(CASES[i].tail));
        enum error error = json_to_msgpack(buffer_slice(&text), &LIMITS, &out, NULL);
        if (error != (CASES[i].accepted ? ERROR_NONE : ERROR_INVALID_VALUE)) {
            fail_msg("%s (%zu zeros) %s: %d", CASES[i].head, CASES[i].zeros, CASES[i].tail, error);
        }
        buffer_deinit(&text);
        buffer_deinit(&out);
    }
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state ^ *state >> 29;
}

// Doubles of all magnitudes, printed, read back: the same double, or the int that it is.
static void every_double_survives_its_text(void **state)
{
    (void)state;
    uint64_t random = 20251101;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = next_random(&random);
        double real;
        memcpy(&real, &bits, sizeof real);
        if (!isfinite(real)) {
            continue;
        }
        struct buffer sent = {0};
        struct buffer canonical = {0};
        struct buffer text = {0};
        struct buffer read = {0};
        msgpack_packer packer;
        mpack_packer_init(&packer, &sent);
        msgpack_pack_double(&packer, real);
        assert_int_equal(json_canonicalize(buffer_slice(&sent), &LIMITS, &canonical, NULL),
                         ERROR_NONE);
        assert_int_equal(json_from_msgpack(buffer_slice(&canonical), false, &text, NULL),
                         ERROR_NONE);
        buffer_append(&text, "", 1);
        const char *printed = (const char *)buffer_slice(&text).at;
        if (strtod(printed, NULL) != real) {
            fail_msg("%a printed as %s", real, printed);
        }
        assert_int_equal(read_text(printed, &read), ERROR_NONE);
        assert_true(slice_equal(buffer_slice(&read), buffer_slice(&canonical)));
        buffer_deinit(&sent);
        buffer_deinit(&canonical);
        buffer_deinit(&text);
        buffer_deinit(&read);
    }
}

// Decimals as people write them, of up to 15 digits, come back as they were.
static void few_digits_print_as_they_were(void **state)
{
    (void)state;
    uint64_t random = 20251102;
    for (int i = 0; i < 200000; i++) {
        char text[64];
        int fraction = 1 + (int)(next_random(&random) % 8);
        int whole_digits = (int)(next_random(&random) % 8);
        uint64_t end = 1;
        for (int digit = 0; digit < fraction + whole_digits; digit++) {
            end *= 10;
        }
        uint64_t scale = 1;
        for (int digit = 0; digit < fraction; digit++) {
            scale *= 10;
        }
        uint64_t scaled = next_random(&random) % end;
        scaled += scaled % 10 == 0; // no zero at the end
        if (scaled / scale == 0 && scaled % scale * 1000000 < scale) {
            continue; // printed with an exponent
        }
        snprintf(text, sizeof text, "%s%llu.%0*llu", i % 2 == 0 ? "" : "-",
                 (unsigned long long)(scaled / scale), fraction,
                 (unsigned long long)(scaled % scale));
        struct buffer out = {0};
        assert_int_equal(read_text(text, &out), ERROR_NONE);
        assert_int_equal(buffer_len(&out), 9); // a float64
        assert_prints(buffer_slice(&out), text);
        buffer_deinit(&out);
    }
}

static void what_is_no_number_has_no_number_text(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } CASES[] = {
        {"\xc0", 1},
        {"\xa1"
         "1",
         2},
        {"\x90", 1},
        {"\x81\xa1"
         "1"
         "\x01",
         4},
        {"\x01\x01", 2},
        {"", 0},
        {"\xcb\x7f\xf8\0\0\0\0\0\0", 9},
        {"\xd4\x02"
         "1",
         3},
        {"\xd5\x01"
         "01",
         4},
        {"\xd5\x01"
         "1 ",
         4},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buffer out = {0};
        struct failure failure;
        assert_int_equal(json_number_text(slice_of(CASES[i].bytes, CASES[i].len), &out, &failure),
                         ERROR_INVALID_VALUE);
        assert_int_equal(buffer_len(&out), 0);
        buffer_deinit(&out);
    }
    assert_prints(slice_of("\xd6\x01"
                           "1.50",
                           6),
                  "1.5");
    assert_prints(slice_of("\xca\x3f\x00\x00\x00", 5), "0.5");
    assert_prints(slice_of("\xff", 1), "-1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_and_spellings),
        cmocka_unit_test(range_is_that_of_numeric),
        cmocka_unit_test(every_double_survives_its_text),
        cmocka_unit_test(few_digits_print_as_they_were),
        cmocka_unit_test(what_is_no_number_has_no_number_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
