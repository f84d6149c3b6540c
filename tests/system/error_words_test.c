// What errors say (SPEC section 3): the operation, the key and PostgreSQL's own words, whatever
// thread gives them and however long the key is.

#include <stdio.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/steps.h"

enum { LONG_KEY_BYTES = 511 };

static void assert_says(struct scenario *scenario, const char *error, const char *words)
{
    const char *message = json_at(scenario, error, "message");
    if (strstr(message, words) == NULL) {
        scenario_fail("%s does not say %s", message, words);
    }
}

// The connection is up and it is PostgreSQL that says no: nobody is told of a lost connection.
static void an_operators_error_is_told_to_all_who_need_postgresql(struct scenario *scenario)
{
    static const char *const METHODS[][2] = {
        {"incr", "[\"k\", 1]"},
        {"merge", "[\"k\", {}]"},
        {"touch", "[\"k\", null]"},
        {"set", "[\"k\", 1, {\"if_absent\": true}]"},
        {"delete", "[\"k\", {\"if_version\": 1}]"},
        {"get", "[\"k\", {\"fresh\": true}]"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "ALTER TABLE kv_store RENAME TO away");
    const char *error =
        assert_rpc_error(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", "REJECTED");
    assert_json(json_at(scenario, error, "sqlstate"), "\"42P01\"");
    for (size_t i = 0; i < sizeof METHODS / sizeof *METHODS; i++) {
        error = assert_rpc_error(node, METHODS[i][0], METHODS[i][1], "REJECTED");
        assert_json(json_at(scenario, error, "sqlstate"), "\"42P01\"");
        assert_says(scenario, error,
                    scenario_text(scenario,
                                  "Failed to %s key \\\"k\\\": relation \\\"kv_store\\\" does not",
                                  METHODS[i][0]));
    }
    assert_rpc(node, "set", "[\"queued\", 1]", ACKED);
    node_await_stat(node, "postgres.refused", "1");
    pg_exec(pg, "ALTER TABLE away RENAME TO kv_store");
    assert_rpc(node, "flush", "[]", ACKED);
    assert_rpc(node, "incr", "[\"k\", 1]", "[1, \"*\"]");
    assert_json(node_stat(node, "postgres.refused"), "0");
}

// The same where it is the schema that is missing when the node starts.
static void a_missing_table_is_named_from_the_start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_create(
        scenario, pg, &(struct node_options){.config = "postgres.schema = \"require\"\n"});
    node_spawn(node);
    node_await_log(node, "not ready");
    static const char *const METHODS[] = {"get", "incr"};
    for (size_t i = 0; i < 2; i++) {
        const char *params = i == 0 ? "[\"k\"]" : "[\"k\", 1]";
        const char *error = assert_rpc_error(node, METHODS[i], params, "REJECTED");
        assert_json(json_at(scenario, error, "sqlstate"), "\"42P01\"");
        assert_says(scenario, error, "does not exist");
        assert_says(scenario, error, METHODS[i]);
    }
    const char *checks = rpc(node, "check", "[]");
    if (strstr(checks, "PostgreSQL refuses this node: relation") == NULL) {
        scenario_fail("the check says %s", checks);
    }
}

// The connection is there, and it is the schema that PostgreSQL does not make: said in one line for
// all the attempts, and not as a lost connection.
static void a_refused_schema_is_no_lost_connection(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE TABLE kv_store (name text)");
    struct node *node = node_create(scenario, pg, NULL);
    node_spawn(node);
    node_await_log(node, "not ready");
    node_await_stat_min(node, "postgres.reconnects", 4);
    assert_true(node_log_has(node, "event=\"not ready\" step=\"schema\" sqlstate=\"42804\""));
    assert_int_equal(node_log_count(node, "sqlstate=\"42804\""), 1);
    assert_int_equal(node_log_count(node, "event=\"not ready\""), 1);
    assert_int_equal(node_log_count(node, "connection given up"), 0);
    // As if all were well, again and again.
    assert_int_equal(node_log_count(node, "event=\"connected\" connection=\"control\""), 2);
    if (node_log_has(node, "connection lost")) {
        scenario_fail("the log says that a connection was lost");
    }
    pg_exec(pg, "DROP TABLE kv_store");
    node_await_ready(node);
}

static void a_long_key_leaves_room_for_the_reason(struct scenario *scenario)
{
    char key[LONG_KEY_BYTES + 1];
    for (size_t i = 0; i < LONG_KEY_BYTES - 1; i += 2) {
        memcpy(key + i, "\xc3\xa9", 2);
    }
    memcpy(key + LONG_KEY_BYTES - 1, "k", 2);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "ALTER TABLE kv_store ADD CONSTRAINT no_long CHECK (length(key) < 200)");
    static const char *const FORMATS[] = {"[\"%s\", 1, {\"ack\": \"postgres\"}]",
                                          "[\"%s\", 1, {\"if_absent\": true}]"};
    for (size_t i = 0; i < 2; i++) {
        char params[LONG_KEY_BYTES + 64];
        snprintf(params, sizeof params, FORMATS[i], key);
        const char *error = assert_rpc_error(node, "set", params, "REJECTED");
        assert_says(scenario, error, "Failed to set key \\\"\xc3\xa9");
        assert_says(scenario, error, "no_long");
    }
}

// A repeat of a write that was refused after its ack is told so in the same words.
static void a_refusal_is_remembered_with_its_words(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "set", "[\"text\", \"t\"]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    pg_exec(pg, "BEGIN; SELECT 1 FROM kv_store WHERE key = 'text' FOR UPDATE");
    struct rpc *client = node_open(node);
    rpc_send(client, "incr", "[\"text\", 1, {\"id\": \"one\"}]");
    pg_backend(pg, "wait_event_type = 'Lock'");
    rpc_close(client);
    node_kill(node);
    pg_exec(pg, "COMMIT");
    node_start_again(node);
    assert_rpc(node, "flush", "[]", ACKED);
    const char *error =
        assert_rpc_error(node, "incr", "[\"text\", 1, {\"id\": \"one\"}]", "REJECTED");
    assert_json(json_at(scenario, error, "sqlstate"), "\"22023\"");
    assert_says(scenario, error, "Failed to incr key \\\"text\\\": the value is not a number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(an_operators_error_is_told_to_all_who_need_postgresql),
        SCENARIO(a_missing_table_is_named_from_the_start),
        SCENARIO(a_refused_schema_is_no_lost_connection),
        SCENARIO(a_long_key_leaves_room_for_the_reason),
        SCENARIO(a_refusal_is_remembered_with_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
