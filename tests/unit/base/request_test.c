// A request owns what its call pointed to, in its own block or beyond it, however it was made.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/entry.h"
#include "base/mpack.h"

static void pack_pairs(const struct call *call, struct buffer *out)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    for (size_t i = 0; i < call->pairs_count; i++) {
        const struct pair *pair = &call->pairs[i];
        mpack_pack_slice(&packer, pair->key);
        msgpack_pack_bin(&packer, pair->value.len);
        msgpack_pack_bin_body(&packer, pair->value.at, pair->value.len);
    }
}

static void assert_owns(const struct request *request, const struct call *call)
{
    struct buffer expected = {0};
    pack_pairs(call, &expected);
    assert_true(slice_equal(request->encoded_pairs, buffer_slice(&expected)));
    buffer_deinit(&expected);
    assert_int_equal(request->call.pairs_count, call->pairs_count);
    for (size_t i = 0; i < call->pairs_count; i++) {
        assert_true(slice_equal(request->call.pairs[i].key, call->pairs[i].key));
        assert_true(slice_equal(request->call.pairs[i].value, call->pairs[i].value));
        assert_ptr_not_equal(request->call.pairs[i].key.at, call->pairs[i].key.at);
    }
    assert_true(slice_equal(request->call.id, call->id));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    assert_string_equal(request->reply.failure.message, "");
    assert_null(request->reply.items);
    assert_int_equal(request->seq, 0);
}

// At the borders of each head of MessagePack, and of the block.
static void whatever_its_length_it_is_owned(void **state)
{
    (void)state;
    static const size_t KEYS[] = {1, 31, 32, 255, 256, 511};
    static const size_t VALUES[] = {0, 1, 255, 256, 300, 65535, 65536, 200000};
    static uint8_t text[200000];
    memset(text, 'v', sizeof text);
    struct pool pool = {.kept_max = 2};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        for (size_t j = 0; j < sizeof VALUES / sizeof *VALUES; j++) {
            struct pair pairs[] = {{slice_of(text, KEYS[i]), slice_of(text, VALUES[j])},
                                   {slice_of_string("second"), slice_of("\xc0", 1)}};
            struct call call = {.method = METHOD_MSET,
                                .id = slice_of_string("once"),
                                .pairs_count = 2,
                                .pairs = pairs};
            struct request *made = request_create(&call, NULL);
            struct request *pooled = request_create_in(&pool, &call, NULL);
            assert_owns(made, &call);
            assert_owns(pooled, &call);
            request_return(&pool, made);
            request_destroy(pooled);
        }
    }
    pool_deinit(&pool);
}

static void what_one_was_the_next_is_not(void **state)
{
    (void)state;
    struct pair pair = {slice_of_string("k"), slice_of("\xa1v", 2)};
    struct call call = {.method = METHOD_SET, .pairs_count = 1, .pairs = &pair};
    struct pool pool = {.kept_max = 1};
    for (int i = 0; i < 3; i++) {
        struct request *request = request_create_in(&pool, &call, NULL);
        assert_owns(request, &call);
        failure_note(&request->reply.failure, ERROR_CONFLICT, "a reason");
        request->reply.failure.has_seq = true;
        reply_items(&request->reply, 5);
        request->seq = 9;
        request_return(&pool, request);
        assert_true(pool.kept <= 1);
    }
    pool_deinit(&pool);
    assert_int_equal(pool.kept, 0);
}

static void a_pool_keeps_no_more_than_it_may(void **state)
{
    (void)state;
    enum { BLOCKS = 8, KEPT = 3, BYTES = 64 };
    struct pool pool = {.kept_max = KEPT};
    void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = pool_take(&pool, BYTES);
        memset(blocks[i], i, BYTES);
    }
    for (int i = 0; i < BLOCKS; i++) {
        assert_int_equal(((uint8_t *)blocks[i])[BYTES - 1], i);
        pool_return(&pool, blocks[i]);
        assert_true(pool.kept <= KEPT);
    }
    free(pool_take(&pool, BYTES));
    pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_its_length_it_is_owned),
        cmocka_unit_test(what_one_was_the_next_is_not),
        cmocka_unit_test(a_pool_keeps_no_more_than_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
