// What no client should send (SPEC section 3): it gets an error or a closed connection, and nobody
// else notices.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mpack.h"
#include "system/harness/node.h"
#include "system/harness/process.h"
#include "system/harness/random.h"

static struct node *start(struct scenario *scenario, const char *config)
{
    return node_start(scenario, pg_start(scenario, NULL), &(struct node_options){.config = config});
}

// Somebody else is served as ever.
static void assert_others_are_served(struct node *node)
{
    assert_rpc(node, "set", "[\"other\", {\"a\": [1]}]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"other\"]", "[{\"a\": [1]}, \"*\"]");
}

// The test's own connection is left.
static void assert_nobody_is_left(struct node *node)
{
    node_await_stat(node, "server.connections", "1");
    assert_others_are_served(node);
    if (!process_is_running(node->process)) {
        scenario_fail("the daemon has ended");
    }
}

static void random_bytes_harm_nobody(struct scenario *scenario)
{
    enum { ROUNDS = 600, BYTES_MAX = 300 };
    struct random random = random_of(random_seed(), 0);
    struct node *node = start(scenario, NULL);
    // Beginnings that get further than noise does.
    static const char *const PREFIXES[] = {"",
                                           "\x94",
                                           "\x94\x00\x01",
                                           "\x94\x00\x01\xa3get",
                                           "\x94\x00\x01\xa3set\x93",
                                           "\x94\x00\x01\xa3set\x92\xa1k",
                                           "\x93\x02",
                                           "\xdc\xff\xff",
                                           "\xdd\xff\xff\xff\xff",
                                           "\x94\x00\x01\xdb\xff\xff\xff\xff",
                                           "\xc1"};
    // Their lengths, since they hold zeros.
    static const size_t LENGTHS[] = {0, 1, 3, 7, 8, 10, 2, 3, 5, 8, 1};
    int rounds = test_rounds(ROUNDS);
    for (int i = 0; i < rounds; i++) {
        uint8_t bytes[BYTES_MAX];
        size_t which = random_below(&random, sizeof LENGTHS / sizeof LENGTHS[0]);
        size_t len = LENGTHS[which] + random_below(&random, BYTES_MAX - LENGTHS[which]);
        random_fill(&random, bytes, sizeof bytes);
        memcpy(bytes, PREFIXES[which], LENGTHS[which]);
        struct rpc *client = node_open(node);
        rpc_try_send_bytes(client, bytes, len);
        rpc_end_sending(client);
        rpc_expect_closed(client);
        rpc_close(client);
    }
    assert_nobody_is_left(node);
}

// Pipelined requests of most shapes, as one run of bytes.
static void append_requests(struct buffer *out)
{
    static const char *const FRAMES[] = {
        "[0, 1, \"hello\", [\"cut\"]]",
        "[0, 2, \"set\", [\"cut\", {\"a\": [1, 2.5, \"x\", null, true]}, {\"ack\": \"memory\"}]]",
        "[0, 3, \"get\", [\"cut\"]]",
        "[0, 4, \"mset\", [[[\"cut1\", 1], [\"cut2\", \"two\"]]]]",
        "[0, 4294967295, \"mget\", [[\"cut1\", \"cut2\", \"cut\"], {\"timeout_ms\": 1000}]]",
        "[2, \"a client's notification\", [1]]",
        "[0, 5, \"nothing\", []]",
        "[0, 6, \"ping\", []]",
    };
    for (size_t i = 0; i < sizeof FRAMES / sizeof FRAMES[0]; i++) {
        json_text_to_msgpack(FRAMES[i], out);
    }
}

static void assert_answers(struct rpc *client)
{
    assert_json(rpc_await(client, 3), "[{\"a\": [1, 2.5, \"x\", null, true]}, null]");
    assert_json(rpc_await(client, UINT32_MAX), "[[1, null], [\"two\", null], \"*\"]");
    assert_json(rpc_await(client, 5),
                "{\"error\": {\"code\": \"UNKNOWN_METHOD\", \"message\": \"*\","
                " \"retryable\": false}}");
    assert_json(rpc_await(client, 6), "\"pong\"");
}

