// What the triggers announce: every change of a key, by whomever and however it is made, with the
// version it has now, in payloads that PostgreSQL accepts, and never at the price of the user's
// statement.

#include "system/schema_scripts.h"

#include <stdio.h>

// Every row of the table stands in what was heard with its version, and nothing else does.
#define NOTHING_MISSED                                                                             \
    "SELECT count(*) FROM kv_store t FULL JOIN changes c USING (key, version)"                     \
    " WHERE t.key IS NULL OR c.key IS NULL"

static struct listener start(struct pg *pg, struct schema_options *options)
{
    *options = options_of("kv_store");
    create_schema(pg, options);
    return listen_to(pg, options);
}

static void every_statement_is_heard(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2')");
    assert_heard(&listener, "a, b");
    assert_pg_value(pg, "0", NOTHING_MISSED);
    assert_pg_value(pg, "1", "SELECT count(*) FROM heard");
    assert_pg_value(pg, "", "SELECT DISTINCT origin FROM changes");

    int64_t before = pg_int(pg, "SELECT max(version) FROM kv_store");
    pg_exec(pg, "UPDATE kv_store SET value = '3'");
    assert_heard(&listener, "a, b");
    assert_pg_value(pg, "0", NOTHING_MISSED);
    assert_true(pg_int(pg, "SELECT min(version) FROM changes") > before);

    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('b', '4'), ('c', '5')"
                " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value");
    assert_heard(&listener, "b, c");
    assert_pg_value(pg, "t",
                    "SELECT bool_and(t.version = c.version) FROM kv_store t"
                    " JOIN changes c USING (key)");

    before = pg_int(pg, "SELECT max(version) FROM kv_store");
    pg_exec(pg, "DELETE FROM kv_store WHERE key IN ('a', 'c')");
    assert_heard(&listener, "a deleted, c deleted");
    assert_pg_value(pg, "2", "SELECT count(DISTINCT version) FROM changes WHERE version > %lld",
                    (long long)before);

    pg_copy_in(pg, "COPY kv_store (key, value) FROM STDIN", slice_of_string("x\t1\ny\t2\n"));
    assert_heard(&listener, "x, y");

    pg_exec(pg, "TRUNCATE kv_store");
    hear(&listener);
    assert_pg_value(pg, "[\"\", \"truncate\"]", "SELECT string_agg(payload::text, ';') FROM heard");
    listener_deinit(&listener);
}

static void what_changes_nothing_is_not_announced(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'a', '1' WHERE false;"
                "UPDATE kv_store SET value = '1'; DELETE FROM kv_store");
    pg_exec(pg, "BEGIN; INSERT INTO kv_store (key, value) VALUES ('a', '1'); ROLLBACK");
    assert_heard(&listener, NULL);
    assert_pg_value(pg, "0", "SELECT count(*) FROM heard");
    listener_deinit(&listener);
}

static void a_changed_key_is_heard_under_both_names(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2')");
    pg_exec(pg, "UPDATE kv_store SET key = 'z' WHERE key = 'a'");
    assert_heard(&listener, "a, a deleted, b, z");
    // A key that another row takes over is not announced as deleted.
    pg_exec(pg, "UPDATE kv_store SET key = CASE key WHEN 'b' THEN 'c' ELSE 'b' END"
                " WHERE key IN ('b', 'z')");
    assert_heard(&listener, "b, c, z deleted");
    assert_pg_value(pg, "t",
                    "SELECT bool_and(t.version = c.version) FROM kv_store t"
                    " JOIN changes c USING (key)");
    listener_deinit(&listener);
}

