// Partitions come to the table while nodes run: made or attached by others, without the triggers
// that announce what is changed in them. Nodes that may run DDL make these by themselves, and keep
// nothing that was written before, unless that would undo what somebody wants; the others tell.

#include "base/clock.h"
#include "system/harness/cli.h"
#include "system/harness/steps.h"

enum { NODES = 2 };

struct rig {
    struct scenario *scenario;
    struct pg *pg;
    struct node *nodes[NODES];
};

#define TABLE                                                                                      \
    "CREATE TABLE kv_store (key text COLLATE \"C\" PRIMARY KEY, value jsonb NOT NULL,"             \
    " created_at timestamptz, updated_at timestamptz) PARTITION BY RANGE (key)"
#define FIRST "CREATE TABLE kv_first PARTITION OF kv_store FOR VALUES FROM (MINVALUE) TO ('x')"
#define NEXT  "CREATE TABLE kv_next PARTITION OF kv_store FOR VALUES FROM ('x') TO (MAXVALUE)"

#define TRIGGERS_OF_NEXT                                                                           \
    "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('kv_next')"                       \
    " AND (tgname LIKE 'pgnear%%' OR tgname = 'zz_pgnear_version') AND tgenabled IN ('A', 'R')"

// Before any trigger is there that would draw the version or announce it.
#define X_UNHEARD                                                                                  \
    "INSERT INTO kv_next (key, value, version, created_at, updated_at)"                            \
    " VALUES ('x', '1', nextval('kv_store_version_seq'), now(), now())"

static void exec_as_app(struct rig *rig, const char *sql)
{
    pg_exec(rig->pg, "SET ROLE app");
    pg_exec(rig->pg, "%s", sql);
    pg_exec(rig->pg, "RESET ROLE");
}

// Nothing but triggers tells of changes: the audit is off. The second node is of another machine.
static struct rig *start(struct scenario *scenario, const char *sql, const char *more)
{
    static const char CONFIG[] = "cache.max_stale = \"2s\"\ncache.audit_rate = 0\n"
                                 "postgres.url = \"%s&user=app\"\n%s";
    struct rig *rig = scenario_alloc(scenario, sizeof *rig);
    *rig = (struct rig){.scenario = scenario, .pg = pg_start(scenario, NULL)};
    pg_exec(rig->pg, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    exec_as_app(rig, sql);
    for (int i = 0; i < NODES; i++) {
        struct node_options options = {
            .name = scenario_text(scenario, "node%d", i),
            .config = scenario_text(scenario, CONFIG, pg_url(rig->pg), i == 0 ? "" : more),
        };
        rig->nodes[i] = node_start(scenario, rig->pg, &options);
    }
    return rig;
}

static void make_schema(struct rig *rig)
{
    struct cli schema = CLI(rig->nodes[0], "schema", "-c", rig->nodes[0]->config_path);
    assert_int_equal(schema.status, 0);
    exec_as_app(rig, schema.out);
}

static void await_live(struct rig *rig)
{
    for (int i = 0; i < NODES; i++) {
        node_await_state(rig->nodes[i], "live");
    }
}

static int count_mended(struct rig *rig)
{
    int count = 0;
    for (int i = 0; i < NODES; i++) {
        count += node_log_has(rig->nodes[i], "event=\"triggers mended\"");
    }
    return count;
}

// What is changed in kv_next, which has x, is heard by all.
static void assert_heard(struct rig *rig, int value)
{
    pg_exec(rig->pg, "UPDATE kv_next SET value = '%d' WHERE key = 'x'", value);
    for (int i = 0; i < NODES; i++) {
        assert_rpc(rig->nodes[i], "sync", "[{\"timeout_ms\": 30000}]", "true");
        assert_rpc(rig->nodes[i], "get", "[\"x\"]",
                   scenario_text(rig->scenario, "[%d, \"*\"]", value));
    }
}

// kv_next, which `sql` makes a partition with x in it, is as the others by itself: what came
// unheard is held by nobody, what comes then is heard.
static void assert_mended(struct rig *rig, const char *sql)
{
    for (int i = 0; i < NODES; i++) {
        assert_rpc(rig->nodes[i], "get", "[\"x\"]", "null");
    }
    exec_as_app(rig, sql);
    pg_await_value(rig->pg, "6", TRIGGERS_OF_NEXT);
    for (int i = 0; i < NODES; i++) {
        node_await_log(rig->nodes[i], "event=\"table altered\"");
        node_await_state(rig->nodes[i], "live");
        assert_rpc(rig->nodes[i], "get", "[\"x\"]", "[1, \"*\"]");
    }
    assert_heard(rig, 2);
    assert_true(count_mended(rig) > 0);
}

static void a_new_partition_gets_its_triggers(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "");
    assert_mended(rig, NEXT ";" X_UNHEARD);
}

