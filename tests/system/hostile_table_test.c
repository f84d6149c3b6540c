// Others alter the table, its triggers, its rights and what it holds while the node writes and
// reads. Writes wait and none is parked where a person has to act; nobody is told for long what no
// notification said; all goes on by itself when the table is right again, and whatever was
// acknowledged is there exactly once.

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/steps.h"

struct rig {
    struct scenario *scenario;
    struct pg *pg;
    struct node *writer; // under load
    struct node *reader; // of another machine: it only hears
    struct workers *workers;
    atomic_int acked; // w1 to w<acked>
};

static void write_on(void *context, int index)
{
    (void)index;
    struct rig *rig = context;
    struct rpc *client = node_open(rig->writer);
    while (!worker_is_stopping()) {
        int number = atomic_load(&rig->acked) + 1;
        const char *answer =
            rpc_call(client, "set", scenario_text(rig->scenario, "[\"w%d\", %d]", number, number));
        if (!json_matches(answer, ACKED)) {
            scenario_fail("set w%d is answered %s", number, answer);
        }
        atomic_store(&rig->acked, number);
    }
    rpc_close(client);
}

static void await_writes(struct rig *rig, int more)
{
    int from = atomic_load(&rig->acked);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (atomic_load(&rig->acked) < from + more) {
        if (!deadline_again(&deadline)) {
            scenario_fail("writes do not go on");
        }
    }
}

static struct rig *start_with(struct scenario *scenario, const char *more)
{
    static const char CONFIG[] = "cache.max_stale = \"2s\"\npostgres.url = \"%s&user=app\"\n%s";
    struct rig *rig = scenario_alloc(scenario, sizeof *rig);
    *rig = (struct rig){.scenario = scenario, .pg = pg_start(scenario, NULL)};
    pg_exec(rig->pg, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    const char *config = scenario_text(scenario, CONFIG, pg_url(rig->pg), more);
    rig->writer =
        node_start(scenario, rig->pg, &(struct node_options){.name = "writer", .config = config});
    rig->reader =
        node_start(scenario, rig->pg, &(struct node_options){.name = "reader", .config = config});
    pg_exec(rig->pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    rig->workers = workers_start(scenario, 1, write_on, rig);
    await_writes(rig, 50);
    return rig;
}

static struct rig *start(struct scenario *scenario)
{
    return start_with(scenario, "");
}

// Both hold k, with that value.
static void await_held(struct rig *rig, const char *value)
{
    struct node *nodes[] = {rig->writer, rig->reader};
    for (size_t i = 0; i < 2; i++) {
        struct deadline deadline = deadline_in(DEADLINE_MS);
        const char *answer;
        while (!json_matches(answer = rpc(nodes[i], "get", "[\"k\"]"), value)) {
            if (!deadline_again(&deadline)) {
                scenario_fail("%s answers %s for ever, not %s", nodes[i]->name, answer, value);
            }
        }
    }
}

// Writes go on into the outbox, and what keeps them there is said.
static void assert_held_up(struct rig *rig, const char *words)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *hello;
    while (strstr(hello = rpc(rig->writer, "hello", "[\"test\"]"), words) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("last_error does not say \"%s\": %s", words, hello);
        }
    }
    await_writes(rig, 50);
    assert_json(node_stat(rig->writer, "outbox.dead_letters"), "0");
}

