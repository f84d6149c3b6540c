// Backups (docs/operations.md, "Backups"): what one holds, that nobody waits for it, what restore
// and clean-up touch and what not, and that both nodes' caches follow. Two nodes throughout.

#include <stdio.h>
#include <string.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"

struct two {
    struct scenario *scenario;
    struct pg *pg;
    struct node *a;
    struct node *b;
};

static struct two start_two(struct scenario *scenario, const char *table, const char *config)
{
    struct two two = {.scenario = scenario, .pg = pg_start(scenario, NULL)};
    struct node_options a = {.name = "a", .table = table, .config = config};
    struct node_options b = {.name = "b", .table = table, .config = config};
    two.a = node_start(scenario, two.pg, &a);
    two.b = node_start(scenario, two.pg, &b);
    return two;
}

// A JSON string without its quotes.
static const char *text_at(struct scenario *scenario, const char *json, const char *path)
{
    const char *quoted = json_at(scenario, json, path);
    if (quoted == NULL || quoted[0] != '"') {
        scenario_fail("%s has no text at %s", json, path);
    }
    return scenario_text(scenario, "%.*s", (int)strlen(quoted) - 2, quoted + 1);
}

// Makes one; its name.
static const char *make(struct node *node, int rows)
{
    const char *answer = rpc(node, "backup", "[]");
    if (!json_matches(answer,
                      scenario_text(node->scenario, "{\"table\":\"*\",\"rows\":%d}", rows))) {
        scenario_fail("backup: %s", answer);
    }
    return text_at(node->scenario, answer, "table");
}

static void assert_refused(struct node *node, const char *method, const char *params,
                           const char *code, const char *sqlstate, const char *words)
{
    const char *error = assert_rpc_error(node, method, params, code);
    const char *state = json_at(node->scenario, error, "sqlstate");
    if (sqlstate[0] != '\0' && (state == NULL || strstr(state, sqlstate) == NULL)) {
        scenario_fail("%s %s: %s without sqlstate %s", method, params, error, sqlstate);
    }
    if (strstr(error, words) == NULL) {
        scenario_fail("%s %s: %s does not say %s", method, params, error, words);
    }
}

static void a_backup_holds_all_that_was_acknowledged(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, "writes.ack = \"memory\"\n");
    for (int i = 0; i < 200; i++) {
        assert_rpc(two.a, "set", scenario_text(scenario, "[\"k%03d\", {\"n\": %d}]", i, i),
                   "{\"seq\": \"*\"}");
    }
    const char *name = make(two.a, 200);
    assert_pg_value(two.pg, "t",
                    "SELECT '%s' ~ '^kv_store_backup_[0-9]{4}-[0-9]{2}-[0-9]{2}T"
                    "[0-9]{2}-[0-9]{2}-[0-9]{2}Z$'",
                    name);
    // Row for row the table, with its versions and times, and two columns more.
    assert_pg_value(
        two.pg, "0",
        "SELECT count(*) FROM (SELECT * FROM kv_store EXCEPT SELECT key, value, version,"
        " created_at, updated_at, expires_at FROM \"%s\") missing",
        name);
    assert_pg_value(two.pg, "200",
                    "SELECT count(*) FROM \"%s\" WHERE backup_source_table = 'kv_store'"
                    " AND abs(extract(epoch FROM now() - backup_created_at)) < 60",
                    name);
    assert_pg_value(two.pg,
                    "key text, value jsonb, version bigint, created_at timestamp with time zone,"
                    " updated_at timestamp with time zone, expires_at timestamp with time zone,"
                    " backup_created_at timestamp with time zone, backup_source_table text",
                    "SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', '"
                    " ORDER BY attnum) FROM pg_attribute"
                    " WHERE attrelid = '\"%s\"'::regclass AND attnum > 0",
                    name);
    assert_pg_value(two.pg, "PRIMARY KEY (key)",
                    "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                    " WHERE conrelid = '\"%s\"'::regclass AND contype = 'p'",
                    name);
    assert_pg_value(two.pg, "now()",
                    "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef"
                    " WHERE adrelid = '\"%s\"'::regclass",
                    name);
    const char *listed = scenario_text(
        scenario, "[{\"table\":\"%s\",\"rows\":200,\"created_at\":\"%.13s:%.2s:%.2sZ\"}]", name,
        name + 16, name + 30, name + 33);
    assert_rpc(two.a, "backups", "[]", listed);
    assert_rpc(two.b, "backups", "[]", listed);
    node_await_stat(two.a, "backups", "1");
    node_await_stat(two.b, "backups", "1");
    node_await_log(two.a, "backup made");
}

