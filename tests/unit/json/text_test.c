// JSON text to canonical MessagePack: what is accepted, as which bytes; what is refused, and where.

#include "json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// The bytes as a string literal, its length without the terminator.
#define BYTES(literal)                                                                             \
    {                                                                                              \
        .at = (const uint8_t *)(literal), .len = sizeof(literal) - 1                               \
    }

static const struct json_limits LIMITS = JSON_LIMITS_DEFAULT;

static void assert_canonical(struct slice text, struct slice expected)
{
    struct buffer out = {0};
    struct failure failure;
    if (json_to_msgpack(text, &LIMITS, &out, &failure) != ERROR_NONE) {
        fail_msg("%.*s: %s", SLICE_FORMAT(text), failure.message);
    }
    if (!slice_equal(buffer_slice(&out), expected)) {
        fail_msg("%.*s: not the expected %zu bytes", SLICE_FORMAT(text), expected.len);
    }
    buffer_deinit(&out);
}

static void scalars_and_containers_take_the_shortest_encoding(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct slice msgpack;
    } CASES[] = {
        {"null", BYTES("\xc0")},
        {" false\n", BYTES("\xc2")},
        {"\t true\r", BYTES("\xc3")},
        {"127", BYTES("\x7f")},
        {"128", BYTES("\xcc\x80")},
        {"256", BYTES("\xcd\x01\x00")},
        {"65536", BYTES("\xce\x00\x01\x00\x00")},
        {"4294967296", BYTES("\xcf\x00\x00\x00\x01\x00\x00\x00\x00")},
        {"-1", BYTES("\xff")},
        {"-33", BYTES("\xd0\xdf")},
        {"-129", BYTES("\xd1\xff\x7f")},
        {"-32769", BYTES("\xd2\xff\xff\x7f\xff")},
        {"-2147483649", BYTES("\xd3\xff\xff\xff\xff\x7f\xff\xff\xff")},
        {"\"\"", BYTES("\xa0")},
        {"\"a\"", BYTES("\xa1"
                        "a")},
        {"[]", BYTES("\x90")},
        {"{}", BYTES("\x80")},
        {"[ [ ] , { \"a\" : [ { } ] } ]", BYTES("\x92\x90\x81\xa1"
                                                "a"
                                                "\x91\x80")},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_canonical(slice_of_string(CASES[i].text), CASES[i].msgpack);
    }
}

static void strings_are_unescaped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct slice msgpack;
    } CASES[] = {
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", BYTES("\xa8\"\\/\b\f\n\r\t")},
        {"\"\\u0041\\u00e9\\u20AC\"", BYTES("\xa6"
                                            "A\xc3\xa9\xe2\x82\xac")},
        {"\"\\ud83d\\ude00\"", BYTES("\xa4\xf0\x9f\x98\x80")},
        {"\"\xf4\x8f\xbf\xbf\x7f\"", BYTES("\xa5\xf4\x8f\xbf\xbf\x7f")},
        {"{\"\\u0061\":1}", BYTES("\x81\xa1"
                                  "a"
                                  "\x01")},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_canonical(slice_of_string(CASES[i].text), CASES[i].msgpack);
    }
}

static void keys_are_unique_and_in_the_order_of_jsonb(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct slice msgpack;
    } CASES[] = {
        {"{\"a\":1,\"a\":2}", BYTES("\x81\xa1"
                                    "a"
                                    "\x02")},
        {"{\"a\":1,\"b\":2,\"a\":[3]}", BYTES("\x82\xa1"
                                              "a"
                                              "\x91\x03\xa1"
                                              "b"
                                              "\x02")},
        {"{\"aa\":1,\"b\":2,\"\":3}", BYTES("\x83\xa0\x03\xa1"
                                            "b"
                                            "\x02\xa2"
                                            "aa"
                                            "\x01")},
        {"{\"\xc3\xa9\":1,\"zz\":2,\"z\":3}", BYTES("\x83\xa1"
                                                    "z"
                                                    "\x03\xa2"
                                                    "zz"
                                                    "\x02\xa2\xc3\xa9\x01")},
        {"[{\"b\":{\"d\":1,\"c\":2},\"a\":0},7]", BYTES("\x92\x82\xa1"
                                                        "a"
                                                        "\x00\xa1"
                                                        "b"
                                                        "\x82\xa1"
                                                        "c"
                                                        "\x02\xa1"
                                                        "d"
                                                        "\x01\x07")},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_canonical(slice_of_string(CASES[i].text), CASES[i].msgpack);
    }
}

