// What is written into the outbox comes back: entries, and the remembered answers to them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/messages.h"

static void make_entry(struct buffer *pairs, struct entry *entry)
{
    struct pair both[] = {{slice_of_string("a"), slice_of("\x01", 1)},
                          {slice_of_string("bb"), slice_of("\xa1x", 2)}};
    struct call call = {.method = METHOD_MSET,
                        .ack = ACK_POSTGRES,
                        .pairs = both,
                        .pairs_count = 2,
                        .id = slice_of_string("once")};
    entry_of_call(&call, entry, pairs);
    entry->accepted_us = 123;
    entry->expires_at_us = 456;
}

static void entries_come_back(void **state)
{
    (void)state;
    struct buffer pairs = {0}, bytes = {0};
    struct entry entry, decoded;
    make_entry(&pairs, &entry);
    entry_encode(&entry, &bytes);
    assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_NONE);
    assert_int_equal(decoded.seq, 7);
    assert_int_equal(decoded.op, ENTRY_SET);
    assert_int_equal(decoded.ack, ACK_POSTGRES);
    assert_int_equal(decoded.accepted_us, 123);
    assert_int_equal(decoded.expires_at_us, 456);
    assert_true(slice_equal(decoded.id, slice_of_string("once")));
    assert_int_equal(decoded.pairs_count, 2);
    struct entry_cursor cursor = entry_cursor_of(&decoded);
    struct pair pair;
    assert_true(entry_next_pair(&cursor, &pair));
    assert_true(slice_equal(pair.key, slice_of_string("a")));
    assert_true(entry_next_pair(&cursor, &pair));
    assert_true(slice_equal(pair.value, slice_of("\xa1x", 2)));
    assert_false(entry_next_pair(&cursor, &pair));
    buffer_deinit(&pairs);
    buffer_deinit(&bytes);
}

// At the borders of MessagePack's forms of numbers and lengths.
static void entries_of_any_size_come_back(void **state)
{
    (void)state;
    static const int64_t NUMBERS[] = {INT64_MIN, -129,  -1,         0,
                                      127,       128,   255,        256,
                                      65535,     65536, UINT32_MAX, (int64_t)UINT32_MAX + 1,
                                      INT64_MAX};
    static const size_t LENS[] = {1, 31, 32, 255, 256, 65535, 65536};
    static uint8_t text[65536];
    memset(text, 't', sizeof text);
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        for (size_t j = 0; j < sizeof LENS / sizeof *LENS; j++) {
            struct pair pair = {slice_of(text, LENS[j] < 511 ? LENS[j] : 511),
                                slice_of(text, LENS[j])};
            struct call call = {.method = METHOD_SET, .pairs = &pair, .pairs_count = 1};
            struct buffer pairs = {0}, bytes = {0};
            struct entry entry, decoded;
            entry_of_call(&call, &entry, &pairs);
            entry.if_version = NUMBERS[i];
            entry.accepted_us = NUMBERS[i];
            entry.expires_at_us = NUMBERS[i];
            entry.letter_seq = i % 2 == 0 ? 0 : (uint64_t)LENS[j];
            entry.held_seq = i % 3 == 0 ? (uint64_t)NUMBERS[i] : 0;
            entry.id = slice_of(text, LENS[j] < REQUEST_ID_BYTES_MAX ? LENS[j] : 64);
            entry_encode(&entry, &bytes);
            assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_NONE);
            assert_int_equal(decoded.if_version, NUMBERS[i]);
            assert_int_equal(decoded.accepted_us, NUMBERS[i]);
            assert_int_equal(decoded.expires_at_us, NUMBERS[i]);
            assert_int_equal(decoded.letter_seq, entry.letter_seq);
            assert_int_equal(decoded.held_seq, entry.letter_seq == 0 ? entry.held_seq : 0);
            assert_true(slice_equal(decoded.id, entry.id));
            assert_true(slice_equal(decoded.pairs, entry.pairs));
            struct entry_cursor cursor = entry_cursor_of(&decoded);
            struct pair read;
            assert_true(entry_next_pair(&cursor, &read));
            assert_true(slice_equal(read.key, pair.key) && slice_equal(read.value, pair.value));
            assert_false(entry_next_pair(&cursor, &read));
            buffer_deinit(&pairs);
            buffer_deinit(&bytes);
        }
    }
}

