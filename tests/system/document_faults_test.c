// The layout "document" where something is wrong with the row, the text, the column or the rights:
// a clear error, nothing overwritten, nothing lost.

#include <string.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/document.h"
#include "system/harness/steps.h"

#define WRITTEN "{\"seq\": \"*\", \"version\": \"*\"}"
#define TEXT    "SELECT game_name FROM game_sessions WHERE id = " DOCUMENT_ID

// Waits until hello's last_error holds the words.
static void await_last_error(struct node *node, const char *words)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (;;) {
        const char *error = json_at(node->scenario, rpc(node, "hello", "[\"t\"]"), "last_error");
        if (error != NULL && strstr(error, words) != NULL) {
            return;
        }
        if (!deadline_again(&deadline)) {
            scenario_fail("last_error is %s, not %s", error == NULL ? "absent" : error, words);
        }
    }
}

static struct node *spawn(struct scenario *scenario, struct pg *pg, const char *config)
{
    const struct node_options options = {.config = document_config(scenario, config)};
    struct node *node = node_create(scenario, pg, &options);
    node_spawn(node);
    node_await_state(node, "disconnected");
    return node;
}

// Whether `check` finds that item in order; the message has the words.
static void assert_check(struct node *node, const char *item, bool ok, const char *words)
{
    struct scenario *scenario = node->scenario;
    const char *items = rpc(node, "check", "[]");
    const char *wanted = scenario_text(scenario, "\"%s\"", item);
    for (int i = 0;; i++) {
        const char *name = json_at(scenario, items, scenario_text(scenario, "%d.item", i));
        if (name == NULL) {
            scenario_fail("no item %s in %s", item, items);
        }
        const char *message = json_at(scenario, items, scenario_text(scenario, "%d.message", i));
        const char *state = json_at(scenario, items, scenario_text(scenario, "%d.ok", i));
        if (strcmp(name, wanted) == 0) {
            if (strcmp(state, ok ? "true" : "false") != 0 || strstr(message, words) == NULL) {
                scenario_fail("%s is %s: %s", item, state, message);
            }
            return;
        }
    }
}

static void a_text_that_is_no_object_stops_the_start(struct scenario *scenario)
{
    static const struct {
        const char *text;
        const char *words;
    } TEXTS[] = {
        {"Book of Ra", "invalid input syntax for type json"},
        {"[1, 2]", "it is of type array"},
        {"null", "it is of type null"},
        {"{\"a\": \"\\u0000\"}", "unsupported Unicode escape sequence"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "UPDATE game_sessions SET game_name = '%s'", TEXTS[0].text);
    struct node *node = spawn(scenario, pg, "");
    assert_rpc(node, "set", "[\"k\", 1]", ACKED);
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        pg_exec(pg, "UPDATE game_sessions SET game_name = '%s'", TEXTS[i].text);
        await_last_error(node, TEXTS[i].words);
        const char *error = assert_rpc_error(node, "get", "[\"other\"]", "REJECTED");
        assert_non_null(strstr(error, "is not a JSON object"));
        assert_pg_value(pg, TEXTS[i].text, TEXT);
        assert_check(node, "connection", false, TEXTS[i].words);
    }
    pg_exec(pg, "UPDATE game_sessions SET game_name = ' {\"mended\": true} '");
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "{\"k\": 1, \"mended\": true}", TEXT);
}