// The first and the last of what was acknowledged since `from` are there, and all between.
static void assert_all_there(struct rig *rig, int from)
{
    node_await_state(rig->writer, "live");
    node_await_state(rig->reader, "live");
    await_writes(rig, 50);
    workers_stop(rig->workers);
    workers_join(rig->workers);
    assert_rpc(rig->writer, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_json(node_stat(rig->writer, "outbox.dead_letters"), "0");
    int acked = atomic_load(&rig->acked);
    assert_pg_value(rig->pg, scenario_text(rig->scenario, "%d", acked - from),
                    "SELECT count(*) FROM kv_store WHERE key ~ '^w[0-9]+$'"
                    " AND value = to_jsonb(substr(key, 2)::int) AND substr(key, 2)::int > %d",
                    from);
    assert_rpc(rig->reader, "sync", "[{\"timeout_ms\": 30000}]", "true");
    assert_rpc(rig->reader, "get", scenario_text(rig->scenario, "[\"w%d\"]", acked),
               scenario_text(rig->scenario, "[%d, \"*\"]", acked));
}

static void make_schema(struct rig *rig)
{
    struct cli schema = CLI(rig->writer, "schema", "-c", rig->writer->config_path);
    assert_int_equal(schema.status, 0);
    pg_exec(rig->pg, "SET ROLE app");
    PGconn *conn = pg_connect(rig->pg);
    PGresult *result = PQexec(conn, scenario_text(rig->scenario, "SET ROLE app;%s", schema.out));
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        scenario_fail("%s", PQresultErrorMessage(result));
    }
    PQclear(result);
    PQfinish(conn);
    pg_exec(rig->pg, "RESET ROLE");
}

static void a_dropped_table_is_waited_for(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    await_held(rig, "[1, \"*\"]");
    pg_exec(rig->pg, "DROP TABLE kv_store");
    assert_held_up(rig, "relation \\\"kv_store\\\" does not exist");
    int from = atomic_load(&rig->acked); // what came before may have gone with the table
    await_writes(rig, 50);
    make_schema(rig);
    await_held(rig, "null");
    assert_all_there(rig, from);
}

// No statement touches a row of the table that the nodes know, and no notification comes.
static void a_replaced_table_is_noticed(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    await_held(rig, "[1, \"*\"]");
    pg_exec(
        rig->pg,
        "SET ROLE app; BEGIN; LOCK TABLE kv_store;"
        "CREATE TABLE fresh (LIKE kv_store INCLUDING ALL);"
        "INSERT INTO fresh SELECT * FROM kv_store; UPDATE fresh SET value = '2' WHERE key = 'k';"
        "ALTER TABLE kv_store RENAME TO stale; ALTER TABLE fresh RENAME TO kv_store; COMMIT;"
        "RESET ROLE");
    make_schema(rig);
    await_held(rig, "[2, \"*\"]");
    node_await_log(rig->reader, "event=\"table altered\"");
    assert_all_there(rig, 0);
}

static void altered_columns_are_noticed(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    await_held(rig, "[1, \"*\"]");
    pg_exec(rig->pg, "ALTER TABLE kv_store ADD COLUMN note text DEFAULT 'none'");
    await_writes(rig, 50);
    // The version stays, the value does not.
    pg_exec(rig->pg, "ALTER TABLE kv_store ALTER COLUMN value TYPE jsonb"
                     " USING CASE key WHEN 'k' THEN '2' ELSE value END");
    await_held(rig, "[2, \"*\"]");
    pg_exec(rig->pg, "ALTER TABLE kv_store RENAME COLUMN value TO content");
    assert_held_up(rig, "column \\\"value\\\" of relation \\\"kv_store\\\" does not exist");
    pg_exec(rig->pg, "ALTER TABLE kv_store RENAME COLUMN content TO value");
    await_held(rig, "[2, \"*\"]");
    pg_exec(rig->pg, "ALTER TABLE kv_store DROP CONSTRAINT kv_store_pkey");
    assert_held_up(rig, "no unique or exclusion constraint matching the ON CONFLICT");
    pg_exec(rig->pg, "ALTER TABLE kv_store ADD PRIMARY KEY (key)");
    assert_all_there(rig, 0);
}

