// Reading an import: what is a pair, what is wrong and where, and which form a text has.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "cli/pairs.h"
#include "json/json.h"

// Reads `text` in pieces of `piece_bytes` and writes what came: "a=1 b=[2] !3 " and so on, "!" and
// the line for a bad pair, "X" and the line where it broke off.
static const char *read_text(enum pairs_form form, const char *text, size_t piece_bytes)
{
    static char seen[4096];
    struct pairs pairs;
    struct slice left = slice_of_string(text);
    size_t used = 0;
    bool is_end = false;
    pairs_init(&pairs, form, 0);
    seen[0] = '\0';
    while (!is_end) {
        struct slice piece = slice_of(left.at, left.len < piece_bytes ? left.len : piece_bytes);
        left = slice_of(left.at + piece.len, left.len - piece.len);
        is_end = piece.len == 0;
        for (enum pairs_event event = PAIRS_PAIR; event != PAIRS_NEED_MORE;) {
            struct pairs_pair pair;
            struct failure failure = {0};
            event = is_end ? pairs_finish(&pairs, &pair, &failure)
                           : pairs_next(&pairs, &piece, &pair, &failure);
            struct buffer json = {0};
            if (event == PAIRS_PAIR) {
                assert_int_equal(json_from_msgpack(pair.value, false, &json, NULL), ERROR_NONE);
                used += (size_t)snprintf(seen + used, sizeof seen - used, "%.*s=%.*s",
                                         SLICE_FORMAT(pair.key), SLICE_FORMAT(buffer_slice(&json)));
                if (pair.ttl_ms != 0 || pair.expires_at_us != 0) {
                    used += (size_t)snprintf(seen + used, sizeof seen - used, "(%lld,%lld)",
                                             (long long)pair.ttl_ms, (long long)pair.expires_at_us);
                }
                used += (size_t)snprintf(seen + used, sizeof seen - used, "@%llu ",
                                         (unsigned long long)pair.line);
            } else if (event != PAIRS_NEED_MORE) {
                assert_string_not_equal(failure.message, "");
                used += (size_t)snprintf(seen + used, sizeof seen - used, "%c%llu ",
                                         event == PAIRS_BAD ? '!' : 'X',
                                         (unsigned long long)pairs.line);
            }
            buffer_deinit(&json);
            if (event == PAIRS_BROKEN) {
                pairs_deinit(&pairs);
                return seen;
            }
        }
    }
    pairs_deinit(&pairs);
    return seen;
}

static void reads_the_same_in_any_pieces(void **state)
{
    (void)state;
    static const struct {
        enum pairs_form form;
        const char *text;
        const char *expected;
    } cases[] = {
        {PAIRS_OBJECT, "{}", ""},
        {PAIRS_OBJECT, "", ""},
        {PAIRS_OBJECT, "{\"a\":1,\n\"b\" : [2, {\"c\":\"}],\"}] }",
         "a=1@1 b=[2,{\"c\":\"}],\"}]@2 "},
        {PAIRS_OBJECT, "{\"a\\n\\\"b\": \"\\\\\"}", "a\n\"b=\"\\\\\"@1 "},
        {PAIRS_OBJECT, "{\"a\":01,\"b\":\"\\u0000\",\n\"\":1,\"c\":2}", "!1 !1 !2 c=2@2 "},
        {PAIRS_OBJECT, "{\"a\":1,}", "a=1@1 X1 "},
        {PAIRS_OBJECT, "{\"a\":1", "X1 "},
        {PAIRS_OBJECT, "{\"a\":1}\n{}", "a=1@1 X2 "},
        {PAIRS_OBJECT, "[1]", "X1 "},
        {PAIRS_OBJECT, "{\"a\" 1}", "X1 "},
        {PAIRS_LINES, "", ""},
        {PAIRS_LINES, "\n \n", ""},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1}\n{\"value\":2,\"key\":\"b\"}", "a=1@1 b=2@2 "},
        {PAIRS_LINES, "\r\n{\"key\":\"a\",\"value\":1}\r\n", "a=1@2 "},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1,\"ttl_ms\":5}\n", "a=1(5,0)@1 "},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1,\"expires_at_us\": 7 }\n", "a=1(0,7)@1 "},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1,\"expires_at_us\": null,\"version\":3}",
         "a=1@1 "},
        {PAIRS_LINES, "{\"key\":\"a\"}\n{\"value\":1}\n{\"key\":1,\"value\":1}\nx\n",
         "!1 !2 !3 !4 "},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1,\"ttl\":5}\n{\"key\":\"b\",\"value\":2}",
         "!1 b=2@2 "},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1,\"ttl_ms\":0}\n", "!1 "},
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1}{\"key\":\"b\",\"value\":1}\n", "!1 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece < 9; piece++) {
            assert_string_equal(read_text(cases[i].form, cases[i].text, piece), cases[i].expected);
        }
        assert_string_equal(read_text(cases[i].form, cases[i].text, 4096), cases[i].expected);
    }
}

