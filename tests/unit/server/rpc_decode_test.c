// Params -> call: what each method takes, and what is wrong with everything else, in words.

#include "server/rpc_decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/words.h"
#include "server/rpc_opts.h"
#include "server/rules.h"
#include "json/json.h"

struct fixture {
    struct rpc_decoder decoder;
    struct buffer params;
    struct call call;
    struct failure failure;
};

static struct fixture make(void)
{
    return (struct fixture){
        .decoder = {.value_bytes_max = 1024, .timeout_ms = 5000, .ack = ACK_JOURNAL}};
}

static void drop(struct fixture *fixture)
{
    rpc_decoder_deinit(&fixture->decoder);
    buffer_deinit(&fixture->params);
}

static enum error decode_bytes(struct fixture *fixture, const char *method, struct slice params)
{
    fixture->failure = (struct failure){0};
    return rpc_decode_call(&fixture->decoder, slice_of_string(method), params, &fixture->call,
                           &fixture->failure);
}

static enum error decode(struct fixture *fixture, const char *method, const char *params)
{
    struct failure failure;
    buffer_clear(&fixture->params, SIZE_MAX);
    if (json_to_msgpack(slice_of_string(params), &JSON_LIMITS_DEFAULT, &fixture->params,
                        &failure) != ERROR_NONE) {
        fail_msg("%s: %s", params, failure.message);
    }
    return decode_bytes(fixture, method, buffer_slice(&fixture->params));
}

static void good_params_are_taken(void **state)
{
    (void)state;
    static const char *const GOOD[][2] = {
        {"hello", "[]"},
        {"hello", "[\"me\"]"},
        {"hello", "[{}]"},
        {"ping", "[]"},
        {"ping", "[{\"timeout_ms\":1}]"},
        {"get", "[\"k\"]"},
        {"get", "[\"k\",{\"fresh\":true,\"max_age_ms\":1,\"min_version\":2}]"},
        {"mget", "[[\"a\",\"b\"],{\"fresh\":true}]"},
        {"ttl", "[\"k\"]"},
        {"set", "[\"k\",null]"},
        {"set", "[\"k\",[1,{\"x\":2.5}],{\"ttl_ms\":1e3,\"ack\":\"memory\",\"id\":\"1\"}]"},
        {"set", "[\"k\",1,{\"if_absent\":false,\"if_version\":3}]"},
        {"mset", "[[[\"a\",1]],{\"ttl_ms\":3155760000000,\"ack\":\"postgres\"}]"},
        {"delete", "[\"k\",{\"if_version\":1}]"},
        {"delete", "[[\"k\",\"k\"],{\"if_version\":1}]"},
        {"incr", "[\"k\",-1]"},
        {"incr", "[\"k\",1.5,{\"id\":\"x\",\"timeout_ms\":86400000}]"},
        {"incr", "[\"k\",123456789012345678901234567890]"},
        {"merge", "[\"k\",{\"x\":null}]"},
        {"touch", "[\"k\",null]"},
        {"touch", "[\"k\",1]"},
        {"scan", "[]"},
        {"scan", "[{\"prefix\":\"\",\"after\":\"a\",\"limit\":1000,\"expires\":true}]"},
        {"all", "[{\"prefix\":\"u:\"}]"},
        {"flush", "[{\"seq\":0}]"},
        {"sync", "[]"},
        {"check", "[]"},
        {"watch", "[\"\"]"},
        {"unwatch", "[\"u:\"]"},
        {"invalidate", "[]"},
        {"invalidate", "[{\"timeout_ms\":5}]"},
        {"invalidate", "[\"k\",{}]"},
        {"stats", "[]"},
        {"backup", "[]"},
        {"backup", "[{\"timeout_ms\":1}]"},
        {"backups", "[{}]"},
        {"restore", "[\"t\"]"},
        {"restore", "[\"t\",{\"mode\":\"replace\"}]"},
        {"cleanup_backups", "[]"},
        {"cleanup_backups", "[0]"},
        {"cleanup_backups", "[36500,{\"timeout_ms\":1}]"},
        {"cleanup_backups", "[{\"timeout_ms\":1}]"},
    };
    struct fixture fixture = make();
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        if (decode(&fixture, GOOD[i][0], GOOD[i][1]) != ERROR_NONE) {
            fail_msg("%s %s: %s", GOOD[i][0], GOOD[i][1], fixture.failure.message);
        }
    }
    drop(&fixture);
}

