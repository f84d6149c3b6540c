// Changes that others make (SPEC, promises 4 and 5): every way to change the table reaches the
// caches, and a feed that died, was cut or hangs leaves no stale value behind.

#include <stdio.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "system/harness/compare.h"
#include "system/harness/deadline.h"
#include "system/harness/proxy.h"
#include "system/harness/random.h"

enum { KEYS = 400, ROUNDS = 10 };

// A dead feed is known within 2 s; the rest is for a busy machine.
enum { GAP_KNOWN_MS = 2000, SLACK_MS = 2000 };

static const char *const LISTENER = "query ILIKE 'listen%'";

static void fill_table(struct pg *pg)
{
    pg_exec(pg,
            "INSERT INTO kv_store (key, value)"
            " SELECT 'k' || i, to_jsonb(i) FROM generate_series(1, %d) i",
            KEYS);
}

// Both are held by the cache afterwards, present and absent.
static void fill_cache(struct node *node, struct pg *pg)
{
    // What was announced before no longer keeps an answer out, and all answers are in.
    assert_rpc(node, "sync", "[{\"timeout_ms\": 30000}]", "true");
    assert_node_equals_table(node, pg, "k", KEYS);
    assert_node_equals_table(node, pg, "none", KEYS);
    assert_rpc(node, "sync", "[{\"timeout_ms\": 30000}]", "true");
    int64_t hits = node_stat_int(node, "cache.hits") + node_stat_int(node, "cache.negative_hits");
    assert_node_equals_table(node, pg, "k", KEYS);
    assert_node_equals_table(node, pg, "none", KEYS);
    int64_t now = node_stat_int(node, "cache.hits") + node_stat_int(node, "cache.negative_hits");
    if (now < hits + 2 * KEYS) {
        scenario_fail("of %d reads only %lld were hits", 2 * KEYS, (long long)(now - hits));
    }
}

// Changes, deletes and makes keys in one transaction.
static void change_some(struct pg *pg, struct random *random)
{
    int from = (int)random_below(random, KEYS);
    int value = (int)random_below(random, 1000000);
    pg_exec(pg,
            "BEGIN;"
            "UPDATE kv_store SET value = to_jsonb(%d + i) FROM generate_series(%d, %d) i"
            " WHERE key = 'k' || i;"
            "DELETE FROM kv_store WHERE key IN ('k%d', 'none%d');"
            "INSERT INTO kv_store (key, value) VALUES ('none%d', '%d'), ('k%d', '%d')"
            " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value;"
            "COMMIT",
            value, from, from + 40, from + 7, from + 8, from + 9, value, from + 10, value);
}

static void compare(struct node *node, struct pg *pg)
{
    assert_rpc(node, "sync", "[{\"timeout_ms\": 30000}]", "true");
    assert_node_equals_table(node, pg, "k", KEYS + 50);
    assert_node_equals_table(node, pg, "none", KEYS + 50);
}

// A new gap was counted and the feed is live.
static void await_recovery(struct node *node, int64_t gaps_before)
{
    node_await_stat_min(node, "postgres.gaps", gaps_before + 1);
    node_await_ready(node);
}

static void a_terminated_listener_leaves_nothing_stale(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 1);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    fill_table(pg);
    fill_cache(node, pg);
    int rounds = test_rounds(ROUNDS);
    for (int i = 0; i < rounds; i++) {
        int64_t gaps = node_stat_int(node, "postgres.gaps");
        pid_t listener = pg_backend(pg, LISTENER);
        change_some(pg, &random);
        pg_exec(pg, "SELECT pg_terminate_backend(%d)", (int)listener);
        change_some(pg, &random);
        await_recovery(node, gaps);
        change_some(pg, &random);
        compare(node, pg);
    }
    node_await_stat_min(node, "postgres.swept", 1);
}

