// What every write means (SPEC section 3), method by method, over the wire.

#include <stdio.h>

#include "system/harness/steps.h"

static struct node *start(struct scenario *scenario, struct pg **pg)
{
    *pg = pg_start(scenario, NULL);
    return node_start(scenario, *pg, NULL);
}

#define VERSION_OF_K "SELECT version FROM kv_store WHERE key = 'k'"
#define VALUE_OF_K   "SELECT value FROM kv_store WHERE key = 'k'"

static void set_and_its_conditions(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"set", "[\"k\", {\"a\": 1}]", ACKED},
        {"flush", "[]", ACKED},
        {KEEP, VERSION_OF_K, NULL},
        {"get", "[\"k\"]", "[{\"a\": 1}, $v]"},
        // The condition holds.
        {"set", "[\"k\", 2, {\"if_version\": $v}]", "{\"seq\": \"*\", \"version\": \"*\"}"},
        {SQL_VALUE, VALUE_OF_K, "2"},
        // It does not: the version is the current one.
        {"set", "[\"k\", 3, {\"if_version\": $v}]", "!CONFLICT"},
        {KEEP, VERSION_OF_K, NULL},
        {"set", "[\"k\", 3, {\"if_version\": 1}]",
         "{\"error\": {\"code\": \"CONFLICT\", \"message\": \"*\", \"retryable\": false,"
         " \"version\": $v}}"},
        {"get", "[\"k\"]", "[2, $v]"},
        {"set", "[\"k\", 3, {\"if_absent\": true}]", "!CONFLICT"},
        {"set", "[\"k\", 3, {\"if_absent\": false}]", ACKED},
        {"get", "[\"k\", {\"fresh\": true}]", "[3, \"*\"]"},
        {"set", "[\"new\", \"x\", {\"if_absent\": true}]", "{\"seq\": \"*\", \"version\": \"*\"}"},
        {"get", "[\"new\"]", "[\"x\", \"*\"]"},
        {"set", "[\"none\", 1, {\"if_version\": 7}]", "!CONFLICT"},
        {"get", "[\"none\"]", "null"},
        {"set", "[\"k\", 1, {\"if_version\": null}]", "!BAD_REQUEST"},
        // A condition meets what this node has on its way.
        {"set", "[\"k\", 4]", ACKED},
        {"set", "[\"k\", 5, {\"if_absent\": true}]", "!CONFLICT"},
        {"delete", "[\"k\"]", ACKED},
        {"set", "[\"k\", 6, {\"if_absent\": true}]", "{\"seq\": \"*\", \"version\": \"*\"}"},
        {"get", "[\"k\"]", "[6, \"*\"]"},
        // And a foreign change.
        {KEEP, VERSION_OF_K, NULL},
        {SQL, "UPDATE kv_store SET value = '7' WHERE key = 'k'", NULL},
        {"set", "[\"k\", 8, {\"if_version\": $v}]", "!CONFLICT"},
        {"get", "[\"k\", {\"fresh\": true}]", "[7, \"*\"]"},
        // A null is a value.
        {"set", "[\"k\", null]", ACKED},
        {"get", "[\"k\"]", "[null, \"*\"]"},
        {"flush", "[]", ACKED},
        {SQL_VALUE, VALUE_OF_K, "null"},
        {"get", "[\"k\"]", "[null, \"*\"]"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
}