// The same answers wherever the bytes are cut, and no answer to what never comes whole. PostgreSQL
// is away, so that the writes stay pending.
static void frames_may_be_cut_at_every_byte(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    struct buffer requests = {0};
    append_requests(&requests);
    struct slice bytes = buffer_slice(&requests);
    for (size_t cut = 0; cut < bytes.len; cut++) {
        struct rpc *client = node_open(node);
        rpc_send_bytes(client, bytes.at, cut);
        // One server loop: when it has answered this, it has read what came before.
        assert_rpc(node, "ping", "[]", "\"pong\"");
        struct rpc *leaver = node_open(node);
        rpc_send_bytes(leaver, bytes.at, cut);
        rpc_send_bytes(client, bytes.at + cut, bytes.len - cut);
        assert_answers(client);
        rpc_close(client);
        rpc_end_sending(leaver);
        rpc_expect_closed(leaver);
        rpc_close(leaver);
    }
    buffer_deinit(&requests);
    node_await_stat(node, "server.connections", "1");
    assert_rpc(node, "ping", "[]", "\"pong\"");
}

// What is no request is answered once, where its msgid can be read, and the connection is closed.
static void what_is_no_request_closes_the_connection(struct scenario *scenario)
{
#define BYTES(text) text, sizeof(text) - 1
    static const struct {
        const char *bytes;
        size_t len;
        const char *msgid; // NULL: no answer
    } CASES[] = {
        {BYTES("\xc1"), NULL},
        {BYTES("GET / HTTP/1.1\r\n\r\n"), NULL},
        {BYTES("\x93\x00\x07\xa4ping"), "7"},         // three members
        {BYTES("\x95\x00\x07\xa4ping\x90\xc0"), "7"}, // five
        {BYTES("\x94\x00\x07\x01\x90"), "7"},         // a method that is a number
        {BYTES("\x94\x00\x07\xa4ping\x80"), "7"},     // params that are a map
        {BYTES("\x94\x00\x07\xa4ping\xc0"), "7"},     // or nil
        {BYTES("\x94\x00\xa1x\xa4ping\x90"), NULL},   // a msgid that is a string
        {BYTES("\x94\x00\xff\xa4ping\x90"), NULL},    // a negative one
        {BYTES("\x94\x01\x07\xc0\xc0"), NULL},        // a response
        {BYTES("\x94\x09\x07\xa4ping\x90"), NULL},    // a type that there is not
        {BYTES("\x80"), NULL},
        {BYTES("\xc0"), NULL},
    };
#undef BYTES
    struct node *node = start(scenario, NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct rpc *client = node_open(node);
        rpc_send_bytes(client, CASES[i].bytes, CASES[i].len);
        if (CASES[i].msgid != NULL) {
            uint32_t msgid;
            const char *answer = rpc_receive(client, &msgid);
            assert_json(json_at(scenario, answer, "error.code"), "\"BAD_REQUEST\"");
            assert_int_equal(msgid, atoi(CASES[i].msgid));
        }
        rpc_expect_closed(client);
        rpc_close(client);
    }
    assert_nobody_is_left(node);
}

// Lengths that lie, frames and values beyond the limit.
static void what_is_too_large_is_refused(struct scenario *scenario)
{
    static const char *const LIES[] = {"\x94\x00\x07\xa3set\x92\xdb\xff\xff\xff\xff",
                                       "\x94\x00\x07\xa3set\x92\xa1k\xdd\xff\xff\xff\xff",
                                       "\x94\x00\x07\xa4mset\xdf\xff\xff\xff\xff"};
    static const size_t LENGTHS[] = {13, 15, 14};
    struct node *node = start(scenario, "server.max_value = \"64KiB\"\n");
    static uint8_t filling[1 << 20];
    memset(filling, 'x', sizeof filling);
    for (size_t i = 0; i < 3; i++) {
        struct rpc *client = node_open(node);
        rpc_try_send_bytes(client, LIES[i], LENGTHS[i]);
        // It is closed, or at the latest refuses to take for ever what was announced.
        for (int megabytes = 0; megabytes < 512; megabytes++) {
            if (!rpc_try_send_bytes(client, filling, sizeof filling)) {
                break;
            }
            assert_int_not_equal(megabytes, 511);
        }
        rpc_close(client);
    }
    const char *text = scenario_text(scenario, "%.*s", 70000, (const char *)filling);
    const char *params = scenario_text(scenario, "[\"k\", \"%s\"]", text);
    assert_rpc_error(node, "set", params, "TOO_LARGE");
    assert_rpc_error(node, "mset", scenario_text(scenario, "[[%s, [\"l\", 1]]]", params),
                     "TOO_LARGE");
    assert_rpc(node, "get", "[\"l\"]", "null");
    text = scenario_text(scenario, "%.*s", 65000, (const char *)filling);
    assert_rpc(node, "set", scenario_text(scenario, "[\"k\", \"%s\"]", text), "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"k\"]", scenario_text(scenario, "[\"%s\", \"*\"]", text));
    assert_nobody_is_left(node);
}