static const struct {
    const char *method;
    const char *params;
    enum error error;
    const char *words;
} BAD_PARAMS[] = {
    {"gett", "[]", ERROR_UNKNOWN_METHOD, "\"gett\""},
    {"history", "[]", ERROR_BAD_REQUEST, "\"key\" is missing"},
    {"history", "[\"k\",{\"before\":null}]", ERROR_BAD_REQUEST, "\"before\""},
    {"history", "[\"k\",{\"limit\":0}]", ERROR_BAD_REQUEST, "\"limit\""},
    {"set", "[\"k\",1,{\"expires_at_us\":0}]", ERROR_BAD_REQUEST, "\"expires_at_us\""},
    {"set", "[\"k\",1,{\"expires_at_us\":1,\"ttl_ms\":1}]", ERROR_BAD_REQUEST, "time to live"},
    {"touch", "[\"k\",5,{\"expires_at_us\":1}]", ERROR_BAD_REQUEST, "time to live"},
    {"retry_dead_letter", "[]", ERROR_BAD_REQUEST, "\"seq\" is missing"},
    {"retry_dead_letter", "[0]", ERROR_BAD_REQUEST, "\"seq\" must be a positive integer"},
    {"retry_dead_letter", "[1,{\"force\":1}]", ERROR_BAD_REQUEST, "\"force\""},
    {"dead_letters", "[{\"limit\":1001}]", ERROR_BAD_REQUEST, "\"limit\""},
    {"restore", "[]", ERROR_BAD_REQUEST, "\"table\" is missing"},
    {"restore", "[\"\"]", ERROR_BAD_REQUEST, "\"table\""},
    {"restore", "[\"t\",{\"mode\":\"mix\"}]", ERROR_BAD_REQUEST, "\"mode\""},
    {"cleanup_backups", "[-1]", ERROR_BAD_REQUEST, "\"days\""},
    {"cleanup_backups", "[\"30\"]", ERROR_BAD_REQUEST, "\"days\""},
    {"backups", "[{\"mode\":\"merge\"}]", ERROR_BAD_REQUEST, "\"mode\""},
    {"hello", "[1]", ERROR_BAD_REQUEST, "\"client_name\""},
    {"ping", "[1]", ERROR_BAD_REQUEST, "options must be a map"},
    {"ping", "[{},{}]", ERROR_BAD_REQUEST, "too many"},
    {"ping", "[{\"id\":\"x\"}]", ERROR_BAD_REQUEST, "\"id\""},
    {"get", "[]", ERROR_BAD_REQUEST, "\"key\" is missing"},
    {"get", "[1]", ERROR_BAD_REQUEST, "\"key\" must be a string"},
    {"get", "[\"k\",null]", ERROR_BAD_REQUEST, "options must be a map"},
    {"get", "[\"k\",{},1]", ERROR_BAD_REQUEST, "too many"},
    {"get", "[\"k\",{\"freshh\":true}]", ERROR_BAD_REQUEST, "\"freshh\""},
    {"get", "[\"k\",{\"fresh\":1}]", ERROR_BAD_REQUEST, "\"fresh\""},
    {"get", "[\"k\",{\"max_age_ms\":-1}]", ERROR_BAD_REQUEST, "\"max_age_ms\""},
    {"get", "[\"k\",{\"min_version\":null}]", ERROR_BAD_REQUEST, "\"min_version\""},
    {"get", "[\"k\",{\"at_version\":\"3\"}]", ERROR_BAD_REQUEST, "\"at_version\""},
    {"get", "[\"k\",{\"timeout_ms\":0}]", ERROR_BAD_REQUEST, "\"timeout_ms\""},
    {"get", "[\"k\",{\"timeout_ms\":1.5}]", ERROR_BAD_REQUEST, "\"timeout_ms\""},
    {"get", "[\"k\",{\"timeout_ms\":86400001}]", ERROR_BAD_REQUEST, "\"timeout_ms\""},
    {"get", "[\"k\",{\"ack\":\"journal\"}]", ERROR_BAD_REQUEST, "\"ack\""},
    {"get", "[\"\"]", ERROR_INVALID_KEY, "Failed to get key \"\""},
    {"mget", "[\"k\"]", ERROR_BAD_REQUEST, "\"keys\""},
    {"mget", "[[\"k\",1]]", ERROR_BAD_REQUEST, "\"keys\""},
    {"mget", "[[\"k\",\"\"]]", ERROR_INVALID_KEY, "Failed to mget key \"\""},
    {"set", "[\"k\"]", ERROR_BAD_REQUEST, "\"value\" is missing"},
    {"set", "[\"k\",1,{\"ttl_ms\":0}]", ERROR_BAD_REQUEST, "\"ttl_ms\""},
    {"set", "[\"k\",1,{\"ttl_ms\":-5}]", ERROR_BAD_REQUEST, "\"ttl_ms\""},
    {"set", "[\"k\",1,{\"ttl_ms\":1e300}]", ERROR_BAD_REQUEST, "\"ttl_ms\""},
    {"set", "[\"k\",1,{\"ttl_ms\":9223372036854775807}]", ERROR_BAD_REQUEST, "\"ttl_ms\""},
    {"set", "[\"k\",1,{\"ttl_ms\":null}]", ERROR_BAD_REQUEST, "\"ttl_ms\""},
    {"set", "[\"k\",1,{\"ack\":\"disk\"}]", ERROR_BAD_REQUEST, "\"ack\""},
    {"set", "[\"k\",1,{\"if_version\":null}]", ERROR_BAD_REQUEST, "\"if_version\""},
    {"set", "[\"k\",1,{\"if_version\":1,\"if_absent\":true}]", ERROR_BAD_REQUEST, "condition"},
    {"set", "[\"k\",1,{\"id\":\"\"}]", ERROR_BAD_REQUEST, "\"id\""},
    {"set", "[\"k\",1,{\"id\":5}]", ERROR_BAD_REQUEST, "\"id\""},
    {"set", "[\"k\",1,{\"fresh\":true}]", ERROR_BAD_REQUEST, "\"fresh\""},
    {"mset", "[[[\"a\",1],[\"b\"]]]", ERROR_BAD_REQUEST, "\"pairs\""},
    {"mset", "[{\"a\":1}]", ERROR_BAD_REQUEST, "\"pairs\""},
    {"mset", "[[[\"a\",1]],{\"if_version\":1}]", ERROR_BAD_REQUEST, "\"if_version\""},
    {"mset", "[[]]", ERROR_BAD_REQUEST, "no key"},
    {"delete", "[[]]", ERROR_BAD_REQUEST, "no key"},
    {"delete", "[7]", ERROR_BAD_REQUEST, "\"key\""},
    {"delete", "[[\"a\",\"b\"],{\"if_version\":1}]", ERROR_BAD_REQUEST, "one key"},
    {"delete", "[\"a\",{\"if_absent\":true}]", ERROR_BAD_REQUEST, "\"if_absent\""},
    {"incr", "[\"k\"]", ERROR_BAD_REQUEST, "\"by\" is missing"},
    {"incr", "[\"k\",\"1\"]", ERROR_BAD_REQUEST, "\"by\" must be a number"},
    {"incr", "[\"k\",null]", ERROR_BAD_REQUEST, "\"by\""},
    {"incr", "[\"k\",1,{\"ack\":\"postgres\"}]", ERROR_BAD_REQUEST, "\"ack\""},
    {"merge", "[\"k\"]", ERROR_BAD_REQUEST, "\"patch\" is missing"},
    {"touch", "[\"k\"]", ERROR_BAD_REQUEST, "\"ttl_ms\" is missing"},
    {"touch", "[\"k\",0]", ERROR_BAD_REQUEST, "\"ttl_ms\""},
    {"scan", "[{\"limit\":0}]", ERROR_BAD_REQUEST, "\"limit\""},
    {"scan", "[{\"limit\":1001}]", ERROR_BAD_REQUEST, "\"limit\""},
    {"scan", "[{\"prefix\":7}]", ERROR_BAD_REQUEST, "\"prefix\""},
    {"all", "[{\"limit\":7}]", ERROR_BAD_REQUEST, "\"limit\""},
    {"flush", "[{\"seq\":-1}]", ERROR_BAD_REQUEST, "\"seq\""},
    {"watch", "[]", ERROR_BAD_REQUEST, "\"prefix\" is missing"},
    {"watch", "[5]", ERROR_BAD_REQUEST, "\"prefix\""},
    {"invalidate", "[5]", ERROR_BAD_REQUEST, "\"key\""},
};