static void mset_is_all_or_nothing(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"mset", "[[[\"a\", 1], [\"b\", [2]], [\"c\", null]]]", ACKED},
        {"mget", "[[\"c\", \"none\", \"a\", \"b\", \"a\"]]",
         "[[null, \"*\"], null, [1, \"*\"], [[2], \"*\"], [1, \"*\"]]"},
        {"flush", "[]", ACKED},
        {SQL_VALUE, "SELECT count(*) FROM kv_store", "3"},
        // The last of a repeated key stays.
        {"mset", "[[[\"a\", 1], [\"a\", 2]], {\"ack\": \"postgres\"}]", "{\"seq\": \"*\"}"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'a'", "2"},
        {"mset", "[[[\"a\", 3], [\"\", 1]]]", "!INVALID_KEY"},
        {"get", "[\"a\"]", "[2, \"*\"]"},
        {"mset", "[[[\"t\", 1], [\"u\", 1]], {\"ttl_ms\": 60000}]", ACKED},
        {"flush", "[]", ACKED},
        {SQL_VALUE, "SELECT count(*) FROM kv_store WHERE expires_at > now()", "2"},
        {SQL, "ALTER TABLE kv_store ADD CONSTRAINT no_poison CHECK (value <> '\"poison\"')", NULL},
        {"mset", "[[[\"a\", 9], [\"p\", \"poison\"], [\"z\", 9]], {\"ack\": \"postgres\"}]",
         "!REJECTED"},
        {"get", "[\"a\"]", "[2, \"*\"]"},
        {"get", "[\"z\"]", "null"},
        {SQL_VALUE, "SELECT count(*) FROM kv_store WHERE value IN ('9', '\"poison\"')", "0"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
}

// More pairs than a batch has rows are still one transaction.
static void an_mset_is_never_split(struct scenario *scenario)
{
    enum { PAIRS = 1000 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "writes.batch_rows = 10\n"});
    struct buffer params = {0};
    buffer_printf(&params, "[[");
    for (int i = 0; i < PAIRS; i++) {
        buffer_printf(&params, "%s[\"k%d\", %d]", i == 0 ? "" : ",", i, i);
    }
    buffer_printf(&params, "], {\"ack\": \"postgres\"}]");
    assert_rpc(node, "mset", scenario_text(scenario, "%.*s", SLICE_FORMAT(buffer_slice(&params))),
               "{\"seq\": \"*\"}");
    buffer_deinit(&params);
    assert_pg_value(pg, "1000", "SELECT count(*) FROM kv_store");
    assert_pg_value(pg, "1", "SELECT count(DISTINCT xmin::text) FROM kv_store");
    struct buffer many = {0};
    buffer_printf(&many, "[[");
    for (int i = 0; i <= 10000; i++) {
        buffer_printf(&many, "%s[\"m%d\", 1]", i == 0 ? "" : ",", i);
    }
    buffer_printf(&many, "]]");
    const char *answer =
        rpc(node, "mset", scenario_text(scenario, "%.*s", SLICE_FORMAT(buffer_slice(&many))));
    buffer_deinit(&many);
    if (json_at(scenario, answer, "error.code") == NULL) {
        scenario_fail("10,001 pairs are taken: %s", answer);
    }
}

static void delete_in_its_forms(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"mset", "[[[\"a\", 1], [\"b\", 1], [\"c\", 1], [\"d\", 1], [\"k\", 1]]]", ACKED},
        {"delete", "[\"a\"]", ACKED},
        {"get", "[\"a\"]", "null"},
        {"delete", "[[\"b\", \"c\"]]", ACKED},
        {"mget", "[[\"b\", \"c\", \"d\"]]", "[null, null, [1, \"*\"]]"},
        {"delete", "[\"absent\"]", ACKED},
        {"delete", "[[\"d\", \"absent\"], {\"ack\": \"postgres\"}]",
         "{\"seq\": \"*\", \"deleted\": 1, \"version\": \"*\"}"},
        {SQL_VALUE, "SELECT string_agg(key, ' ') FROM kv_store", "k"},
        {"delete", "[\"absent\", {\"ack\": \"postgres\"}]",
         "{\"seq\": \"*\", \"deleted\": 0, \"version\": \"*\"}"},
        {"delete", "[\"k\", {\"if_version\": 1}]", "!CONFLICT"},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {KEEP, VERSION_OF_K, NULL},
        {"delete", "[\"k\", {\"if_version\": $v}]",
         "{\"seq\": \"*\", \"deleted\": 1, \"version\": \"*\"}"},
        {"get", "[\"k\"]", "null"},
        {SQL_VALUE, VALUE_OF_K, NULL},
        {"delete", "[\"k\", {\"if_version\": $v}]", "!CONFLICT"},
        {"delete", "[[\"a\", \"b\"], {\"if_version\": 1}]", "!BAD_REQUEST"},
        // A set after a delete, and the other way round, in one batch.
        {"set", "[\"k\", 2]", ACKED},
        {"delete", "[\"k\"]", ACKED},
        {"set", "[\"k\", 3]", ACKED},
        {"flush", "[]", ACKED},
        {SQL_VALUE, VALUE_OF_K, "3"},
        {"set", "[\"k\", 4]", ACKED},
        {"delete", "[\"k\"]", ACKED},
        {"flush", "[]", ACKED},
        {SQL_VALUE, VALUE_OF_K, NULL},
        {"get", "[\"k\"]", "null"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
}

