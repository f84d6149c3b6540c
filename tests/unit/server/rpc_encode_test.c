// The answer to a get is written by hand for speed; it must be what the packer writes.

#include "server/rpc_encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_same(uint32_t msgid, struct item item)
{
    const struct call call = {.method = METHOD_GET};
    const struct reply reply = {.items = &item, .items_count = 1};
    struct buffer packed = {0};
    struct buffer written = {0};
    rpc_encode_reply(&packed, msgid, &call, &reply);
    rpc_encode_item(&written, msgid, &item);
    assert_int_equal(buffer_len(&written), buffer_len(&packed));
    assert_memory_equal(buffer_slice(&written).at, buffer_slice(&packed).at, buffer_len(&packed));
    buffer_deinit(&packed);
    buffer_deinit(&written);
}

static void an_item_is_encoded_as_in_any_reply(void **state)
{
    (void)state;
    static const uint64_t NUMBERS[] = {0,
                                       1,
                                       0x7f,
                                       0x80,
                                       0xff,
                                       0x100,
                                       0xffff,
                                       0x10000,
                                       1u << 31,
                                       UINT32_MAX,
                                       1ull + UINT32_MAX,
                                       INT64_MAX};
    static const char VALUE[] = "\xa5value";
    struct item item = {.value = slice_of(VALUE, sizeof VALUE - 1), .present = true};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        item.has_version = true;
        item.version = (int64_t)NUMBERS[i];
        assert_same((uint32_t)NUMBERS[i], item);
        item.has_version = false;
        assert_same((uint32_t)NUMBERS[i], item);
    }
    static const int64_t NEGATIVE[] = {-1,      -0x20,   -0x21,     -0x80,           -0x81,
                                       -0x8000, -0x8001, INT32_MIN, INT32_MIN - 1ll, INT64_MIN};
    item.has_version = true;
    for (size_t i = 0; i < sizeof NEGATIVE / sizeof *NEGATIVE; i++) {
        item.version = NEGATIVE[i];
        assert_same(1, item);
    }
    assert_same(1, (struct item){.present = false});
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_item_is_encoded_as_in_any_reply)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