static void payloads_are_cut_below_the_limit(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'key ' || i, '1'"
                " FROM generate_series(1, 5000) i");
    hear(&listener);
    assert_pg_value(pg, "0", NOTHING_MISSED);
    assert_pg_value(pg, "t",
                    "SELECT max(bytes) BETWEEN 7900 AND 7999 AND count(*) < 64 FROM heard");
    // The longest keys, every byte of which takes six in JSON.
    pg_exec(pg, "DELETE FROM kv_store;"
                "INSERT INTO kv_store (key, value)"
                " SELECT repeat(E'\\x01', 508) || to_char(i, 'FM000'), '1'"
                " FROM generate_series(1, 100) i");
    pg_exec(pg, "TRUNCATE heard");
    hear(&listener);
    assert_pg_value(pg, "t", "SELECT max(bytes) <= 7999 FROM heard");
    assert_pg_value(pg, "100", "SELECT count(*) FROM changes JOIN kv_store USING (key, version)");
    listener_deinit(&listener);
}

// One key more than 64 payloads carry, or many: one word, and no time lost on the way to it.
static void a_bulk_change_announces_a_sweep(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    struct buffer rows = {0};
    for (int i = 0; i < 100000; i++) {
        buffer_printf(&rows, "key%d\t{\"n\": %d}\n", i, i);
    }
    pg_copy_in(pg, "COPY kv_store (key, value) FROM STDIN", buffer_slice(&rows));
    buffer_deinit(&rows);
    static const char *const STATEMENTS[] = {
        "SELECT 1",
        "UPDATE kv_store SET value = '1'",
        "UPDATE kv_store SET key = 'x' || key WHERE key LIKE 'key1%'",
        "DELETE FROM kv_store",
        ("INSERT INTO kv_store (key, value) SELECT repeat('k', 500) || i, '1'"
         " FROM generate_series(1, 1100) i"),
    };
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof STATEMENTS[0]; i++) {
        pg_exec(pg, "%s", STATEMENTS[i]);
        hear(&listener);
        assert_pg_value(pg, "[\"\", \"sweep\"]",
                        "SELECT string_agg(payload::text, ';') FROM heard");
    }
    // As many as fit into 64 payloads are named one by one.
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT repeat('l', 500) || to_char(i, 'FM000'),"
                " '1' FROM generate_series(1, 900) i");
    hear(&listener);
    assert_pg_value(pg, "900", "SELECT count(*) FROM changes");
    listener_deinit(&listener);
}

// A session keeps the plan that it made for its first statement, when one row had changed.
static void a_plan_made_for_one_row_bears_many(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1');"
                "UPDATE kv_store SET value = '2'; UPDATE kv_store SET key = 'l';"
                "INSERT INTO kv_store (key, value) SELECT 'k' || i, '1'"
                " FROM generate_series(1, 8000) i");
    pg_exec(pg, "SET statement_timeout = '10s'; UPDATE kv_store SET key = 'm' || key;"
                "RESET statement_timeout");
    pg_exec(pg, "DELETE FROM kv_store WHERE key = 'ml'");
    hear(&listener);
    assert_pg_value(pg, "8000", "SELECT count(*) FROM changes JOIN kv_store USING (key, version)");
    assert_pg_value(pg, "8000", "SELECT count(*) FROM changes WHERE key ~ '^k[0-9]' AND is_delete");
    listener_deinit(&listener);
}

