// Finding messages in a stream: the same messages and the same faults wherever it is cut.

#include "server/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FRAME_MAX = 64, SEEN_MAX = 256 };

// What a stream holds, in words.
struct seen {
    char text[SEEN_MAX];
    size_t len;
};

static void note(struct seen *seen, const char *kind, unsigned long long msgid, struct slice method,
                 size_t params_len)
{
    seen->len +=
        (size_t)snprintf(seen->text + seen->len, sizeof seen->text - seen->len, "%s %llu %.*s %zu;",
                         kind, msgid, SLICE_FORMAT(method), params_len);
}

// Takes all messages in `stream`, which arrives in pieces of `piece` bytes.
static struct seen read_stream(struct slice stream, size_t piece)
{
    struct seen seen = {0};
    struct frame_reader reader = {.frame_bytes_max = FRAME_MAX};
    size_t start = 0;
    for (size_t arrived = 0; arrived < stream.len;) {
        arrived = arrived + piece < stream.len ? arrived + piece : stream.len;
        for (;;) {
            struct frame frame;
            struct frame_fault fault;
            size_t consumed;
            struct slice bytes = slice_of(stream.at + start, arrived - start);
            enum decode decoded = frame_next(&reader, bytes, &consumed, &frame, &fault);
            if (decoded == DECODE_NEED_MORE) {
                break;
            }
            if (decoded == DECODE_BAD) {
                note(&seen, error_wire_code(fault.failure.error),
                     fault.has_msgid ? fault.msgid : 999, slice_of("", 0), 0);
                return seen;
            }
            note(&seen, frame.kind == FRAME_REQUEST ? "request" : "notification", frame.msgid,
                 frame.method, frame.params.len);
            start += consumed;
        }
    }
    return seen;
}

#define STREAM(literal)                                                                            \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

static void assert_seen_at_every_split(struct slice stream, const char *expected)
{
    for (size_t piece = 1; piece <= stream.len; piece++) {
        struct seen seen = read_stream(stream, piece);
        assert_string_equal(seen.text, expected);
    }
}

static void messages_are_found_at_every_split(void **state)
{
    (void)state;
    static const struct slice MESSAGES =
        STREAM("\x94\x00\x07\xa3get\x91\xa1k"
               "\x93\x02\xa4note\x90"
               "\x94\x00\xce\xff\xff\xff\xff\xa4ping\x90"
               "\xdc\x00\x04\x00\xcd\x01\x00\xd9\x04ping\xdc\x00\x00");
    assert_seen_at_every_split(MESSAGES,
                               "request 7 get 3;notification 0 note 1;request 4294967295 ping 1;"
                               "request 256 ping 3;");
}

// 999 stands for no msgid.
static void faults_name_the_request_where_they_can(void **state)
{
    (void)state;
    static const struct {
        struct slice stream;
        const char *seen;
    } FAULTS[] = {
        {STREAM("GET / HTTP/1.1\r\n"), "BAD_REQUEST 999  0;"},
        {STREAM("\xc1"), "BAD_REQUEST 999  0;"},
        {STREAM("\x80"), "BAD_REQUEST 999  0;"},
        {STREAM("\x90"), "BAD_REQUEST 999  0;"},
        {STREAM("\x94\x00\x05\xc1"), "BAD_REQUEST 5  0;"},
        {STREAM("\x94\x00\x05\xa4ping\x91\xc1"), "BAD_REQUEST 5  0;"},
        {STREAM("\x94\x00\x05\xa4ping\x80"), "BAD_REQUEST 5  0;"},
        {STREAM("\x94\x00\x05\x06\x90"), "BAD_REQUEST 5  0;"},
        {STREAM("\x95\x00\x05\xa4ping\x90\x01"), "BAD_REQUEST 5  0;"},
        {STREAM("\x93\x00\x05\xa4ping"), "BAD_REQUEST 5  0;"},
        {STREAM("\x94\x00\xff\xa4ping\x90"), "BAD_REQUEST 999  0;"},
        {STREAM("\x94\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xa4ping\x90"), "BAD_REQUEST 999  0;"},
        // The 5 is behind the message, and no msgid of it.
        {STREAM("\x91\x00\x05"), "BAD_REQUEST 999  0;"},
        {STREAM("\x94\x01\x05\xc0\xc0"), "BAD_REQUEST 999  0;"},
        {STREAM("\x94\x02\x05\xa4ping\x90"), "BAD_REQUEST 999  0;"},
        {STREAM("\x93\x02\xa4note\xc0"), "BAD_REQUEST 999  0;"},
        {STREAM("\x94\x00\x01\xa4ping\x90\x94\x00\x02\x01\x01"),
         "request 1 ping 1;BAD_REQUEST 2  0;"},
    };
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
        assert_seen_at_every_split(FAULTS[i].stream, FAULTS[i].seen);
    }
}