// What is changed in `table`, which has k, without the triggers that `how` turns off is seen at the
// latest after max_stale, and kept by nobody, until the schema is made again.
static void assert_noticed(struct rig *rig, const char *table, const char *how, int value)
{
    struct scenario *scenario = rig->scenario;
    await_held(rig, scenario_text(scenario, "[%d, \"*\"]", value));
    pg_exec(rig->pg, how, table);
    pg_exec(rig->pg, "UPDATE %s SET value = '%d' WHERE key = 'k'", table, value + 1);
    await_held(rig, scenario_text(scenario, "[%d, \"*\"]", value + 1));
    node_await_state(rig->reader, "disconnected");
    assert_held_up(rig, "changes are not announced");
    pg_exec(rig->pg, "UPDATE %s SET value = '%d' WHERE key = 'k'", table, value + 2);
    await_held(rig, scenario_text(scenario, "[%d, \"*\"]", value + 2));
    make_schema(rig);
    node_await_state(rig->reader, "live");
    assert_rpc(rig->reader, "get", "[\"k\"]", scenario_text(scenario, "[%d, \"*\"]", value + 2));
    node_await_log(rig->reader, "event=\"changes announced again\"");
}

static void triggers_that_are_off_are_noticed(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    assert_noticed(rig, "kv_store", "ALTER TABLE %s DISABLE TRIGGER ALL", 1);
    assert_noticed(rig, "kv_store", "DROP TRIGGER pgnear_update ON %s", 3);
    assert_all_there(rig, 0);
}

// The partitioned table itself has all of its own. The audit, which would find the change, is off.
static void triggers_of_a_partition_that_are_off_are_noticed(struct scenario *scenario)
{
    struct rig *rig = start_with(scenario, "postgres.partitions = 2\ncache.audit_rate = 0\n");
    const char *leaf =
        scenario_text(scenario, "%s",
                      pg_value(rig->pg, "SELECT tableoid::regclass FROM kv_store WHERE key = 'k'"));
    assert_noticed(rig, leaf, "ALTER TABLE %s DISABLE TRIGGER pgnear_update", 1);
    assert_noticed(rig, leaf, "DROP TRIGGER pgnear_update ON %s", 3);
    assert_all_there(rig, 0);
}

#define NOT_ALWAYS                                                                                 \
    "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'kv_store'::regclass"                         \
    " AND tgname LIKE '%%pgnear%%' AND tgenabled NOT IN ('A', 'R')"

// As pg_restore --disable-triggers does it: afterwards they are on, but not for what somebody does
// under session_replication_role = replica. Nothing is mended while they are off.
static void triggers_that_do_not_always_fire_are_mended(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    pg_exec(rig->pg, "ALTER TABLE kv_store DISABLE TRIGGER ALL");
    pg_exec(rig->pg, "UPDATE kv_store SET value = '2' WHERE key = 'k'");
    assert_held_up(rig, "are disabled or gone");
    assert_true(pg_int(rig->pg, NOT_ALWAYS) > 0);
    pg_exec(rig->pg, "ALTER TABLE kv_store ENABLE TRIGGER ALL");
    // The reader may not even have noticed yet that they were off.
    pg_await_value(rig->pg, "0", NOT_ALWAYS);
    await_held(rig, "[2, \"*\"]");
    pg_exec(rig->pg, "SET session_replication_role = replica;"
                     "UPDATE kv_store SET value = '3' WHERE key = 'k';"
                     "RESET session_replication_role");
    assert_rpc(rig->reader, "sync", "[{\"timeout_ms\": 30000}]", "true");
    assert_rpc(rig->reader, "get", "[\"k\"]", "[3, \"*\"]");
    assert_true(node_log_has(rig->reader, "event=\"triggers mended\"") ||
                node_log_has(rig->writer, "event=\"triggers mended\""));
    assert_all_there(rig, 0);
}

// A daemon that is to run no DDL says what is wrong, and goes on when it is mended.
static void triggers_are_not_mended_where_that_is_not_ours(struct scenario *scenario)
{
    const struct node_options require = {.config = "postgres.schema = \"require\"\n"};
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_int_equal(node_stop(node), 0);
    node_configure(node, pg, &require);
    node_start_again(node);
    pg_exec(pg, "ALTER TABLE kv_store ENABLE TRIGGER pgnear_update");
    node_await_log(node, "are enabled, but not ENABLE ALWAYS");
    node_await_state(node, "disconnected");
    assert_int_equal(pg_int(pg, NOT_ALWAYS), 1);
    pg_exec(pg, "ALTER TABLE kv_store ENABLE ALWAYS TRIGGER pgnear_update");
    node_await_state(node, "live");
    assert_false(node_log_has(node, "mended"));
}