// Once nothing is heard any more, the state says so in time; then the node finds a new way.
static void await_gap_and_return(struct node *node, int64_t began_us, int64_t gaps_before)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (node_stat_int(node, "postgres.gaps") == gaps_before) {
        if (!deadline_again(&deadline)) {
            scenario_fail("the gap is not noticed");
        }
    }
    int64_t took_ms = (clock_boot_us() - began_us) / CLOCK_US_PER_MS;
    if (took_ms > GAP_KNOWN_MS + SLACK_MS) {
        scenario_fail("the gap was known after %lld ms", (long long)took_ms);
    }
    fprintf(stderr, "the gap was known after %lld ms\n", (long long)took_ms);
    node_await_ready(node);
}

static void a_frozen_listener_backend_is_noticed(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 2);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    fill_table(pg);
    fill_cache(node, pg);
    pid_t listener = pg_backend(pg, LISTENER);
    int64_t gaps = node_stat_int(node, "postgres.gaps");
    int64_t began_us = clock_boot_us();
    pg_hold(pg, listener);
    change_some(pg, &random);
    await_gap_and_return(node, began_us, gaps);
    compare(node, pg);
    change_some(pg, &random);
    compare(node, pg);
    // What the old backend still says must not be believed, and must not disturb.
    pg_release(pg, listener);
    change_some(pg, &random);
    compare(node, pg);
}

static struct node *start_behind(struct scenario *scenario, struct proxy *proxy, struct pg *pg)
{
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\n", proxy_url(proxy));
    return node_start(scenario, pg, &(struct node_options){.config = config});
}

static void a_half_open_listener_is_noticed(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 3);
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct node *node = start_behind(scenario, proxy, pg);
    fill_table(pg);
    fill_cache(node, pg);
    for (int i = 0; i < 3; i++) {
        int64_t gaps = node_stat_int(node, "postgres.gaps");
        int64_t began_us = clock_boot_us();
        if (proxy_freeze_listeners(proxy) == 0) {
            scenario_fail("no connection has said LISTEN");
        }
        change_some(pg, &random);
        await_gap_and_return(node, began_us, gaps);
        compare(node, pg);
    }
}

static void half_open_connections_are_all_replaced(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 4);
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct node *node = start_behind(scenario, proxy, pg);
    fill_table(pg);
    fill_cache(node, pg);
    int64_t gaps = node_stat_int(node, "postgres.gaps");
    int64_t began_us = clock_boot_us();
    proxy_freeze_all(proxy);
    assert_rpc(node, "set", "[\"own\", 1]", "{\"seq\": \"*\"}");
    change_some(pg, &random);
    await_gap_and_return(node, began_us, gaps);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'own'");
    compare(node, pg);
}