static void a_text_that_stops_being_an_object_is_not_overwritten(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    static const struct step STEPS[] = {
        {"set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {SQL, DOCUMENT_EDIT("Book of Ra"), NULL},
        {AWAIT, "get [\"k\"]", "!REJECTED"},
        {"get", "[\"never seen\"]", "!REJECTED"},
        {"scan", "[]", "!REJECTED"},
        // It is acknowledged and waits.
        {"set", "[\"k\", 2]", ACKED},
        {"get", "[\"k\"]", "[2, null]"},
        {"flush", "[{\"timeout_ms\": 500}]", "!TIMEOUT"},
        {SQL_VALUE, TEXT, "Book of Ra"},
        {"dead_letters", "[]", "[]"},
    };
    RUN_STEPS(node, pg, STEPS);
    assert_check(node, "document row", false, "is not a JSON object: invalid input syntax");
    assert_check(node, "flush", false, "is not a JSON object");
    static const struct step MENDED[] = {
        {SQL, DOCUMENT_EDIT("{\"k\": 5, \"l\": 6}"), NULL},
        {"flush", "[]", ACKED},
        {SQL_VALUE, TEXT, "{\"k\": 2, \"l\": 6}"},
        {AWAIT, "get [\"l\"]", "[6, \"*\"]"},
        {"get", "[\"k\"]", "[2, \"*\"]"},
    };
    RUN_STEPS(node, pg, MENDED);
    assert_check(node, "document row", true, "game_name");
}

static void nothing_is_no_pairs_yet(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "UPDATE game_sessions SET game_name = NULL");
    struct node *node = document_node(scenario, pg, "node", "");
    static const struct step STEPS[] = {
        {"get", "[\"k\"]", "null"},
        {SQL_VALUE, TEXT, NULL},
        {"delete", "[\"k\", {\"ack\": \"postgres\"}]", "\"*\""},
        {SQL_VALUE, TEXT, NULL},
        {"set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN},
        {SQL_VALUE, TEXT, "{\"k\": 1}"},
        {SQL, DOCUMENT_EDIT("  "), NULL},
        {AWAIT, "get [\"k\"]", "null"},
        {"incr", "[\"n\", 1]", "[1, \"*\"]"},
        {SQL_VALUE, TEXT, "{\"n\": 1}"},
    };
    RUN_STEPS(node, pg, STEPS);
}

static void a_row_is_made_where_it_can_be(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg,
            "CREATE TABLE \"My settings\" (n int PRIMARY KEY, doc jsonb, note text DEFAULT 'd')");
    struct node *node = document_node(scenario, pg, "node",
                                      "postgres.document.table = '\"My settings\"'\n"
                                      "postgres.document.id_column = \"n\"\n"
                                      "postgres.document.id = \"7\"\n"
                                      "postgres.document.column = \"doc\"\n");
    assert_pg_value(pg, "{\"n\": 7, \"doc\": {}, \"note\": \"d\"}",
                    "SELECT to_jsonb(s) FROM \"My settings\" s");
    pg_exec(pg, "DELETE FROM \"My settings\"");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg, "{\"k\": 1}", "SELECT doc FROM \"My settings\"");
}

// Names and keys that look like SQL, like our templates and like formats are only names and keys.
static void odd_names_are_only_names(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE SCHEMA \"a.B's\"; CREATE TABLE \"a.B's\".\"t $pgnear$ @table@ %%s\""
                " (\"i \"\"d\" text PRIMARY KEY, \"c'%%\" varchar)");
    struct node *node =
        document_node(scenario, pg, "node",
                      "postgres.document.table = \"\\\"a.B's\\\".\\\"t $pgnear$ @table@ %s\\\"\"\n"
                      "postgres.document.id_column = '\"i \"\"d\"'\n"
                      "postgres.document.id = \"it's %s\\\\ @tag@ $pgnear1$\"\n"
                      "postgres.document.column = \"\\\"c'%\\\"\"\n");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg,
                    "{\"c'%\": \"{\\\"k\\\": 1}\", \"i \\\"d\": \"it's %s\\\\ @tag@ $pgnear1$\"}",
                    "SELECT to_jsonb(s) FROM \"a.B's\".\"t $pgnear$ @table@ %%s\" s");
    pg_exec(pg, "UPDATE \"a.B's\".\"t $pgnear$ @table@ %%s\" SET \"c'%%\" = '{\"k\": 2}'");
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[2, \"*\"]");
    assert_check(node, "document", true, "");
    assert_check(node, "document row", true, "");
    assert_check(node, "document triggers", true, "");
}

