// The scripts that create, upgrade, examine and drop, against a real server: whatever the table's
// name and shape, once or by many at the same time, beside an application that goes on writing.

#include "system/harness/steps.h"
#include "system/schema_scripts.h"

// Everything in the catalogs that a script could touch, as one value.
#define CATALOGS                                                                                   \
    "SELECT md5(string_agg(row, ';' ORDER BY row)) FROM ("                                         \
    " SELECT concat('class', oid, xmin) AS row FROM pg_class"                                      \
    "  WHERE relnamespace = 'public'::regnamespace"                                                \
    " UNION ALL SELECT concat('proc', oid, xmin) FROM pg_proc"                                     \
    " UNION ALL SELECT concat('trigger', oid, xmin) FROM pg_trigger"                               \
    " UNION ALL SELECT concat('attribute', attrelid, '/', attnum, '/', xmin) FROM pg_attribute"    \
    ") rows"

static void a_fresh_table_is_as_the_contract_says(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    assert_complaints(
        pg, &options,
        "table: \"public\".\"kv_store\" does not exist\n"
        "functions: \"public\".\"kv_store_pgnear_notify\"() does not exist; "
        "\"public\".\"kv_store_pgnear_reap\"(integer, timestamptz, text) does not exist; "
        "\"public\".\"kv_store_pgnear_trim\"(interval, integer) does not exist; "
        "and 7 more\n"
        "sequence: \"public\".\"kv_store_version_seq\" does not exist\n"
        "node table: \"public\".\"pgnear_node\" does not exist");
    create_schema(pg, &options);
    assert_complaints(pg, &options, NULL);
    assert_pg_value(pg,
                    "key text not null, value jsonb not null, version bigint not null, "
                    "created_at timestamp with time zone not null, "
                    "updated_at timestamp with time zone not null, "
                    "expires_at timestamp with time zone",
                    "SELECT string_agg(concat(attname, ' ', format_type(atttypid, atttypmod),"
                    " CASE WHEN attnotnull THEN ' not null' END), ', ' ORDER BY attnum)"
                    " FROM pg_attribute WHERE attrelid = 'kv_store'::regclass AND attnum > 0");
    assert_pg_value(pg, "C",
                    "SELECT collname FROM pg_attribute a JOIN pg_collation c"
                    " ON c.oid = attcollation WHERE attrelid = 'kv_store'::regclass"
                    " AND attname = 'key'");
    assert_pg_value(pg,
                    "kv_store_expires_at_idx (expires_at) WHERE (expires_at IS NOT NULL), "
                    "kv_store_pkey (key), kv_store_updated_at_idx (updated_at)",
                    "SELECT string_agg(indexname || substring(indexdef FROM ' \\(.*'), ', '"
                    " ORDER BY indexname) FROM pg_indexes WHERE tablename = 'kv_store'");
    assert_pg_value(pg, "5",
                    "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'kv_store'::regclass"
                    " AND tgenabled = 'A'");
}

static void versions_follow_every_write(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2')");
    assert_pg_value(pg, "2", "SELECT count(DISTINCT version) FROM kv_store WHERE version > 0");
    int64_t first = pg_int(pg, "SELECT version FROM kv_store WHERE key = 'a'");
    // What a statement supplies is overridden, in an INSERT as in an UPDATE.
    int64_t second =
        pg_int(pg, "UPDATE kv_store SET version = 1 WHERE key = 'a' RETURNING version");
    assert_true(second > first);
    assert_pg_value(pg, "t",
                    "INSERT INTO kv_store (key, value, version) VALUES ('c', '3', 1)"
                    " RETURNING version > %lld",
                    (long long)second);
    assert_pg_value(pg, "t",
                    "INSERT INTO kv_store (key, value) VALUES ('a', '4') ON CONFLICT (key)"
                    " DO UPDATE SET value = EXCLUDED.value, version = EXCLUDED.version"
                    " RETURNING version > %lld",
                    (long long)second);
    // updated_at moves with an update, created_at does not.
    pg_exec(pg, "UPDATE kv_store SET created_at = '2020-01-01', updated_at = '2020-01-01'");
    assert_pg_value(pg, "3",
                    "SELECT count(*) FROM kv_store WHERE created_at = '2020-01-01'"
                    " AND updated_at > '2021-01-01'");
    // A trigger of the user's own that keeps a version, as object mappers do, does not win.
    pg_exec(pg, "CREATE FUNCTION own_version() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN NEW.version := OLD.version + 1000; RETURN NEW; END';"
                "CREATE TRIGGER version_trigger BEFORE UPDATE ON kv_store FOR EACH ROW"
                " EXECUTE FUNCTION own_version()");
    assert_pg_value(pg, "t",
                    "UPDATE kv_store SET value = '5' WHERE key = 'b' RETURNING"
                    " version = (SELECT last_value FROM kv_store_version_seq)");
}