// None waits for 30 s, as what could not be mended does.
static void partitions_get_their_triggers_one_after_another(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "postgres.schema = \"require\"\n");
    assert_mended(rig, NEXT ";" X_UNHEARD);
    int64_t started_us = clock_boot_us();
    for (int i = 0; i < 2; i++) {
        exec_as_app(rig, "DROP TABLE kv_next;" NEXT);
        pg_await_value(rig->pg, "6", TRIGGERS_OF_NEXT);
    }
    assert_true(clock_boot_us() - started_us < 25 * CLOCK_US_PER_S);
    await_live(rig);
}

static void an_attached_partition_gets_its_triggers(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "");
    assert_mended(rig, "CREATE TABLE kv_next (LIKE kv_store INCLUDING ALL);" X_UNHEARD
                       ";ALTER TABLE kv_store ATTACH PARTITION kv_next"
                       " FOR VALUES FROM ('x') TO (MAXVALUE)");
}

// No other one shows which triggers it lacks.
static void the_first_partition_gets_its_triggers(struct scenario *scenario)
{
    assert_mended(start(scenario, TABLE, ""), NEXT ";" X_UNHEARD);
}

static void partitions_of_a_new_partition_get_their_triggers(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "");
    assert_mended(rig, "CREATE TABLE kv_rest PARTITION OF kv_store"
                       " FOR VALUES FROM ('x') TO (MAXVALUE) PARTITION BY HASH (key);"
                       "CREATE TABLE kv_next PARTITION OF kv_rest"
                       " FOR VALUES WITH (MODULUS 1, REMAINDER 0);" X_UNHEARD);
    pg_await_value(rig->pg, "4",
                   "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgnear%%'"
                   " AND tgrelid = 'kv_rest'::regclass");
}

// The node has been through the schema and has not looked at the table yet.
static void a_partition_that_comes_during_a_start_gets_its_triggers(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "");
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(node_stop(rig->nodes[i]), 0);
    }
    PGconn *lock = pg_connect(rig->pg);
    PQclear(PQexec(lock, "BEGIN; LOCK TABLE pgnear_node"));
    node_spawn(rig->nodes[0]);
    pg_await_value(rig->pg, "1",
                   "SELECT count(*) FROM pg_stat_activity"
                   " WHERE wait_event_type = 'Lock' AND query LIKE '%%pgnear_node%%'"
                   " AND query NOT LIKE 'BEGIN%%'");
    exec_as_app(rig, NEXT);
    PQfinish(lock);
    pg_await_value(rig->pg, "6", TRIGGERS_OF_NEXT);
    node_await_ready(rig->nodes[0]);
}

// That of the first partition is off because somebody wants it.
static void a_new_partition_turns_no_trigger_on(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "");
    exec_as_app(rig, "ALTER TABLE kv_first DISABLE TRIGGER pgnear_update;" NEXT);
    node_await_hello(rig->nodes[0], "are disabled or gone");
    node_await_hello(rig->nodes[1], "are disabled or gone");
    make_schema(rig);
    await_live(rig);
    assert_int_equal(count_mended(rig), 0);
}

// Whoever may not make the triggers says so.
static void a_partition_of_another_owner_is_told(struct scenario *scenario)
{
    struct rig *rig = start(scenario, TABLE ";" FIRST, "postgres.schema = \"require\"\n");
    pg_exec(rig->pg, NEXT ";" X_UNHEARD);
    node_await_hello(rig->nodes[0], "are missing on a new partition");
    node_await_hello(rig->nodes[1], "are missing on a new partition");
    node_await_log(rig->nodes[0], "event=\"triggers not mended\"");
    assert_true(node_log_has(rig->nodes[0], "permission denied for table kv_next"));
    assert_false(node_log_has(rig->nodes[1], "mended"));
    assert_rpc(rig->nodes[1], "get", "[\"x\"]", "[1, \"*\"]");
    pg_exec(rig->pg, "ALTER TABLE kv_next OWNER TO app");
    make_schema(rig);
    await_live(rig);
    assert_heard(rig, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_new_partition_gets_its_triggers),
        SCENARIO(partitions_get_their_triggers_one_after_another),
        SCENARIO(an_attached_partition_gets_its_triggers),
        SCENARIO(the_first_partition_gets_its_triggers),
        SCENARIO(partitions_of_a_new_partition_get_their_triggers),
        SCENARIO(a_partition_that_comes_during_a_start_gets_its_triggers),
        SCENARIO(a_new_partition_turns_no_trigger_on),
        SCENARIO(a_partition_of_another_owner_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