// Both in one second: the second one waits for the next.
static void two_at_once_do_not_collide(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    struct rpc *a = node_open(two.a), *b = node_open(two.b);
    uint32_t ids[] = {rpc_send(a, "backup", "[]"), rpc_send(a, "backup", "[]"),
                      rpc_send(b, "backup", "[]")};
    for (int i = 0; i < 3; i++) {
        const char *answer = rpc_await(i < 2 ? a : b, ids[i]);
        assert_json(answer, "{\"table\":\"*\",\"rows\":0}");
    }
    assert_pg_value(two.pg, "3",
                    "SELECT count(*) FROM pg_class WHERE relname LIKE"
                    " 'kv\\_store\\_backup\\_%%Z' AND relkind = 'r'");
}

static void assert_both(const struct two *two, const char *params, const char *expected)
{
    assert_rpc(two->a, "get", params, expected);
    assert_rpc(two->b, "sync", "[]", "true");
    assert_rpc(two->b, "get", params, expected);
}

static void a_merge_brings_back_and_keeps_the_rest(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    assert_rpc(two.a, "mset", "[[[\"changed\", 1], [\"deleted\", 2], [\"same\", 3]]]",
               "{\"seq\":\"*\"}");
    const char *name = make(two.a, 3);
    assert_rpc(two.a, "set", "[\"changed\", 10]", "{\"seq\":\"*\"}");
    assert_rpc(two.b, "delete", "[\"deleted\"]", "{\"seq\":\"*\"}");
    assert_rpc(two.b, "set", "[\"new\", 4, {\"ack\":\"postgres\"}]",
               "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
    const char *before = pg_value(two.pg, "SELECT max(version) FROM kv_store");
    const char *before_deleted =
        pg_value(two.pg, "SELECT version FROM \"%s\" WHERE key='deleted'", name);
    assert_rpc(two.a, "sync", "[]", "true");
    assert_both(&two, "[\"changed\"]", "[10,\"*\"]");
    assert_both(&two, "[\"deleted\"]", "null");
    assert_both(&two, "[\"new\"]", "[4,\"*\"]");

    // The node that restored reads it at once, with nothing in between.
    assert_rpc(two.a, "restore", scenario_text(scenario, "[\"%s\"]", name), "{\"rows\":3}");
    assert_both(&two, "[\"changed\"]", "[1,\"*\"]");
    assert_both(&two, "[\"deleted\"]", "[2,\"*\"]");
    assert_both(&two, "[\"same\"]", "[3,\"*\"]");
    assert_both(&two, "[\"new\"]", "[4,\"*\"]");
    // Versions are new, so that whoever knows an old one sees the difference.
    assert_pg_value(two.pg, "3",
                    "SELECT count(*) FROM kv_store WHERE version > %s AND key <> 'new'", before);
    assert_pg_value(two.pg, "t", "SELECT version > %s FROM kv_store WHERE key = 'deleted'",
                    before_deleted);
}

static void a_replace_leaves_nothing_else(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    assert_rpc(two.a, "mset", "[[[\"a\", 1], [\"b\", 2]]]", "{\"seq\":\"*\"}");
    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}"); // the backup is the other node's
    const char *name = make(two.b, 2);
    assert_rpc(two.a, "set", "[\"later\", 3]", "{\"seq\":\"*\"}");
    assert_rpc(two.a, "set", "[\"a\", 9]", "{\"seq\":\"*\"}");
    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
    assert_both(&two, "[\"later\"]", "[3,\"*\"]");
    // This write is acknowledged before the restore, so the restore is what stays.
    assert_rpc(two.b, "set", "[\"b\", 8]", "{\"seq\":\"*\"}");
    assert_rpc(two.b, "restore", scenario_text(scenario, "[\"%s\", {\"mode\":\"replace\"}]", name),
               "{\"rows\":2}");
    assert_rpc(two.b, "get", "[\"later\"]", "null");
    assert_rpc(two.b, "get", "[\"b\"]", "[2,\"*\"]");
    assert_rpc(two.a, "sync", "[]", "true");
    assert_both(&two, "[\"later\"]", "null");
    assert_both(&two, "[\"a\"]", "[1,\"*\"]");
    assert_both(&two, "[\"b\"]", "[2,\"*\"]");
    assert_pg_value(two.pg, "2", "SELECT count(*) FROM kv_store");
}