// A request with the key or the value in raw MessagePack.
static const char *call_raw(struct node *node, const char *method, const char *before,
                            const char *raw, size_t raw_len, const char *after)
{
    struct buffer params = {0};
    buffer_append(&params, before, strlen(before));
    buffer_append(&params, raw, raw_len);
    buffer_append(&params, after, strlen(after));
    struct rpc *client = node_open(node);
    uint32_t msgid = rpc_send_msgpack(client, method, buffer_slice(&params));
    const char *answer = rpc_await(client, msgid);
    buffer_deinit(&params);
    rpc_close(client);
    return answer;
}

static void assert_code(struct node *node, const char *answer, const char *code, const char *what)
{
    const char *given = json_at(node->scenario, answer, "error.code");
    if (given == NULL || !json_matches(given, scenario_text(node->scenario, "\"%s\"", code))) {
        scenario_fail("%s: %.300s instead of %s", what, answer, code);
    }
}

static void bad_keys_are_refused(struct scenario *scenario)
{
    static const struct {
        const char *msgpack;
        size_t len;
        const char *what;
    } KEYS[] = {
        {"\xa0", 1, "an empty key"},
        {"\xa1\x00", 2, "NUL"},
        {"\xa3\x61\x00\x62", 4, "NUL inside"},
        {"\xa1\xff", 2, "no UTF-8"},
        {"\xa2\xc0\x80", 3, "an overlong NUL"},
        {"\xa3\xed\xa0\x80", 4, "a surrogate"},
        {"\xa4\xf4\x90\x80\x80", 5, "beyond U+10FFFF"},
        {"\xa2\xe2\x82", 3, "a cut character"},
    };
    struct node *node = start(scenario, NULL);
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        const char *raw = KEYS[i].msgpack;
        size_t len = KEYS[i].len;
        assert_code(node, call_raw(node, "get", "\x91", raw, len, ""), "INVALID_KEY", KEYS[i].what);
        assert_code(node, call_raw(node, "set", "\x92", raw, len, "\x01"), "INVALID_KEY",
                    KEYS[i].what);
        assert_code(node, call_raw(node, "mget", "\x91\x92\xa1k", raw, len, ""), "INVALID_KEY",
                    KEYS[i].what);
        assert_code(node, call_raw(node, "mset", "\x91\x91\x92", raw, len, "\x01"), "INVALID_KEY",
                    KEYS[i].what);
        assert_code(node, call_raw(node, "delete", "\x91\x91", raw, len, ""), "INVALID_KEY",
                    KEYS[i].what);
        assert_code(node, call_raw(node, "incr", "\x92", raw, len, "\x01"), "INVALID_KEY",
                    KEYS[i].what);
    }
    char key[520];
    memset(key, 'k', sizeof key);
    assert_rpc_error(node, "get", scenario_text(scenario, "[\"%.512s\"]", key), "INVALID_KEY");
    assert_rpc_error(node, "set", scenario_text(scenario, "[\"%.512s\", 1]", key), "INVALID_KEY");
    assert_rpc(node, "set", scenario_text(scenario, "[\"%.511s\", 1]", key), "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", scenario_text(scenario, "[\"%.511s\"]", key), "[1, \"*\"]");
    assert_nobody_is_left(node);
}

