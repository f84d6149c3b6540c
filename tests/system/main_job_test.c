// What pgnear is for, from outside: two nodes and psql on one table. Each test names the promise of
// the public contract that it holds the daemon to.

#include <stdio.h>
#include <string.h>

#include "system/harness/node.h"

struct pair_of_nodes {
    struct pg *pg;
    struct node *a;
    struct node *b;
};

static struct pair_of_nodes start_two(struct scenario *scenario)
{
    struct pair_of_nodes two = {.pg = pg_start(scenario, NULL)};
    two.a = node_start(scenario, two.pg, &(struct node_options){.name = "a"});
    two.b = node_start(scenario, two.pg, &(struct node_options){.name = "b"});
    return two;
}

static void sync_both(const struct pair_of_nodes *two)
{
    assert_rpc(two->a, "sync", "[]", "true");
    assert_rpc(two->b, "sync", "[]", "true");
}

static void assert_both(const struct pair_of_nodes *two, const char *method, const char *params,
                        const char *expected)
{
    assert_rpc(two->a, method, params, expected);
    assert_rpc(two->b, method, params, expected);
}

static void says_who_it_is(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    assert_rpc(two.a, "ping", "[]", "\"pong\"");
    assert_rpc(two.a, "hello", "[\"main_job_test\"]",
               "{\"server\":\"pgnear\",\"version\":\"*\",\"protocol\":1,\"node\":\"*\","
               "\"table\":\"*\",\"cache_dir\":\"*\",\"read_only\":false,\"state\":\"live\","
               "\"last_error\":null}");
    const char *node_a = json_at(scenario, rpc(two.a, "hello", "[\"x\"]"), "node");
    const char *node_b = json_at(scenario, rpc(two.b, "hello", "[\"x\"]"), "node");
    assert_string_not_equal(node_a, node_b);
}

// Promise 1 and the way of a write: at once on its own node, then in PostgreSQL, then everywhere.
static void a_write_is_read_at_once_and_reaches_everybody(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    assert_both(&two, "get", "[\"greeting\"]", "null");
    assert_rpc(two.a, "set", "[\"greeting\", {\"word\": \"hello\", \"n\": [1, 2.5]}]",
               "{\"seq\":\"*\"}");
    assert_rpc(two.a, "get", "[\"greeting\"]", "[{\"n\":[1,2.5],\"word\":\"hello\"},\"*\"]");

    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
    assert_pg_value(two.pg, "hello", "SELECT value->>'word' FROM kv_store WHERE key = 'greeting'");
    assert_rpc(two.b, "sync", "[]", "true");
    assert_rpc(two.b, "get", "[\"greeting\"]",
               scenario_text(scenario, "[{\"n\":[1,2.5],\"word\":\"hello\"},%s]",
                             pg_value(two.pg, "SELECT version FROM kv_store")));
}

static void an_overwrite_and_a_delete_follow(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    assert_rpc(two.a, "set", "[\"k\", 1]", "{\"seq\":\"*\"}");
    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
    sync_both(&two);
    assert_both(&two, "get", "[\"k\"]", "[1,\"*\"]");

    assert_rpc(two.b, "set", "[\"k\", 2]", "{\"seq\":\"*\"}");
    assert_rpc(two.b, "flush", "[]", "{\"seq\":\"*\"}");
    sync_both(&two);
    assert_both(&two, "get", "[\"k\"]", "[2,\"*\"]");

    assert_rpc(two.a, "delete", "[\"k\"]", "{\"seq\":\"*\"}");
    assert_rpc(two.a, "get", "[\"k\"]", "null");
    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
    sync_both(&two);
    assert_both(&two, "get", "[\"k\"]", "null");
    assert_pg_value(two.pg, "0", "SELECT count(*) FROM kv_store");
}

