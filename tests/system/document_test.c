// The layout "document": all pairs in one JSON object of one row of somebody else's table, and the
// promises that hold there as in a table of ours.

#include <stdio.h>
#include <string.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/document.h"
#include "system/harness/load.h"
#include "system/harness/random.h"
#include "system/harness/steps.h"

#define WRITTEN "{\"seq\": \"*\", \"version\": \"*\"}"

// Everything of the application's table but what is ours.
#define OTHERS                                                                                     \
    "SELECT md5(string_agg((to_jsonb(s) - CASE WHEN id = " DOCUMENT_ID                             \
    " THEN 'game_name' ELSE '' END)::text, ',' ORDER BY id)) FROM game_sessions s"

// The methods, one after the other; for text, json and jsonb alike.
static const struct step METHODS[] = {
    {"set", "[\"k\", {\"n\": 1}, {\"ack\": \"postgres\"}]", WRITTEN},
    {SQL_VALUE, DOCUMENT_PAIR("k"), "{\"n\": 1}"},
    {KEEP, "SELECT version FROM pgnear_document WHERE key = 'k'", NULL},
    {"get", "[\"k\"]", "[{\"n\": 1}, $v]"},
    {"set", "[\"k\", 2, {\"if_version\": $v}]", WRITTEN},
    {"set", "[\"k\", 3, {\"if_version\": $v}]", "!CONFLICT"},
    {"set", "[\"k\", 3, {\"if_absent\": true}]", "!CONFLICT"},
    {"set", "[\"new\", \"x\", {\"if_absent\": true}]", WRITTEN},
    {"get", "[\"k\", {\"fresh\": true}]", "[2, \"*\"]"},
    {"incr", "[\"count\", 5]", "[5, \"*\"]"},
    {"incr", "[\"count\", -2]", "[3, \"*\"]"},
    {"merge", "[\"object\", {\"a\": 1, \"b\": {\"c\": 2}}]",
     "[{\"a\": 1, \"b\": {\"c\": 2}}, \"*\"]"},
    {"merge", "[\"object\", {\"a\": null, \"b\": {\"d\": 3}}]",
     "[{\"b\": {\"c\": 2, \"d\": 3}}, \"*\"]"},
    {SQL_VALUE, DOCUMENT_PAIR("object"), "{\"b\": {\"c\": 2, \"d\": 3}}"},
    {"mset", "[[[\"m1\", 1], [\"m2\", [2]], [\"m3\", null]]]", ACKED},
    {"mget", "[[\"m3\", \"none\", \"m1\", \"m2\"]]",
     "[[null, \"*\"], null, [1, \"*\"], [[2], \"*\"]]"},
    {"flush", "[]", ACKED},
    {SQL_VALUE, "SELECT count(*) FROM pgnear_document", "7"},
    {"scan", "[{\"prefix\": \"m\", \"limit\": 2}]",
     "{\"items\": [[\"m1\", 1, \"*\"], [\"m2\", [2], \"*\"]], \"next\": \"m2\"}"},
    {"all", "[{\"prefix\": \"m\"}]",
     "{\"items\": [[\"m1\", 1, \"*\"], [\"m2\", [2], \"*\"], [\"m3\", null, \"*\"]],"
     " \"next\": null}"},
    {"delete", "[[\"m1\", \"m2\", \"none\"], {\"ack\": \"postgres\"}]",
     "{\"seq\": \"*\", \"deleted\": 2, \"version\": null}"},
    {SQL_VALUE, DOCUMENT_PAIR("m2"), NULL},
    {"get", "[\"m1\"]", "null"},
    {"touch", "[\"k\", 60000]", "true"},
    {"touch", "[\"none\", 60000]", "false"},
    {SQL_VALUE,
     "SELECT expires_at BETWEEN now() + '50s' AND now() + '60s' FROM pgnear_document"
     " WHERE key = 'k'",
     "t"},
    {"touch", "[\"k\", null]", "true"},
    {"ttl", "[\"k\"]", "null"},
    {"set", "[\"brief\", 1, {\"ttl_ms\": 300, \"ack\": \"postgres\"}]", WRITTEN},
    {AWAIT, "get [\"brief\"]", "null"},
    // What others do to the text.
    {SQL, DOCUMENT_EDIT("{\"k\": 7, \"other\": [1.50, 12345678901234567890.5]}"), NULL},
    {AWAIT, "get [\"k\"]", "[7, \"*\"]"},
    {"get", "[\"other\"]", "[[1.5, 12345678901234567890.5], \"*\"]"},
    {"get", "[\"count\"]", "null"},
    {KEEP, "SELECT version FROM pgnear_document WHERE key = 'other'", NULL},
    {SQL, DOCUMENT_EDIT("{\"k\": 8, \"other\": [1.50, 12345678901234567890.5]}"), NULL},
    {AWAIT, "get [\"k\"]", "[8, \"*\"]"},
    {"get", "[\"other\", {\"fresh\": true}]", "[[1.5, 12345678901234567890.5], $v]"},
    {"set", "[\"other\", 0, {\"if_version\": 1}]", "!CONFLICT"},
    {"delete", "[\"k\", {\"ack\": \"postgres\"}]",
     "{\"seq\": \"*\", \"deleted\": 1, \"version\": \"*\"}"},
    {SQL_VALUE, DOCUMENT_PAIR("other"), "[1.50, 12345678901234567890.5]"},
    {SQL, "UPDATE game_sessions SET total_won = 5 WHERE id = " DOCUMENT_ID, NULL},
    {"get", "[\"other\", {\"fresh\": true}]", "[[1.5, 12345678901234567890.5], $v]"},
};