static void odd_keys_are_valid_json(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT key, '1' FROM unnest(ARRAY["
                "'', '\"', '\\', E'\\n\\t\\x01\\x7f', ' ', 'it''s [1,2]', '</script>', '%%s',"
                "'\xF0\x9F\x98\x80 \xE2\x82\xAC', repeat('\xE2\x82\xAC', 170), repeat('k', 511)"
                "]) key");
    hear(&listener);
    assert_pg_value(pg, "11", "SELECT count(*) FROM changes");
    assert_pg_value(pg, "0", NOTHING_MISSED);
    listener_deinit(&listener);
}

static void long_keys_do_not_fail(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT repeat('k', 100000), '1'");
    pg_exec(pg, "UPDATE kv_store SET value = '2'");
    pg_exec(pg, "UPDATE kv_store SET key = repeat('l', 512)");
    pg_exec(pg, "DELETE FROM kv_store");
    assert_heard(&listener, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT repeat('k', 512), '1'::jsonb"
                " UNION ALL SELECT 'short', '1'::jsonb");
    assert_heard(&listener, "short");
    listener_deinit(&listener);
}

static void the_origin_lasts_for_its_transaction_only(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "BEGIN; SET LOCAL pgnear.origin = 'node \"1\"';"
                "INSERT INTO kv_store (key, value, version)"
                " VALUES ('own', '1', nextval('kv_store_version_seq')); COMMIT");
    hear(&listener);
    assert_pg_value(pg, "node \"1\"", "SELECT origin FROM changes");
    // One draw: the trigger stays away from what a flush writes.
    assert_pg_value(pg, "t",
                    "SELECT version = (SELECT last_value FROM kv_store_version_seq)"
                    " FROM kv_store");
    assert_pg_value(pg, "t", "SELECT t.version = c.version FROM kv_store t, changes c");
    // The setting reads '' from now on in this session, and means a stranger.
    assert_pg_value(pg, "", "SELECT current_setting('pgnear.origin', true)");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('foreign', '1')");
    assert_heard(&listener, "foreign");
    assert_pg_value(pg, "", "SELECT origin FROM changes");
    // An origin that no node would have does not make a statement fail.
    pg_exec(pg, "BEGIN; SELECT set_config('pgnear.origin', repeat('x', 10000), true);"
                "DELETE FROM kv_store; COMMIT");
    assert_heard(&listener, "foreign deleted, own deleted");
    assert_pg_value(pg, "", "SELECT DISTINCT origin FROM changes");
    listener_deinit(&listener);
}

static void a_replica_session_is_heard(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "SET session_replication_role = replica;"
                "INSERT INTO kv_store (key, value) VALUES ('a', '1')");
    assert_heard(&listener, "a");
    pg_exec(pg, "TRUNCATE kv_store");
    hear(&listener);
    assert_pg_value(pg, "truncate", "SELECT payload ->> 1 FROM heard");
    listener_deinit(&listener);
}

static void assert_denied(struct pg *pg, const char *sql)
{
    PGconn *conn = pg_connect(pg);
    PQclear(PQexec(conn, "SET SESSION AUTHORIZATION app"));
    PGresult *result = PQexec(conn, sql);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    assert_string_equal(sqlstate == NULL ? "accepted" : sqlstate, "42501");
    PQclear(result);
    PQfinish(conn);
}

static void rights_on_the_table_are_enough(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "CREATE ROLE app; GRANT CREATE ON SCHEMA public TO app;"
                "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON kv_store TO app");
    // They give no more than that.
    assert_denied(pg, "SELECT nextval('kv_store_version_seq')");
    assert_denied(pg, "SELECT kv_store_pgnear_notify()");
    assert_denied(pg, "CREATE TABLE own (key text, version bigint);"
                      "CREATE TRIGGER pgnear_insert AFTER INSERT ON own"
                      " REFERENCING NEW TABLE AS pgnear_new FOR EACH STATEMENT"
                      " EXECUTE FUNCTION kv_store_pgnear_notify()");
    pg_exec(pg, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;"
                "SET SESSION AUTHORIZATION app;"
                "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2');"
                "UPDATE kv_store SET value = '3' WHERE key = 'a';"
                "UPDATE kv_store SET key = 'c' WHERE key = 'a';"
                "DELETE FROM kv_store WHERE key = 'b';"
                "RESET SESSION AUTHORIZATION");
    assert_heard(&listener, "a, a, a deleted, b, b deleted, c");
    pg_exec(pg, "SET SESSION AUTHORIZATION app; TRUNCATE kv_store; RESET SESSION AUTHORIZATION");
    hear(&listener);
    assert_pg_value(pg, "truncate", "SELECT payload ->> 1 FROM heard");
    listener_deinit(&listener);
}

