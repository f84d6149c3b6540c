// The functions that a flush calls: opening a batch, merging, counting, and lifting the versions.

#include "system/schema_scripts.h"
#include "json/json.h"

static struct pg *start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    return pg;
}

#define NODE        "'00000000-0000-0000-0000-00000000000a'"
#define INCARNATION "'00000000-0000-0000-0000-0000000000b1'"

static void assert_refused(struct pg *pg, const char *call, const char *detail)
{
    PGconn *conn = pg_connect(pg);
    PGresult *result = PQexec(conn, scenario_text(pg->scenario, "SELECT pgnear_advance(%s)", call));
    assert_int_equal(PQresultStatus(result), PGRES_FATAL_ERROR);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), SCHEMA_SQLSTATE_NOT_ADVANCED);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL), detail);
    PQclear(result);
    PQfinish(conn);
}

static void a_batch_opens_only_on_the_row_it_expects(struct scenario *scenario)
{
    struct pg *pg = start(scenario);
    pg_exec(pg,
            "INSERT INTO pgnear_node (node, table_name, incarnation, applied_seq, results, seen_at)"
            " VALUES (" NODE ", 'kv_store', " INCARNATION ", 5, '[1]', '2020-01-01')");
    const char *const stays = "incarnation 00000000-0000-0000-0000-0000000000b1 is at 5";
    assert_refused(pg, NODE ", " INCARNATION ", 4, 9", stays);
    assert_refused(pg, NODE ", " INCARNATION ", 6, 9", stays);
    assert_refused(pg, NODE ", " NODE ", 5, 9", stays);
    assert_refused(pg, INCARNATION ", " INCARNATION ", 5, 9", "the node is not known");
    assert_refused(pg, "NULL, NULL, 5, 9", "the node is not known");
    assert_pg_value(pg, "5 [1]", "SELECT concat(applied_seq, ' ', results) FROM pgnear_node");
    pg_exec(pg, "SELECT pgnear_advance(" NODE ", " INCARNATION ", 5, 9)");
    assert_pg_value(pg, "9 [] t",
                    "SELECT concat(applied_seq, ' ', results, ' ',"
                    " seen_at > '2021-01-01') FROM pgnear_node");
    // The same batch, woken late at a backend that was given up.
    assert_refused(pg, NODE ", " INCARNATION ", 5, 9",
                   "incarnation 00000000-0000-0000-0000-0000000000b1 is at 9");
}

static void a_batch_has_an_origin_and_is_durable(struct scenario *scenario)
{
    static const char *const LEVELS[][2] = {{"off", "on"},
                                            {"local", "on"},
                                            {"remote_write", "on"},
                                            {"on", "on"},
                                            {"remote_apply", "remote_apply"}};
    struct pg *pg = start(scenario);
    pg_exec(pg, "INSERT INTO pgnear_node (node, table_name, incarnation) VALUES"
                " (" NODE ", 'kv_store', " INCARNATION ")");
    for (int i = 0; i < 5; i++) {
        pg_exec(pg, "SET synchronous_commit = %s; BEGIN", LEVELS[i][0]);
        pg_exec(pg, "SELECT pgnear_advance(" NODE ", " INCARNATION ", %d, %d)", i, i + 1);
        assert_pg_value(pg, LEVELS[i][1], "SHOW synchronous_commit");
        assert_pg_value(pg, "00000000-0000-0000-0000-00000000000a", "SHOW pgnear.origin");
        pg_exec(pg, "COMMIT");
        assert_pg_value(pg, LEVELS[i][0], "SHOW synchronous_commit");
        assert_pg_value(pg, "", "SELECT current_setting('pgnear.origin', true)");
    }
}

// One row a daemon, written with every batch: it must not grow.
static void the_row_of_a_node_is_updated_in_place(struct scenario *scenario)
{
    struct pg *pg = start(scenario);
    pg_exec(pg, "INSERT INTO pgnear_node (node, table_name, incarnation) VALUES"
                " (" NODE ", 'kv_store', " INCARNATION ")");
    for (int i = 0; i < 500; i++) {
        pg_exec(pg, "SELECT pgnear_advance(" NODE ", " INCARNATION ", %d, %d)", i, i + 1);
    }
    assert_pg_value(pg, "t", "SELECT pg_relation_size('pgnear_node') <= 2 * 8192");
}

