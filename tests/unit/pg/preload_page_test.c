// A page of the preload: what is taken of the bytes that COPY sends, and what becomes of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <stdio.h>

#include "pg/preload_page.h"

enum { ROWS_ASKED = 10, TEXT_MAX = 20, VALUE_BYTES_MAX = 100 };

// ---- what COPY sends

static void put_int(struct buffer *out, int number, size_t bytes)
{
    uint64_t wire = htobe64((uint64_t)number);
    buffer_append(out, (uint8_t *)&wire + 8 - bytes, bytes);
}

static void put_header(struct buffer *out)
{
    buffer_append(out, "PGCOPY\n\377\r\n", 11); // with the NUL
    put_int(out, 0, 4);
    put_int(out, 0, 4);
}

static void put_field(struct buffer *out, const char *text)
{
    put_int(out, text == NULL ? -1 : (int)strlen(text), 4);
    buffer_append(out, text, text == NULL ? 0 : strlen(text));
}

static void put_row(struct buffer *out, const char *key, const char *json, int version)
{
    put_int(out, 4, 2);
    put_field(out, key);
    put_field(out, json);
    put_int(out, 8, 4);
    put_int(out, version, 8);
    put_int(out, -1, 4); // never expires
}

static struct buffer rows_of(const char *const (*rows)[2], size_t count)
{
    struct buffer out = {0};
    put_header(&out);
    for (size_t i = 0; i < count; i++) {
        put_row(&out, rows[i][0], rows[i][1], (int)i + 1);
    }
    put_int(&out, -1, 2);
    return out;
}

// Byte for byte, as a connection might hand it out.
static void come(struct preload_page *page, struct slice bytes, size_t bytes_max)
{
    preload_page_ask(page, slice_of_string("a"), 7);
    for (size_t i = 0; i < bytes.len; i++) {
        preload_page_add(page, slice_of(bytes.at + i, 1), bytes_max);
    }
}

// The keys and versions of the fills, as "b=1 d=3 ".
static void convert_all(struct preload_page *page, char *out, size_t size)
{
    struct buffer value = {0};
    size_t len = 0;
    out[0] = '\0';
    while (!preload_page_is_converted(page)) {
        struct fills_message *fills = message_create(MESSAGE_FILLS, sizeof *fills);
        assert_int_equal(preload_page_convert(page, 2, VALUE_BYTES_MAX, &value, fills), 0);
        for (size_t i = 0; i < fills->fills_count; i++) {
            assert_int_equal(fills->fills[i].expires_at_us, 0);
            len += (size_t)snprintf(out + len, size - len, "%.*s=%lld ",
                                    SLICE_FORMAT(fills->fills[i].key),
                                    (long long)fills->fills[i].version);
        }
        message_destroy(&fills->message);
    }
    buffer_deinit(&value);
}

// ---- tests

static const char *const ROWS[][2] = {{"b", "1"}, {"c", "true"}, {"d", "\"x\""}};

static void all_rows_become_fills(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 3);
    struct preload_page page = {0};
    struct preload_extent extent;
    char fills[100];
    come(&page, buffer_slice(&bytes), SIZE_MAX);
    assert_true(preload_page_take(&page, ROWS_ASKED, TEXT_MAX, &extent));
    assert_true(extent.is_last && !extent.is_cut);
    assert_int_equal(extent.text_bytes, 3 + 1 + 4 + 3);
    assert_true(slice_equal(page.last_key, slice_of_string("d")));
    marks_add(&page.marks, slice_of_string("c"));
    convert_all(&page, fills, sizeof fills);
    assert_string_equal(fills, "b=1 d=3 ");
    assert_true(slice_equal(slice_of(page.from, page.from_bytes), slice_of_string("d")));
    preload_page_drop(&page);
    // As many as were asked for: there may be more.
    come(&page, buffer_slice(&bytes), SIZE_MAX);
    assert_true(preload_page_take(&page, 3, TEXT_MAX, &extent));
    assert_false(extent.is_last || extent.is_cut);
    preload_page_deinit(&page);
    buffer_deinit(&bytes);
}

static void a_text_that_may_be_cut_off_ends_the_page(void **state)
{
    (void)state;
    static const char *const LONG[][2] = {{"b", "1"}, {"c", "\"0123456789012345678"}, {"d", "2"}};
    struct buffer bytes = rows_of(LONG, 3);
    struct preload_page page = {0};
    struct preload_extent extent;
    char fills[100];
    come(&page, buffer_slice(&bytes), SIZE_MAX);
    assert_true(preload_page_take(&page, ROWS_ASKED, TEXT_MAX, &extent));
    assert_true(extent.is_cut && !extent.is_last);
    assert_true(slice_equal(page.last_key, slice_of_string("b")));
    convert_all(&page, fills, sizeof fills);
    assert_string_equal(fills, "b=1 ");
    preload_page_drop(&page);
    come(&page, buffer_slice(&bytes), SIZE_MAX);
    assert_true(preload_page_take(&page, ROWS_ASKED, TEXT_MAX + 1, &extent));
    assert_true(!extent.is_cut && page.rows_count == 3);
    preload_page_deinit(&page);
    buffer_deinit(&bytes);
}

static void a_page_that_is_full_ends_with_a_whole_row(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 3);
    for (size_t room = 19; room < buffer_len(&bytes); room++) {
        struct preload_page page = {0};
        struct preload_extent extent;
        char fills[100];
        come(&page, buffer_slice(&bytes), room);
        assert_true(preload_page_take(&page, ROWS_ASKED, TEXT_MAX, &extent));
        assert_false(extent.is_last);
        assert_int_equal(extent.is_cut, page.rows_count == 0);
        convert_all(&page, fills, sizeof fills);
        assert_int_equal(strncmp(fills, "b=1 c=2 d=3 ", strlen(fills)), 0);
        preload_page_deinit(&page);
    }
    buffer_deinit(&bytes);
}

static void what_is_no_such_page_is_not_taken(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 3);
    struct preload_extent extent;
    for (size_t len = 0; len < buffer_len(&bytes); len++) {
        struct preload_page page = {0};
        come(&page, slice_of(buffer_slice(&bytes).at, len), SIZE_MAX);
        assert_false(preload_page_take(&page, ROWS_ASKED, TEXT_MAX, &extent));
        preload_page_deinit(&page);
    }
    struct preload_page page = {0};
    come(&page, buffer_slice(&bytes), SIZE_MAX);
    assert_false(preload_page_take(&page, 2, TEXT_MAX, &extent)); // more than was asked for
    preload_page_drop(&page);
    put_int(&bytes, 0, 1);
    come(&page, buffer_slice(&bytes), SIZE_MAX);
    assert_false(preload_page_take(&page, ROWS_ASKED, TEXT_MAX, &extent));
    preload_page_deinit(&page);
    buffer_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rows_become_fills),
        cmocka_unit_test(a_text_that_may_be_cut_off_ends_the_page),
        cmocka_unit_test(a_page_that_is_full_ends_with_a_whole_row),
        cmocka_unit_test(what_is_no_such_page_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