static void a_row_that_cannot_be_made_is_asked_for(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "DELETE FROM game_sessions");
    struct node *node = spawn(scenario, pg, "");
    await_last_error(node, "the document's row does not exist and cannot be made: null value in"
                           " column \\\"user_id\\\"");
    assert_rpc(node, "set", "[\"k\", 1]", ACKED);
    assert_pg_value(pg, "0", "SELECT count(*) FROM game_sessions");
    pg_exec(pg,
            "INSERT INTO game_sessions (id, user_id) VALUES (" DOCUMENT_ID ", " DOCUMENT_ID ")");
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "{\"k\": 1}", TEXT);
    // It goes while the node runs: the write waits for the row.
    pg_exec(pg, "DELETE FROM game_sessions");
    assert_rpc(node, "set", "[\"l\", 2]", ACKED);
    await_last_error(node, "the document's row does not exist and cannot be made");
    assert_check(node, "document row", false, "does not exist");
    assert_rpc(node, "dead_letters", "[]", "[]");
    pg_exec(pg,
            "INSERT INTO game_sessions (id, user_id) VALUES (" DOCUMENT_ID ", " DOCUMENT_ID ")");
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "{\"l\": 2}", TEXT);
}

// The limit of the column's type is the row's error: who exceeds it is parked, the others go on.
static void what_does_not_fit_becomes_a_dead_letter(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "ALTER TABLE game_sessions ALTER COLUMN game_name TYPE varchar(255)");
    struct node *node = document_node(scenario, pg, "node", "writes.linger = \"200ms\"\n");
    const char *large = scenario_text(scenario, "[\"large\", \"%0300d\"]", 0);
    assert_rpc(node, "set", "[\"a\", 1]", ACKED);
    assert_rpc(node, "set", large, ACKED);
    assert_rpc(node, "set", "[\"b\", 2]", ACKED);
    assert_rpc(node, "mset", scenario_text(scenario, "[[[\"c\", 3], [\"d\", \"%0250d\"]]]", 0),
               ACKED);
    assert_rpc(node, "incr", "[\"n\", 1]", "[1, \"*\"]");
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "{\"a\": 1, \"b\": 2, \"n\": 1}", TEXT);
    const char *letters = rpc(node, "dead_letters", "[]");
    assert_string_equal(json_at(scenario, letters, "0.key"), "\"large\"");
    assert_string_equal(json_at(scenario, letters, "0.sqlstate"), "\"22001\"");
    assert_string_equal(json_at(scenario, letters, "1.sqlstate"), "\"22001\"");
    assert_null(json_at(scenario, letters, "2"));
    assert_rpc(node, "get", "[\"large\"]", "null");
    assert_rpc(node, "get", "[\"c\"]", "null");
    const char *error = assert_rpc_error(
        node, "set", scenario_text(scenario, "[\"large\", \"%0300d\", {\"ack\": \"postgres\"}]", 0),
        "REJECTED");
    assert_non_null(strstr(error, "value too long for type character varying(255)"));
}

// A transaction that keeps the row locked holds up what is to be written, and nothing else, whether
// the node starts or runs.
static void a_locked_row_holds_up_writes_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN);
    PGconn *conn = pg_connect(pg);
    PQclear(PQexec(conn, "BEGIN; UPDATE game_sessions SET game_name = '{\"k\": 2}'"));
    assert_int_equal(node_stop(node), 0);
    node_start_again(node);
    assert_rpc(node, "get", "[\"k\", {\"fresh\": true}]", "[1, \"*\"]");
    assert_rpc(node, "set", "[\"l\", 3]", ACKED);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 200}]",
               "{\"error\": {\"code\": \"TIMEOUT\", \"message\": \"*\", \"retryable\": true}}");
    PQclear(PQexec(conn, "COMMIT"));
    PQfinish(conn);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "{\"k\": 2, \"l\": 3}", TEXT);
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[2, \"*\"]");
}

// What was edited while our trigger was off is found under the lock, and is not written over.
static void an_edit_unseen_is_not_overwritten(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    assert_rpc(node, "mset", "[[[\"a\", 1], [\"b\", 1]], {\"ack\": \"postgres\"}]", ACKED);
    pg_exec(pg, "ALTER TABLE game_sessions DISABLE TRIGGER USER;"
                "UPDATE game_sessions SET game_name = '{\"a\": 2, \"b\": 2}';");
    assert_check(node, "document triggers", false, "does not always fire");
    assert_rpc(node, "set", "[\"b\", 3, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg, "{\"a\": 2, \"b\": 3}", TEXT);
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "mget", "[[\"a\", \"b\"]]", "[[2, \"*\"], [3, \"*\"]]");
}