static void bad_params_are_named(void **state)
{
    (void)state;
    struct fixture fixture = make();
    for (size_t i = 0; i < sizeof BAD_PARAMS / sizeof *BAD_PARAMS; i++) {
        enum error error = decode(&fixture, BAD_PARAMS[i].method, BAD_PARAMS[i].params);
        if (error != BAD_PARAMS[i].error ||
            strstr(fixture.failure.message, BAD_PARAMS[i].words) == NULL) {
            fail_msg("%s %s: %s: %s", BAD_PARAMS[i].method, BAD_PARAMS[i].params,
                     error_wire_code(error), fixture.failure.message);
        }
    }
    drop(&fixture);
}

static void values_are_checked_and_canonical(void **state)
{
    (void)state;
    struct fixture fixture = make();
    // {"b": 1.0, "a": int8 1, "b": 2}: keys sorted, the last b, the shortest ints.
    static const char MAP[] = "\x92\xa1k\x83\xa1"
                              "b\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xa1"
                              "a\xd0\x01\xa1"
                              "b\x02";
    assert_int_equal(decode_bytes(&fixture, "set", slice_of(MAP, sizeof MAP - 1)), ERROR_NONE);
    assert_true(slice_equal(fixture.call.pairs[0].value, slice_of_string("\x82\xa1"
                                                                         "a\x01\xa1"
                                                                         "b\x02")));
    static const struct {
        struct slice params;
        enum error error;
    } BAD[] = {
        {{(const uint8_t *)"\x92\xa1k\xc4\x01x", 6}, ERROR_INVALID_VALUE},    // bin
        {{(const uint8_t *)"\x92\xa1k\xd4\x02x", 6}, ERROR_INVALID_VALUE},    // ext 2
        {{(const uint8_t *)"\x92\xa1k\x81\x01\x02", 6}, ERROR_INVALID_VALUE}, // key of a number
        {{(const uint8_t *)"\x92\xa1k\xa1\x00", 5}, ERROR_INVALID_VALUE},     // NUL
        {{(const uint8_t *)"\x92\xa1k\xa1\xff", 5}, ERROR_INVALID_VALUE},     // no UTF-8
        {{(const uint8_t *)"\x92\xa1k\xca\x7f\xc0\x00\x00", 8}, ERROR_INVALID_VALUE}, // NaN
        {{(const uint8_t *)"\x92\xa1\xff\x01", 4}, ERROR_INVALID_KEY},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_int_equal(decode_bytes(&fixture, "set", BAD[i].params), BAD[i].error);
        assert_non_null(strstr(fixture.failure.message, "Failed to set key \""));
        assert_true(is_text(slice_of_string(fixture.failure.message)));
    }
    drop(&fixture);
}