// What it is for does not happen here: the feed goes on, and `check` tells.
static void a_trigger_for_replication_is_not_needed(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    pg_exec(rig->pg, "DROP TRIGGER pgnear_replicated ON kv_store");
    node_await_log(rig->reader, "event=\"table altered\"");
    await_held(rig, "[1, \"*\"]");
    assert_rpc(rig->reader, "sync", "[{\"timeout_ms\": 30000}]", "true");
    assert_non_null(strstr(rpc(rig->reader, "check", "[]"), "has no trigger pgnear_replicated"));
    assert_all_there(rig, 0);
}

static void rights_and_triggers_of_others_come_and_go(struct scenario *scenario)
{
    struct rig *rig = start(scenario);
    pg_exec(rig->pg, "ALTER TABLE kv_store OWNER TO postgres; GRANT SELECT ON kv_store TO app");
    assert_held_up(rig, "permission denied for table kv_store");
    assert_rpc(rig->reader, "get", "[\"k\"]", "[1, \"*\"]");
    pg_exec(rig->pg, "GRANT INSERT, UPDATE, DELETE ON kv_store TO app");
    await_writes(rig, 50);
    assert_rpc(rig->writer, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    // Refuses, changes and skips rows of its own choice; those of the load are let through.
    pg_exec(rig->pg, "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                     " IF NEW.key LIKE 'banned%%' THEN RAISE 'not this one'; END IF;"
                     " IF NEW.key LIKE 'changed%%' THEN NEW.value = '\"by the trigger\"'; END IF;"
                     " IF NEW.key LIKE 'skipped%%' THEN RETURN NULL; END IF;"
                     " RETURN NEW; END $$;"
                     "CREATE TRIGGER a_judge BEFORE INSERT OR UPDATE ON kv_store"
                     " FOR EACH ROW EXECUTE FUNCTION judge()");
    enum { OF_EACH = 10 };
    for (int i = 0; i < OF_EACH; i++) {
        static const char *const KINDS[] = {"banned", "changed", "skipped"};
        for (size_t kind = 0; kind < 3; kind++) {
            assert_rpc(rig->writer, "set", scenario_text(scenario, "[\"%s%d\", 1]", KINDS[kind], i),
                       ACKED);
        }
        await_writes(rig, 5);
    }
    assert_rpc(rig->writer, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    struct node *nodes[] = {rig->writer, rig->reader};
    for (size_t i = 0; i < 2; i++) {
        assert_rpc(nodes[i], "sync", "[]", "true");
        assert_rpc(nodes[i], "mget", "[[\"banned3\", \"changed3\", \"skipped3\"]]",
                   "[null, [\"by the trigger\", \"*\"], null]");
    }
    assert_json(node_stat(rig->writer, "outbox.dead_letters"),
                scenario_text(scenario, "%d", OF_EACH));
    pg_exec(rig->pg, "DROP TRIGGER a_judge ON kv_store");
    struct cli letters = CLI(rig->writer, "dead-letters", "list");
    assert_int_equal(letters.status, 0);
    for (const char *at = letters.out; (at = strstr(at, "\"seq\"")) != NULL; at++) {
        long long seq = strtoll(at + strcspn(at, "0123456789"), NULL, 10);
        assert_int_equal(
            CLI(rig->writer, "dead-letters", "discard", scenario_text(scenario, "%lld", seq))
                .status,
            0);
    }
    assert_all_there(rig, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_dropped_table_is_waited_for),
        SCENARIO(a_replaced_table_is_noticed),
        SCENARIO(altered_columns_are_noticed),
        SCENARIO(triggers_that_are_off_are_noticed),
        SCENARIO(triggers_of_a_partition_that_are_off_are_noticed),
        SCENARIO(triggers_that_do_not_always_fire_are_mended),
        SCENARIO(triggers_are_not_mended_where_that_is_not_ours),
        SCENARIO(a_trigger_for_replication_is_not_needed),
        SCENARIO(rights_and_triggers_of_others_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