// The version of a deletion is its own: newer than the row's, and the one that watchers are told.
static void a_deletion_has_a_version_of_its_own(struct scenario *scenario)
{
    static const char *const OPTIONS[] = {"{\"ack\": \"postgres\"}", "{\"if_version\": %lld}"};
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    struct rpc *watcher = node_open(node);
    rpc_call(watcher, "watch", "[\"k\"]");
    int64_t last = 0;
    for (size_t i = 0; i < 2; i++) {
        const char *answer = rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]");
        int64_t set = json_int_at(scenario, answer, "version");
        assert_true(set > last);
        const char *params =
            i == 0 ? OPTIONS[0] : scenario_text(scenario, OPTIONS[1], (long long)set);
        answer = rpc(node, "delete", scenario_text(scenario, "[\"k\", %s]", params));
        last = json_int_at(scenario, answer, "version");
        assert_true(last > set);
        rpc_receive_event(watcher);
        assert_json(
            rpc_receive_event(watcher),
            scenario_text(scenario, "[\"changed\", [\"k\", %lld, \"delete\"]]", (long long)last));
    }
    // What was drawn for one deletion is not left for the next.
    assert_rpc(node, "set", "[\"k\", 1]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED); // in one batch they would be nothing
    assert_rpc(node, "delete", "[\"k\"]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    const char *event = rpc_receive_event(watcher);
    while (strstr(event, "delete") == NULL) {
        event = rpc_receive_event(watcher);
    }
    assert_true(json_int_at(scenario, event, "1.1") > last);
}

static void incr_counts_exactly(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"incr", "[\"k\", 1]", "[1, \"*\"]"},
        {"incr", "[\"k\", 41]", "[42, \"*\"]"},
        {"incr", "[\"k\", -50]", "[-8, \"*\"]"},
        {"get", "[\"k\"]", "[-8, \"*\"]"},
        {SQL_VALUE, VALUE_OF_K, "-8"},
        {KEEP, VERSION_OF_K, NULL},
        {"get", "[\"k\"]", "[-8, $v]"},
        {"set", "[\"k\", 0.1]", ACKED},
        {"incr", "[\"k\", 0.2]", "[0.3, \"*\"]"},
        {"set", "[\"k\", 9223372036854775807]", ACKED},
        {"incr", "[\"k\", 1]", "[9223372036854775808, \"*\"]"},
        {"set", "[\"k\", 18446744073709551615]", ACKED},
        {"incr", "[\"k\", 1]", "[18446744073709551616, \"*\"]"},
        {"incr", "[\"k\", 0.000000000000000000001]",
         "[18446744073709551616.000000000000000000001, \"*\"]"},
        {"get", "[\"k\"]", "[18446744073709551616.000000000000000000001, \"*\"]"},
        {"incr", "[\"k\", 12345678901234567890123]",
         "[12364125645308277441739.000000000000000000001, \"*\"]"},
        {"set", "[\"k\", \"text\"]", ACKED},
        {"incr", "[\"k\", 1]", "!REJECTED"},
        {"get", "[\"k\"]", "[\"text\", \"*\"]"},
        {"set", "[\"k\", {\"n\": 1}]", ACKED},
        {"incr", "[\"k\", 1]", "!REJECTED"},
        {"get", "[\"k\"]", "[{\"n\": 1}, \"*\"]"},
        {"incr", "[\"k\", \"1\"]", "!BAD_REQUEST"},
        {"delete", "[\"k\"]", ACKED},
        {"incr", "[\"k\", 5]", "[5, \"*\"]"},
        {SQL, "UPDATE kv_store SET value = '100' WHERE key = 'k'", NULL},
        {"incr", "[\"k\", 1]", "[101, \"*\"]"},
        // What was refused is neither pending nor a dead letter.
        {"flush", "[]", ACKED},
        {SQL_VALUE, VALUE_OF_K, "101"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
    node_await_stat(node, "outbox.dead_letters", "0");
    node_await_stat(node, "cache.pending", "0");
}

// RFC 7396, appendix A: original, patch, result.
static void merge_is_rfc_7396(struct scenario *scenario)
{
    static const char *const EXAMPLES[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    for (size_t i = 0; i < sizeof EXAMPLES / sizeof EXAMPLES[0]; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k\", %s]", EXAMPLES[i][0]), ACKED);
        const char *result = scenario_text(scenario, "[%s, \"*\"]", EXAMPLES[i][2]);
        assert_rpc(node, "merge", scenario_text(scenario, "[\"k\", %s]", EXAMPLES[i][1]), result);
        assert_rpc(node, "get", "[\"k\"]", result);
        assert_pg_value(pg, "t", "SELECT value = '%s' FROM kv_store WHERE key = 'k'",
                        EXAMPLES[i][2]);
    }
    assert_rpc(node, "merge", "[\"absent\", {\"a\": {\"b\": null, \"c\": 1}}]",
               "[{\"a\": {\"c\": 1}}, \"*\"]");
    assert_rpc(node, "get", "[\"absent\"]", "[{\"a\": {\"c\": 1}}, \"*\"]");
}

