// Writes that PostgreSQL refuses for good: kept, listed, tried again, discarded.

#include "system/harness/cli.h"
#include "system/harness/steps.h"

#define POISON "ALTER TABLE kv_store ADD CONSTRAINT no_poison CHECK (value <> '\"poison\"')"
#define CURE   "ALTER TABLE kv_store DROP CONSTRAINT no_poison"

static struct node *start(struct scenario *scenario, struct pg **pg, const char *config)
{
    *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, *pg, &(struct node_options){.config = config});
    pg_exec(*pg, POISON);
    return node;
}

// The letter at `place` of the list, its seq as text.
static const char *letter_seq(struct node *node, int place)
{
    const char *list = rpc(node, "dead_letters", "[]");
    const char *path = scenario_text(node->scenario, "%d.seq", place);
    const char *seq = json_at(node->scenario, list, path);
    if (seq == NULL) {
        scenario_fail("no letter %d in %s", place, list);
    }
    return seq;
}

static const char *retry(struct node *node, const char *seq, const char *opts)
{
    return rpc(node, "retry_dead_letter", scenario_text(node->scenario, "[%s%s]", seq, opts));
}

static void assert_code(struct node *node, const char *answer, const char *code)
{
    assert_json(answer, scenario_text(node->scenario,
                                      "{\"error\": {\"code\": \"%s\", \"message\": \"*\","
                                      " \"retryable\": false}}",
                                      code));
}

static void a_refused_write_is_listed_and_tried_again(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"set", "[\"good\", 1]", ACKED},
        {"set", "[\"k\", \"poison\"]", ACKED},
        {"mset", "[[[\"a\", 1], [\"b\", \"poison\"], [\"c\", 3]]]", ACKED},
        {"set", "[\"after\", 2]", ACKED},
        {"flush", "[]", ACKED},
        // The others went on.
        {SQL_VALUE, "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store", "after good"},
        {"get", "[\"k\"]", "null"},
        {"get", "[\"a\"]", "null"},
        {"dead_letters", "[]",
         "[{\"seq\": \"*\", \"key\": \"k\", \"keys\": 1, \"op\": \"set\", \"sqlstate\": \"23514\","
         " \"message\": \"*\", \"at_us\": \"*\"},"
         " {\"seq\": \"*\", \"key\": \"a\", \"keys\": 3, \"op\": \"mset\", \"sqlstate\": \"23514\","
         " \"message\": \"*\", \"at_us\": \"*\"}]"},
        {"dead_letters", "[{\"limit\": 1}]",
         "[{\"seq\": \"*\", \"key\": \"k\", \"keys\": 1, \"op\": \"set\", \"sqlstate\": \"23514\","
         " \"message\": \"*\", \"at_us\": \"*\"}]"},
        {"retry_dead_letter", "[999999999]", "!BAD_REQUEST"},
        {"discard_dead_letter", "[999999999]", "false"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg, NULL);
    RUN_STEPS(node, pg, STEPS);
    assert_int_equal(node_stat_int(node, "outbox.dead_letters"), 2);
    const char *k = letter_seq(node, 0);
    const char *mset = letter_seq(node, 1);
    // Refused again: it stays, with the newest words.
    assert_json(retry(node, k, ""),
                "{\"error\": {\"code\": \"REJECTED\", \"message\": \"*\", \"retryable\": false,"
                " \"sqlstate\": \"23514\"}}");
    assert_string_equal(letter_seq(node, 0), k);
    // They survive a kill and a start.
    node_kill(node);
    node_start_again(node);
    assert_string_equal(letter_seq(node, 0), k);
    assert_string_equal(letter_seq(node, 1), mset);
    pg_exec(pg, CURE);
    const char *done = retry(node, k, ", {\"id\": \"once\"}");
    assert_json(done, ACKED);
    assert_json(retry(node, k, ", {\"id\": \"once\"}"), done);
    assert_rpc(node, "get", "[\"k\"]", "[\"poison\", \"*\"]");
    assert_pg_value(pg, "\"poison\"", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_code(node, retry(node, k, ""), "BAD_REQUEST");
    assert_json(retry(node, mset, ""), ACKED);
    assert_pg_value(pg, "1 \"poison\" 3",
                    "SELECT string_agg(value::text, ' ' ORDER BY key) FROM kv_store"
                    " WHERE key IN ('a', 'b', 'c')");
    assert_rpc(node, "dead_letters", "[]", "[]");
    node_await_stat(node, "outbox.dead_letters", "0");
}