// Reads the key twice on both nodes; the second read must be the cache's. What the first read
// brings is stored behind its answer, and sync comes after that.
static void assert_cached(const struct pair_of_nodes *two, const char *params, const char *expected)
{
    assert_both(two, "get", params, expected);
    sync_both(two);
    struct node *nodes[] = {two->a, two->b};
    for (size_t i = 0; i < 2; i++) {
        int64_t hits = node_stat_int(nodes[i], "cache.hits");
        int64_t misses = node_stat_int(nodes[i], "cache.misses");
        assert_rpc(nodes[i], "get", params, expected);
        assert_int_equal(node_stat_int(nodes[i], "cache.hits"), hits + 1);
        assert_int_equal(node_stat_int(nodes[i], "cache.misses"), misses);
    }
}

// Promise 4: plain SQL is heard by every node.
static void what_psql_changes_is_seen_by_both(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    assert_cached(&two, "[\"k\"]", "null");

    pg_exec(two.pg, "INSERT INTO kv_store (key, value) VALUES ('k', '{\"by\": \"insert\"}')");
    sync_both(&two);
    assert_cached(&two, "[\"k\"]", "[{\"by\":\"insert\"},\"*\"]");

    pg_exec(two.pg, "UPDATE kv_store SET value = '\"updated\"' WHERE key = 'k'");
    sync_both(&two);
    assert_cached(&two, "[\"k\"]", "[\"updated\",\"*\"]");

    pg_exec(two.pg, "UPDATE kv_store SET key = 'renamed' WHERE key = 'k'");
    sync_both(&two);
    assert_cached(&two, "[\"k\"]", "null");
    assert_cached(&two, "[\"renamed\"]", "[\"updated\",\"*\"]");

    pg_exec(two.pg, "DELETE FROM kv_store WHERE key = 'renamed'");
    sync_both(&two);
    assert_cached(&two, "[\"renamed\"]", "null");

    pg_exec(two.pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2')");
    sync_both(&two);
    assert_cached(&two, "[\"a\"]", "[1,\"*\"]");
    pg_exec(two.pg, "TRUNCATE kv_store");
    sync_both(&two);
    assert_cached(&two, "[\"a\"]", "null");
    assert_cached(&two, "[\"b\"]", "null");
}

static void a_rolled_back_change_is_not_seen(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    pg_exec(two.pg, "INSERT INTO kv_store (key, value) VALUES ('k', '\"committed\"')");
    sync_both(&two);
    assert_both(&two, "get", "[\"k\"]", "[\"committed\",\"*\"]");
    pg_exec(two.pg, "BEGIN; UPDATE kv_store SET value = '\"never\"'; ROLLBACK");
    sync_both(&two);
    assert_cached(&two, "[\"k\"]", "[\"committed\",\"*\"]");
}

// A change too large for notifications to name its keys.
static void a_copy_of_many_rows_is_seen_by_both(struct scenario *scenario)
{
    enum { ROWS = 100000 };
    struct pair_of_nodes two = start_two(scenario);
    const char *const params[] = {"[\"row:000000\"]", "[\"row:054321\"]", "[\"row:099999\"]"};
    const char *const values[] = {"[{\"n\":0},\"*\"]", "[{\"n\":54321},\"*\"]",
                                  "[{\"n\":99999},\"*\"]"};
    for (size_t i = 0; i < 3; i++) {
        assert_both(&two, "get", params[i], "null");
    }
    struct buffer rows = {0};
    for (int i = 0; i < ROWS; i++) {
        buffer_printf(&rows, "row:%06d\t{\"n\": %d}\n", i, i);
    }
    pg_copy_in(two.pg, "COPY kv_store (key, value) FROM STDIN", buffer_slice(&rows));
    buffer_deinit(&rows);
    sync_both(&two);
    for (size_t i = 0; i < 3; i++) {
        assert_both(&two, "get", params[i], values[i]);
    }
    pg_exec(two.pg, "UPDATE kv_store SET value = '\"all\"'");
    sync_both(&two);
    for (size_t i = 0; i < 3; i++) {
        assert_both(&two, "get", params[i], "[\"all\",\"*\"]");
    }
}

// Promise 6: one spelling while the write is pending, once it is cached, and fetched.
static void a_value_reads_the_same_pending_cached_and_fetched(struct scenario *scenario)
{
    static const char *const values[] = {
        "null",
        "true",
        "0",
        "-1",
        "9223372036854775807",
        "18446744073709551615",
        "-9223372036854775808",
        "1.5",
        "1e400",
        "0.1",
        "12345678901234567890.123456789",
        "\"\"",
        "\"\\u00e9\\u4e16\\ud83d\\ude00 \\\" \\\\ \\n\"",
        "[]",
        "{}",
        "[[[[1]]],{\"a\":{\"b\":null}}]",
        "{\"bb\":1,\"a\":2,\"\":3}",
    };
    struct pair_of_nodes two = start_two(scenario);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const char *key = scenario_text(scenario, "[\"v%zu\"]", i);
        const char *expected = scenario_text(scenario, "[%s,\"*\"]", values[i]);
        assert_rpc(two.a, "set", scenario_text(scenario, "[\"v%zu\",%s]", i, values[i]),
                   "{\"seq\":\"*\"}");
        assert_rpc(two.a, "get", key, expected);
        assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
        assert_rpc(two.a, "get", key, expected);
        assert_rpc(two.a, "invalidate", key, "\"*\"");
        assert_rpc(two.a, "get", key, expected);
        assert_rpc(two.b, "sync", "[]", "true");
        assert_rpc(two.b, "get", key, expected);
    }
}