static void acknowledgements_mean_what_they_say(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    const char *answer = rpc(node, "set", "[\"p\", 1, {\"ack\": \"postgres\"}]");
    assert_pg_value(pg, json_at(scenario, answer, "version"),
                    "SELECT version FROM kv_store WHERE key = 'p'");
    assert_rpc(node, "get", "[\"p\"]",
               scenario_text(scenario, "[1, %s]", json_at(scenario, answer, "version")));
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    // A crash of the process loses neither.
    assert_rpc(node, "set", "[\"m\", 1, {\"ack\": \"memory\"}]", ACKED);
    assert_rpc(node, "set", "[\"j\", 1, {\"ack\": \"journal\"}]", ACKED);
    assert_rpc(node, "set", "[\"m2\", 1, {\"ack\": \"memory\"}]", ACKED);
    node_kill(node);
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "mget", "[[\"m\", \"j\", \"m2\"]]", "[[1, null], [1, null], [1, null]]");
    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "j m m2 p", "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
}

// Requests of one connection on one key wait for each other.
static void one_connection_keeps_its_order(struct scenario *scenario)
{
    enum { ROUNDS = 200, REQUESTS = 7 };
    static const char *const REQUEST_OF[REQUESTS][3] = {
        {"set", "[\"k\", 1]", ACKED},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {"incr", "[\"k\", 1]", "[2, \"*\"]"},
        {"get", "[\"k\"]", "[2, \"*\"]"},
        {"delete", "[\"k\"]", ACKED},
        {"get", "[\"k\"]", "null"},
        {"set", "[\"k\", 5, {\"ack\": \"memory\"}]", ACKED},
    };
    // All are asked at once: the last has to have the time that all take on a busy machine.
    struct node *node = node_start(scenario, pg_start(scenario, NULL),
                                   &(struct node_options){.config = "writes.timeout = \"60s\"\n"});
    struct rpc *client = node_open(node);
    uint32_t msgids[ROUNDS][REQUESTS];
    for (int i = 0; i < ROUNDS; i++) {
        for (int j = 0; j < REQUESTS; j++) {
            msgids[i][j] = rpc_send(client, REQUEST_OF[j][0], REQUEST_OF[j][1]);
        }
    }
    for (int i = 0; i < ROUNDS; i++) {
        for (int j = 0; j < REQUESTS; j++) {
            assert_json(rpc_await(client, msgids[i][j]), REQUEST_OF[j][2]);
        }
    }
}