// Even for the owner, the function speaks only for its own table.
static void other_tables_are_not_announced(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options;
    struct listener listener = start(pg, &options);
    pg_exec(pg, "CREATE TABLE other (key text, version bigint);"
                "CREATE TRIGGER pgnear_insert AFTER INSERT ON other"
                " REFERENCING NEW TABLE AS pgnear_new FOR EACH STATEMENT"
                " EXECUTE FUNCTION kv_store_pgnear_notify();"
                "INSERT INTO other VALUES ('a', 1)");
    assert_heard(&listener, NULL);
    // A table renamed to ours brings the triggers of its old name along; they are replaced.
    struct schema_options renamed = options_of("renamed");
    pg_exec(pg, "ALTER TABLE kv_store RENAME TO renamed");
    create_schema(pg, &renamed);
    assert_complaints(pg, &renamed, NULL);
    listener_deinit(&listener);
}

// Statements on the parent and on a leaf are announced once each. Scripts for 12 to 14 put the row
// trigger on each leaf, later ones on the parent.
static void partitions_are_heard(struct scenario *scenario, const char *create_sql,
                                 struct schema_options *options)
{
    struct pg *pg = pg_start(scenario, NULL);
    run_script(pg, create_sql);
    run_script(pg, create_sql);
    assert_complaints(pg, options, NULL);
    assert_pg_value(pg, "16",
                    "SELECT count(*) FROM pg_inherits WHERE inhparent = 'kv_store'::regclass");
    struct listener listener = listen_to(pg, options);
    pg_exec(
        pg,
        "INSERT INTO kv_store (key, value) SELECT 'k' || i, '1' FROM generate_series(1, 200) i");
    hear(&listener);
    assert_pg_value(pg, "0", NOTHING_MISSED);
    assert_pg_value(pg, "200", "SELECT count(*) FROM changes");
    pg_exec(pg, "UPDATE kv_store SET value = '2'");
    hear(&listener);
    assert_pg_value(pg, "0", NOTHING_MISSED);
    assert_pg_value(pg, "200", "SELECT count(*) FROM changes");
    // Rows that move between partitions.
    pg_exec(pg, "UPDATE kv_store SET key = 'm' || key WHERE key IN ('k1', 'k2', 'k3')");
    assert_heard(&listener, "k1 deleted, k2 deleted, k3 deleted, mk1, mk2, mk3");
    assert_pg_value(pg, "3", "SELECT count(*) FROM changes JOIN kv_store USING (key, version)");

    const char *leaf = pg_value(pg, "SELECT tableoid::regclass FROM kv_store WHERE key = 'k4'");
    pg_exec(pg, "UPDATE %s SET value = '3', version = 1 WHERE key = 'k4'", leaf);
    assert_heard(&listener, "k4");
    assert_pg_value(pg, "1", "SELECT count(*) FROM changes JOIN kv_store USING (key, version)");
    pg_exec(pg, "DELETE FROM %s WHERE key = 'k4'", leaf);
    assert_heard(&listener, "k4 deleted");
    pg_exec(pg, "INSERT INTO %s (key, value) VALUES ('k4', '4')", leaf);
    assert_heard(&listener, "k4");
    pg_exec(pg,
            "SET session_replication_role = replica; UPDATE %s SET value = '5' WHERE key = 'k4';"
            "RESET session_replication_role",
            leaf);
    assert_heard(&listener, "k4");
    assert_pg_value(pg, "1", "SELECT count(*) FROM changes JOIN kv_store USING (key, version)");
    pg_exec(pg, "TRUNCATE %s", leaf);
    hear(&listener);
    assert_pg_value(pg, "[\"\", \"truncate\"]", "SELECT string_agg(payload::text, ';') FROM heard");
    pg_exec(pg, "TRUNCATE kv_store");
    hear(&listener);
    assert_pg_value(pg, "[\"\", \"truncate\"]", "SELECT string_agg(payload::text, ';') FROM heard");