static void damaged_entries_are_corrupt(void **state)
{
    (void)state;
    struct buffer pairs = {0}, bytes = {0};
    struct entry entry, decoded;
    make_entry(&pairs, &entry);
    entry_encode(&entry, &bytes);
    for (size_t len = 0; len < buffer_len(&bytes); len++) {
        assert_int_equal(entry_decode(7, slice_of(bytes.bytes, len), &decoded), ERROR_CORRUPT);
    }
    for (size_t bit = 0; bit < buffer_len(&bytes) * 8; bit++) {
        bytes.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_CORRUPT);
        bytes.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_NONE);
    bytes.bytes[1] = 9; // a layout of the future
    assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_CORRUPT);
    buffer_deinit(&pairs);
    buffer_deinit(&bytes);
}

// The layout of the release before: the same without the checksum.
static void an_entry_without_a_checksum_is_read(void **state)
{
    (void)state;
    enum { CHECKSUM_BYTES = 9 };
    struct buffer pairs = {0}, bytes = {0};
    struct entry entry, decoded;
    make_entry(&pairs, &entry);
    entry_encode(&entry, &bytes);
    assert_int_equal(bytes.bytes[0], 0x9c);
    assert_int_equal(bytes.bytes[1], 3);
    bytes.bytes[0] = 0x9b;
    bytes.bytes[1] = 1;
    struct slice older = slice_of(bytes.bytes, buffer_len(&bytes) - CHECKSUM_BYTES);
    assert_int_equal(entry_decode(7, older, &decoded), ERROR_NONE);
    assert_true(slice_equal(decoded.pairs, entry.pairs));
    assert_true(slice_equal(decoded.id, entry.id));
    assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_CORRUPT);
    buffer_deinit(&pairs);
    buffer_deinit(&bytes);
}

static void replies_come_back(void **state)
{
    (void)state;
    struct reply reply = {.seq = 11, .has_version = true, .version = 12, .boolean = true};
    struct item *item = reply_items(&reply, 1);
    *item = (struct item){
        .present = true, .has_version = true, .version = 13, .value = slice_of_string("\x05")};
    failure_note(&reply.failure, ERROR_CONFLICT, "no: %s", "really");
    reply.failure.has_version = true;
    reply.failure.version = 14;
    strcpy(reply.failure.sqlstate, "23505");
    struct buffer bytes = {0};
    reply_encode(&reply, &bytes);
    struct reply decoded = {0};
    assert_int_equal(reply_decode(buffer_slice(&bytes), &decoded), ERROR_NONE);
    assert_int_equal(decoded.seq, 11);
    assert_true(decoded.has_version && decoded.version == 12 && decoded.boolean);
    assert_false(decoded.has_deleted);
    assert_int_equal(decoded.failure.error, ERROR_CONFLICT);
    assert_int_equal(decoded.failure.version, 14);
    assert_string_equal(decoded.failure.message, "no: really");
    assert_string_equal(decoded.failure.sqlstate, "23505");
    assert_int_equal(decoded.items_count, 1);
    assert_int_equal(decoded.items[0].version, 13);
    for (size_t len = 0; len < buffer_len(&bytes); len++) {
        struct reply cut = {0};
        assert_int_equal(reply_decode(slice_of(bytes.bytes, len), &cut), ERROR_CORRUPT);
        reply_deinit(&cut);
    }
    reply_deinit(&decoded);
    reply_deinit(&reply);
    buffer_deinit(&bytes);
}

static void calls_are_copied_whole(void **state)
{
    (void)state;
    char key[] = "key", id[] = "id";
    struct pair pair = {slice_of_string(key), slice_of_string("\xc0")};
    struct call call = {.method = METHOD_SET,
                        .pairs = &pair,
                        .pairs_count = 1,
                        .id = slice_of_string(id),
                        .ttl_ms = 5};
    struct request *request = request_create(&call, NULL);
    memset(key, 'x', 3);
    memset(id, 'x', 2);
    memset(&pair, 0, sizeof pair);
    assert_int_equal(request->call.ttl_ms, 5);
    assert_true(slice_equal(request->call.pairs[0].key, slice_of_string("key")));
    assert_true(slice_equal(request->call.pairs[0].value, slice_of_string("\xc0")));
    assert_true(slice_equal(request->call.id, slice_of_string("id")));
    message_destroy(&request->message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_back),
        cmocka_unit_test(entries_of_any_size_come_back),
        cmocka_unit_test(damaged_entries_are_corrupt),
        cmocka_unit_test(an_entry_without_a_checksum_is_read),
        cmocka_unit_test(replies_come_back),
        cmocka_unit_test(calls_are_copied_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