static void what_is_no_backup_of_this_table_is_refused(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    pg_exec(two.pg, "CREATE TABLE other (LIKE kv_store);"
                    "CREATE TABLE \"kv_store_backup_2020-01-01T00-00-00Z\" (LIKE kv_store);"
                    "CREATE TABLE \"kv_store_backup_2020-01-02T00-00-00Z\" (LIKE kv_store,"
                    " backup_created_at timestamptz DEFAULT now(), backup_source_table text);"
                    "INSERT INTO \"kv_store_backup_2020-01-02T00-00-00Z\""
                    " VALUES ('k', '1', 1, now(), now(), NULL, now(), 'another_table')");
    assert_refused(two.a, "restore", "[\"other\"]", "REJECTED", "42809",
                   "not a backup of this table");
    assert_refused(two.a, "restore", "[\"kv_store_backup_2020-01-01T00-00-00Z\"]", "REJECTED",
                   "42809", "Failed to restore table \\\"kv_store\\\"");
    assert_refused(two.a, "restore", "[\"kv_store_backup_2020-01-02T00-00-00Z\"]", "REJECTED",
                   "42809", "not a backup of this table");
    assert_refused(two.a, "restore", "[\"nothing\"]", "REJECTED", "42P01", "does not exist");
    assert_refused(two.a, "restore", "[\"kv_store\"]", "REJECTED", "42809", "not a backup");
    assert_refused(two.a, "restore", "[\"x\", {\"mode\":\"both\"}]", "BAD_REQUEST", "", "mode");
    assert_refused(two.a, "restore", "[]", "BAD_REQUEST", "", "table");
    assert_refused(two.a, "cleanup_backups", "[-1]", "BAD_REQUEST", "", "days");
    assert_rpc(two.a, "backups", "[]", "[]");
}

static void clean_up_drops_old_backups_and_nothing_else(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    const char *recent = make(two.a, 0);
    pg_exec(two.pg,
            "CREATE TABLE keep_1 (LIKE kv_store);"
            // Right name, wrong columns; right columns, wrong name; another table's.
            "CREATE TABLE \"kv_store_backup_2020-01-01T00-00-00Z\" (LIKE kv_store);"
            "CREATE TABLE \"kv_store_backup_2020-01-01\" (LIKE \"%s\");"
            "CREATE TABLE \"kv_store_backup_2020-13-01T00-00-00Z\" (LIKE \"%s\");"
            "CREATE TABLE \"kv_storeXbackup_2020-01-01T00-00-00Z\" (LIKE \"%s\");"
            "CREATE TABLE \"kv_store2_backup_2020-01-01T00-00-00Z\" (LIKE \"%s\");"
            "CREATE TABLE \"kv_store_backup_2020-01-03T00-00-00Z\" (LIKE \"%s\");"
            "INSERT INTO \"kv_store_backup_2020-01-03T00-00-00Z\""
            " VALUES ('k', '1', 1, now(), now(), NULL, '2020-01-03', 'kv_other');"
            "CREATE VIEW \"kv_store_backup_2020-01-04T00-00-00Z\" AS SELECT * FROM \"%s\";"
            "CREATE SCHEMA elsewhere;"
            "CREATE TABLE elsewhere.\"kv_store_backup_2020-01-05T00-00-00Z\" (LIKE \"%s\");"
            // Ours.
            "CREATE TABLE \"kv_store_backup_2020-01-06T00-00-00Z\" (LIKE \"%s\");"
            "CREATE TABLE \"kv_store_backup_2020-01-07T00-00-00Z\" (LIKE \"%s\");"
            "INSERT INTO \"kv_store_backup_2020-01-07T00-00-00Z\""
            " VALUES ('k', '1', 1, now(), now(), NULL, '2020-01-07', 'kv_store')",
            recent, recent, recent, recent, recent, recent, recent, recent, recent);
    int64_t tables = pg_int(two.pg, "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v')");
    assert_rpc(two.b, "cleanup_backups", "[]",
               "[\"kv_store_backup_2020-01-06T00-00-00Z\","
               "\"kv_store_backup_2020-01-07T00-00-00Z\"]");
    assert_int_equal(pg_int(two.pg, "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v')"),
                     tables - 2);
    assert_rpc(two.b, "cleanup_backups", "[30]", "[]");
    pg_exec(two.pg, "DROP VIEW \"kv_store_backup_2020-01-04T00-00-00Z\"");
    assert_rpc(two.b, "cleanup_backups", "[0]", scenario_text(scenario, "[\"%s\"]", recent));
    assert_rpc(two.a, "backups", "[]", "[]");
}