static void run_methods(struct scenario *scenario, const char *type)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "ALTER TABLE game_sessions ALTER COLUMN game_name TYPE %s USING game_name::%s",
            type, type);
    struct node *node = document_node(scenario, pg, "node", "");
    RUN_STEPS(node, pg, METHODS);
    assert_pg_value(pg, scenario_text(scenario, "%s", type),
                    "SELECT pg_typeof(game_name) FROM game_sessions");
    assert_rpc(node, "dead_letters", "[]", "[]");
    node_await_stat(node, "count", "1");
}

static void the_methods_work_on_text(struct scenario *scenario)
{
    run_methods(scenario, "text");
}

static void the_methods_work_on_json(struct scenario *scenario)
{
    run_methods(scenario, "json");
}

static void the_methods_work_on_jsonb(struct scenario *scenario)
{
    run_methods(scenario, "jsonb");
}

// Promise 4: whoever changes the object, both nodes follow; events say which keys.
static void two_nodes_and_psql_agree(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *a = document_node(scenario, pg, "a", "");
    struct node *b = document_node(scenario, pg, "b", "");
    struct rpc *watcher = node_open(b);
    assert_json(rpc_call(watcher, "watch", "[\"\"]"), "true");
    assert_rpc(b, "get", "[\"k\"]", "null");
    assert_rpc(a, "set", "[\"k\", 1]", ACKED);
    assert_rpc(a, "flush", "[]", ACKED);
    assert_rpc(b, "sync", "[]", "true");
    assert_rpc(b, "get", "[\"k\"]", "[1, \"*\"]");
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"k\", \"*\", \"set\"]]");

    // An edit of one member says nothing of the others.
    assert_rpc(a, "mset", "[[[\"x\", 1], [\"y\", 1]], {\"ack\": \"postgres\"}]", ACKED);
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"x\", \"*\", \"set\"]]");
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"y\", \"*\", \"set\"]]");
    pg_exec(pg, "UPDATE game_sessions SET game_name = (game_name::jsonb - 'x' || '{\"y\": 2}')"
                " WHERE id = " DOCUMENT_ID);
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"x\", \"*\", \"delete\"]]");
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"y\", \"*\", \"set\"]]");
    assert_rpc(a, "sync", "[]", "true");
    assert_rpc(a, "mget", "[[\"k\", \"x\", \"y\"]]", "[[1, \"*\"], null, [2, \"*\"]]");

    // The row goes, and what it held with it; it is the application's.
    pg_exec(pg, "BEGIN; DELETE FROM game_sessions WHERE id = " DOCUMENT_ID "; ROLLBACK");
    pg_exec(pg, "DELETE FROM game_sessions WHERE id = " DOCUMENT_ID);
    assert_rpc(a, "sync", "[]", "true");
    assert_rpc(b, "sync", "[]", "true");
    assert_rpc(a, "get", "[\"k\"]", "null");
    assert_rpc(b, "get", "[\"y\"]", "null");
}

struct both {
    struct node *nodes[2];
};

static struct both *start_both(struct scenario *scenario, struct pg *pg)
{
    struct both *both = scenario_alloc(scenario, sizeof *both);
    both->nodes[0] = document_node(scenario, pg, "a", "");
    both->nodes[1] = document_node(scenario, pg, "b", "");
    return both;
}

// Each incr of one key is a statement of its own, so that the last is long in coming.
#define PATIENTLY "\"timeout_ms\": 60000"

