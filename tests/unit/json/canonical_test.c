// A client's MessagePack: what it is canonicalised to, what is refused; and how values print.

#include "json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(literal)                                                                             \
    {                                                                                              \
        .at = (const uint8_t *)(literal), .len = sizeof(literal) - 1                               \
    }

static const struct json_limits LIMITS = JSON_LIMITS_DEFAULT;
static const char MANY_A[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static const struct {
    struct slice sent;
    struct slice canonical;
} CANONICAL_FORMS[] = {
    {BYTES("\xcc\x01"), BYTES("\x01")},
    {BYTES("\xcf\0\0\0\0\0\0\0\x01"), BYTES("\x01")},
    {BYTES("\xd0\x01"), BYTES("\x01")},
    {BYTES("\xd3\xff\xff\xff\xff\xff\xff\xff\xfe"), BYTES("\xfe")},
    {BYTES("\xca\x3f\x80\0\0"), BYTES("\x01")},
    {BYTES("\xcb\x80\0\0\0\0\0\0\0"), BYTES("\x00")},
    {BYTES("\xcb\x43\xe0\0\0\0\0\0\0"), BYTES("\xcf\x80\0\0\0\0\0\0\0")},
    {BYTES("\xcb\xc3\xe0\0\0\0\0\0\0"), BYTES("\xd3\x80\0\0\0\0\0\0\0")},
    {BYTES("\xcb\x43\xf0\0\0\0\0\0\0"), BYTES("\xcb\x43\xf0\0\0\0\0\0\0")},
    {BYTES("\xcb\xc3\xe0\0\0\0\0\0\x01"), BYTES("\xcb\xc3\xe0\0\0\0\0\0\x01")},
    {BYTES("\xca\x3d\xcc\xcc\xcd"), BYTES("\xcb\x3f\xb9\x99\x99\xa0\0\0\0")},
    {BYTES("\xd7\x01"
           "1e131071"),
     BYTES("\xd7\x01"
           "1e131071")},
    {BYTES("\xc7\x08\x01"
           "1e131071"),
     BYTES("\xd7\x01"
           "1e131071")},
    {BYTES("\xc7\x03\x01"
           "1.0"),
     BYTES("\x01")},
    {BYTES("\xc7\x03\x01"
           "0.5"),
     BYTES("\xcb\x3f\xe0\0\0\0\0\0\0")},
    {BYTES("\xc7\x07\x01"
           "10e+400"),
     BYTES("\xc7\x05\x01"
           "1e401")},
    {BYTES("\xd9\x01"
           "a"),
     BYTES("\xa1"
           "a")},
    {BYTES("\xdb\0\0\0\x01"
           "a"),
     BYTES("\xa1"
           "a")},
    {BYTES("\xdc\0\x01\xc0"), BYTES("\x91\xc0")},
    {BYTES("\xdd\0\0\0\0"), BYTES("\x90")},
    {BYTES("\xdf\0\0\0\x02\xa1"
           "b"
           "\x01\xd9\x01"
           "a"
           "\x02"),
     BYTES("\x82\xa1"
           "a"
           "\x02\xa1"
           "b"
           "\x01")},
    {BYTES("\xde\0\x03\xa1"
           "b"
           "\x01\xa1"
           "a"
           "\x02\xa1"
           "b"
           "\xc0"),
     BYTES("\x82\xa1"
           "a"
           "\x02\xa1"
           "b"
           "\xc0")},
};

static void values_become_canonical(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CANONICAL_FORMS / sizeof CANONICAL_FORMS[0]; i++) {
        struct buffer out = {0};
        struct failure failure;
        if (json_canonicalize(CANONICAL_FORMS[i].sent, &LIMITS, &out, &failure) != ERROR_NONE) {
            fail_msg("case %zu: %s", i, failure.message);
        }
        if (!slice_equal(buffer_slice(&out), CANONICAL_FORMS[i].canonical)) {
            fail_msg("case %zu: other bytes than expected", i);
        }
        buffer_deinit(&out);
    }
}