static void an_impossible_document_is_refused(struct scenario *scenario)
{
    static const struct {
        const char *config;
        const char *words;
    } CASES[] = {
        {"postgres.document.table = \"nowhere\"\n", "relation \\\"nowhere\\\" does not exist"},
        {"postgres.document.column = \"nothing\"\n", "column \\\"nothing\\\" of relation"},
        {"postgres.document.column = \"total_won\"\n", "is of type integer, not text"},
        {"postgres.document.id_column = \"user_id\"\n", "no unique index of its own"},
        {"postgres.document.id = \"seven\"\n", "invalid input syntax for type uuid"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct node *node = spawn(scenario, pg, CASES[i].config);
        await_last_error(node, CASES[i].words);
        assert_int_equal(node_stop(node), 0);
    }
    assert_pg_value(pg, "{}", TEXT);
}

// A DBA runs what `schema` prints, and a daemon that may only read and write does its work; what
// --drop prints takes all of it away again.
static void a_dba_makes_it_and_takes_it_away(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    const struct node_options options = {
        .config = document_config(scenario, scenario_text(scenario,
                                                          "postgres.schema = \"require\"\n"
                                                          "postgres.url = \"%s&user=worker\"\n",
                                                          pg_url(pg)))};
    pg_exec(pg, "CREATE ROLE worker LOGIN");
    struct node *node = node_create(scenario, pg, &options);
    struct cli schema = CLI(node, "schema", "-c", node->config_path);
    assert_int_equal(schema.status, 0);
    const char *before =
        pg_value(pg, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace");
    pg_exec(pg, "%s", schema.out);
    pg_exec(pg, "GRANT SELECT (id, game_name), UPDATE (game_name) ON game_sessions TO worker;"
                "GRANT SELECT, INSERT, UPDATE, DELETE ON pgnear_node TO worker;"
                "GRANT SELECT, UPDATE ON pgnear_document_state TO worker;");
    node_spawn(node);
    node_await_state(node, "disconnected");
    pg_exec(pg, "DO $$ DECLARE r regclass; BEGIN FOR r IN SELECT oid FROM pg_class WHERE relname"
                " LIKE 'pgnear_document\\_%%' AND relkind IN ('r', 'v', 'S')"
                " AND relname <> 'pgnear_document_state' LOOP"
                " EXECUTE 'GRANT ALL ON ' || r || ' TO worker'; END LOOP; END $$");
    node_await_ready(node);
    assert_check(node, "document rights", true, "");
    assert_check(node, "rights", true, "");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg, "{\"k\": 1}", TEXT);
    struct cli check = CLI(node, "check", "-c", node->config_path);
    assert_int_equal(check.status, 0);
    assert_non_null(strstr(check.out, "document row"));
    pg_exec(pg, "REVOKE UPDATE (game_name) ON game_sessions FROM worker");
    assert_check(node, "document rights", false, "UPDATE on column game_name");
    assert_int_equal(node_stop(node), 0);
    struct cli drop = CLI(node, "schema", "--drop", "-c", node->config_path);
    assert_int_equal(drop.status, 0);
    pg_exec(pg, "%s", drop.out);
    assert_pg_value(pg, before,
                    "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace");
    assert_pg_value(pg, "0", "SELECT count(*) FROM pg_proc WHERE proname LIKE 'pgnear%%'");
    assert_pg_value(pg, "{\"k\": 1}", TEXT);
    pg_exec(pg, "UPDATE game_sessions SET game_name = 'free again'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_text_that_is_no_object_stops_the_start),
        SCENARIO(a_text_that_stops_being_an_object_is_not_overwritten),
        SCENARIO(nothing_is_no_pairs_yet),
        SCENARIO(a_row_is_made_where_it_can_be),
        SCENARIO(odd_names_are_only_names),
        SCENARIO(a_row_that_cannot_be_made_is_asked_for),
        SCENARIO(what_does_not_fit_becomes_a_dead_letter),
        SCENARIO(a_locked_row_holds_up_writes_alone),
        SCENARIO(an_edit_unseen_is_not_overwritten),
        SCENARIO(an_impossible_document_is_refused),
        SCENARIO(a_dba_makes_it_and_takes_it_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
