// `pgnear check` says what is wrong, each item by breaking that thing, asked of a daemon or, with
// -c, of PostgreSQL itself; and what a DBA is given to run is what the daemon would run.

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/proxy.h"

// Asks until the item is reported that way, with the words in its line.
static void await_item(struct node *node, bool ok, const char *item, const char *words)
{
    struct scenario *scenario = node->scenario;
    struct deadline deadline = deadline_in(DEADLINE_MS);
    struct cli cli;
    do {
        cli = CLI(node, "check", "--json");
        for (const char *line = cli.out; line != NULL && *line != '\0';) {
            const char *end = strchr(line, '\n');
            const char *text =
                scenario_text(scenario, "%.*s", end == NULL ? 0 : (int)(end - line), line);
            const char *name = json_at(scenario, text, "item");
            if (name != NULL && strstr(name, item) != NULL && strstr(text, words) != NULL &&
                strcmp(json_at(scenario, text, "ok"), ok ? "true" : "false") == 0) {
                assert_int_equal(cli.status == 0, ok);
                return;
            }
            line = end == NULL ? NULL : end + 1;
        }
    } while (deadline_again(&deadline));
    scenario_fail("%s is not %s with \"%s\", but: %s", item, ok ? "in order" : "wrong", words,
                  cli.out);
}

static void a_server_that_is_away(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    await_item(node, true, "connection", "PostgreSQL ");
    pg_stop(pg, PG_STOP_FAST);
    await_item(node, false, "connection", "no connection to PostgreSQL");
}

static void a_server_that_becomes_a_standby(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    await_item(node, true, "primary", "primary");
    pg_stop(pg, PG_STOP_FAST);
    FILE *signal = fopen(scenario_text(scenario, "%s/standby.signal", pg->data), "we");
    assert_non_null(signal);
    fclose(signal);
    pg_start_again(pg);
    struct cli offline = CLI(node, "check", "-c", node->config_path);
    assert_int_equal(offline.status, 4);
    assert_non_null(strstr(offline.out, "standby"));
    await_item(node, false, "connection", "standby");
}

static void a_feed_that_is_silent(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct node *node = node_start(
        scenario, pg,
        &(struct node_options){
            .config = scenario_text(scenario, "postgres.url = \"%s\"\n", proxy_url(proxy))});
    await_item(node, true, "notify", "comes back");
    proxy_freeze_all(proxy);
    proxy_set_open(proxy, false);
    await_item(node, false, "notify", "");
}

static void triggers_and_tables_that_are_not_as_they_should_be(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER zz_pgnear_version");
    await_item(node, false, "triggers", "zz_pgnear_version; what `pgnear schema` prints mends it");
    await_item(node, false, "notify", "changes are not announced");
    pg_exec(pg, "DROP TRIGGER pgnear_truncate ON kv_store");
    await_item(node, false, "triggers", "has no trigger pgnear_truncate");
    pg_exec(pg, "DROP FUNCTION pgnear_advance, pgnear_merge_patch, kv_store_pgnear_reap,"
                " kv_store_pgnear_trim");
    await_item(node, false, "functions", "; and 1 more; what `pgnear schema` prints mends it");
    pg_exec(pg, "ALTER TABLE kv_store DROP CONSTRAINT kv_store_pkey");
    await_item(node, false, "primary key", "");
    pg_exec(pg, "ALTER TABLE kv_store RENAME TO elsewhere");
    await_item(node, false, "table", "does not exist");
}

static void rights_that_are_lacking(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    struct node *node = node_start(
        scenario, pg,
        &(struct node_options){
            .config = scenario_text(scenario, "postgres.url = \"%s&user=app\"\n", pg_url(pg))});
    await_item(node, true, "rights", "");
    pg_exec(pg, "ALTER TABLE kv_store OWNER TO postgres; REVOKE ALL ON kv_store FROM app;"
                "GRANT SELECT, INSERT ON kv_store TO app");
    await_item(node, false, "rights", "app lacks UPDATE on table");
}

// Directories and their file systems, as the daemon and as the command line see them.
static void directories_that_are_gone_or_in_memory(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    await_item(node, true, "cache directory", "MiB free");
    await_item(node, true, "reader slots", "reader slots taken");
    const char *moved = scenario_text(scenario, "%s.moved", node->cache_dir);
    assert_int_equal(rename(node->cache_dir, moved), 0);
    await_item(node, false, "cache directory", "was it deleted?");
    assert_int_equal(rename(moved, node->cache_dir), 0);

    struct node *memory = node_create(
        scenario, pg,
        &(struct node_options){.name = "memory", .config = "writes.dir = \"/dev/shm/pgnear\"\n"});
    struct cli offline = CLI(memory, "check", "-c", memory->config_path);
    assert_int_equal(offline.status, 4);
    assert_non_null(strstr(offline.out, "/dev/shm/pgnear is in memory"));
}