enum { INCRS = 150, WORKERS = 6 };

static void add_up(void *context, int index)
{
    struct both *both = context;
    struct rpc *rpc = node_open(both->nodes[index % 2]);
    for (int i = 0; i < INCRS; i++) {
        char params[64];
        rpc_send(rpc, "incr", "[\"sum\", 1, {" PATIENTLY "}]");
        snprintf(params, sizeof params, "[\"w:%d:%d\", %d]", index, i, i);
        rpc_send(rpc, "set", params);
    }
    for (int i = 0; i < 2 * INCRS; i++) {
        const char *answer = rpc_receive(rpc, NULL);
        if (strstr(answer, "error") != NULL) {
            scenario_fail("%s", answer);
        }
    }
}

// Two nodes and a session of SQL rewrite one row, and nobody's change is lost.
static void no_update_is_lost_among_three(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct both *both = start_both(scenario, pg);
    struct workers *workers = workers_start(scenario, WORKERS, add_up, both);
    for (int i = 0; i < 100; i++) {
        pg_exec(pg,
                "UPDATE game_sessions SET game_name = (game_name::jsonb || '{\"sql:%d\": %d}')"
                " WHERE id = " DOCUMENT_ID,
                i, i);
    }
    workers_join(workers);
    for (int i = 0; i < 2; i++) {
        assert_rpc(both->nodes[i], "flush", "[{" PATIENTLY "}]", ACKED);
        assert_rpc(both->nodes[i], "sync", "[]", "true");
        assert_rpc(both->nodes[i], "dead_letters", "[]", "[]");
        assert_rpc(both->nodes[i], "get", "[\"sum\"]",
                   scenario_text(scenario, "[%d, \"*\"]", INCRS * WORKERS));
    }
    assert_pg_value(pg, scenario_text(scenario, "%d", INCRS * WORKERS + 100 + 1),
                    "SELECT count(*) FROM game_sessions, jsonb_each(game_name::jsonb)");
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM (SELECT key, value FROM pgnear_document EXCEPT"
                    " SELECT key, value FROM game_sessions, jsonb_each(game_name::jsonb)) d");
}

// Only one column of one row is ever written, and the row's lock leaves foreign keys alone.
static void what_is_not_ours_is_untouched(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "INSERT INTO game_sessions (user_id, game_name, total_won) SELECT " DOCUMENT_ID
                ", 'not json at all', i FROM generate_series(1, 10) i");
    const char *before = pg_value(pg, OTHERS);
    struct node *node = document_node(scenario, pg, "node", "");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_rpc(node, "delete", "[\"k\", {\"ack\": \"postgres\"}]", "\"*\"");
    assert_pg_value(pg, before, OTHERS);
    pg_exec(pg, "UPDATE game_sessions SET game_name = 'still none' WHERE total_won = 3");
    pg_exec(pg, "DELETE FROM game_sessions WHERE total_won = 4");
    assert_rpc(node, "set", "[\"k\", 2, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg, "9", "SELECT count(*) FROM game_sessions WHERE total_won > 0");
}

// Members beyond our limits are others' business, and survive ours.
static void foreign_members_survive(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg,
            "UPDATE game_sessions SET game_name = '{\"' || repeat('k', 3000) || '\": 1, \"\": 2,"
            " \"twice\": 1, \"twice\": 1e2, \"n\": 123456789012345678901234567890.10}'"
            " WHERE id = " DOCUMENT_ID);
    struct node *node = document_node(scenario, pg, "node", "");
    assert_rpc(node, "get", "[\"twice\"]", "[100, \"*\"]");
    const char *spelled = pg_value(pg, "SELECT game_name FROM game_sessions");
    assert_rpc(node, "touch", "[\"twice\", 60000]", "true");
    assert_pg_value(pg, spelled, "SELECT game_name FROM game_sessions");
    assert_rpc(node, "set", "[\"ours\", 3, {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg, "t",
                    "SELECT game_name::jsonb = jsonb_build_object(repeat('k', 3000), 1, '', 2,"
                    " 'twice', 100, 'n', 123456789012345678901234567890.10, 'ours', 3)"
                    " FROM game_sessions");
    assert_pg_value(pg, "123456789012345678901234567890.10", DOCUMENT_PAIR("n"));
}