// Objects small and large are put in order in ways of their own.
static void objects_of_any_size_are_put_in_order(void **state)
{
    (void)state;
    enum { COUNT_MAX = 99 };
    for (int count = 1; count <= COUNT_MAX; count++) {
        struct buffer text = {0};
        struct buffer expected = {0};
        buffer_append(&expected, (const uint8_t[]){0xde, 0, (uint8_t)count}, 3);
        if (count < 16) {
            buffer_clear(&expected, SIZE_MAX);
            buffer_append(&expected, (const uint8_t[]){(uint8_t)(0x80 | count)}, 1);
        }
        for (int i = 0; i < count; i++) {
            // Each key twice, from the last to the first: the later pair is to win.
            int key = count - 1 - i;
            buffer_printf(&text, "%s\"%02d\":-1,\"%02d\":%d", i == 0 ? "{" : ",", key, key, key);
            buffer_printf(&expected, "\xa2%02d", i);
            buffer_append(&expected, &(uint8_t){(uint8_t)i}, 1);
        }
        buffer_append(&text, "}", 1);
        assert_canonical(buffer_slice(&text), buffer_slice(&expected));
        buffer_deinit(&text);
        buffer_deinit(&expected);
    }
}

// What is looked at a word at a time: an escape and the end are found wherever they are.
static void an_escape_is_found_at_every_place(void **state)
{
    (void)state;
    enum { LEN_MAX = 70 };
    for (int len = 1; len <= LEN_MAX; len++) {
        for (int place = 0; place < len; place++) {
            char text[LEN_MAX + 8];
            uint8_t expected[LEN_MAX + 2];
            size_t header = len < 32 ? 1 : 2;
            memset(text, 'a', sizeof text);
            memset(expected, 'a', sizeof expected);
            text[0] = '"';
            memcpy(text + 1 + place, "\\\"", 2);
            text[len + 2] = '"';
            expected[0] = 0xd9;
            expected[header - 1] = (uint8_t)(len < 32 ? 0xa0 | len : len);
            expected[header + (size_t)place] = '"';
            assert_canonical(slice_of(text, (size_t)len + 3),
                             slice_of(expected, header + (size_t)len));
        }
    }
}

static void refusals_say_what_and_where(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        const char *message;
    } CASES[] = {
        {BYTES(""), "no value at byte 0"},
        {BYTES(" \n"), "no value at byte 0"},
        {BYTES("1 2"), "invalid JSON at byte 2"},
        {BYTES("{}{}"), "invalid JSON at byte 2"},
        {BYTES("[1]]"), "invalid JSON at byte 4"},
        {BYTES("1,2"), "invalid JSON at byte 2"},
        {BYTES("[1,]"), "invalid JSON at byte 3"},
        {BYTES("{\"a\":1,}"), "invalid JSON at byte 7"},
        {BYTES("{\"a\" 1}"), "invalid JSON at byte 5"},
        {BYTES("\"c\":0}"), "invalid JSON at byte 3"},
        {BYTES("[\"c\":0}]"), "invalid JSON at byte 4"},
        {BYTES("{\"a\":\"b\":1}"), "invalid JSON at byte 8"},
        {BYTES("[1 :2}]"), "invalid JSON at byte 3"},
        {BYTES("{1:2}"), "invalid JSON at byte 1"},
        {BYTES("[1"), "invalid JSON at byte 2"},
        {BYTES("nul"), "invalid JSON at byte 0"},
        {BYTES("nullx"), "invalid JSON at byte 0"},
        {BYTES("[true,falsey]"), "invalid JSON at byte 6"},
        {BYTES("NaN"), "invalid JSON at byte 0"},
        {BYTES("-Infinity"), "malformed number at byte 0"},
        {BYTES("[01]"), "malformed number at byte 1"},
        {BYTES("[1.]"), "malformed number at byte 1"},
        {BYTES("[-.5]"), "malformed number at byte 1"},
        {BYTES("[01.5]"), "malformed number at byte 1"},
        {BYTES("[1.5.2]"), "malformed number at byte 1"},
        {BYTES("[1e+]"), "malformed number at byte 1"},
        {BYTES("-"), "malformed number at byte 0"},
        {BYTES("[0, 1e131072]"), "number beyond the range of numeric at byte 4"},
        {BYTES("[\"a\", \"x\ty\"]"), "control character in a string at byte 8"},
        {BYTES("[\"a\\\"\", \"b]"), "unclosed string at byte 8"},
        {BYTES("{\"a\": \"b\\u0000\"}"), "\\u0000 cannot be in a string at byte 6"},
        {BYTES("{\"\\u0000\": 1}"), "\\u0000 cannot be in a string at byte 1"},
        {BYTES("[\"\xc3\xa9\", \"\xc0\x80\"]"), "invalid UTF-8 at byte 8"},
        {BYTES("\"\xed\xa0\x80\""), "invalid UTF-8 at byte 1"},
        {BYTES("\"\xf4\x90\x80\x80\""), "invalid UTF-8 at byte 1"},
        {BYTES("\"a\xe2\x82\""), "invalid UTF-8 at byte 2"},
        {BYTES("\"\\ud800\""), "invalid escape or lone surrogate in a string at byte 0"},
        {BYTES("\"\\udc00\""), "invalid escape or lone surrogate in a string at byte 0"},
        {BYTES("\"\\ud800\\u0041\""), "invalid escape or lone surrogate in a string at byte 0"},
        {BYTES("\"\\x41\""), "invalid escape or lone surrogate in a string at byte 0"},
        {BYTES("\xef\xbb\xbf[]"), "invalid JSON at byte 0"},
        {BYTES("[]\0"), "invalid JSON at byte 2"},
        {BYTES("[\f1]"), "invalid JSON at byte 1"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buffer out = {0};
        struct failure failure;
        buffer_append(&out, "before", 6);
        assert_int_equal(json_to_msgpack(CASES[i].text, &LIMITS, &out, &failure),
                         ERROR_INVALID_VALUE);
        assert_string_equal(failure.message, CASES[i].message);
        assert_int_equal(buffer_len(&out), 6);
        buffer_deinit(&out);
    }
}