static void one_that_cannot_be_dropped_keeps_no_other(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    const char *recent = make(two.a, 0);
    pg_exec(two.pg,
            "CREATE TABLE \"kv_store_backup_2020-01-01T00-00-00Z\" (LIKE \"%s\");"
            "CREATE VIEW report AS SELECT * FROM \"kv_store_backup_2020-01-01T00-00-00Z\";"
            "CREATE TABLE \"kv_store_backup_2020-01-02T00-00-00Z\" (LIKE \"%s\")",
            recent, recent);
    assert_rpc(two.a, "cleanup_backups", "[]", "[\"kv_store_backup_2020-01-02T00-00-00Z\"]");
    assert_refused(two.a, "cleanup_backups", "[]", "REJECTED", "2BP01",
                   "cannot drop table \\\"kv_store_backup_2020-01-01T00-00-00Z\\\"");
    pg_exec(two.pg, "DROP VIEW report");
    assert_rpc(two.a, "cleanup_backups", "[]", "[\"kv_store_backup_2020-01-01T00-00-00Z\"]");
}

static void names_and_partitions_of_every_kind(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL,
                               "postgres.table = '''\"My \"\"App\"\"\".\"Kv's %s\"'''\n"
                               "postgres.partitions = 3\n");
    for (int i = 0; i < 20; i++) {
        assert_rpc(two.a, "set", scenario_text(scenario, "[\"k%d\", %d]", i, i), "{\"seq\":\"*\"}");
    }
    const char *name = make(two.a, 20);
    if (strncmp(name, "Kv's %s_backup_", 15) != 0) {
        scenario_fail("%s", name);
    }
    assert_pg_value(two.pg, "20", "SELECT count(*) FROM \"My \"\"App\"\"\".\"%s\"", name);
    assert_rpc(two.b, "delete", "[[\"k1\", \"k2\"], {\"ack\":\"postgres\"}]",
               "{\"seq\":\"*\",\"deleted\":2,\"version\":null}");
    assert_rpc(two.b, "restore", scenario_text(scenario, "[\"%s\", {\"mode\":\"replace\"}]", name),
               "{\"rows\":20}");
    assert_rpc(two.b, "get", "[\"k1\"]", "[1,\"*\"]");
    assert_rpc(two.a, "sync", "[]", "true");
    assert_rpc(two.a, "get", "[\"k2\"]", "[2,\"*\"]");
    assert_rpc(two.a, "cleanup_backups", "[0]", scenario_text(scenario, "[\"%s\"]", name));
}

static void a_name_too_long_is_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node_options options = {.table = "a23456789_123456789_123456789_123456"};
    struct node *node = node_start(scenario, pg, &options);
    assert_refused(node, "backup", "[]", "REJECTED", "42622", "64 bytes, more than 63");
    assert_rpc(node, "backups", "[]", "[]");
    node_stop(node);
    // PostgreSQL cuts the name of its backup to the table's own.
    options = (struct node_options){
        .name = "longest",
        .table = "a23456789_123456789_123456789_123456789_123456789_123456789_123"};
    node = node_start(scenario, pg, &options);
    assert_refused(node, "backup", "[]", "REJECTED", "42622", "91 bytes, more than 63");
    node_stop(node);
    options = (struct node_options){.name = "fits", .table = "a23456789_123456789_123456789_12345"};
    node = node_start(scenario, pg, &options);
    make(node, 0);
}