// A statement that changes more than notifications can carry is followed by a sweep.
static void an_edit_of_everything_is_followed(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    pg_exec(pg, "UPDATE game_sessions SET game_name = (SELECT jsonb_object_agg('key:' || i, i)"
                " FROM generate_series(1, 60000) i) WHERE id = " DOCUMENT_ID);
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"key:60000\"]", "[60000, \"*\"]");
    pg_exec(pg, "UPDATE game_sessions SET game_name = (SELECT jsonb_object_agg('key:' || i, -i)"
                " FROM generate_series(1, 60000) i) WHERE id = " DOCUMENT_ID);
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"key:60000\"]", "[-60000, \"*\"]");
    node_await_stat(node, "count", "60000");
}

// A node of another document in the same table.
static struct node *start_other(struct scenario *scenario, struct pg *pg)
{
    static const char ID[] = "00000000-0000-0000-0000-000000000001";
    pg_exec(pg, "INSERT INTO game_sessions (id, user_id) VALUES ('%s', " DOCUMENT_ID ")", ID);
    return document_node(scenario, pg, "other",
                         scenario_text(scenario, "postgres.document.id = \"%s\"\n", ID));
}

// What is written into the companion by SQL (a restore, the removal of what expired) is carried
// into the document, and several documents of one table do not meet.
static void the_companion_is_a_table_like_any_other(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    struct node *other = start_other(scenario, pg);
    assert_rpc(node, "mset", "[[[\"a\", 1], [\"b\", 2]], {\"ack\": \"postgres\"}]", ACKED);
    assert_rpc(other, "set", "[\"a\", \"other\", {\"ack\": \"postgres\"}]", WRITTEN);
    assert_pg_value(pg, "2", "SELECT count(DISTINCT document) FROM pgnear_document");
    const char *part = pg_value(pg, "SELECT tableoid::regclass FROM pgnear_document"
                                    " WHERE key = 'b'");
    pg_exec(pg, "UPDATE %s SET value = '5' WHERE key = 'a'", part);
    pg_exec(pg, "INSERT INTO %s (key, value) VALUES ('c', '[3]')", part);
    pg_exec(pg, "DELETE FROM %s WHERE key = 'b'", part);
    assert_pg_value(pg, "{\"a\": 5, \"c\": [3]}",
                    "SELECT game_name FROM game_sessions WHERE id = " DOCUMENT_ID);
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "mget", "[[\"a\", \"b\", \"c\"]]", "[[5, \"*\"], null, [[3], \"*\"]]");
    assert_rpc(other, "sync", "[]", "true");
    assert_rpc(other, "mget", "[[\"a\", \"b\", \"c\"]]", "[[\"other\", \"*\"], null, null]");
    // The whole of it is nobody's to write: its parts would not hear of it.
    PGconn *conn = pg_connect(pg);
    PGresult *refused = PQexec(conn, "DELETE FROM pgnear_document WHERE key = 'c'");
    assert_string_equal(PQresultErrorField(refused, PG_DIAG_SQLSTATE), "0A000");
    PQclear(refused);
    PQfinish(conn);
    pg_exec(pg, "TRUNCATE %s", part);
    assert_pg_value(pg, "{}", "SELECT game_name FROM game_sessions WHERE id = " DOCUMENT_ID);
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"a\"]", "null");
}

// Has the node look at the table again, and see that this was altered, the `count`th time, alone.
static void alter_and_await(struct pg *pg, struct node *node, const char *alteration, int count)
{
    static const char NEWS[] = "event=\"table altered\"";
    pg_exec(pg, "ALTER TABLE game_sessions %s", alteration);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (node_log_count(node, NEWS) < count) {
        assert_true(deadline_again(&deadline));
    }
    assert_int_equal(node_log_count(node, NEWS), count);
    assert_false(node_log_has(node, "changes not announced"));
}

// Making a document and taking it away alters the table of all, and is nothing to those that stay.
static void a_document_goes_without_the_others(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "");
    struct node *other = start_other(scenario, pg);
    assert_int_equal(node_stop(other), 0);
    alter_and_await(pg, node, "ADD COLUMN note text", 1);
    struct cli drop = CLI(other, "schema", "--drop", "-c", other->config_path);
    assert_int_equal(drop.status, 0);
    pg_exec(pg, "%s", drop.out);
    alter_and_await(pg, node, "DROP COLUMN note", 2);
    node_await_ready(node);
    pg_exec(pg, DOCUMENT_EDIT("{\"a\": 1}"));
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"a\"]", "[1, \"*\"]");
}