static void conditions_hold_or_conflict(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    const char *made = rpc(two.a, "set", "[\"k\", 1, {\"if_absent\": true}]");
    int64_t version = json_int_at(scenario, made, "version");
    const char *refused =
        assert_rpc_error(two.b, "set", "[\"k\", 2, {\"if_absent\": true}]", "CONFLICT");
    assert_int_equal(json_int_at(scenario, refused, "version"), version);

    const char *params =
        scenario_text(scenario, "[\"k\", 2, {\"if_version\": %lld}]", (long long)version);
    const char *changed = rpc(two.b, "set", params);
    assert_true(json_int_at(scenario, changed, "version") > version);
    assert_rpc_error(two.a, "set", params, "CONFLICT");
    assert_rpc(two.b, "get", "[\"k\"]", "[2,\"*\"]");
    assert_pg_value(two.pg, "2", "SELECT value FROM kv_store WHERE key = 'k'");
}

static void the_other_methods_do_their_work(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    assert_rpc(two.a, "mset", "[[[\"m:1\", 1], [\"m:2\", {\"a\":1,\"b\":2}]]]", "{\"seq\":\"*\"}");
    assert_rpc(two.a, "mget", "[[\"m:2\", \"m:none\", \"m:1\"]]",
               "[[{\"a\":1,\"b\":2},\"*\"],null,[1,\"*\"]]");
    assert_rpc(two.a, "merge", "[\"m:2\", {\"b\":null,\"c\":3}]", "[{\"a\":1,\"c\":3},\"*\"]");
    assert_rpc(two.a, "get", "[\"m:2\"]", "[{\"a\":1,\"c\":3},\"*\"]");
    assert_rpc(two.a, "incr", "[\"m:1\", 41]", "[42,\"*\"]");
    assert_rpc(two.a, "incr", "[\"m:new\", -3]", "[-3,\"*\"]");
    assert_rpc(two.a, "scan", "[{\"prefix\":\"m:\",\"limit\":2}]",
               "{\"items\":[[\"m:1\",42,\"*\"],[\"m:2\",{\"a\":1,\"c\":3},\"*\"]],"
               "\"next\":\"m:2\"}");
    assert_rpc(two.a, "scan", "[{\"prefix\":\"m:\",\"after\":\"m:2\"}]",
               "{\"items\":[[\"m:new\",-3,\"*\"]],\"next\":null}");
    assert_rpc(two.a, "ttl", "[\"m:1\"]", "null");
    assert_rpc(two.a, "touch", "[\"m:1\", 60000]", "true");
    int64_t left_ms = json_int_at(scenario, rpc(two.a, "ttl", "[\"m:1\"]"), "");
    assert_in_range(left_ms, 1, 60000);
    assert_rpc(two.a, "touch", "[\"m:1\", null]", "true");
    assert_rpc(two.a, "ttl", "[\"m:1\"]", "null");
    assert_rpc(two.a, "touch", "[\"m:none\", 1000]", "false");
    assert_rpc(two.a, "delete", "[[\"m:1\", \"m:2\", \"m:none\"], {\"ack\":\"postgres\"}]",
               "{\"seq\":\"*\",\"deleted\":2,\"version\":\"*\"}");
    assert_pg_value(two.pg, "m:new", "SELECT string_agg(key, ' ') FROM kv_store");
}

