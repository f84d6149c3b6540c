// A page of the preload: what is taken of the bytes that COPY sends, and what becomes of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <stdio.h>

#include "pg/preload_page.h"

enum { ROWS_ASKED = 10, TEXT_MAX = 20, VALUE_BYTES_MAX = 100, STEP_ROWS = 2 };

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

static struct preload_limits limits_of(size_t rows_asked, size_t bytes_max)
{
    return (struct preload_limits){
        .rows_asked = rows_asked,
        .text_max = TEXT_MAX,
        .bytes_max = bytes_max,
        .value_bytes_max = VALUE_BYTES_MAX,
        .step_rows = STEP_ROWS,
        .step_bytes = SIZE_MAX,
    };
}

// The keys and versions of the fills, as "b=1 d=3 ".
static size_t tell(struct fills_message *fills, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; fills != NULL && i < fills->fills_count; i++) {
        assert_int_equal(fills->fills[i].expires_at_us, 0);
        assert_int_equal(fills->epoch, 7);
        len +=
            (size_t)snprintf(out + len, size - len, "%.*s=%lld ", SLICE_FORMAT(fills->fills[i].key),
                             (long long)fills->fills[i].version);
    }
    if (fills != NULL) {
        assert_in_range(fills->fills_count, 1, STEP_ROWS);
        message_destroy(&fills->message);
    }
    return len;
}

// In pieces of `piece` bytes, as a connection might hand it out.
static void come(struct preload_page *page, struct slice bytes, const struct preload_limits *limits,
                 size_t piece, char fills[100])
{
    size_t len = 0;
    fills[0] = '\0';
    preload_page_ask(page, limits, 7);
    for (size_t at = 0; at < bytes.len; at += piece) {
        size_t left = bytes.len - at;
        struct slice some = slice_of(bytes.at + at, left < piece ? left : piece);
        while (preload_page_take(page, &some)) {
            len += tell(preload_page_fills(page), fills + len, 100 - len);
        }
    }
    tell(preload_page_fills(page), fills + len, 100 - len);
}

static bool is_taken(struct slice bytes, size_t rows_asked, size_t piece)
{
    struct preload_page page = {0};
    char fills[100];
    const struct preload_limits limits = limits_of(rows_asked, SIZE_MAX);
    come(&page, bytes, &limits, piece, fills);
    bool is_whole = preload_page_is_whole(&page);
    preload_page_deinit(&page);
    return is_whole;
}

// ---- tests

static const char *const ROWS[][2] = {{"b", "1"}, {"c", "true"}, {"d", "\"x\""}, {"e", "2"}};

static void all_rows_become_fills(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 4);
    struct preload_page page = {0};
    char fills[100];
    for (size_t piece = 1; piece <= buffer_len(&bytes); piece++) {
        struct preload_limits limits = limits_of(ROWS_ASKED, SIZE_MAX);
        come(&page, buffer_slice(&bytes), &limits, piece, fills);
        assert_string_equal(fills, "b=1 c=2 d=3 e=4 ");
        assert_true(preload_page_is_whole(&page) && preload_page_is_last(&page));
        assert_int_equal(page.text_bytes, 4 + 1 + 4 + 3 + 1);
        assert_true(slice_equal(slice_of(page.last, page.last_bytes), slice_of_string("e")));
        preload_page_drop(&page);
        // As many as were asked for: there may be more.
        limits.rows_asked = 4;
        come(&page, buffer_slice(&bytes), &limits, piece, fills);
        assert_true(preload_page_is_whole(&page) && !preload_page_is_last(&page));
        assert_false(page.is_cut);
        preload_page_drop(&page);
    }
    preload_page_deinit(&page);
    buffer_deinit(&bytes);
}

static void what_is_heard_of_meanwhile_is_left_out(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 4);
    struct preload_page page = {0};
    const struct preload_limits limits = limits_of(ROWS_ASKED, SIZE_MAX);
    struct slice left = buffer_slice(&bytes);
    char fills[100] = "";
    preload_page_ask(&page, &limits, 7);
    assert_true(preload_page_take(&page, &left));
    // Taken already, or still to come.
    marks_add(&page.marks, slice_of_string("e"));
    marks_add(&page.marks, slice_of_string("c"));
    tell(preload_page_fills(&page), fills, sizeof fills);
    assert_string_equal(fills, "b=1 ");
    assert_true(preload_page_take(&page, &left));
    marks_add(&page.marks, slice_of_string("d"));
    assert_null(preload_page_fills(&page)); // none is left
    assert_false(preload_page_take(&page, &left));
    assert_true(slice_equal(slice_of(page.last, page.last_bytes), slice_of_string("e")));
    assert_true(preload_page_is_last(&page));
    preload_page_deinit(&page);
    buffer_deinit(&bytes);
}