static void append_str(struct buffer *out, size_t len)
{
    msgpack_packer packer;
    mpack_packer_init(&packer, out);
    msgpack_pack_str(&packer, len);
    memset(buffer_reserve(out, len), 'x', len);
    buffer_commit(out, len);
}

static void limits_hold_at_their_borders(void **state)
{
    (void)state;
    struct fixture fixture = make();
    for (size_t over = 0; over < 2; over++) {
        buffer_clear(&fixture.params, SIZE_MAX);
        buffer_append(&fixture.params, "\x92", 1);
        append_str(&fixture.params, KEY_BYTES_MAX);
        append_str(&fixture.params, 1024 - 3 + over);
        assert_int_equal(decode_bytes(&fixture, "set", buffer_slice(&fixture.params)),
                         over ? ERROR_TOO_LARGE : ERROR_NONE);

        buffer_clear(&fixture.params, SIZE_MAX);
        buffer_append(&fixture.params, "\x91", 1);
        append_str(&fixture.params, PREFIX_BYTES_MAX + over);
        assert_int_equal(decode_bytes(&fixture, "watch", buffer_slice(&fixture.params)),
                         over ? ERROR_INVALID_KEY : ERROR_NONE);

        msgpack_packer packer;
        buffer_clear(&fixture.params, SIZE_MAX);
        mpack_packer_init(&packer, &fixture.params);
        msgpack_pack_array(&packer, 1);
        msgpack_pack_array(&packer, KEYS_MAX + over);
        for (size_t i = 0; i < KEYS_MAX + over; i++) {
            mpack_pack_string(&packer, "k");
        }
        assert_int_equal(decode_bytes(&fixture, "mget", buffer_slice(&fixture.params)),
                         over ? ERROR_TOO_LARGE : ERROR_NONE);
        assert_int_equal(decode_bytes(&fixture, "delete", buffer_slice(&fixture.params)),
                         over ? ERROR_TOO_LARGE : ERROR_NONE);

        buffer_clear(&fixture.params, SIZE_MAX);
        msgpack_pack_array(&packer, 1);
        msgpack_pack_array(&packer, KEYS_MAX + over);
        for (size_t i = 0; i < KEYS_MAX + over; i++) {
            msgpack_pack_array(&packer, 2);
            mpack_pack_string(&packer, i % 2 == 0 ? "k" : "l");
            msgpack_pack_uint64(&packer, i);
        }
        assert_int_equal(decode_bytes(&fixture, "mset", buffer_slice(&fixture.params)),
                         over ? ERROR_TOO_LARGE : ERROR_NONE);
    }
    drop(&fixture);
}