static void an_outbox_that_is_full(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "writes.outbox_size = \"1MiB\"\n"});
    const char *value = scenario_text(scenario, "[\"k\", \"%08000d\"]", 0);
    // Retained entries make way for new writes.
    int64_t bytes = 0;
    for (int i = 0; i < 1000 && bytes <= (1 << 20) / 100 * 95; i++) {
        assert_rpc(node, "set", value, "{\"seq\": \"*\"}");
        assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
        bytes = json_int_at(scenario, rpc(node, "stats", "[]"), "outbox.bytes");
    }
    assert_in_range(bytes, (1 << 20) / 100 * 95, 1 << 20);
    await_item(node, true, "outbox room", "in use");
    pg_stop(pg, PG_STOP_FAST);
    while (json_at(scenario, rpc(node, "set", value), "error.code") == NULL) {
    }
    await_item(node, false, "outbox room", "writes are OVERLOADED until");
    await_item(node, false, "flush", "writes wait");
}

// ---- The DBA's way

// Everything of the database that is ours or the table's, in one text: relations with their
// columns, constraints, indexes and triggers, functions, and comments.
static const char CATALOG_SQL[] =
    "SELECT string_agg(line, E'\\n' ORDER BY line) FROM ("
    "SELECT format('relation %%s %%s %%s', c.relkind, c.oid::regclass, c.reloptions) AS line"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"
    " UNION ALL SELECT format('column %%s.%%s %%s %%s %%s %%s', a.attrelid::regclass, a.attname,"
    " format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation,"
    " pg_get_expr(d.adbin, d.adrelid)) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE n.nspname = 'public' AND a.attnum > 0"
    " UNION ALL SELECT format('constraint %%s %%s', conrelid::regclass, "
    "pg_get_constraintdef(c.oid))"
    " FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace WHERE n.nspname = 'public'"
    " UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " UNION ALL SELECT format('trigger %%s %%s', tgenabled, pg_get_triggerdef(t.oid))"
    " FROM pg_trigger t WHERE NOT tgisinternal"
    " UNION ALL SELECT format('function %%s %%s', p.proconfig, pg_get_functiondef(p.oid))"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'"
    ") lines";

static void run_script(struct pg *pg, const char *script)
{
    PGconn *conn = pg_connect(pg);
    PGresult *result = PQexec(conn, script);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        scenario_fail("%s", PQresultErrorMessage(result));
    }
    PQclear(result);
    PQfinish(conn);
}

static void dba_script_equals_what_the_daemon_makes(struct scenario *scenario, const char *config)
{
    struct pg *made = pg_start(scenario, &(struct pg_options){.name = "made"});
    struct pg *applied = pg_start(scenario, &(struct pg_options){.name = "applied"});
    node_start(scenario, made, &(struct node_options){.name = "creates", .config = config});
    struct node *requires =
        node_create(scenario, applied,
                    &(struct node_options){
                        .name = "requires",
                        .config = scenario_text(scenario,
                                                "postgres.schema = \"require\"\npostgres.url ="
                                                " \"%s&user=app\"\n%s",
                                                pg_url(applied), config)});
    pg_exec(applied, "CREATE ROLE app LOGIN");
    struct cli schema = CLI(requires, "schema", "-c", requires->config_path);
    assert_int_equal(schema.status, 0);
    run_script(applied, schema.out);
    const char *expected = pg_value(made, CATALOG_SQL);
    const char *got = pg_value(applied, CATALOG_SQL);
    if (strcmp(expected, got) != 0) {
        scenario_fail("the daemon makes\n%s\nthe script makes\n%s", expected, got);
    }

    // No right but to read and write, and no DDL is run.
    pg_exec(applied, "GRANT SELECT, INSERT, UPDATE, DELETE ON kv_store, pgnear_node TO app;"
                     "GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA public TO app");
    node_spawn(requires);
    node_await_ready(requires);
    assert_cli_json(CLI(requires, "set", "k", "1", "--ack", "postgres"), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_cli(CLI(requires, "incr", "k", "2"), 0, "3\n");
    pg_exec(applied, "UPDATE kv_store SET value = '7'");
    assert_cli(CLI(requires, "sync"), 0, "true\n");
    assert_cli(CLI(requires, "get", "k"), 0, "7\n");
    struct cli check = CLI(requires, "check");
    if (check.status != 0) {
        scenario_fail("%s", check.out);
    }
    assert_string_equal(pg_value(applied, CATALOG_SQL), got);

    struct cli drop = CLI(requires, "schema", "--drop", "-c", requires->config_path);
    assert_int_equal(drop.status, 0);
    assert_int_equal(node_stop(requires), 0);
    run_script(applied, drop.out);
    assert_pg_value(applied, "7", "SELECT value FROM kv_store");
    assert_pg_value(applied, "0",
                    "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)"
                    " + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
                    " WHERE nspname = 'public')");
}

static void a_dba_makes_what_the_daemon_would(struct scenario *scenario)
{
    dba_script_equals_what_the_daemon_makes(scenario, "");
}

static void a_dba_makes_partitions_as_the_daemon_would(struct scenario *scenario)
{
    dba_script_equals_what_the_daemon_makes(
        scenario, "postgres.partitions = 4\npostgres.updated_at_index = \"brin\"\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_server_that_is_away),
        SCENARIO(a_server_that_becomes_a_standby),
        SCENARIO(a_feed_that_is_silent),
        SCENARIO(triggers_and_tables_that_are_not_as_they_should_be),
        SCENARIO(rights_that_are_lacking),
        SCENARIO(directories_that_are_gone_or_in_memory),
        SCENARIO(an_outbox_that_is_full),
        SCENARIO(a_dba_makes_what_the_daemon_would),
        SCENARIO(a_dba_makes_partitions_as_the_daemon_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