static void a_text_that_may_be_cut_off_ends_the_page(void **state)
{
    (void)state;
    static const char *const LONG[][2] = {{"b", "1"}, {"c", "\"0123456789012345678"}, {"d", "2"}};
    struct buffer bytes = rows_of(LONG, 3);
    struct preload_page page = {0};
    struct preload_limits limits = limits_of(ROWS_ASKED, SIZE_MAX);
    char fills[100];
    come(&page, buffer_slice(&bytes), &limits, 1, fills);
    assert_string_equal(fills, "b=1 ");
    assert_true(page.is_cut && preload_page_is_whole(&page) && !preload_page_is_last(&page));
    assert_true(slice_equal(slice_of(page.last, page.last_bytes), slice_of_string("b")));
    preload_page_drop(&page);
    limits.text_max = TEXT_MAX + 1;
    come(&page, buffer_slice(&bytes), &limits, 1, fills);
    assert_true(!page.is_cut && page.rows_count == 3 && page.skipped == 1); // it is no JSON
    preload_page_drop(&page);
    limits = limits_of(1, 1); // alone, it is taken whatever its size
    struct buffer alone = rows_of(LONG + 1, 1);
    come(&page, buffer_slice(&alone), &limits, 7, fills);
    assert_true(!page.is_cut && page.rows_count == 1 && !preload_page_is_last(&page));
    preload_page_deinit(&page);
    buffer_deinit(&alone);
    buffer_deinit(&bytes);
}

static void a_page_that_is_full_ends_with_a_whole_row(void **state)
{
    (void)state;
    static const char *const TAKEN[] = {"", "b=1 ", "b=1 c=2 ", "b=1 c=2 d=3 "};
    static const size_t ROOM[] = {1, 2, 7, 11};
    struct buffer bytes = rows_of(ROWS, 4);
    for (size_t i = 0; i < 4; i++) {
        struct preload_page page = {0};
        const struct preload_limits limits = limits_of(ROWS_ASKED, ROOM[i]);
        char fills[100];
        come(&page, buffer_slice(&bytes), &limits, 3, fills);
        assert_string_equal(fills, TAKEN[i]);
        assert_true(preload_page_is_whole(&page) && !preload_page_is_last(&page));
        assert_int_equal(page.is_cut, i == 0 || i == 1); // the next one by itself is too much
        preload_page_deinit(&page);
    }
    buffer_deinit(&bytes);
}

static void a_step_ends_with_its_bytes_too(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 4);
    struct preload_page page = {0};
    struct preload_limits limits = limits_of(ROWS_ASKED, SIZE_MAX);
    struct slice left = buffer_slice(&bytes);
    char fills[100] = "";
    limits.step_bytes = 1;
    preload_page_ask(&page, &limits, 7);
    assert_true(preload_page_take(&page, &left));
    tell(preload_page_fills(&page), fills, sizeof fills);
    assert_string_equal(fills, "b=1 ");
    preload_page_deinit(&page);
    buffer_deinit(&bytes);
}

static void what_is_no_such_page_is_not_whole(void **state)
{
    (void)state;
    struct buffer bytes = rows_of(ROWS, 3);
    for (size_t len = 0; len < buffer_len(&bytes); len++) {
        assert_false(is_taken(slice_of(buffer_slice(&bytes).at, len), ROWS_ASKED, 1));
        assert_false(is_taken(slice_of(buffer_slice(&bytes).at, len), ROWS_ASKED, SIZE_MAX));
    }
    assert_true(is_taken(buffer_slice(&bytes), 3, 1));
    assert_false(is_taken(buffer_slice(&bytes), 2, 1)); // more than was asked for
    put_int(&bytes, 0, 1);
    assert_false(is_taken(buffer_slice(&bytes), ROWS_ASKED, 1));
    assert_false(is_taken(buffer_slice(&bytes), ROWS_ASKED, SIZE_MAX));
    buffer_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rows_become_fills),
        cmocka_unit_test(what_is_heard_of_meanwhile_is_left_out),
        cmocka_unit_test(a_text_that_may_be_cut_off_ends_the_page),
        cmocka_unit_test(a_page_that_is_full_ends_with_a_whole_row),
        cmocka_unit_test(a_step_ends_with_its_bytes_too),
        cmocka_unit_test(what_is_no_such_page_is_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
