// The table is a subscriber of logical replication (SPEC, promise 4: a change by anyone). What is
// applied so fires no statement triggers, and is announced all the same.
#include <stdio.h>
#include <string.h>

#include "system/harness/steps.h"

struct rig {
    struct scenario *scenario;
    struct pg *pg;
    struct node *node;
    PGconn *source; // the publisher is another database of the same server
};

static void publish(struct rig *rig, const char *sql)
{
    PGresult *result = PQexec(rig->source, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        scenario_fail("%s: %s", sql, PQerrorMessage(rig->source));
    }
    PQclear(result);
}

// The audit is off: it would find what was not announced.
static void start(struct scenario *scenario, struct rig *rig, const char *config)
{
    static const char *const SETTINGS[] = {"wal_level=logical", NULL};
    rig->scenario = scenario;
    rig->pg = pg_start(scenario, &(struct pg_options){.settings = SETTINGS});
    rig->node = node_start(scenario, rig->pg, &(struct node_options){.config = config});
    pg_exec(rig->pg, "CREATE DATABASE source");
    rig->source = PQconnectdb(scenario_text(scenario, "host=%s port=%d user=postgres dbname=source",
                                            rig->pg->directory, rig->pg->port));
    publish(rig, "CREATE TABLE kv_store (key text PRIMARY KEY, value jsonb)");
    publish(rig, "CREATE PUBLICATION p FOR TABLE kv_store");
    publish(rig, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    pg_exec(rig->pg,
            "CREATE SUBSCRIPTION s CONNECTION 'host=%s port=%d user=postgres dbname=source'"
            " PUBLICATION p WITH (create_slot = false, slot_name = 's')",
            rig->pg->directory, rig->pg->port);
}

// What is in PostgreSQL is in the cache once sync has returned, not some time later.
static void assert_followed(struct rig *rig, const char *sql, const char *key, const char *value)
{
    assert_rpc(rig->node, "get", scenario_text(rig->scenario, "[\"%s\"]", key), "\"*\"");
    publish(rig, sql);
    pg_await_value(rig->pg, value, "SELECT value FROM kv_store WHERE key = '%s'", key);
    assert_rpc(rig->node, "sync", "[{\"timeout_ms\": 20000}]", "true");
    assert_rpc(rig->node, "get", scenario_text(rig->scenario, "[\"%s\"]", key),
               value == NULL ? "null" : scenario_text(rig->scenario, "[%s, \"*\"]", value));
}

static void end(struct rig *rig)
{
    pg_exec(rig->pg, "ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE)");
    pg_exec(rig->pg, "DROP SUBSCRIPTION s");
    PQfinish(rig->source);
}

static void what_is_applied_is_heard(struct scenario *scenario)
{
    struct rig rig;
    start(scenario, &rig, "cache.audit_rate = 0\npostgres.versioning = true\n");
    assert_followed(&rig, "INSERT INTO kv_store VALUES ('a', '1'), ('b', '1')", "a", "1");
    assert_followed(&rig, "UPDATE kv_store SET value = '2'", "a", "2");
    assert_followed(&rig, "UPDATE kv_store SET value = '3'", "b", "3");
    assert_followed(&rig, "UPDATE kv_store SET key = 'c' WHERE key = 'a'", "a", NULL);
    assert_rpc(rig.node, "get", "[\"c\"]", "[3, \"*\"]");
    assert_followed(&rig, "DELETE FROM kv_store WHERE key = 'c'", "c", NULL);
    assert_rpc(rig.node, "history", "[\"a\"]",
               "[[\"*\", null, \"delete\", \"*\"], [\"*\", 3, \"set\", \"*\"],"
               " [\"*\", 2, \"set\", \"*\"], [\"*\", 1, \"set\", \"*\"]]");
    assert_pg_value(rig.pg, "set,delete",
                    "SELECT string_agg(op, ',' ORDER BY version) FROM kv_store_history"
                    " WHERE key = 'c'");
    assert_followed(&rig, "TRUNCATE kv_store", "b", NULL);
    end(&rig);
}

// More than can be announced one by one: a sweep is.
static void a_bulk_change_is_followed(struct scenario *scenario)
{
    struct rig rig;
    start(scenario, &rig, "cache.audit_rate = 0\npostgres.partitions = 8\n");
    assert_followed(&rig,
                    "INSERT INTO kv_store SELECT 'k' || i, '1' FROM generate_series(1, 3000) i",
                    "k3000", "1");
    assert_rpc(rig.node, "get", "[\"k1\"]", "[1, \"*\"]");
    assert_followed(&rig, "UPDATE kv_store SET value = '2'", "k3000", "2");
    assert_rpc(rig.node, "get", "[\"k1\"]", "[2, \"*\"]");
    assert_followed(&rig, "DELETE FROM kv_store", "k3000", NULL);
    assert_rpc(rig.node, "get", "[\"k1\"]", "null");
    end(&rig);
}

// Neither a sync nor a get says that nothing has changed while nobody would hear of it.
static void a_trigger_that_is_off_is_noticed(struct scenario *scenario)
{
    struct rig rig;
    start(scenario, &rig, "cache.audit_rate = 0\npostgres.partitions = 2\n");
    assert_followed(&rig, "INSERT INTO kv_store VALUES ('a', '1')", "a", "1");
    const char *leaf = pg_value(rig.pg, "SELECT tableoid::regclass FROM kv_store WHERE key = 'a'");
    pg_exec(rig.pg, "ALTER TABLE %s DISABLE TRIGGER pgnear_replicated", leaf);
    node_await_state(rig.node, "disconnected");
    pg_exec(rig.pg, "ALTER TABLE %s ENABLE REPLICA TRIGGER pgnear_replicated", leaf);
    node_await_state(rig.node, "live");
    assert_followed(&rig, "UPDATE kv_store SET value = '2'", "a", "2");
    end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(what_is_applied_is_heard),
        SCENARIO(a_bulk_change_is_followed),
        SCENARIO(a_trigger_that_is_off_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