static void tells_the_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum pairs_form form;
    } cases[] = {
        {"{\"key\":\"a\",\"value\":1}\n", PAIRS_LINES},
        {"  {\"value\": 1, \"key\": \"a\"}", PAIRS_LINES},
        {"{\"version\":1,\"key\":\"a\",\"value\":1}", PAIRS_LINES},
        {"{\"key\" : \"a\"", PAIRS_LINES},
        {"{\n  \"key\": \"a\"", PAIRS_LINES},
        {"{\n\"key\":\"a\",\n\"value\":1\n}\n", PAIRS_OBJECT},
        {"{\"key\":1}", PAIRS_OBJECT},
        {"{\"key\": {\"a\":1}, \"value\": 1}", PAIRS_OBJECT},
        {"{\"user:1\":{\"key\":\"a\"}}", PAIRS_OBJECT},
        {"{}", PAIRS_OBJECT},
        {"", PAIRS_OBJECT},
        // Lines of which the first are wrong.
        {"not json\n\n{\"key\":\"a\",\"value\":1}\n", PAIRS_LINES},
        {"{\"key\":1,\"value\":1}\n{\"key\":\"a\",\"value\":1}\n", PAIRS_LINES},
        {"{}\n{\"a\" 1}\n{\"value\":1", PAIRS_LINES},
        {"{\"a\":1}\n{\"b\":2}\n", PAIRS_OBJECT},
        {"{\"a\":\n{\"key\":\"b\"}}\n", PAIRS_OBJECT},
        {"[\n{\"key\":\"a\",\"value\":1}\n]\n", PAIRS_OBJECT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(pairs_detect(slice_of_string(cases[i].text)), cases[i].form);
    }
}

// A name and a value beyond their limits are stepped over; the pair behind them is read.
static void steps_over_what_is_too_large(void **state)
{
    (void)state;
    size_t len = (size_t)MEMBERS_VALUE_BYTES_MAX + 1024;
    for (int form = PAIRS_LINES; form <= PAIRS_OBJECT; form++) {
        struct pairs pairs;
        struct pairs_pair pair;
        struct failure failure = {0};
        struct buffer text = {0};
        bool is_object = form == PAIRS_OBJECT;
        buffer_printf(&text, is_object ? "{\"big\":\"" : "{\"key\":\"big\",\"value\":\"");
        memset(buffer_reserve(&text, len), 'x', len);
        buffer_commit(&text, len);
        buffer_printf(&text,
                      is_object ? "\",\"small\":1}" : "\"}\n{\"key\":\"small\",\"value\":1}\n");
        struct slice input = buffer_slice(&text);
        pairs_init(&pairs, (enum pairs_form)form, 0);
        assert_int_equal(pairs_next(&pairs, &input, &pair, &failure), PAIRS_BAD);
        assert_int_equal(failure.error, ERROR_TOO_LARGE);
        assert_int_equal(pairs_next(&pairs, &input, &pair, &failure), PAIRS_PAIR);
        assert_true(slice_equal(pair.key, slice_of_string("small")));
        pairs_deinit(&pairs);
        buffer_deinit(&text);
    }
}

// Going on at a place is counted from the first byte of the file, a byte order mark included.
static void a_place_counts_every_byte(void **state)
{
    (void)state;
    static const struct {
        enum pairs_form form;
        const char *text;
        size_t first; // bytes of the first pair
    } cases[] = {
        {PAIRS_LINES, "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":2}\n", 22},
        {PAIRS_OBJECT, "{\"a\":1,\"b\":2}", 7},
    };
    for (size_t i = 0; i < 2; i++) {
        struct pairs pairs;
        struct pairs_pair pair;
        struct failure failure = {0};
        struct slice input = slice_of_string(cases[i].text);
        pairs_init(&pairs, cases[i].form, 3);
        assert_int_equal(pairs_next(&pairs, &input, &pair, &failure), PAIRS_PAIR);
        struct pairs_position position = pairs_position(&pairs);
        assert_int_equal(position.offset, 3 + cases[i].first);
        pairs_deinit(&pairs);
        input = slice_of_string(cases[i].text + cases[i].first);
        pairs_resume(&pairs, cases[i].form, &position);
        assert_int_equal(pairs_next(&pairs, &input, &pair, &failure), PAIRS_PAIR);
        assert_true(slice_equal(pair.key, slice_of_string("b")));
        pairs_deinit(&pairs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_same_in_any_pieces),
        cmocka_unit_test(tells_the_form),
        cmocka_unit_test(steps_over_what_is_too_large),
        cmocka_unit_test(a_place_counts_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