// `depth` arrays in each other.
static void append_nested(struct buffer *out, size_t depth)
{
    memset(buffer_reserve(out, 2 * depth), '[', depth);
    memset(buffer_reserve(out, 2 * depth) + depth, ']', depth);
    buffer_commit(out, 2 * depth);
}

static void nests_128_deep(void **state)
{
    (void)state;
    struct buffer text = {0};
    struct buffer out = {0};
    struct failure failure;
    append_nested(&text, 128);
    assert_int_equal(json_to_msgpack(buffer_slice(&text), &LIMITS, &out, &failure), ERROR_NONE);
    assert_int_equal(buffer_len(&out), 128);
    buffer_clear(&text, 0);
    append_nested(&text, 129);
    assert_int_equal(json_to_msgpack(buffer_slice(&text), &LIMITS, &out, &failure),
                     ERROR_TOO_LARGE);
    assert_int_equal(buffer_len(&out), 128);
    buffer_deinit(&text);
    buffer_deinit(&out);
}

// Arrays and objects of every width of header, with keys that come backwards.
static void headers_fit_their_counts(void **state)
{
    (void)state;
    static const struct {
        int count;
        struct slice array;
        struct slice map;
    } CASES[] = {
        {15, BYTES("\x9f"), BYTES("\x8f")},
        {16, BYTES("\xdc\x00\x10"), BYTES("\xde\x00\x10")},
        {65535, BYTES("\xdc\xff\xff"), BYTES("\xde\xff\xff")},
        {65536, BYTES("\xdd\x00\x01\x00\x00"), BYTES("\xdf\x00\x01\x00\x00")},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buffer array = {0};
        struct buffer map = {0};
        struct buffer out = {0};
        int count = CASES[i].count;
        for (int n = 0; n < count; n++) {
            buffer_printf(&array, "%c0", n == 0 ? '[' : ',');
            buffer_printf(&map, "%c\"%05d\":0", n == 0 ? '{' : ',', count - n - 1);
        }
        buffer_append(&array, "]", 1);
        buffer_append(&map, "}", 1);
        assert_int_equal(json_to_msgpack(buffer_slice(&array), &LIMITS, &out, NULL), ERROR_NONE);
        assert_true(slice_starts_with(buffer_slice(&out), CASES[i].array));
        assert_int_equal(buffer_len(&out), CASES[i].array.len + (size_t)count);
        buffer_clear(&out, SIZE_MAX);
        assert_int_equal(json_to_msgpack(buffer_slice(&map), &LIMITS, &out, NULL), ERROR_NONE);
        assert_true(slice_starts_with(buffer_slice(&out), CASES[i].map));
        assert_int_equal(buffer_len(&out), CASES[i].map.len + (size_t)count * 7);
        assert_memory_equal(out.bytes + out.start + CASES[i].map.len,
                            "\xa5"
                            "00000\x00\xa5"
                            "00001",
                            13);
        buffer_deinit(&array);
        buffer_deinit(&map);
        buffer_deinit(&out);
    }
}