    drop_schema(pg, options);
    assert_pg_value(pg, "0", "SELECT count(*) FROM pg_trigger");
    listener_deinit(&listener);
}

static void sixteen_partitions_are_heard(struct scenario *scenario)
{
    struct schema_options options = options_of("kv_store");
    options.partitions = 16;
    partitions_are_heard(scenario, sql_of(scenario, schema_create_sql, &options), &options);
}

static void partitions_are_heard_without_row_triggers_on_the_parent(struct scenario *scenario)
{
    struct schema_options options = options_of("kv_store");
    options.partitions = 16;
    char *sql = strdup(sql_of(scenario, schema_create_sql, &options));
    char *version = strstr(sql, ">= 150000");
    assert_non_null(version);
    memcpy(version, ">= 990000", strlen(">= 990000"));
    partitions_are_heard(scenario, scenario_text(scenario, "%s", sql), &options);
    free(sql);
}

static void assert_not_null_violation(struct pg *pg, const char *sql)
{
    PGconn *conn = pg_connect(pg);
    PGresult *result = PQexec(conn, sql);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "23502");
    PQclear(result);
    PQfinish(conn);
}

// Before PostgreSQL 15 a new partition has no row trigger either, so that what draws no version of
// its own is refused there until the script has run again.
static void a_partition_added_later_is_reported_and_caught(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE TABLE kv_store (key text COLLATE \"C\" PRIMARY KEY, value jsonb NOT NULL)"
                " PARTITION BY RANGE (key);"
                "CREATE TABLE low PARTITION OF kv_store FOR VALUES FROM (MINVALUE) TO ('m')");
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    assert_complaints(pg, &options, NULL);
    bool has_row_trigger = pg_int(pg, "SHOW server_version_num") >= 150000;
    pg_exec(pg, "CREATE TABLE high PARTITION OF kv_store FOR VALUES FROM ('m') TO (MAXVALUE)");
    assert_complaints(
        pg, &options,
        scenario_text(scenario,
                      "triggers: high has no trigger pgnear_delete; high has no trigger "
                      "pgnear_insert; high has no trigger pgnear_replicated; high has no trigger "
                      "pgnear_truncate; high has no trigger pgnear_update%s",
                      has_row_trigger ? "" : "; and 1 more"));
    struct listener listener = listen_to(pg, &options);
    if (has_row_trigger) {
        pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('z', '1')");
        assert_heard(&listener, "z");
    } else {
        assert_not_null_violation(pg, "INSERT INTO kv_store (key, value) VALUES ('z', '1')");
    }
    create_schema(pg, &options);
    assert_complaints(pg, &options, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('z', '2')"
                " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value");
    assert_heard(&listener, "z");
    pg_exec(pg, "UPDATE high SET value = '3'");
    assert_heard(&listener, "z");
    listener_deinit(&listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_statement_is_heard),
        SCENARIO(what_changes_nothing_is_not_announced),
        SCENARIO(a_changed_key_is_heard_under_both_names),
        SCENARIO(payloads_are_cut_below_the_limit),
        SCENARIO(a_bulk_change_announces_a_sweep),
        SCENARIO(a_plan_made_for_one_row_bears_many),
        SCENARIO(odd_keys_are_valid_json),
        SCENARIO(long_keys_do_not_fail),
        SCENARIO(the_origin_lasts_for_its_transaction_only),
        SCENARIO(a_replica_session_is_heard),
        SCENARIO(rights_on_the_table_are_enough),
        SCENARIO(other_tables_are_not_announced),
        SCENARIO(sixteen_partitions_are_heard),
        SCENARIO(partitions_are_heard_without_row_triggers_on_the_parent),
        SCENARIO(a_partition_added_later_is_reported_and_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