// Promise 3, for the incr that all share and for the keys of each.
struct load {
    struct node *nodes[2];
};

enum { WORKERS = 16, SETS = 200, INCRS = 25 };

static void write_much(void *context, int index)
{
    struct load *load = context;
    struct node *node = load->nodes[index % 2];
    struct scenario *scenario = node->scenario;
    struct rpc *connection = node_open(node);
    for (int i = 0; i < SETS; i++) {
        const char *key = scenario_text(scenario, "w:%d:%d", index, i);
        const char *set =
            rpc_call(connection, "set", scenario_text(scenario, "[\"%s\",{\"i\":%d}]", key, i));
        const char *got = rpc_call(connection, "get", scenario_text(scenario, "[\"%s\"]", key));
        if (!json_matches(set, "{\"seq\":\"*\"}") ||
            !json_matches(got, scenario_text(scenario, "[{\"i\":%d},\"*\"]", i))) {
            scenario_fail("%s: %s, then %s", key, set, got);
        }
    }
    for (int i = 0; i < INCRS; i++) {
        const char *counted = rpc_call(connection, "incr", "[\"counter\",1]");
        if (!json_matches(counted, "[\"*\",\"*\"]")) {
            scenario_fail("incr: %s", counted);
        }
    }
}

static void many_clients_write_each_thing_once(struct scenario *scenario)
{
    struct pair_of_nodes two = start_two(scenario);
    struct load load = {{two.a, two.b}};
    workers_run(scenario, WORKERS, write_much, &load);
    assert_rpc(two.a, "flush", "[]", "{\"seq\":\"*\"}");
    assert_rpc(two.b, "flush", "[]", "{\"seq\":\"*\"}");
    assert_int_equal(pg_int(two.pg, "SELECT count(*) FROM kv_store WHERE key LIKE 'w:%%'"),
                     WORKERS * SETS);
    assert_int_equal(pg_int(two.pg, "SELECT value FROM kv_store WHERE key = 'counter'"),
                     WORKERS * INCRS);
    assert_pg_value(two.pg, "0",
                    "SELECT count(*) FROM kv_store "
                    "WHERE key LIKE 'w:%%' AND value->>'i' <> split_part(key, ':', 3)");
    sync_both(&two);
    assert_both(&two, "get", "[\"counter\"]",
                scenario_text(scenario, "[%d,\"*\"]", WORKERS * INCRS));
}

// Promise 2: what was acknowledged is there after kill -9, and goes to PostgreSQL once it is back.
static void acknowledged_writes_survive_kill_and_an_absent_server(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_stop(pg, PG_STOP_FAST);
    for (int i = 0; i < 100; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\",%d]", i, i), "{\"seq\":\"*\"}");
    }
    node_kill(node);
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "get", "[\"k99\"]", "[99,null]");
    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", "{\"seq\":\"*\"}");
    assert_pg_value(pg, "100", "SELECT count(*) FROM kv_store WHERE key = 'k' || value::text");
    assert_int_equal(node_stop(node), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(says_who_it_is),
        SCENARIO(a_write_is_read_at_once_and_reaches_everybody),
        SCENARIO(an_overwrite_and_a_delete_follow),
        SCENARIO(what_psql_changes_is_seen_by_both),
        SCENARIO(a_rolled_back_change_is_not_seen),
        SCENARIO(a_copy_of_many_rows_is_seen_by_both),
        SCENARIO(a_value_reads_the_same_pending_cached_and_fetched),
        SCENARIO(conditions_hold_or_conflict),
        SCENARIO(the_other_methods_do_their_work),
        SCENARIO(many_clients_write_each_thing_once),
        SCENARIO(acknowledged_writes_survive_kill_and_an_absent_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
