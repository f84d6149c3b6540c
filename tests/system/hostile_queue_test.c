// The NOTIFY queue of the cluster fills up because some listener stands in a transaction: everybody
// who writes to the table then fails at COMMIT. Nothing that was acknowledged is parked or lost,
// the node says why it stands still, and goes on by itself when that transaction ends.
//
// PostgreSQL 17 and later are given a queue of 512 KiB, which is filled; before, it has 8 GiB, and
// a deferred trigger says at COMMIT what PostgreSQL would.

#include <stdio.h>
#include <string.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/pg_install.h"
#include "system/harness/steps.h"

enum { SMALL_QUEUE_VERSION = 170000, WRITES = 40 };

#define TOO_MANY "too many notifications in the NOTIFY queue"

static void write_some(struct node *node, const char *prefix)
{
    for (int i = 0; i < WRITES; i++) {
        assert_rpc(node, "set", scenario_text(node->scenario, "[\"%s%d\", %d]", prefix, i, i),
                   ACKED);
    }
}

// What is promised while no COMMIT with a notification succeeds.
static void assert_held_up(struct node *node)
{
    write_some(node, "held");
    node_await_log(node, "event=\"flush stopped\"");
    const char *error =
        assert_rpc_error(node, "set", "[\"waits\", 1, {\"ack\": \"postgres\"}]", "REJECTED");
    assert_json(json_at(node->scenario, error, "sqlstate"), "\"54000\"");
    node_await_hello(node, TOO_MANY);
    assert_rpc(node, "get", "[\"held1\"]", "[1, null]");
    assert_rpc(node, "get", "[\"in the table\", {\"fresh\": true}]", "[7, \"*\"]");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
    node_await_stat_min(node, "outbox.depth", WRITES);
}

static void assert_recovered(struct node *node, struct pg *pg)
{
    node_await_state(node, "live");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
    assert_pg_value(pg, scenario_text(node->scenario, "%d", WRITES),
                    "SELECT count(*) FROM kv_store WHERE key LIKE 'held%%'"
                    " AND value = to_jsonb(substr(key, 5)::int)");
    assert_pg_value(pg, NULL, "SELECT 1 FROM kv_store WHERE key = 'waits'");
    node_await_hello(node, "\"last_error\":null");
    node_await_log(node, "event=\"flush resumed\"");
    pg_exec(pg, "UPDATE kv_store SET value = '8' WHERE key = 'in the table'");
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"in the table\"]", "[8, \"*\"]");
}

static void a_limit_met_by_commit_parks_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('in the table', '7')");
    pg_exec(pg, "CREATE FUNCTION too_many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE '" TOO_MANY "' USING ERRCODE = '54000'; END $$;"
                "CREATE CONSTRAINT TRIGGER too_many AFTER INSERT ON kv_store"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION too_many()");
    assert_held_up(node);
    pg_exec(pg, "DROP TRIGGER too_many ON kv_store");
    assert_recovered(node, pg);
}

static struct cli check(struct node *node, const char *words)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    struct cli cli;
    while (strstr((cli = CLI(node, "check")).out, words) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("\"%s\" is not in %s", words, cli.out);
        }
    }
    return cli;
}

static void the_queue_is_watched(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_int_equal(check(node, "notification queue").status, 0);
    struct cli offline = CLI(node, "check", "-c", node->config_path);
    assert_int_equal(offline.status, 0);
    assert_non_null(strstr(offline.out, "notification queue"));
    node_await_stat(node, "postgres.notify_queue_percent", "0");
    pg_stop(pg, PG_STOP_FAST);
    node_await_stat(node, "postgres.notify_queue_percent", "null");
}

// Whether one more notification was taken.
static bool notify(PGconn *conn)
{
    PGresult *result = PQexec(conn, "SELECT pg_notify('others', repeat('x', 7900))");
    bool taken = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!taken && strcmp(PQresultErrorField(result, PG_DIAG_SQLSTATE), "54000") != 0) {
        scenario_fail("%s", PQresultErrorMessage(result));
    }
    PQclear(result);
    return taken;
}

static void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
}

static void a_full_queue_parks_nothing(struct scenario *scenario)
{
    const char *const settings[] = {"max_notify_queue_pages=64", NULL};
    struct pg *pg = pg_start(scenario, &(struct pg_options){.settings = settings});
    PGconn *listener = pg_connect(pg), *notifier = pg_connect(pg);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('in the table', '7')");
    run(listener, "LISTEN others");
    run(listener, "BEGIN");
    int taken = 0;
    for (; taken < 40; taken++) {
        assert_true(notify(notifier));
    }
    struct cli cli = check(node, "a session that listens stays in a transaction");
    assert_int_equal(cli.status, 4);
    assert_non_null(strstr(cli.out, scenario_text(scenario, "%d", PQbackendPID(listener))));
    node_await_stat_min(node, "postgres.notify_queue_percent", 50);
    node_await_log(node, "event=\"notify queue fills up\"");
    while (notify(notifier)) {
        taken++;
    }
    fprintf(stderr, "%d notifications of 8 KB fill 64 pages\n", taken);
    assert_held_up(node);
    node_await_log(node, "event=\"notifications refused\"");
    run(listener, "COMMIT");
    PQfinish(listener);
    PQfinish(notifier);
    assert_recovered(node, pg);
    node_await_stat(node, "postgres.notify_queue_percent", "0");
}

static bool has_small_queues(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, &(struct pg_options){.name = "version"});
    bool has = pg_int(pg, "SELECT current_setting('server_version_num')") >= SMALL_QUEUE_VERSION;
    pg_stop(pg, PG_STOP_FAST);
    return has;
}

static void a_full_queue_parks_nothing_where_it_can_be_small(struct scenario *scenario)
{
    if (!has_small_queues(scenario)) {
        skip();
    }
    a_full_queue_parks_nothing(scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_limit_met_by_commit_parks_nothing),
        SCENARIO(the_queue_is_watched),
        SCENARIO(a_full_queue_parks_nothing_where_it_can_be_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