// A daemon's restart must not wait for the application, nor make it wait.
static void running_it_again_touches_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    options.partitions = 4;
    create_schema(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT i, '1' FROM generate_series(1, 50) i");
    const char *before = pg_value(pg, CATALOGS);
    const char *rows =
        pg_value(pg, "SELECT md5(string_agg(k::text, '' ORDER BY key)) FROM kv_store k");
    PGconn *writer = pg_connect(pg);
    PQclear(PQexec(writer, "BEGIN"));
    PGresult *result = PQexec(writer, "UPDATE kv_store SET value = '2'");
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    pg_exec(pg, "BEGIN; %s", sql_of(scenario, schema_create_sql, &options));
    assert_pg_value(pg, "AccessShareLock",
                    "SELECT string_agg(DISTINCT mode, ', ') FROM pg_locks"
                    " WHERE pid = pg_backend_pid() AND relation IN ("
                    " SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)");
    pg_exec(pg, "COMMIT");
    PQclear(PQexec(writer, "ROLLBACK"));
    PQfinish(writer);
    assert_pg_value(pg, before, CATALOGS);
    assert_pg_value(pg, rows, "SELECT md5(string_agg(k::text, '' ORDER BY key)) FROM kv_store k");
}

struct start {
    struct pg *pg;
    const char *sql;
};

static void start_node(void *context, int index)
{
    (void)index;
    const struct start *start = context;
    PGconn *conn = pg_connect(start->pg);
    PGresult *result = PQexec(conn, start->sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        scenario_fail("%s", PQerrorMessage(conn));
    }
    PQclear(result);
    PQfinish(conn);
}

static void many_nodes_may_start_at_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("app.kv_store");
    options.partitions = 2;
    struct start start = {pg, scenario_text(scenario, "BEGIN; %s; COMMIT",
                                            sql_of(scenario, schema_create_sql, &options))};
    workers_run(scenario, 20, start_node, &start);
    assert_complaints(pg, &options, NULL);
}

static void a_table_of_four_columns_is_upgraded(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE TABLE kv_store (key text PRIMARY KEY, value jsonb,"
                " created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz);"
                "INSERT INTO kv_store SELECT 'k' || i, to_jsonb(i), '2020-01-01', '2021-01-01'"
                " FROM generate_series(1, 1000) i");
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    assert_complaints(pg, &options, NULL);
    assert_pg_value(pg, "1000",
                    "SELECT count(DISTINCT version) FROM kv_store WHERE key = 'k' || value::text"
                    " AND created_at = '2020-01-01' AND updated_at = '2021-01-01'"
                    " AND expires_at IS NULL");
    assert_pg_value(pg, NULL,
                    "SELECT attname FROM pg_attribute WHERE attname = 'version'"
                    " AND attrelid = 'kv_store'::regclass AND atthasdef");
    assert_pg_value(pg, "t",
                    "INSERT INTO kv_store (key, value) VALUES ('new', '1') RETURNING"
                    " updated_at = now() AND version > (SELECT max(version) FROM kv_store)");
    int64_t highest = pg_int(pg, "SELECT max(version) FROM kv_store");
    create_schema(pg, &options);
    assert_true(highest == pg_int(pg, "SELECT max(version) FROM kv_store"));
}