static void refusals_say_what_and_where(void **state)
{
    (void)state;
    static const struct {
        struct slice sent;
        const char *message;
    } CASES[] = {
        {BYTES(""), "MessagePack is cut off at byte 0"},
        {BYTES("\x92\x01"), "MessagePack is cut off at byte 2"},
        {BYTES("\xdd\xff\xff\xff\xff"), "MessagePack is cut off at byte 5"},
        {BYTES("\xa2"
               "a"),
         "MessagePack is cut off at byte 0"},
        {BYTES("\x91\xc1"), "malformed MessagePack at byte 1"},
        {BYTES("\x01\x01"), "bytes behind the value at byte 1"},
        {BYTES("\x91\xc4\x01"
               "a"),
         "bin is not in JSON at byte 1"},
        {BYTES("\xd4\x02"
               "1"),
         "an ext type but 1, a decimal number, is not in JSON at byte 0"},
        {BYTES("\xd6\xff\0\0\0\0"),
         "an ext type but 1, a decimal number, is not in JSON at byte 0"},
        {BYTES("\x81\x01\x02"), "a key of a map is not a string at byte 1"},
        {BYTES("\x81\x90\x02"), "a key of a map is not a string at byte 1"},
        {BYTES("\x82\xa1"
               "a"
               "\x01\xc0\x02"),
         "a key of a map is not a string at byte 4"},
        {BYTES("\x91\xa1\0"), "\\u0000 cannot be in a string at byte 1"},
        {BYTES("\xa9"
               "12345678\0"),
         "\\u0000 cannot be in a string at byte 0"},
        {BYTES("\x81\xa1\0\xc0"), "\\u0000 cannot be in a string at byte 1"},
        {BYTES("\xa2\xc0\xaf"), "invalid UTF-8 at byte 0"},
        {BYTES("\xa3\xed\xbf\xbf"), "invalid UTF-8 at byte 0"},
        {BYTES("\xa4\xf4\x90\x80\x80"), "invalid UTF-8 at byte 0"},
        {BYTES("\xa1\x80"), "invalid UTF-8 at byte 0"},
        {BYTES("\x81\xa1\xff\xc0"), "invalid UTF-8 at byte 1"},
        {BYTES("\xcb\x7f\xf8\0\0\0\0\0\0"), "NaN and Infinity are not JSON at byte 0"},
        {BYTES("\xca\xff\x80\0\0"), "NaN and Infinity are not JSON at byte 0"},
        {BYTES("\xc7\0\x01"), "malformed number at byte 0"},
        {BYTES("\xc7\x03\x01"
               "NaN"),
         "malformed number at byte 0"},
        {BYTES("\xd5\x01"
               "+1"),
         "malformed number at byte 0"},
        {BYTES("\xd5\x01"
               "1\0"),
         "malformed number at byte 0"},
        {BYTES("\xd7\x01"
               "1e131072"),
         "number beyond the range of numeric at byte 0"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buffer out = {0};
        struct failure failure;
        buffer_append(&out, "before", 6);
        assert_int_equal(json_canonicalize(CASES[i].sent, &LIMITS, &out, &failure),
                         ERROR_INVALID_VALUE);
        assert_string_equal(failure.message, CASES[i].message);
        assert_int_equal(json_from_msgpack(CASES[i].sent, false, &out, &failure),
                         ERROR_INVALID_VALUE);
        assert_string_equal(failure.message, CASES[i].message);
        assert_int_equal(buffer_len(&out), 6);
        buffer_deinit(&out);
    }
}

static void nests_128_deep(void **state)
{
    (void)state;
    uint8_t nested[130];
    struct buffer out = {0};
    memset(nested, 0x91, sizeof nested);
    nested[128] = 0xc0;
    assert_int_equal(json_canonicalize(slice_of(nested, 129), &LIMITS, &out, NULL), ERROR_NONE);
    assert_memory_equal(buffer_slice(&out).at, nested, 129);
    nested[128] = 0x91;
    nested[129] = 0xc0;
    assert_int_equal(json_canonicalize(slice_of(nested, 130), &LIMITS, &out, NULL),
                     ERROR_TOO_LARGE);
    assert_int_equal(buffer_len(&out), 129);
    buffer_deinit(&out);
}

// What the command line prints of a value, such as a line of an export, is around it.
static void prints_a_little_deeper(void **state)
{
    (void)state;
    enum { DEPTH = JSON_DEPTH_MAX + JSON_AROUND_MAX };
    uint8_t nested[DEPTH + 2];
    struct buffer out = {0};
    memset(nested, 0x91, sizeof nested);
    nested[DEPTH] = 0xc0;
    assert_int_equal(json_from_msgpack(slice_of(nested, DEPTH + 1), false, &out, NULL), ERROR_NONE);
    assert_int_equal(buffer_len(&out), 2 * DEPTH + strlen("null"));
    nested[DEPTH] = 0x91;
    nested[DEPTH + 1] = 0xc0;
    assert_int_equal(json_from_msgpack(slice_of(nested, DEPTH + 2), false, &out, NULL),
                     ERROR_TOO_LARGE);
    assert_int_equal(buffer_len(&out), 2 * DEPTH + strlen("null"));
    buffer_deinit(&out);
}

static void results_beyond_the_limit_are_too_large(void **state)
{
    (void)state;
    struct json_limits limits = {.value_bytes_max = 4};
    struct buffer out = {0};
    assert_int_equal(json_canonicalize(slice_of("\xd9\x03"
                                                "abc",
                                                5),
                                       &limits, &out, NULL),
                     ERROR_NONE);
    assert_int_equal(json_canonicalize(slice_of("\xa4"
                                                "abcd",
                                                5),
                                       &limits, &out, NULL),
                     ERROR_TOO_LARGE);
    assert_int_equal(json_canonicalize(slice_of("\x94\x01\x02\x03\x04", 5), &limits, &out, NULL),
                     ERROR_TOO_LARGE);
    assert_int_equal(buffer_len(&out), 4);
    buffer_deinit(&out);
}

static void assert_prints(struct slice msgpack, bool pretty, const char *expected)
{
    struct buffer out = {0};
    assert_int_equal(json_from_msgpack(msgpack, pretty, &out, NULL), ERROR_NONE);
    buffer_append(&out, "", 1);
    assert_string_equal((const char *)buffer_slice(&out).at, expected);
    buffer_deinit(&out);
}

static void values_print_as_json(void **state)
{
    (void)state;
    static const struct slice VALUE = BYTES("\x84\xa0\xc0\xa1"
                                            "a"
                                            "\x93\x01\xc2\x90\xa1"
                                            "b"
                                            "\x81\xa1"
                                            "c"
                                            "\xc3\xa1"
                                            "d"
                                            "\x80");
    assert_prints(VALUE, false, "{\"\":null,\"a\":[1,false,[]],\"b\":{\"c\":true},\"d\":{}}");
    assert_prints(VALUE, true,
                  "{\n  \"\": null,\n  \"a\": [\n    1,\n    false,\n    []\n  ],\n"
                  "  \"b\": {\n    \"c\": true\n  },\n  \"d\": {}\n}");
    static const struct slice ESCAPED = BYTES("\xad\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9");
    assert_prints(ESCAPED, false, "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\"");
}

// A string of `len` times 'a' but for one byte.
static struct slice string_with(uint8_t *msgpack, size_t len, size_t place, uint8_t byte)
{
    size_t header = len < 32 ? 1 : 2;
    msgpack[0] = 0xd9;
    msgpack[header - 1] = (uint8_t)(len < 32 ? 0xa0 | len : len);
    memset(msgpack + header, 'a', len);
    msgpack[header + place] = byte;
    return slice_of(msgpack, header + len);
}

static void assert_refused(struct slice msgpack)
{
    struct buffer out = {0};
    struct failure failure;
    assert_int_equal(json_from_msgpack(msgpack, false, &out, &failure), ERROR_INVALID_VALUE);
    assert_int_equal(json_canonicalize(msgpack, &LIMITS, &out, &failure), ERROR_INVALID_VALUE);
    assert_int_equal(buffer_len(&out), 0);
    buffer_deinit(&out);
}

// What is looked at a word at a time: whatever is wrong or has to be escaped is found wherever it
// is, and the neighbours of those bytes are let alone.
static void an_odd_byte_is_found_at_every_place(void **state)
{
    (void)state;
    static const struct {
        uint8_t byte;
        const char *printed; // NULL: refused
    } CASES[] = {
        {0x00, NULL}, {0x80, NULL},  {0xff, NULL},   {0x01, "\\u0001"}, {0x1f, "\\u001f"},
        {' ', " "},   {'"', "\\\""}, {'#', "#"},     {'!', "!"},        {'\\', "\\\\"},
        {'[', "["},   {']', "]"},    {0x7f, "\x7f"},
    };
    enum { LEN_MAX = 40 };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        for (size_t len = 1; len <= LEN_MAX; len++) {
            for (size_t place = 0; place < len; place++) {
                uint8_t msgpack[LEN_MAX + 3] = {0x91}; // alone, and in an array
                struct slice string = string_with(msgpack + 1, len, place, CASES[i].byte);
                struct slice array = slice_of(msgpack, string.len + 1);
                if (CASES[i].printed == NULL) {
                    assert_refused(string);
                    assert_refused(array);
                    continue;
                }
                char expected[2 * LEN_MAX + 16];
                snprintf(expected, sizeof expected, "[\"%.*s%s%.*s\"]", (int)place, MANY_A,
                         CASES[i].printed, (int)(len - place - 1), MANY_A);
                assert_prints(array, false, expected);
                expected[strlen(expected) - 1] = '\0';
                assert_prints(string, false, expected + 1);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_become_canonical),
        cmocka_unit_test(refusals_say_what_and_where),
        cmocka_unit_test(nests_128_deep),
        cmocka_unit_test(prints_a_little_deeper),
        cmocka_unit_test(results_beyond_the_limit_are_too_large),
        cmocka_unit_test(values_print_as_json),
        cmocka_unit_test(an_odd_byte_is_found_at_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