// A backup copies the pairs, and a restore goes into the document beside the writes of two nodes.
static void backups_copy_and_restore_the_pairs(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct both *both = start_both(scenario, pg);
    struct node *a = both->nodes[0];
    assert_rpc(a, "mset", "[[[\"old\", 1], [\"both\", {\"x\": [1.5]}]]]", ACKED);
    const char *made = rpc(a, "backup", "[]");
    assert_int_equal(json_int_at(scenario, made, "rows"), 2);
    const char *name = json_at(scenario, made, "table");
    assert_rpc(a, "mset", "[[[\"both\", 2], [\"new\", 3]], {\"ack\": \"postgres\"}]", ACKED);
    assert_rpc(a, "restore", scenario_text(scenario, "[%s, {\"mode\": \"merge\"}]", name),
               "{\"rows\": 2}");
    assert_pg_value(pg, "{\"new\": 3, \"old\": 1, \"both\": {\"x\": [1.5]}}",
                    "SELECT game_name FROM game_sessions");
    struct workers *workers = workers_start(scenario, WORKERS, add_up, both);
    for (int i = 0; i < 5; i++) {
        assert_rpc(a, "restore",
                   scenario_text(scenario, "[%s, {\"mode\": \"merge\", " PATIENTLY "}]", name),
                   "{\"rows\": 2}");
    }
    workers_join(workers);
    assert_rpc(both->nodes[1], "get", "[\"sum\"]",
               scenario_text(scenario, "[%d, \"*\"]", INCRS * WORKERS));
    assert_rpc(a, "flush", "[{" PATIENTLY "}]", ACKED);
    assert_rpc(both->nodes[1], "flush", "[{" PATIENTLY "}]", ACKED);
    assert_rpc(a, "restore", scenario_text(scenario, "[%s, {\"mode\": \"replace\"}]", name),
               "{\"rows\": 2}");
    assert_pg_value(pg, "{\"old\": 1, \"both\": {\"x\": [1.5]}}",
                    "SELECT game_name FROM game_sessions");
    for (int i = 0; i < 2; i++) {
        assert_rpc(both->nodes[i], "sync", "[]", "true");
        assert_rpc(both->nodes[i], "mget", "[[\"old\", \"both\", \"new\"]]",
                   "[[1, \"*\"], [{\"x\": [1.5]}, \"*\"], null]");
    }
}

// What has expired leaves the document as it leaves a table, and history is kept beside it.
static void expiry_and_history_are_those_of_a_table(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", "postgres.versioning = true\n");
    assert_rpc(node, "set", "[\"brief\", 1, {\"ttl_ms\": 200, \"ack\": \"postgres\"}]", WRITTEN);
    pg_await_value(pg, "{}", "SELECT game_name FROM game_sessions");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", WRITTEN);
    pg_exec(pg, DOCUMENT_EDIT("{\"k\": 2}"));
    assert_rpc(node, "delete", "[\"k\", {\"ack\": \"postgres\"}]", "\"*\"");
    assert_rpc(node, "history", "[\"k\"]",
               "[[\"*\", null, \"delete\", \"*\"], [\"*\", 2, \"set\", \"*\"],"
               " [\"*\", 1, \"set\", \"*\"]]");
}

// Promises 1 to 3 under kill -9, by the same accounts as for a table.
static void nothing_acknowledged_is_lost_or_repeated(struct scenario *scenario)
{
    enum { KILLS = 10, ACKS_A_ROUND = 200 };
    struct random random = random_of(random_seed(), UINT64_MAX);
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    pg_exec(pg, "CREATE VIEW kv_store AS SELECT e.key, e.value FROM game_sessions s,"
                " jsonb_each(s.game_name::jsonb) e WHERE s.id = " DOCUMENT_ID);
    struct node *node = document_node(scenario, pg, "node", "");
    struct load *load = load_start(scenario, pg, node);
    int kills = test_rounds(KILLS);
    for (int i = 0; i < kills; i++) {
        load_await_acks(load, 0, 1 + random_below(&random, ACKS_A_ROUND));
        node_kill(node);
        node_spawn(node);
    }
    load_stop_and_check(load);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(the_methods_work_on_text),
        SCENARIO(the_methods_work_on_json),
        SCENARIO(the_methods_work_on_jsonb),
        SCENARIO(two_nodes_and_psql_agree),
        SCENARIO(no_update_is_lost_among_three),
        SCENARIO(what_is_not_ours_is_untouched),
        SCENARIO(foreign_members_survive),
        SCENARIO(an_edit_of_everything_is_followed),
        SCENARIO(the_companion_is_a_table_like_any_other),
        SCENARIO(a_document_goes_without_the_others),
        SCENARIO(backups_copy_and_restore_the_pairs),
        SCENARIO(expiry_and_history_are_those_of_a_table),
        SCENARIO(nothing_acknowledged_is_lost_or_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