// Rights on the table are not enough to create another.
static void under_require_a_missing_right_is_named(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    pg_exec(two.pg, "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
                    "CREATE ROLE app LOGIN;"
                    "GRANT USAGE ON SCHEMA public TO app;"
                    "GRANT SELECT, INSERT, UPDATE, DELETE ON kv_store, pgnear_node TO app;"
                    "GRANT USAGE, SELECT, UPDATE ON kv_store_version_seq TO app");
    const char *config =
        scenario_text(scenario, "postgres.schema = \"require\"\npostgres.url = \"%s&user=app\"\n",
                      pg_url(two.pg));
    if (strstr(pg_url(two.pg), "user=") != NULL || strchr(pg_url(two.pg), '?') == NULL) {
        config = scenario_text(
            scenario,
            "postgres.schema = \"require\"\npostgres.url = \"host=%s port=%d dbname=postgres"
            " user=app\"\n",
            two.pg->directory, two.pg->port);
    }
    struct node *app =
        node_start(scenario, two.pg, &(struct node_options){.name = "app", .config = config});
    assert_rpc(app, "set", "[\"k\", 1]", "{\"seq\":\"*\"}");
    assert_refused(app, "backup", "[]", "REJECTED", "42501",
                   "Failed to back up table \\\"kv_store\\\": permission denied for schema public");
    pg_exec(two.pg, "GRANT CREATE ON SCHEMA public TO app");
    const char *name = make(app, 1);
    assert_rpc(app, "set", "[\"k\", 2]", "{\"seq\":\"*\"}");
    assert_rpc(app, "restore", scenario_text(scenario, "[\"%s\"]", name), "{\"rows\":1}");
    assert_rpc(app, "get", "[\"k\"]", "[1,\"*\"]");
}

// A backup that has to wait for a lock: reads and writes go on, and its own patience is its own.
static void nobody_waits_for_a_backup(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, "postgres.statement_timeout = \"1s\"\n");
    assert_rpc(two.a, "set", "[\"k\", 1]", "{\"seq\":\"*\"}");
    PGconn *blocker = pg_connect(two.pg);
    PQclear(PQexec(blocker, "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended("
                            "'pgnear backup public.kv_store', 0))"));
    struct rpc *waiting = node_open(two.a);
    uint32_t patient = rpc_send(waiting, "backup", "[]");
    pg_await_value(two.pg, "1",
                   "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                   " AND NOT granted");
    assert_refused(two.b, "backup", "[{\"timeout_ms\": 300}]", "TIMEOUT", "57014",
                   "Failed to back up table");
    assert_rpc(two.a, "set", "[\"k\", 2, {\"ack\":\"postgres\"}]",
               "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_rpc(two.b, "get", "[\"k\", {\"fresh\":true}]", "[2,\"*\"]");
    assert_rpc(two.b, "backups", "[]", "[]");
    // It waits for longer than statement_timeout.
    pg_await_value(two.pg, "t",
                   "SELECT bool_or(now() - query_start > '1.5 seconds') FROM pg_stat_activity"
                   " WHERE wait_event_type = 'Lock' AND wait_event = 'advisory'");
    PQfinish(blocker);
    assert_json(rpc_await(waiting, patient), "{\"table\":\"*\",\"rows\":1}");
}

// A restore that is held in its 30,000th row by a trigger of somebody's.
static void its_progress_is_seen(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    pg_exec(two.pg, "INSERT INTO kv_store (key, value)"
                    " SELECT 'k' || 100000 + n, '1' FROM generate_series(1, 40000) n");
    const char *name = make(two.a, 40000);
    assert_pg_value(
        two.pg, "0",
        "SELECT count(*) FROM (SELECT * FROM kv_store EXCEPT SELECT key, value, version,"
        " created_at, updated_at, expires_at FROM \"%s\") missing",
        name);
    pg_exec(two.pg, "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
                    " 'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END';"
                    " CREATE TRIGGER hold BEFORE INSERT ON kv_store FOR EACH ROW"
                    " WHEN (NEW.key = 'k130000') EXECUTE FUNCTION hold()");
    PGconn *blocker = pg_connect(two.pg);
    PQclear(PQexec(blocker, "SELECT pg_advisory_lock(42)"));
    struct rpc *waiting = node_open(two.a);
    uint32_t restore = rpc_send(waiting, "restore", scenario_text(scenario, "[\"%s\"]", name));
    node_await_stat(two.a, "postgres.backup_rows", "16384");
    node_await_stat(two.a, "postgres.backup_jobs", "1");
    node_await_stat(two.b, "postgres.backup_rows", "0");
    node_await_stat(two.a, "count", "40000");
    struct cli top = CLI(two.a, "top", "--count", "1");
    assert_int_equal(top.status, 0);
    assert_non_null(strstr(top.out, "under way 1  rows copied 16384  of about 40000"));
    PQfinish(blocker);
    assert_json(rpc_await(waiting, restore), "{\"rows\":40000}");
    node_await_stat(two.a, "postgres.backup_jobs", "0");
    node_await_stat(two.a, "postgres.backup_rows", "0");
}

static void without_postgresql_it_is_unavailable(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    pg_stop(two.pg, PG_STOP_FAST);
    node_await_state(two.a, "disconnected");
    assert_refused(two.a, "backup", "[]", "UNAVAILABLE", "",
                   "Failed to back up table \\\"kv_store\\\": no connection");
    assert_refused(two.a, "restore", "[\"x\"]", "UNAVAILABLE", "", "connection");
    assert_refused(two.a, "backups", "[]", "UNAVAILABLE", "", "connection");
    assert_refused(two.a, "cleanup_backups", "[]", "UNAVAILABLE", "", "connection");
    assert_json(node_stat(two.a, "backups"), "null");
}

static int64_t backups_made(const struct two *two)
{
    return node_stat_int(two->a, "postgres.backups_made") +
           node_stat_int(two->b, "postgres.backups_made");
}

// Each scheduled backup is one node's, and those that are old go.
static void a_schedule_is_kept_by_one_node(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, "backup.every = \"2s\"\nbackup.keep = \"4s\"\n");
    assert_rpc(two.a, "set", "[\"k\", 1]", "{\"seq\":\"*\"}");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (backups_made(&two) < 4) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%lld backups", (long long)backups_made(&two));
        }
    }
    pg_await_value(two.pg, "t",
                   "SELECT count(*) BETWEEN 1 AND 3 FROM pg_class WHERE relkind = 'r'"
                   " AND relname LIKE 'kv\\_store\\_backup\\_%%'");
    // At least two seconds lie between any two of them.
    assert_pg_value(two.pg, "t",
                    "SELECT coalesce(min(gap) >= '2 seconds', true) FROM (SELECT t - lag(t) OVER"
                    " (ORDER BY t) AS gap FROM (SELECT to_timestamp(right(relname, 20),"
                    " 'YYYY-MM-DD\"T\"HH24-MI-SS') AS t FROM pg_class WHERE relkind = 'r'"
                    " AND relname LIKE 'kv\\_store\\_backup\\_%%') times) gaps");
}