static void a_message_has_a_greatest_length(void **state)
{
    (void)state;
    uint8_t stream[FRAME_MAX + 2] = "\x94\x00\x05\xa4ping\x91\xd9";
    enum { HEAD = 11 };
    stream[HEAD - 1] = FRAME_MAX - HEAD;
    assert_seen_at_every_split(slice_of(stream, FRAME_MAX), "request 5 ping 56;");
    stream[HEAD - 1] = FRAME_MAX - HEAD + 1;
    assert_seen_at_every_split(slice_of(stream, FRAME_MAX + 1), "TOO_LARGE 5  0;");
    // One that is malformed only behind the greatest length is too large as well.
    memset(stream + HEAD - 2, 0x91, sizeof stream - HEAD + 2);
    stream[sizeof stream - 1] = 0xc1;
    assert_seen_at_every_split(slice_of(stream, sizeof stream), "TOO_LARGE 5  0;");
}

// Whatever the shortcut takes, frame_next takes too, with the same outcome.
static void assert_get(struct slice bytes, size_t len, uint32_t msgid, const char *key)
{
    struct frame_reader reader = {.frame_bytes_max = FRAME_MAX};
    struct frame frame;
    struct frame_fault fault;
    size_t consumed, expected;
    uint32_t found;
    struct slice name;
    assert_true(frame_next_get(&reader, bytes, &consumed, &found, &name));
    assert_int_equal(consumed, len);
    assert_int_equal(found, msgid);
    assert_true(slice_equal(name, slice_of_string(key)));
    assert_int_equal(frame_next(&reader, bytes, &expected, &frame, &fault), DECODE_OK);
    assert_int_equal(expected, len);
    assert_int_equal(frame.msgid, msgid);
}

static void a_get_has_a_shortcut(void **state)
{
    (void)state;
    static const struct slice SHORT = STREAM("\x94\x00\x07\xa3get\x91\xa2kk\x94");
    static const struct slice EMPTY = STREAM("\x94\x00\xcd\x01\x00\xa3get\x92\xd9\x01k\x80");
    static const struct slice OTHERS[] = {
        STREAM("\x94\x00\x07\xa3set\x91\xa1k"),
        STREAM("\x94\x01\x07\xa3get\x91\xa1k"),
        STREAM("\x94\x00\x07\xa3get\x90"),
        STREAM("\x94\x00\x07\xa3get\x91\x01"),
        STREAM("\x94\x00\x07\xa3get\x92\xa1k\xc0"),
        STREAM("\x94\x00\x07\xa3get\x92\xa1k\x81\xa5"
               "fresh\xc3"),
        STREAM("\x94\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xa3get\x91\xa1k"),
    };
    static const struct slice WIDE = STREAM("\x94\x00\xce\xff\xff\xff\xfe\xa3get\x91\xda\x00\x01k");
    static const struct slice NARROW = STREAM("\x94\x00\xcc\x80\xa3get\x91\xa1k");
    struct frame_reader reader = {.frame_bytes_max = FRAME_MAX};
    size_t consumed;
    uint32_t msgid;
    struct slice key;
    assert_get(WIDE, WIDE.len, 0xfffffffe, "k");
    assert_get(NARROW, NARROW.len, 0x80, "k");
    for (size_t len = 0; len < WIDE.len; len++) {
        assert_false(frame_next_get(&reader, slice_of(WIDE.at, len), &consumed, &msgid, &key));
    }
    assert_get(SHORT, SHORT.len - 1, 7, "kk");
    assert_get(EMPTY, EMPTY.len, 256, "k");
    for (size_t len = 0; len < SHORT.len - 1; len++) {
        assert_false(frame_next_get(&reader, slice_of(SHORT.at, len), &consumed, &msgid, &key));
    }
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        assert_false(frame_next_get(&reader, OTHERS[i], &consumed, &msgid, &key));
    }
    reader.frame_bytes_max = SHORT.len - 2;
    assert_false(frame_next_get(&reader, SHORT, &consumed, &msgid, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_found_at_every_split),
        cmocka_unit_test(faults_name_the_request_where_they_can),
        cmocka_unit_test(a_message_has_a_greatest_length),
        cmocka_unit_test(a_get_has_a_shortcut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