// RFC 7396, appendix A, and what it leaves out.
static void merge_patches_follow_the_rfc(struct scenario *scenario)
{
    static const struct {
        const char *target;
        const char *patch;
        const char *result;
    } CASES[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {NULL, "{\"a\":1,\"b\":null}", "{\"a\":1}"},
        {NULL, "7", "7"},
        {"7", "{}", "{}"},
        {"{\"a\":1}", "{}", "{\"a\":1}"},
        {"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"c\":null,\"d\":{\"e\":null}}}",
         "{\"a\":{\"b\":1,\"d\":{}}}"},
        {"{\"a\":1}", "{\"a\":[null,{\"b\":null}]}", "{\"a\":[null,{\"b\":null}]}"},
        {"{\"\":1,\"a\":2}", "{\"\":null}", "{\"a\":2}"},
        {"{\"a\":1.50}", "{\"b\":1e2}", "{\"a\":1.50,\"b\":100}"},
    };
    struct pg *pg = start(scenario);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *target =
            CASES[i].target == NULL ? "NULL" : scenario_text(scenario, "'%s'", CASES[i].target);
        const char *expected = pg_value(pg, "SELECT '%s'::jsonb", CASES[i].result);
        assert_pg_value(pg, expected, "SELECT pgnear_merge_patch(%s, '%s')", target,
                        CASES[i].patch);
    }
    assert_pg_value(pg, NULL, "SELECT pgnear_merge_patch('1', NULL)");
}

static void merge_patches_may_be_deep_and_wide(struct scenario *scenario)
{
    struct pg *pg = start(scenario);
    pg_exec(pg,
            "SET search_path = pg_temp; CREATE TEMP TABLE patch AS"
            " SELECT (repeat('{\"a\":', 127) || '{\"old\":null,\"new\":1}' || repeat('}', 127))"
            " ::jsonb AS deep, (SELECT jsonb_object_agg('k' || i, CASE WHEN i %% 2 = 0 THEN i END)"
            " FROM generate_series(1, 20000) i) AS wide,"
            " (repeat('{\"a\":', 127) || '{\"old\":1}' || repeat('}', 127))::jsonb AS target");
    assert_pg_value(pg, "t",
                    "SELECT public.pgnear_merge_patch(target, deep) = (repeat('{\"a\":', 127)"
                    " || '{\"new\":1}' || repeat('}', 127))::jsonb FROM patch");
    assert_pg_value(pg, "t",
                    "SELECT public.pgnear_merge_patch(NULL, deep) = (repeat('{\"a\":', 127)"
                    " || '{\"new\":1}' || repeat('}', 127))::jsonb FROM patch");
    assert_pg_value(pg, "10001",
                    "SELECT count(*) FROM patch, jsonb_object_keys("
                    "public.pgnear_merge_patch('{\"k1\":0,\"kept\":1}', wide))");
}

static void increments_say_why_not(struct scenario *scenario)
{
    static const char *const SUMS[][3] = {
        {"NULL", "5", "5"},
        {"'1'", "2", "3"},
        {"'1.50'", "1", "2.50"},
        {"'1e2'", "-0.5", "99.5"},
        {"'9223372036854775807'", "1", "9223372036854775808"},
    };
    static const char *const REFUSED[][2] = {{"\"1\"", "string"},
                                             {"null", "null"},
                                             {"true", "boolean"},
                                             {"{}", "object"},
                                             {"[1]", "array"}};
    struct pg *pg = start(scenario);
    for (size_t i = 0; i < sizeof SUMS / sizeof SUMS[0]; i++) {
        assert_pg_value(pg, SUMS[i][2], "SELECT pgnear_incr_value(%s, %s)", SUMS[i][0], SUMS[i][1]);
    }
    PGconn *conn = pg_connect(pg);
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        PGresult *result = PQexec(
            conn, scenario_text(scenario, "SELECT pgnear_incr_value('%s', 1)", REFUSED[i][0]));
        assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "22023");
        assert_string_equal(
            PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY),
            scenario_text(scenario, "the value is not a number (type %s)", REFUSED[i][1]));
        PQclear(result);
    }
    PQfinish(conn);
}

// NULL where the value may be returned, else the SQLSTATE.
static const char *within(struct scenario *scenario, PGconn *conn, const char *json, size_t bytes)
{
    char bytes_max[24];
    snprintf(bytes_max, sizeof bytes_max, "%zu", bytes);
    const char *const values[] = {json, bytes_max};
    PGresult *result = PQexecParams(conn, "SELECT pgnear_within($1::jsonb, $2::bigint) = $1::jsonb",
                                    2, NULL, values, NULL, NULL, 0);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    sqlstate = sqlstate == NULL ? NULL : scenario_text(scenario, "%s", sqlstate);
    assert_true(sqlstate != NULL || *PQgetvalue(result, 0, 0) == 't');
    PQclear(result);
    return sqlstate;
}