// One that another write has is no repeat, and its answer is not the other's.
static void an_id_of_another_write_is_refused(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    assert_rpc(node, "set", "[\"a\", 1, {\"id\": \"x\"}]", "{\"seq\": 1}");
    assert_rpc_error(node, "incr", "[\"n\", 5, {\"id\": \"x\"}]", "BAD_REQUEST");
    assert_rpc_error(node, "set", "[\"b\", 1, {\"id\": \"x\"}]", "BAD_REQUEST");
    assert_rpc(node, "set", "[\"a\", 2, {\"id\": \"x\"}]", "{\"seq\": 1}");
    assert_rpc(node, "incr", "[\"n\", 5, {\"id\": \"y\"}]", "[5, \"*\"]");
    assert_rpc(node, "get", "[\"b\"]", "null");
}

// A repeat gets the first answer, at once, later, and after a crash.
static void a_repeated_id_gets_the_first_answer(struct scenario *scenario)
{
    static const char *const REQUESTS[][2] = {
        {"set", "[\"a\", 1, {\"id\": \"set\"}]"},
        {"set", "[\"b\", 1, {\"id\": \"set postgres\", \"ack\": \"postgres\"}]"},
        {"incr", "[\"n\", 5, {\"id\": \"incr\"}]"},
        {"merge", "[\"o\", {\"x\": 1}, {\"id\": \"merge\"}]"},
        {"set", "[\"c\", 1, {\"id\": \"if_absent\", \"if_absent\": true}]"},
        {"mset", "[[[\"d\", 1], [\"e\", 2]], {\"id\": \"mset\"}]"},
        {"delete", "[\"d\", {\"id\": \"delete\", \"ack\": \"postgres\"}]"},
        {"set", "[\"c\", 2, {\"id\": \"conflict\", \"if_absent\": true}]"},
        {"touch", "[\"a\", 600000, {\"id\": \"touch\"}]"},
    };
    enum { COUNT = sizeof REQUESTS / sizeof REQUESTS[0] };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    const char *first[COUNT];
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            const char *answer = rpc(node, REQUESTS[i][0], REQUESTS[i][1]);
            if (round == 0) {
                first[i] = answer;
            } else if (!json_matches(answer, first[i])) {
                scenario_fail("%s is answered %s the first time and %s in round %d", REQUESTS[i][1],
                              first[i], answer, round);
            }
        }
        if (round == 1) {
            assert_rpc(node, "flush", "[]", ACKED);
            node_kill(node);
            node_start_again(node);
        } else if (round == 2) {
            assert_int_equal(node_stop(node), 0);
            node_start_again(node);
        }
    }
    assert_rpc(node, "get", "[\"n\"]", "[5, \"*\"]");
    assert_pg_value(pg, "5", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_rpc(node, "incr", "[\"n\", 5, {\"id\": \"another\"}]", "[10, \"*\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(set_and_its_conditions),
        SCENARIO(mset_is_all_or_nothing),
        SCENARIO(an_mset_is_never_split),
        SCENARIO(delete_in_its_forms),
        SCENARIO(a_deletion_has_a_version_of_its_own),
        SCENARIO(incr_counts_exactly),
        SCENARIO(merge_is_rfc_7396),
        SCENARIO(acknowledgements_mean_what_they_say),
        SCENARIO(one_connection_keeps_its_order),
        SCENARIO(an_id_of_another_write_is_refused),
        SCENARIO(a_repeated_id_gets_the_first_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