// The table of SPEC section 3 and `expires`, by name: whatever is not listed is refused.
static void each_method_takes_its_own_options_only(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *opts;
    } TABLE[] = {
        {"get", " fresh max_age_ms min_version at_version "},
        {"mget", " fresh max_age_ms min_version at_version "},
        {"set", " id ttl_ms expires_at_us ack if_version if_absent "},
        {"mset", " id ttl_ms expires_at_us ack "},
        {"delete", " id ack if_version "},
        {"incr", " id "},
        {"merge", " id "},
        {"touch", " id expires_at_us "},
        {"scan", " prefix after limit expires "},
        {"all", " prefix expires "},
        {"flush", " seq "},
        {"history", " limit before "},
        {"dead_letters", " after_seq limit "},
        {"retry_dead_letter", " id force "},
        {"restore", " mode "},
    };
    for (int method = 0; method < METHOD_COUNT; method++) {
        const char *allowed = "";
        for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
            if (strcmp(TABLE[i].method, method_name((enum method)method)) == 0) {
                allowed = TABLE[i].opts;
            }
        }
        for (int opt = 0; opt < OPT_COUNT; opt++) {
            char word[32];
            snprintf(word, sizeof word, " %s ", opt_name((enum opt)opt));
            bool expected = opt == OPT_TIMEOUT_MS || strstr(allowed, word) != NULL;
            if (opt_is_allowed((enum method)method, (enum opt)opt) != expected) {
                fail_msg("%s %s", method_name((enum method)method), opt_name((enum opt)opt));
            }
        }
    }
}

static void integers_may_be_sent_as_floats(void **state)
{
    (void)state;
    static const struct {
        char bytes[10];
        bool taken;
        int64_t value;
    } NUMBERS[] = {
        {"\x05", true, 5},
        {"\xcb\x40\x14\x00\x00\x00\x00\x00\x00", true, 5},         // 5.0
        {"\xca\xc0\xa0\x00\x00", true, -5},                        // -5.0f
        {"\xcb\x40\x16\x00\x00\x00\x00\x00\x00", false, 0},        // 5.5
        {"\xcb\xc3\xe0\x00\x00\x00\x00\x00\x00", true, INT64_MIN}, // -2^63
        {"\xcb\x43\xe0\x00\x00\x00\x00\x00\x00", false, 0},        // 2^63
        {"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", false, 0},        // NaN
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", false, 0},        // beyond int64
        {"\xa1"
         "5",
         false, 0},
    };
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        struct mpack_cursor cursor = mpack_cursor_of(slice_of(NUMBERS[i].bytes, 9));
        int64_t value = 0;
        assert_int_equal(read_integer(&cursor, &value), NUMBERS[i].taken);
        assert_int_equal(value, NUMBERS[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_params_are_taken),
        cmocka_unit_test(bad_params_are_named),
        cmocka_unit_test(values_are_checked_and_canonical),
        cmocka_unit_test(limits_hold_at_their_borders),
        cmocka_unit_test(each_method_takes_its_own_options_only),
        cmocka_unit_test(integers_may_be_sent_as_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