static void bad_values_are_refused(struct scenario *scenario)
{
    static const struct {
        const char *msgpack;
        size_t len;
        const char *what;
    } VALUES[] = {
        {"\xc4\x01x", 3, "bin"},
        {"\xd4\x02x", 3, "ext type 2"},
        {"\xd6\xff\x00\x00\x00\x00", 6, "a timestamp"},
        {"\xd4\x01x", 3, "a number that is none"},
        {"\xc7\x00\x01", 3, "an empty number"},
        {"\xa1\x00", 2, "NUL"},
        {"\xa1\xff", 2, "no UTF-8"},
        {"\xa3\xed\xa0\x80", 4, "a lone surrogate"},
        {"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", 9, "NaN"},
        {"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", 9, "Infinity"},
        {"\x81\x01\x01", 3, "a key that is a number"},
        {"\x81\xc4\x01x\x01", 5, "a key that is bin"},
        {"\x91\x81\xa1\x00\x01", 5, "NUL in an object's key"},
        {"\xc7\x08\x01"
         "1e-20000",
         11, "a number beyond numeric"},
    };
    struct node *node = start(scenario, NULL);
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        const char *raw = VALUES[i].msgpack;
        size_t len = VALUES[i].len;
        assert_code(node, call_raw(node, "set", "\x92\xa1k", raw, len, ""), "INVALID_VALUE",
                    VALUES[i].what);
        assert_code(node, call_raw(node, "mset", "\x91\x92\x92\xa1l\x01\x92\xa1k", raw, len, ""),
                    "INVALID_VALUE", VALUES[i].what);
        assert_code(node, call_raw(node, "merge", "\x92\xa1k", raw, len, ""), "INVALID_VALUE",
                    VALUES[i].what);
    }
    // 128 levels are the limit.
    char deep[129];
    memset(deep, '\x91', sizeof deep);
    assert_json(call_raw(node, "set",
                         "\x92\xa1"
                         "d",
                         deep, 128, "\x01"),
                "{\"seq\": \"*\"}");
    const char *answer = call_raw(node, "set",
                                  "\x92\xa1"
                                  "d",
                                  deep, 129, "\x01");
    if (json_at(scenario, answer, "error.code") == NULL) {
        scenario_fail("129 levels are taken: %s", answer);
    }
    assert_rpc(node, "get", "[\"k\"]", "null");
    assert_rpc(node, "get", "[\"l\"]", "null");
    assert_nobody_is_left(node);
}

// Every option of every method with values of every type but its own.
static void options_of_the_wrong_type_are_refused(struct scenario *scenario)
{
    static const struct {
        const char *method;
        const char *params; // before the options
        const char *options;
    } METHODS[] = {
        {"get", "\"k\", ", "timeout_ms:i fresh:b max_age_ms:i min_version:i"},
        {"mget", "[\"k\"], ", "timeout_ms:i"},
        {"set", "\"k\", 1, ", "timeout_ms:i id:s ttl_ms:i ack:a if_version:i if_absent:b"},
        {"mset", "[[\"k\", 1]], ", "timeout_ms:i id:s ttl_ms:i ack:a"},
        {"delete", "\"k\", ", "timeout_ms:i id:s ack:a if_version:i"},
        {"incr", "\"k\", 1, ", "timeout_ms:i id:s"},
        {"merge", "\"k\", {}, ", "timeout_ms:i id:s"},
        {"touch", "\"k\", 1, ", "timeout_ms:i id:s"},
        {"scan", "", "timeout_ms:i prefix:s after:s limit:i"},
        {"all", "", "timeout_ms:i prefix:s"},
        {"flush", "", "timeout_ms:i seq:i"},
        {"sync", "", "timeout_ms:i"},
    };
    static const struct {
        char kind;
        const char *json;
    } VALUES[] = {{'n', "null"},  {'b', "true"}, {'i', "7"},  {'f', "1.5"},
                  {'s', "\"x\""}, {'l', "[]"},   {'m', "{}"}, {'l', "[1]"}};
    struct node *node = start(scenario, NULL);
    for (size_t m = 0; m < sizeof METHODS / sizeof METHODS[0]; m++) {
        const char *method = METHODS[m].method;
        const char *format = "[%s{\"%.*s\": %s}]";
        for (const char *at = METHODS[m].options; *at != '\0';) {
            size_t len = strcspn(at, ":");
            char kind = at[len + 1];
            for (size_t v = 0; v < sizeof VALUES / sizeof VALUES[0]; v++) {
                if (VALUES[v].kind != kind) {
                    assert_rpc_error(node, method,
                                     scenario_text(scenario, format, METHODS[m].params, (int)len,
                                                   at, VALUES[v].json),
                                     "BAD_REQUEST");
                }
            }
            at += len + 2;
            at += *at == ' ' ? 1 : 0;
        }
        const char *unknown[] = {"no_such_option", "at", "TTL_MS", ""};
        for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
            assert_rpc_error(node, method,
                             scenario_text(scenario, format, METHODS[m].params,
                                           (int)strlen(unknown[i]), unknown[i], "1"),
                             "BAD_REQUEST");
        }
        assert_rpc_error(node, method, scenario_text(scenario, "[%s1]", METHODS[m].params),
                         "BAD_REQUEST");
        assert_rpc_error(node, method, scenario_text(scenario, "[%s{}, {}]", METHODS[m].params),
                         "BAD_REQUEST");
    }
    assert_rpc(node, "get", "[\"k\"]", "null");
    assert_nobody_is_left(node);
}