static void the_command_line_does_it_all(struct scenario *scenario)
{
    struct two two = start_two(scenario, NULL, NULL);
    assert_rpc(two.a, "set", "[\"k\", 1]", "{\"seq\":\"*\"}");
    struct cli made = CLI(two.a, "backup");
    assert_cli_json(made, 0, "{\"table\":\"*\",\"rows\":1}");
    const char *name = text_at(scenario, made.out, "table");
    assert_cli_json(
        CLI(two.b, "backups"), 0,
        scenario_text(scenario, "[{\"table\":\"%s\",\"rows\":1,\"created_at\":\"*\"}]", name));
    assert_rpc(two.b, "set", "[\"new\", 2, {\"ack\":\"postgres\"}]",
               "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_cli_json(CLI(two.b, "restore", name), 0, "{\"rows\":1}");
    assert_rpc(two.b, "get", "[\"new\"]", "[2,\"*\"]");
    assert_cli_json(CLI(two.b, "restore", name, "--mode", "replace"), 0, "{\"rows\":1}");
    assert_rpc(two.b, "get", "[\"new\"]", "null");
    assert_cli_json(CLI(two.a, "cleanup-backups"), 0, "[]");
    assert_cli_json(CLI(two.a, "cleanup-backups", "--days", "0"), 0,
                    scenario_text(scenario, "[\"%s\"]", name));
    assert_int_equal(CLI(two.a, "restore", name).status, 4);
    assert_int_equal(CLI(two.a, "restore", name, "--mode", "both").status, 2);
    assert_int_equal(CLI(two.a, "cleanup-backups", "--days", "soon").status, 2);
    assert_int_equal(CLI(two.a, "restore").status, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_backup_holds_all_that_was_acknowledged),
        SCENARIO(two_at_once_do_not_collide),
        SCENARIO(a_merge_brings_back_and_keeps_the_rest),
        SCENARIO(a_replace_leaves_nothing_else),
        SCENARIO(what_is_no_backup_of_this_table_is_refused),
        SCENARIO(clean_up_drops_old_backups_and_nothing_else),
        SCENARIO(one_that_cannot_be_dropped_keeps_no_other),
        SCENARIO(names_and_partitions_of_every_kind),
        SCENARIO(a_name_too_long_is_refused),
        SCENARIO(under_require_a_missing_right_is_named),
        SCENARIO(nobody_waits_for_a_backup),
        SCENARIO(its_progress_is_seen),
        SCENARIO(without_postgresql_it_is_unavailable),
        SCENARIO(a_schedule_is_kept_by_one_node),
        SCENARIO(the_command_line_does_it_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