// What others made of the four columns: a varchar, times without a zone, a view on top, a column
// that is made from the key.
static void a_key_of_another_type_or_collation_is_upgraded(struct scenario *scenario)
{
    static const char *const MADE[][2] = {
        {"plain", "CREATE TABLE plain (key varchar(255) PRIMARY KEY, value jsonb NOT NULL,"
                  " created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now())"},
        {"foreign_coll", "CREATE COLLATION other (provider = icu, locale = 'en');"
                         "CREATE TABLE foreign_coll (key text COLLATE other PRIMARY KEY,"
                         " value jsonb, created_at timestamptz, updated_at timestamptz)"},
        {"viewed", "CREATE TABLE viewed (key text PRIMARY KEY, value jsonb,"
                   " created_at timestamptz, updated_at timestamptz);"
                   "CREATE VIEW upon AS SELECT key FROM viewed"},
        {"generated", "CREATE TABLE generated (key text PRIMARY KEY, value jsonb,"
                      " bytes int GENERATED ALWAYS AS (octet_length(key)) STORED)"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    for (size_t i = 0; i < sizeof MADE / sizeof MADE[0]; i++) {
        const char *table = MADE[i][0];
        pg_exec(pg, "%s; INSERT INTO %s (key, value) VALUES ('b', '1'), ('A', '2')", MADE[i][1],
                table);
        struct node *node =
            node_start(scenario, pg, &(struct node_options){.name = table, .table = table});
        assert_rpc(node, "get", "[\"b\"]", "[1, \"*\"]");
        assert_rpc(node, "set", "[\"a\", 3]", ACKED);
        assert_json(json_at(scenario, rpc(node, "scan", "[]"), "items"),
                    "[[\"A\", 2, \"*\"], [\"a\", 3, \"*\"], [\"b\", 1, \"*\"]]");
        assert_int_equal(node_stop(node), 0);
    }
    assert_pg_value(pg, "text",
                    "SELECT atttypid::regtype FROM pg_attribute WHERE attname = 'key'"
                    " AND attrelid = 'plain'::regclass");
}

static void a_table_with_a_version_keeps_it_below_the_sequence(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE TABLE kv_store (key text COLLATE \"C\", value jsonb NOT NULL,"
                " version bigint);"
                "INSERT INTO kv_store VALUES ('a', '1', 9000000000000000000), ('b', '2', NULL)");
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    assert_complaints(pg, &options, NULL);
    assert_pg_value(pg, "9000000000000000000", "SELECT version FROM kv_store WHERE key = 'a'");
    assert_pg_value(pg, "9000000000000000001", "SELECT version FROM kv_store WHERE key = 'b'");
}

// Runs a script that must fail, and returns SQLSTATE and message.
static const char *refusal_of(struct pg *pg, const char *sql)
{
    PGconn *conn = pg_connect(pg);
    PGresult *result = PQexec(conn, scenario_text(pg->scenario, "BEGIN; %s; COMMIT", sql));
    if (PQresultStatus(result) != PGRES_FATAL_ERROR) {
        scenario_fail("the script was accepted");
    }
    const char *refusal =
        scenario_text(pg->scenario, "%s %s", PQresultErrorField(result, PG_DIAG_SQLSTATE),
                      PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    PQclear(result);
    PQfinish(conn);
    return refusal;
}

static void a_table_that_cannot_be_ours_is_left_alone(struct scenario *scenario)
{
    static const struct {
        const char *table;
        const char *definition;
        const char *refusal;
    } CASES[] = {
        {"no_value", "TABLE no_value (key text PRIMARY KEY, other int)",
         "42804 table \"public\".\"no_value\" cannot hold the pairs: value (jsonb) is missing"},
        {"int_key",
         "TABLE int_key (key int PRIMARY KEY, value json, version numeric(9), expires_at "
         "timestamp)",
         "42804 table \"public\".\"int_key\" cannot hold the pairs: key is integer, not text; "
         "value is json, not jsonb; version is numeric(9,0), not bigint; "
         "expires_at is timestamp without time zone, not timestamptz"},
        {"other_pk", "TABLE other_pk (id int PRIMARY KEY, key text UNIQUE, value jsonb)",
         "42P16 the primary key of table \"public\".\"other_pk\" is not (key)"},
        {"deferred", "TABLE deferred (key text PRIMARY KEY DEFERRABLE, value jsonb)",
         "42P16 the primary key of table \"public\".\"deferred\" is DEFERRABLE: ON CONFLICT cannot "
         "use it"},
        {"parent",
         "TABLE parent (key text PRIMARY KEY, value jsonb); CREATE TABLE heir () INHERITS (parent)",
         "42809 table \"public\".\"parent\" cannot hold the pairs: tables inherit from it"},
        {"a_view", "VIEW a_view AS SELECT ''::text AS key, '1'::jsonb AS value",
         "42809 \"public\".\"a_view\" is not a table"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        pg_exec(pg, "CREATE %s", CASES[i].definition);
        struct schema_options options = options_of(CASES[i].table);
        const char *before = pg_value(pg, CATALOGS);
        assert_string_equal(refusal_of(pg, sql_of(scenario, schema_create_sql, &options)),
                            CASES[i].refusal);
        assert_pg_value(pg, before, CATALOGS);
        assert_non_null(complaints(pg, &options));
    }
}

// Writes, hears and reads back under the name.
static void assert_works(struct pg *pg, struct schema_options *options)
{
    create_schema(pg, options);
    create_schema(pg, options);
    assert_complaints(pg, options, NULL);
    struct schema_names names;
    schema_names_of(&options->table, &names);
    struct listener listener = listen_to(pg, options);
    pg_exec(pg, "INSERT INTO %s (key, value) VALUES ('a', '1')", names.table);
    assert_heard(&listener, "a");
    assert_pg_value(pg, "t", "SELECT t.version = c.version FROM %s t, changes c", names.table);
    drop_schema(pg, options);
    assert_pg_value(pg, "1", "SELECT count(*) FROM %s WHERE key = 'a'", names.table);
    listener_deinit(&listener);
    pg_exec(pg, "DROP TABLE %s; DROP TABLE heard CASCADE", names.table);
}

#define BYTES_63 "abcdefghijklmnopqrstuvwxyz0123456789_abcdefghijklmnopqrstuvwxyz"

static void any_name_will_do(struct scenario *scenario)
{
    static const char *const NAMES[] = {
        "\"My App\".\"Kv store\"",
        "\"it's \"\"quoted\"\"\".\"back\\slash\"",
        "\"@table@\".\"100%s of $pgnear$ $1\"",
        BYTES_63 "." BYTES_63,
        "\"" BYTES_63
        "\".\"\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
        "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
        "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\"",
        "\"select\".\"user\"",
    };
    struct pg *pg = pg_start(scenario, NULL);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        struct schema_options options = options_of(NAMES[i]);
        options.partitions = i % 2 == 0 ? 0 : 3;
        assert_works(pg, &options);
    }
    pg_exec(pg, "SET standard_conforming_strings = off");
    struct schema_options options = options_of("\"o'\\\".\"\\'\"");
    assert_works(pg, &options);
}

static void a_name_without_a_schema_is_looked_up(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE SCHEMA first; CREATE SCHEMA second; CREATE TABLE second.\"Kv\" (a int);"
                "SET search_path = first, second");
    struct table_name name = {.table = "Kv"};
    struct buffer sql = {0};
    schema_resolve_sql(&name, &sql);
    assert_pg_value(pg, "second", "%.*s", SLICE_FORMAT(buffer_slice(&sql)));
    pg_exec(pg, "DROP TABLE second.\"Kv\"");
    assert_pg_value(pg, "first", "%.*s", SLICE_FORMAT(buffer_slice(&sql)));
    pg_exec(pg, "SET search_path = nowhere");
    assert_pg_value(pg, NULL, "%.*s", SLICE_FORMAT(buffer_slice(&sql)));
    buffer_clear(&sql, SIZE_MAX);
    memcpy(name.schema, "My's", sizeof "My's");
    schema_resolve_sql(&name, &sql);
    assert_pg_value(pg, "My's", "%.*s", SLICE_FORMAT(buffer_slice(&sql)));
    buffer_deinit(&sql);
}

static void the_check_says_what_is_wrong(struct scenario *scenario)
{
    static const struct {
        const char *damage;
        const char *complaint;
    } CASES[] = {
        {"ALTER TABLE kv_store DISABLE TRIGGER pgnear_update",
         "triggers: kv_store does not always fire its trigger pgnear_update"},
        {"ALTER TABLE kv_store ENABLE TRIGGER zz_pgnear_version",
         "triggers: kv_store does not always fire its trigger zz_pgnear_version"},
        {"DROP TRIGGER pgnear_delete ON kv_store",
         "triggers: kv_store has no trigger pgnear_delete"},
        {"DROP FUNCTION pgnear_merge_patch(jsonb, jsonb)",
         "functions: \"public\".\"pgnear_merge_patch\"(jsonb, jsonb) does not exist"},
        {"CREATE OR REPLACE FUNCTION pgnear_incr_value(old jsonb, amount numeric) RETURNS jsonb"
         " LANGUAGE sql AS '/* pgnear schema 0 */ SELECT old'",
         "functions: \"public\".\"pgnear_incr_value\"(jsonb, numeric) is older than this release"},
        {"DROP INDEX kv_store_updated_at_idx", "index: updated_at has no index"},
        {"ALTER TABLE kv_store ALTER COLUMN version DROP NOT NULL",
         "column version: version allows NULL"},
        {"DROP TABLE pgnear_node", "node table: \"public\".\"pgnear_node\" does not exist"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        pg_exec(pg, "%s", CASES[i].damage);
        assert_complaints(pg, &options, CASES[i].complaint);
        create_schema(pg, &options);
        assert_complaints(pg, &options, NULL);
    }
    pg_exec(pg, "ALTER TABLE kv_store SET UNLOGGED");
    assert_complaints(pg, &options,
                      "table: \"public\".\"kv_store\" is not logged: "
                      "a crash of PostgreSQL empties it unnoticed");
    pg_exec(pg, "CREATE TABLE heir () INHERITS (kv_store)");
    assert_complaints(pg, &options,
                      "table: \"public\".\"kv_store\" has tables that inherit from it: "
                      "their keys may repeat its own");
    pg_exec(pg, "DROP TABLE heir; ALTER TABLE kv_store SET LOGGED; SET quote_all_identifiers = on");
    assert_complaints(pg, &options, NULL);
}

static void the_check_names_missing_rights(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    pg_exec(pg, "CREATE ROLE app; GRANT SELECT, INSERT, UPDATE ON kv_store TO app;"
                "GRANT USAGE ON kv_store_version_seq TO app;"
                "REVOKE EXECUTE ON FUNCTION pgnear_merge_patch FROM PUBLIC;"
                "SET ROLE app");
    assert_complaints(pg, &options,
                      "rights: app lacks DELETE on table \"public\".\"kv_store\", "
                      "SELECT on table \"public\".\"pgnear_node\", "
                      "INSERT on table \"public\".\"pgnear_node\", "
                      "UPDATE on table \"public\".\"pgnear_node\", "
                      "UPDATE on sequence \"public\".\"kv_store_version_seq\", "
                      "EXECUTE on function \"public\".\"pgnear_merge_patch\"(jsonb, jsonb)");
    pg_exec(pg, "RESET ROLE; GRANT DELETE ON kv_store TO app; GRANT UPDATE ON kv_store_version_seq"
                " TO app; GRANT ALL ON pgnear_node TO app;"
                "GRANT EXECUTE ON FUNCTION pgnear_merge_patch TO app; SET ROLE app");
    assert_complaints(pg, &options, NULL);
    // The script of an owner who is not here is not needed, so it does not fail for want of rights.
    create_schema(pg, &options);
}

// A daemon of the release before must not take newer functions back.
static void a_newer_function_stays(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    pg_exec(pg,
            "CREATE OR REPLACE FUNCTION pgnear_incr_value(old jsonb, amount numeric)"
            " RETURNS jsonb LANGUAGE sql AS '/* pgnear schema %d */ SELECT old'",
            SCHEMA_VERSION + 1);
    create_schema(pg, &options);
    assert_pg_value(pg, "t",
                    "SELECT prosrc LIKE '%%pgnear schema %d %%' FROM pg_proc"
                    " WHERE proname = 'pgnear_incr_value'",
                    SCHEMA_VERSION + 1);
    assert_complaints(pg, &options, NULL);
}

// What is ours is known by its name.
#define OURS                                                                                       \
    "SELECT string_agg(name, ', ' ORDER BY name) FROM ("                                           \
    " SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace"            \
    "  AND relname NOT LIKE 'kv_store_p%%' AND relname <> 'kv_store'"                              \
    " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"           \
    " UNION ALL SELECT tgname FROM pg_trigger) everything"

static void dropping_leaves_the_rows_and_nothing_else(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    for (int partitions = 0; partitions <= 3; partitions += 3) {
        struct schema_options options = options_of("kv_store");
        options.partitions = partitions;
        create_schema(pg, &options);
        pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES ('a', '1', '2030-01-01');"
                    // The one of an earlier release.
                    "CREATE FUNCTION kv_store_pgnear_reap(integer) RETURNS integer LANGUAGE sql"
                    " AS 'SELECT 0'");
        int64_t version = pg_int(pg, "SELECT version FROM kv_store");
        drop_schema(pg, &options);
        assert_pg_value(pg, NULL, OURS);
        assert_pg_value(pg, "a 1 t",
                        "SELECT concat(key, ' ', value, ' ',"
                        " expires_at = '2030-01-01') FROM kv_store");
        pg_exec(pg, "UPDATE kv_store SET value = '2'; INSERT INTO kv_store VALUES ('b', '3')");
        drop_schema(pg, &options);
        // The value changed while nobody looked, so it comes back with a version of its own.
        create_schema(pg, &options);
        assert_complaints(pg, &options, NULL);
        assert_true(pg_int(pg, "SELECT min(version) FROM kv_store") > version);
        drop_schema(pg, &options);
        pg_exec(pg, "DROP TABLE kv_store");
    }
}

static void dropping_one_table_leaves_the_other_at_work(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    struct schema_options other = options_of("other");
    create_schema(pg, &options);
    create_schema(pg, &other);
    pg_exec(pg,
            "INSERT INTO pgnear_node (node, table_name, incarnation) VALUES"
            " (md5(random()::text)::uuid, '\"public\".\"kv_store\"', md5(random()::text)::uuid),"
            " (md5(random()::text)::uuid, '\"public\".\"other\"', md5(random()::text)::uuid)");
    drop_schema(pg, &options);
    assert_complaints(pg, &other, NULL);
    assert_pg_value(pg, "\"public\".\"other\"",
                    "SELECT string_agg(table_name, ',') FROM pgnear_node");
    drop_schema(pg, &other);
    pg_exec(pg, "DROP TABLE other");
    assert_pg_value(pg, NULL, OURS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_fresh_table_is_as_the_contract_says),
        SCENARIO(versions_follow_every_write),
        SCENARIO(running_it_again_touches_nothing),
        SCENARIO(many_nodes_may_start_at_once),
        SCENARIO(a_table_of_four_columns_is_upgraded),
        SCENARIO(a_key_of_another_type_or_collation_is_upgraded),
        SCENARIO(a_table_with_a_version_keeps_it_below_the_sequence),
        SCENARIO(a_table_that_cannot_be_ours_is_left_alone),
        SCENARIO(any_name_will_do),
        SCENARIO(a_name_without_a_schema_is_looked_up),
        SCENARIO(the_check_says_what_is_wrong),
        SCENARIO(the_check_names_missing_rights),
        SCENARIO(a_newer_function_stays),
        SCENARIO(dropping_leaves_the_rows_and_nothing_else),
        SCENARIO(dropping_one_table_leaves_the_other_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