static void parameters_of_the_wrong_type_are_refused(struct scenario *scenario)
{
    static const char *const CASES[][2] = {
        {"get", "[]"},
        {"get", "[1]"},
        {"get", "[null]"},
        {"get", "[[\"k\"]]"},
        {"get", "[{}]"},
        {"mget", "[\"k\"]"},
        {"mget", "[[1]]"},
        {"mget", "[{}]"},
        {"set", "[\"k\"]"},
        {"set", "[]"},
        {"set", "[1, 1]"},
        {"mset", "[]"},
        {"mset", "[{}]"},
        {"mset", "[[1]]"},
        {"mset", "[[[\"k\"]]]"},
        {"mset", "[[[1, 1]]]"},
        {"mset", "[[[\"k\", 1, 2]]]"},
        {"delete", "[]"},
        {"delete", "[1]"},
        {"delete", "[[1]]"},
        {"delete", "[{}]"},
        {"incr", "[\"k\", {}]"},
        {"incr", "[\"k\", \"1\"]"},
        {"incr", "[\"k\", null]"},
        {"incr", "[1, 1]"},
        {"touch", "[\"k\"]"},
        {"touch", "[\"k\", \"1\"]"},
        {"touch", "[\"k\", 1.5]"},
        {"touch", "[1, 1]"},
        {"ttl", "[]"},
        {"ttl", "[1]"},
        {"scan", "[1]"},
        {"watch", "[]"},
        {"watch", "[1]"},
        {"unwatch", "[]"},
        {"invalidate", "[1]"},
        {"delete", "[[\"a\", \"b\"], {\"if_version\": 1}]"},
        {"set", "[\"k\", 1, {\"ack\": \"disk\"}]"},
        {"set", "[\"k\", 1, {\"if_version\": null}]"},
        {"set", "[\"k\", 1, {\"if_version\": 1, \"if_absent\": true}]"},
        {"set", "[\"k\", 1, {\"id\": \"12345678901234567890123456789012345678901234567890"
                "123456789012345\"}]"},
        {"set", "[\"k\", 1, {\"ttl_ms\": -1}]"},
        {"scan", "[{\"limit\": 0}]"},
        {"scan", "[{\"limit\": 1001}]"},
    };
    struct node *node = start(scenario, NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *answer = rpc(node, CASES[i][0], CASES[i][1]);
        assert_code(node, answer, "BAD_REQUEST",
                    scenario_text(scenario, "%s %s", CASES[i][0], CASES[i][1]));
    }
    assert_rpc_error(node, "no such method", "[]", "UNKNOWN_METHOD");
    assert_rpc_error(node, "", "[]", "UNKNOWN_METHOD");
    assert_nobody_is_left(node);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(random_bytes_harm_nobody),
        SCENARIO(frames_may_be_cut_at_every_byte),
        SCENARIO(what_is_no_request_closes_the_connection),
        SCENARIO(what_is_too_large_is_refused),
        SCENARIO(bad_keys_are_refused),
        SCENARIO(bad_values_are_refused),
        SCENARIO(options_of_the_wrong_type_are_refused),
        SCENARIO(parameters_of_the_wrong_type_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