// While nothing can be heard, what is held is not served beyond 2 s and max_stale.
static void a_feed_that_stays_dead_serves_nothing_stale(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config = scenario_text(
        scenario, "postgres.url = \"%s\"\ncache.max_stale = \"1s\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
    int64_t began_us = clock_boot_us();
    proxy_set_open(proxy, false);
    proxy_freeze_all(proxy);
    pg_exec(pg, "UPDATE kv_store SET value = '2'");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (json_matches(rpc(node, "get", "[\"k\", {\"timeout_ms\": 200}]"), "[1, \"*\"]")) {
        int64_t stale_ms = (clock_boot_us() - began_us) / CLOCK_US_PER_MS;
        if (stale_ms > GAP_KNOWN_MS + SLACK_MS || !deadline_again(&deadline)) {
            scenario_fail("a stale value is served after %lld ms", (long long)stale_ms);
        }
    }
    proxy_set_open(proxy, true);
    proxy_cut_all(proxy);
    node_await_ready(node);
    assert_rpc(node, "get", "[\"k\"]", "[2, \"*\"]");
}

// What a flush announces comes on another connection than its answer, and may come first.
static void assert_own_write_is_a_hit(struct node *node, struct proxy *proxy, const char *key)
{
    int held = proxy_cuts_fired(proxy);
    proxy_hold_at_commit(proxy);
    assert_rpc(node, "set", scenario_text(node->scenario, "[\"%s\", 1]", key), "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_int_equal(proxy_cuts_fired(proxy), held + 1);
    int64_t misses = node_stat_int(node, "cache.misses");
    assert_rpc(node, "get", scenario_text(node->scenario, "[\"%s\"]", key), "[1, \"*\"]");
    assert_int_equal(node_stat_int(node, "cache.misses"), misses);
}

// From the first flush of a connection on.
static void an_own_write_stays_a_hit(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "network");
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    assert_own_write_is_a_hit(node, proxy, "first");
    assert_own_write_is_a_hit(node, proxy, "second");
    int64_t gaps = node_stat_int(node, "postgres.gaps");
    proxy_cut_all(proxy);
    await_recovery(node, gaps);
    assert_own_write_is_a_hit(node, proxy, "third");
}

static void every_statement_reaches_both_caches(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *nodes[] = {
        node_start(scenario, pg, &(struct node_options){.name = "a"}),
        node_start(scenario, pg, &(struct node_options){.name = "b"}),
    };
    const char *const statements[] = {
        "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(i) FROM generate_series(1, "
        "400) i",
        "UPDATE kv_store SET value = '\"updated\"' WHERE key = 'k1'",
        "UPDATE kv_store SET value = value || '[1]'",
        "UPDATE kv_store SET key = 'k450' WHERE key = 'k2'",
        "UPDATE kv_store SET key = 'k' || (1000 - substr(key, 2)::int) WHERE key < 'k2'",
        "DELETE FROM kv_store WHERE key = 'k3'",
        "INSERT INTO kv_store (key, value) VALUES ('k3', '3') ON CONFLICT (key) DO NOTHING",
        "INSERT INTO kv_store (key, value) VALUES ('k4', '44')"
        " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
        "INSERT INTO kv_store (key, value, version) VALUES ('k5', '55', 1)"
        " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, version = 1",
        "WITH gone AS (DELETE FROM kv_store WHERE key = 'k6' RETURNING value)"
        " INSERT INTO kv_store (key, value) SELECT 'k460', value FROM gone",
        "BEGIN; DELETE FROM kv_store WHERE key = 'k7';"
        " INSERT INTO kv_store (key, value) VALUES ('k7', '77'); COMMIT",
        "SET session_replication_role = replica; UPDATE kv_store SET value = '8' WHERE key = 'k8';"
        " RESET session_replication_role",
        "BEGIN; SAVEPOINT s; UPDATE kv_store SET value = '9'; ROLLBACK TO s;"
        " UPDATE kv_store SET value = '10' WHERE key = 'k10'; COMMIT",
        "TRUNCATE kv_store",
        "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(i) FROM generate_series(1, "
        "400) i",
        "DELETE FROM kv_store",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        pg_exec(pg, "%s", statements[i]);
        assert_synced_nodes_equal_table(nodes, 2, pg, "k", 470);
    }
}

static void bulk_changes_reach_both_caches(struct scenario *scenario)
{
    enum { ROWS = 100000, HELD = 2000 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *nodes[] = {
        node_start(scenario, pg, &(struct node_options){.name = "a"}),
        node_start(scenario, pg, &(struct node_options){.name = "b"}),
    };
    // Known to be absent, by both.
    assert_synced_nodes_equal_table(nodes, 2, pg, "k", HELD);
    struct buffer rows = {0};
    for (int i = 1; i <= ROWS; i++) {
        buffer_printf(&rows, "k%d\t{\"n\": %d}\n", i, i);
    }
    pg_copy_in(pg, "COPY kv_store (key, value) FROM STDIN", buffer_slice(&rows));
    buffer_deinit(&rows);
    assert_pg_value(pg, "100000", "SELECT count(*) FROM kv_store");
    assert_synced_nodes_equal_table(nodes, 2, pg, "k", HELD);
    pg_exec(pg, "UPDATE kv_store SET value = '1'");
    assert_synced_nodes_equal_table(nodes, 2, pg, "k", HELD);
    pg_exec(pg, "DELETE FROM kv_store WHERE right(key, 1) = '7'");
    assert_synced_nodes_equal_table(nodes, 2, pg, "k", HELD);
    pg_exec(pg, "TRUNCATE kv_store");
    assert_synced_nodes_equal_table(nodes, 2, pg, "k", HELD);
}

static void long_keys_of_others_do_no_harm(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    fill_table(pg);
    fill_cache(node, pg);
    // 8000 bytes would not fit a notification, 512 not our limit; both must be accepted.
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES (repeat('x', 2600), '1')");
    pg_exec(pg, "INSERT INTO kv_store (key, value)"
                " SELECT repeat(chr(97 + i), 512), '1' FROM generate_series(0, 20) i");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES (repeat('y', 100000), '1')");
    pg_exec(pg, "UPDATE kv_store SET value = '2' WHERE length(key) > 511 OR key = 'k1'");
    pg_exec(pg, "UPDATE kv_store SET key = 'k2' || repeat('z', 600) WHERE key = 'k2'");
    compare(node, pg);
    pg_exec(pg, "DELETE FROM kv_store WHERE length(key) > 511");
    compare(node, pg);
}

static void writes_to_leaf_partitions_are_heard(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "postgres.partitions = 16\n"});
    assert_pg_value(pg, "16",
                    "SELECT count(*) FROM pg_inherits WHERE inhparent = 'kv_store'::regclass");
    fill_table(pg);
    fill_cache(node, pg);
    const char *leaf = pg_value(pg, "SELECT tableoid::regclass FROM kv_store WHERE key = 'k1'");
    pg_exec(pg, "UPDATE %s SET value = '\"leaf\"' WHERE key = 'k1'", leaf);
    compare(node, pg);
    pg_exec(pg, "DELETE FROM %s WHERE key = 'k1'", leaf);
    compare(node, pg);
    pg_exec(pg, "INSERT INTO %s (key, value) VALUES ('k1', '\"again\"')", leaf);
    compare(node, pg);
    pg_exec(pg, "DELETE FROM %s WHERE key = 'k1'", leaf);
    compare(node, pg);
    pg_copy_in(pg, scenario_text(scenario, "COPY %s (key, value) FROM STDIN", leaf),
               slice_of_string("k1\t\"copied\"\n"));
    compare(node, pg);
    pg_exec(pg, "TRUNCATE %s", leaf);
    compare(node, pg);
    pg_exec(pg, "UPDATE kv_store SET key = 'k440' WHERE key = 'k10'");
    pg_exec(pg, "UPDATE kv_store SET value = '0' WHERE key < 'k3'");
    compare(node, pg);
    assert_rpc(node, "set", "[\"k20\", 1]", "{\"seq\": \"*\"}");
    assert_rpc(node, "incr", "[\"k20\", 1]", "[2, \"*\"]");
    compare(node, pg);
    pg_exec(pg, "TRUNCATE kv_store");
    compare(node, pg);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(an_own_write_stays_a_hit),
        SCENARIO(every_statement_reaches_both_caches),
        SCENARIO(bulk_changes_reach_both_caches),
        SCENARIO(long_keys_of_others_do_no_harm),
        SCENARIO(writes_to_leaf_partitions_are_heard),
        SCENARIO(a_terminated_listener_leaves_nothing_stale),
        SCENARIO(a_frozen_listener_backend_is_noticed),
        SCENARIO(a_half_open_listener_is_noticed),
        SCENARIO(half_open_connections_are_all_replaced),
        SCENARIO(a_feed_that_stays_dead_serves_nothing_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