// Each way in which a key can have changed since, and what force does.
static void a_changed_key_is_a_conflict(struct scenario *scenario)
{
    static const struct {
        const char *before; // SQL, or NULL: the key is absent
        const char *change; // SQL, or NULL: this node sets it
    } CASES[] = {
        {"INSERT INTO kv_store (key, value) VALUES ('k', '1')",
         "UPDATE kv_store SET value = '2' WHERE key = 'k'"},
        {"INSERT INTO kv_store (key, value) VALUES ('k', '1')",
         "DELETE FROM kv_store WHERE key = 'k'"},
        {"INSERT INTO kv_store (key, value) VALUES ('k', '1')", NULL},
        {NULL, "INSERT INTO kv_store (key, value) VALUES ('k', '2')"},
        {NULL, NULL},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg, NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        pg_exec(pg, "DELETE FROM kv_store");
        if (CASES[i].before != NULL) {
            pg_exec(pg, "%s", CASES[i].before);
        }
        assert_rpc(node, "mset", "[[[\"other\", 1], [\"k\", \"poison\"]]]", ACKED);
        assert_rpc(node, "flush", "[]", ACKED);
        const char *seq = letter_seq(node, 0);
        pg_exec(pg, CURE);
        if (CASES[i].change != NULL) {
            pg_exec(pg, "%s", CASES[i].change);
        } else {
            assert_rpc(node, "set", "[\"k\", 2]", ACKED);
        }
        const char *answer = retry(node, seq, "");
        const char *version = pg_value(pg, "SELECT version FROM kv_store WHERE key = 'k'");
        assert_json(answer, scenario_text(scenario,
                                          "{\"error\": {\"code\": \"CONFLICT\", \"message\": \"*\","
                                          " \"retryable\": false%s%s}}",
                                          version != NULL ? ", \"version\": " : "",
                                          version != NULL ? version : ""));
        assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store WHERE value = '\"poison\"'");
        assert_string_equal(letter_seq(node, 0), seq);
        assert_json(retry(node, seq, ", {\"force\": true}"), ACKED);
        assert_pg_value(pg, "\"poison\"", "SELECT value FROM kv_store WHERE key = 'k'");
        assert_rpc(node, "get", "[\"k\"]", "[\"poison\", \"*\"]");
        assert_rpc(node, "dead_letters", "[]", "[]");
        pg_exec(pg, "DELETE FROM kv_store");
        pg_exec(pg, POISON);
    }
}

// A retry is journaled before it is applied: whatever dies, it is applied once and the letter goes.
static void a_retry_survives_a_kill(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg, NULL);
    assert_rpc(node, "set", "[\"k\", \"poison\"]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    const char *seq = letter_seq(node, 0);
    pg_exec(pg, CURE);
    pg_exec(pg, "CREATE TABLE counted (n int);"
                "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO counted VALUES (1); RETURN NULL; END';"
                "CREATE TRIGGER count_it AFTER INSERT OR UPDATE ON kv_store"
                " FOR EACH ROW EXECUTE FUNCTION count_it()");
    // The table is locked, so the retry is on its way when the node dies.
    PGconn *conn = pg_connect(pg);
    PQclear(PQexec(conn, "BEGIN; LOCK TABLE kv_store IN EXCLUSIVE MODE"));
    struct rpc *other = node_open(node);
    rpc_send(other, "retry_dead_letter", scenario_text(scenario, "[%s]", seq));
    node_await_stat_min(node, "outbox.depth", 1);
    assert_code(node, retry(node, seq, ""), "CONFLICT"); // it is being tried
    assert_code(node, rpc(node, "discard_dead_letter", scenario_text(scenario, "[%s]", seq)),
                "CONFLICT");
    node_kill(node);
    PQfinish(conn);
    node_start_again(node);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "1", "SELECT count(*) FROM counted");
    assert_rpc(node, "get", "[\"k\"]", "[\"poison\", \"*\"]");
    assert_rpc(node, "dead_letters", "[]", "[]");
}

