// Keys and their rules.

#include "server/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "json/json.h"

#include "base/mpack.h"
#include "base/words.h"

static void keys_are_text_of_a_bounded_length(void **state)
{
    (void)state;
    char longest[KEY_BYTES_MAX + 2];
    memset(longest, 'k', sizeof longest);
    struct failure failure;
    assert_int_equal(check_key(METHOD_GET, slice_of(longest, KEY_BYTES_MAX), NULL), ERROR_NONE);
    assert_int_equal(check_key(METHOD_GET, slice_of("k", 1), NULL), ERROR_NONE);
    assert_int_equal(check_key(METHOD_GET, slice_of("", 0), NULL), ERROR_INVALID_KEY);
    assert_int_equal(check_key(METHOD_GET, slice_of(longest, KEY_BYTES_MAX + 1), &failure),
                     ERROR_INVALID_KEY);
    assert_true(is_text(slice_of_string(failure.message)));
    assert_int_equal(check_key(METHOD_SET, slice_of("a\0b", 3), &failure), ERROR_INVALID_KEY);
    assert_string_equal(failure.message,
                        "Failed to set key \"a\\x00b\": a key is 1 to 511 bytes of "
                        "UTF-8 without NUL");
    assert_int_equal(check_key(METHOD_SET, slice_of("\xff", 1), &failure), ERROR_INVALID_KEY);
}

// Every string of up to four bytes of the borders of RFC 3629, by what the JSON library says.
static void text_is_what_the_json_library_takes_for_it(void **state)
{
    (void)state;
    static const uint8_t BYTES[] = {0x01, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                    0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
                                    0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
    static const size_t COUNT = sizeof BYTES;
    struct buffer in = {0};
    struct buffer out = {0};
    size_t texts = 0;
    for (size_t i = 0; i < COUNT * COUNT * COUNT * COUNT; i++) {
        uint8_t text[] = {BYTES[i % COUNT], BYTES[i / COUNT % COUNT],
                          BYTES[i / COUNT / COUNT % COUNT], BYTES[i / COUNT / COUNT / COUNT]};
        msgpack_packer packer;
        buffer_clear(&in, SIZE_MAX);
        buffer_clear(&out, SIZE_MAX);
        mpack_packer_init(&packer, &in);
        mpack_pack_slice(&packer, slice_of(text, sizeof text));
        bool expected =
            json_canonicalize(buffer_slice(&in), &JSON_LIMITS_DEFAULT, &out, NULL) == ERROR_NONE;
        if (is_text(slice_of(text, sizeof text)) != expected) {
            fail_msg("%02x %02x %02x %02x", text[0], text[1], text[2], text[3]);
        }
        texts += expected;
    }
    assert_true(texts > 100);
    buffer_deinit(&in);
    buffer_deinit(&out);
}

static void a_quoted_key_is_short_printable_text(void **state)
{
    (void)state;
    assert_string_equal(quote_key(slice_of_string("test")).text, "\"test\"");
    assert_string_equal(quote_key(slice_of("", 0)).text, "\"\"");
    assert_string_equal(quote_key(slice_of("\xc3\xa9\xff\n\x7f", 5)).text,
                        "\"\xc3\xa9\\xff\\x0a\\x7f\"");
    char bytes[600];
    for (int value = 0; value < 256; value++) {
        memset(bytes, value, sizeof bytes);
        for (size_t len = 0; len < sizeof bytes; len++) {
            struct quoted quoted = quote_key(slice_of(bytes, len));
            assert_true(strlen(quoted.text) < sizeof quoted.text);
            assert_true(is_text(slice_of_string(quoted.text)));
        }
    }
    memset(bytes, 'k', sizeof bytes);
    struct quoted cut = quote_key(slice_of(bytes, sizeof bytes));
    assert_string_equal(cut.text + strlen(cut.text) - 5, "k...\"");
}

static void the_last_pair_of_a_key_stays(void **state)
{
    (void)state;
    enum { PAIRS = 1000, KEYS = 37 };
    static char names[KEYS][16];
    struct pair pairs[PAIRS];
    unsigned seed = 1;
    size_t last[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof names[i], "k%zu", i);
        last[i] = SIZE_MAX;
    }
    for (size_t i = 0; i < PAIRS; i++) {
        size_t key = (size_t)rand_r(&seed) % KEYS;
        pairs[i] = (struct pair){slice_of_string(names[key]), {NULL, i}};
        last[key] = i;
    }
    struct call call = {.method = METHOD_MSET, .pairs = pairs, .pairs_count = PAIRS};
    assert_int_equal(check_call(&call, NULL), ERROR_NONE);
    assert_int_equal(call.pairs_count, KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        size_t key = strtoul((const char *)pairs[i].key.at + 1, NULL, 10);
        assert_int_equal(pairs[i].value.len, last[key]);
        assert_true(i == 0 || pairs[i - 1].value.len < pairs[i].value.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_text_of_a_bounded_length),
        cmocka_unit_test(text_is_what_the_json_library_takes_for_it),
        cmocka_unit_test(a_quoted_key_is_short_printable_text),
        cmocka_unit_test(the_last_pair_of_a_key_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