// Headers that turn out wider, one end of an array right after the other, at every room that the
// buffer may have.
static void nested_headers_grow_together(void **state)
{
    (void)state;
    enum { DEPTH = 100, WIDTH = 16, HEADER_BYTES = 3 };
    struct buffer text = {0};
    for (int i = 0; i < DEPTH; i++) {
        buffer_append(&text, "[", 1);
        for (int n = 0; n < WIDTH - 1; n++) {
            buffer_append(&text, "7,", 2);
        }
    }
    buffer_append(&text, "7", 1);
    for (int i = 0; i < DEPTH; i++) {
        buffer_append(&text, "]", 1);
    }
    for (size_t before = 0; before < 300; before++) {
        struct buffer out = {0};
        memset(buffer_reserve(&out, before), 'b', before);
        buffer_commit(&out, before);
        assert_int_equal(json_to_msgpack(buffer_slice(&text), &LIMITS, &out, NULL), ERROR_NONE);
        assert_int_equal(buffer_len(&out), before + DEPTH * (HEADER_BYTES + WIDTH - 1) + 1);
        const uint8_t *at = out.bytes + out.start + before;
        for (int i = 0; i < DEPTH; i++) {
            assert_memory_equal(at, "\xdc\x00\x10\x07\x07", 5);
            at += HEADER_BYTES + WIDTH - 1;
        }
        assert_int_equal(*at, 7);
        buffer_deinit(&out);
    }
    buffer_deinit(&text);
}

// jsonb's order: shorter keys first; those that differ late, or not at all, are looked at whole.
static void keys_that_begin_alike_are_told_apart(void **state)
{
    (void)state;
    static const char TEXT[] = "{\"abcdefgi\":1,\"abcdefgh\":2,\"abcdef\":3,\"\":4,\"abcdeg\":5,"
                               "\"b\":6,\"a\\u0001\":7,\"a\":8,\"abcdefgh\":9,\"abcdef\":10}";
    static const struct slice WANTED = BYTES("\x88\xa0\x04\xa1"
                                             "a\x08\xa1"
                                             "b\x06\xa2"
                                             "a\x01\x07\xa6"
                                             "abcdef\x0a\xa6"
                                             "abcdeg\x05\xa8"
                                             "abcdefgh\x09\xa8"
                                             "abcdefgi\x01");
    struct buffer out = {0};
    assert_int_equal(json_to_msgpack(slice_of_string(TEXT), &LIMITS, &out, NULL), ERROR_NONE);
    assert_int_equal(buffer_len(&out), WANTED.len);
    assert_memory_equal(buffer_slice(&out).at, WANTED.at, WANTED.len);
    buffer_deinit(&out);
}

static void results_beyond_the_limit_are_too_large(void **state)
{
    (void)state;
    struct json_limits limits = {.value_bytes_max = 8};
    struct buffer out = {0};
    struct failure failure;
    static const char FITS[] = "\"1234567\"";
    static const char TOO_LONG[] = "\"12345678\"";
    assert_int_equal(json_to_msgpack(slice_of_string(FITS), &limits, &out, NULL), ERROR_NONE);
    assert_int_equal(json_to_msgpack(slice_of_string(TOO_LONG), &limits, &out, &failure),
                     ERROR_TOO_LARGE);
    assert_int_equal(buffer_len(&out), 8);
    // A key that is dropped does not count.
    static const char DUPLICATES[] = "{\"a\":\"123\",\"a\":\"456\"}";
    assert_int_equal(json_to_msgpack(slice_of_string(DUPLICATES), &limits, &out, NULL), ERROR_NONE);
    assert_int_equal(buffer_len(&out), 8 + 7);
    buffer_deinit(&out);
}

// 64 numbers of 131072 digits are 8 MiB as jsonb prints them, which is what 1 MiB may come to.
static void numbers_too_long_when_printed_are_too_large(void **state)
{
    (void)state;
    for (int count = 64; count <= 65; count++) {
        struct buffer text = {0};
        struct buffer out = {0};
        struct failure failure;
        for (int i = 0; i < count; i++) {
            buffer_printf(&text, "%c1e131071", i == 0 ? '[' : ',');
        }
        buffer_append(&text, "]", 1);
        assert_int_equal(json_to_msgpack(buffer_slice(&text), &LIMITS, &out, &failure),
                         count <= 64 ? ERROR_NONE : ERROR_TOO_LARGE);
        buffer_deinit(&text);
        buffer_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_and_containers_take_the_shortest_encoding),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(keys_are_unique_and_in_the_order_of_jsonb),
        cmocka_unit_test(objects_of_any_size_are_put_in_order),
        cmocka_unit_test(an_escape_is_found_at_every_place),
        cmocka_unit_test(refusals_say_what_and_where),
        cmocka_unit_test(nests_128_deep),
        cmocka_unit_test(headers_fit_their_counts),
        cmocka_unit_test(nested_headers_grow_together),
        cmocka_unit_test(keys_that_begin_alike_are_told_apart),
        cmocka_unit_test(results_beyond_the_limit_are_too_large),
        cmocka_unit_test(numbers_too_long_when_printed_are_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