// The outbox is bounded, letters and all: OVERLOADED, until somebody deals with them.
static void letters_that_fill_the_outbox(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node =
        start(scenario, &pg, "writes.outbox_size = \"1MiB\"\nwrites.retain = \"0s\"\n");
    pg_exec(pg, "ALTER TABLE kv_store ADD CONSTRAINT small CHECK (length(value::text) < 1000)");
    char *value = scenario_alloc(scenario, 50001);
    memset(value, 'x', 50000);
    const char *params = scenario_text(scenario, "[\"k\", \"%s\"]", value);
    int count = 0;
    const char *answer = rpc(node, "set", params);
    while (json_at(scenario, answer, "error.code") == NULL) {
        if (++count > 1000) {
            scenario_fail("the outbox has no bound");
        }
        assert_rpc(node, "flush", "[]", ACKED);
        answer = rpc(node, "set", params);
    }
    assert_json(answer,
                "{\"error\": {\"code\": \"OVERLOADED\", \"message\": \"*\", \"retryable\": true}}");
    assert_non_null(strstr(answer, "dead letters"));
    // Reads go on, and a letter can still be tried again.
    assert_rpc(node, "get", "[\"k\"]", "null");
    pg_exec(pg, "ALTER TABLE kv_store DROP CONSTRAINT small");
    assert_json(retry(node, letter_seq(node, 0), ""), ACKED);
    struct cli listed = CLI(node, "dead-letters");
    assert_int_equal(listed.status, 0);
    while (node_stat_int(node, "outbox.dead_letters") > 0) {
        assert_cli(CLI(node, "dead-letters", "discard", letter_seq(node, 0)), 0, "true\n");
    }
    node_await_stat(node, "outbox.depth", "0");
    assert_rpc(node, "set", "[\"k\", 1]", ACKED);
}

static void the_command_line(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg, NULL);
    assert_cli(CLI(node, "dead-letters"), 0, "");
    assert_rpc(node, "delete", "[\"absent\"]", ACKED);
    assert_rpc(node, "set", "[\"k\", \"poison\"]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    const char *seq = letter_seq(node, 0);
    assert_cli_json(CLI(node, "dead-letters", "list"), 0,
                    scenario_text(scenario,
                                  "{\"seq\": %s, \"key\": \"k\", \"keys\": 1, \"op\": \"set\","
                                  " \"sqlstate\": \"23514\", \"message\": \"*\", \"at_us\": \"*\"}",
                                  seq));
    assert_int_equal(CLI(node, "dead-letters", "retry", seq).status, 4);
    pg_exec(pg, CURE);
    assert_rpc(node, "set", "[\"k\", 2, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_int_equal(CLI(node, "dead-letters", "retry", seq).status, 1);
    assert_cli_json(CLI(node, "dead-letters", "retry", seq, "--force"), 0, ACKED);
    assert_int_equal(CLI(node, "dead-letters", "discard", seq).status, 1);
    assert_int_equal(CLI(node, "dead-letters", "discard").status, 2);
    assert_int_equal(CLI(node, "dead-letters", "bury", seq).status, 2);
    assert_int_equal(CLI(node, "dead-letters", "list", "--force").status, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_refused_write_is_listed_and_tried_again),
        SCENARIO(a_changed_key_is_a_conflict),
        SCENARIO(a_retry_survives_a_kill),
        SCENARIO(letters_that_fill_the_outbox),
        SCENARIO(the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