// What the function says a value takes is what the daemon's MessagePack takes, to the byte.
static void assert_within(struct scenario *scenario, PGconn *conn, const char *json)
{
    struct json_limits limits = {.value_bytes_max = 16 << 20};
    struct buffer msgpack = {0};
    assert_int_equal(json_to_msgpack(slice_of_string(json), &limits, &msgpack, NULL), ERROR_NONE);
    size_t bytes = buffer_len(&msgpack);
    buffer_deinit(&msgpack);
    const char *refused = within(scenario, conn, json, bytes);
    if (refused != NULL) {
        scenario_fail("%.200s does not fit its %zu bytes: %s", json, bytes, refused);
    }
    refused = within(scenario, conn, json, bytes - 1);
    if (refused == NULL || strcmp(refused, SCHEMA_SQLSTATE_TOO_LARGE) != 0) {
        scenario_fail("%.200s fits %zu bytes: %s", json, bytes - 1, refused);
    }
}

// Arrays and objects of so many elements.
static void assert_lengths_within(struct scenario *scenario, PGconn *conn, int len)
{
    struct buffer array = {0}, object = {0};
    for (int k = 0; k < len; k++) {
        buffer_printf(&array, "%s%d", k > 0 ? "," : "", k);
        buffer_printf(&object, "%s\"%d\":%d", k > 0 ? "," : "", k, k);
    }
    assert_within(scenario, conn, scenario_text(scenario, "[%s]", buffer_text(&array)));
    assert_within(scenario, conn, scenario_text(scenario, "{%s}", buffer_text(&object)));
    buffer_deinit(&array);
    buffer_deinit(&object);
}

static void values_are_measured_to_the_byte(struct scenario *scenario)
{
    static const char *const VALUES[] = {
        "null",
        "true",
        "0",
        "127",
        "128",
        "255",
        "256",
        "65535",
        "65536",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "-1",
        "-32",
        "-33",
        "-128",
        "-129",
        "-32768",
        "-32769",
        "-2147483648",
        "-2147483649",
        "-9223372036854775808",
        "1.5",
        "-0.1",
        "1e22",
        "1.00",
        "1e300",
        "1e-300",
        "5e-3",
        "0.30000000000000004",
        "\"\"",
        "\"\\u0001\\\\\"",
        "\"\\u00e9\\ud83d\\ude00\"",
        "[]",
        "{}",
        "[[], {}, [null], {\"\": {\"a\": [1.5, \"x\"]}}]",
    };
    static const size_t LENGTHS[] = {1, 15, 16, 31, 32, 255, 256, 65535, 65536};
    struct pg *pg = start(scenario);
    PGconn *conn = pg_connect(pg);
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        assert_within(scenario, conn, VALUES[i]);
    }
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        int len = (int)LENGTHS[i];
        assert_within(scenario, conn, scenario_text(scenario, "\"%0*d\"", len, 0));
        assert_within(scenario, conn, scenario_text(scenario, "{\"%0*d\": [1]}", len, 0));
        if (len <= 256) {
            assert_lengths_within(scenario, conn, len);
        }
    }
    // A number that no double holds counts for a little more, never for less.
    static const char *const DECIMALS[] = {"18446744073709551616", "1e400", "1e-400",
                                           "-123456789012345678901234567890.5"};
    for (size_t i = 0; i < sizeof DECIMALS / sizeof DECIMALS[0]; i++) {
        assert_null(within(scenario, conn, DECIMALS[i], 64));
        assert_non_null(within(scenario, conn, DECIMALS[i], 7));
    }
    PQfinish(conn);
}

static void lifted_versions_are_new(struct scenario *scenario)
{
    struct pg *pg = start(scenario);
    assert_pg_value(pg, "t", "SELECT nextval('kv_store_version_seq') BETWEEN 1e15 AND 9e15");
    // As after a promotion: the sequence is behind what the nodes have seen.
    pg_exec(pg, "SELECT setval('kv_store_version_seq', 1000)");
    assert_pg_value(pg, "t", "SELECT pgnear_lift_versions('kv_store_version_seq') > 1e15");
    assert_pg_value(pg, "t", "SELECT nextval('kv_store_version_seq') > 1e15");
    // It never goes back.
    pg_exec(pg, "SELECT setval('kv_store_version_seq', 9e18::bigint)");
    assert_pg_value(pg, "9000000000000000000",
                    "SELECT pgnear_lift_versions('kv_store_version_seq')");
    assert_pg_value(pg, "9000000000000000001", "SELECT nextval('kv_store_version_seq')");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_batch_opens_only_on_the_row_it_expects),
        SCENARIO(a_batch_has_an_origin_and_is_durable),
        SCENARIO(the_row_of_a_node_is_updated_in_place),
        SCENARIO(merge_patches_follow_the_rfc),
        SCENARIO(merge_patches_may_be_deep_and_wide),
        SCENARIO(increments_say_why_not),
        SCENARIO(values_are_measured_to_the_byte),
        SCENARIO(lifted_versions_are_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
