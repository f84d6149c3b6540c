// The MessagePack cursor: what msgpack-c packs is read back, and no byte is trusted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/mpack.h"

static void pack_everything(struct buffer *out)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    msgpack_pack_array(&packer, 12);
    msgpack_pack_nil(&packer);
    msgpack_pack_true(&packer);
    msgpack_pack_false(&packer);
    msgpack_pack_uint64(&packer, UINT64_MAX);
    msgpack_pack_int64(&packer, INT64_MIN);
    msgpack_pack_int(&packer, -1);
    msgpack_pack_double(&packer, 0.5);
    msgpack_pack_float(&packer, 0.25f);
    mpack_pack_string(&packer, "text");
    msgpack_pack_ext(&packer, 3, 1);
    msgpack_pack_ext_body(&packer, "1.5", 3);
    msgpack_pack_map(&packer, 1);
    mpack_pack_string(&packer, "key");
    msgpack_pack_array(&packer, 0);
    msgpack_pack_bin(&packer, 2);
    msgpack_pack_bin_body(&packer, "\0\1", 2);
}

static const enum mpack_type EVERYTHING[] = {
    MPACK_ARRAY, MPACK_NIL, MPACK_BOOL, MPACK_BOOL, MPACK_UINT, MPACK_INT,   MPACK_INT, MPACK_FLOAT,
    MPACK_FLOAT, MPACK_STR, MPACK_EXT,  MPACK_MAP,  MPACK_STR,  MPACK_ARRAY, MPACK_BIN,
};

static void every_type_is_read(void **state)
{
    (void)state;
    struct buffer packed = {0};
    pack_everything(&packed);
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&packed));
    struct mpack_token tokens[15];
    for (size_t i = 0; i < 15; i++) {
        assert_int_equal(mpack_next(&cursor, &tokens[i]), DECODE_OK);
        assert_int_equal(tokens[i].type, EVERYTHING[i]);
    }
    assert_true(cursor.at == cursor.end);
    assert_int_equal(tokens[0].count, 12);
    assert_true(tokens[2].boolean);
    assert_false(tokens[3].boolean);
    assert_true(tokens[4].uint == UINT64_MAX);
    assert_true(tokens[5].sint == INT64_MIN);
    assert_int_equal(tokens[6].sint, -1);
    assert_true(tokens[7].real == 0.5 && tokens[8].real == 0.25);
    assert_true(slice_equal(tokens[9].body, slice_of_string("text")));
    assert_true(slice_equal(tokens[10].body, slice_of_string("1.5")));
    assert_int_equal(tokens[10].ext_type, 1);
    assert_int_equal(tokens[14].body.len, 2);
    buffer_deinit(&packed);
}

static void integers_are_read_in_every_width(void **state)
{
    (void)state;
    static const int64_t VALUES[] = {0,      127,    128,     255,        256,       65535,
                                     65536,  -1,     -32,     -33,        -128,      -129,
                                     -32768, -32769, 1 << 30, -(1 << 30), INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        struct buffer packed = {0};
        msgpack_packer packer;
        mpack_packer_init(&packer, &packed);
        msgpack_pack_int64(&packer, VALUES[i]);
        struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&packed));
        int64_t value;
        assert_true(mpack_read_int(&cursor, &value));
        assert_true(value == VALUES[i]);
        buffer_deinit(&packed);
    }
    // A signed encoding of a positive number, and an unsigned one beyond int64.
    struct mpack_cursor cursor = mpack_cursor_of(slice_of("\xd1\x00\x05", 3));
    uint64_t unsigned_value;
    int64_t signed_value;
    assert_true(mpack_read_uint(&cursor, &unsigned_value) && unsigned_value == 5);
    cursor = mpack_cursor_of(slice_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9));
    assert_false(mpack_read_int(&cursor, &signed_value));
}

static void every_prefix_needs_more(void **state)
{
    (void)state;
    struct buffer packed = {0};
    pack_everything(&packed);
    struct mpack_scan scan = {0};
    for (size_t len = 0; len < buffer_len(&packed); len++) {
        // A copy of exactly `len` bytes, so that a read beyond them is seen by the sanitizer.
        struct buffer prefix = {0};
        buffer_append(&prefix, packed.bytes, len);
        prefix.bytes = realloc(prefix.bytes, len > 0 ? len : 1);
        struct mpack_cursor cursor = mpack_cursor_of(slice_of(prefix.bytes, len));
        assert_int_equal(mpack_skip(&cursor, NULL), DECODE_NEED_MORE);
        assert_int_equal(mpack_scan_more(&scan, slice_of(prefix.bytes, len)), DECODE_NEED_MORE);
        buffer_deinit(&prefix);
    }
    assert_int_equal(mpack_scan_more(&scan, buffer_slice(&packed)), DECODE_OK);
    assert_int_equal(scan.scanned, buffer_len(&packed));
    buffer_deinit(&packed);
}

static void bad_bytes_are_bad(void **state)
{
    (void)state;
    struct mpack_token token;
    struct mpack_cursor cursor = mpack_cursor_of(slice_of("\xc1", 1));
    assert_int_equal(mpack_next(&cursor, &token), DECODE_BAD);
    cursor = mpack_cursor_of(slice_of("\x92\x01\xc1", 3));
    assert_int_equal(mpack_skip(&cursor, NULL), DECODE_BAD);
    assert_true(cursor.at[0] == 0x92);
    // Huge announced lengths are a matter of waiting, never of allocating.
    cursor = mpack_cursor_of(slice_of("\xdd\xff\xff\xff\xff\x01", 6));
    assert_int_equal(mpack_skip(&cursor, NULL), DECODE_NEED_MORE);
    cursor = mpack_cursor_of(slice_of("\xdb\xff\xff\xff\xffxx", 7));
    assert_int_equal(mpack_next(&cursor, &token), DECODE_NEED_MORE);
}

static void readers_refuse_other_types(void **state)
{
    (void)state;
    struct mpack_cursor cursor = mpack_cursor_of(slice_of("\xa1x", 2));
    const uint8_t *start = cursor.at;
    bool boolean;
    int64_t integer;
    uint32_t count;
    struct slice text;
    assert_false(mpack_read_nil(&cursor));
    assert_false(mpack_read_bool(&cursor, &boolean));
    assert_false(mpack_read_int(&cursor, &integer));
    assert_false(mpack_read_array(&cursor, &count));
    assert_false(mpack_read_map(&cursor, &count));
    assert_true(cursor.at == start);
    assert_true(mpack_read_str(&cursor, &text));
    assert_true(cursor.at == cursor.end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(integers_are_read_in_every_width),
        cmocka_unit_test(every_prefix_needs_more),
        cmocka_unit_test(bad_bytes_are_bad),
        cmocka_unit_test(readers_refuse_other_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
