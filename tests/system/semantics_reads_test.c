// What every read means (SPEC section 3), and all that is neither read nor write, over the wire.

#include <stdio.h>
#include <string.h>

#include "system/harness/compare.h"
#include "system/harness/steps.h"

static struct node *start(struct scenario *scenario, struct pg **pg)
{
    *pg = pg_start(scenario, NULL);
    return node_start(scenario, *pg, NULL);
}

#define VERSION_OF_K "SELECT version FROM kv_store WHERE key = 'k'"

static void get_and_its_options(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"get", "[\"k\"]", "null"},
        {"get", "[\"k\", {\"fresh\": true}]", "null"},
        {"set", "[\"k\", 1]", ACKED},
        // After this node's pending write, and always with a version.
        {"get", "[\"k\", {\"fresh\": true}]", "[1, \"*\"]"},
        {KEEP, VERSION_OF_K, NULL},
        {"get", "[\"k\"]", "[1, $v]"},
        {"set", "[\"k\", 2]", ACKED},
        {"get", "[\"k\", {\"max_age_ms\": 0}]", "[2, \"*\"]"},
        {KEEP, VERSION_OF_K, NULL},
        {"get", "[\"k\", {\"max_age_ms\": 0}]", "[2, $v]"},
        {"get", "[\"k\", {\"max_age_ms\": 600000}]", "[2, $v]"},
        {"get", "[\"k\", {\"min_version\": $v}]", "[2, $v]"},
        // PostgreSQL is asked once, and what it holds is answered.
        {"get", "[\"k\", {\"min_version\": 9000000000000000000}]", "[2, $v]"},
        {"get", "[\"none\", {\"min_version\": 5}]", "null"},
        {"get", "[\"k\", {\"at_version\": 1}]", "!BAD_REQUEST"},
        {"mget", "[[]]", "[]"},
        {"mget", "[[\"k\", \"none\"], {\"fresh\": true}]", "[[2, $v], null]"},
        {"delete", "[\"k\"]", ACKED},
        {"get", "[\"k\", {\"fresh\": true}]", "null"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
}

// A change that has not been heard yet is seen by those who ask for it.
static void fresh_reads_do_not_wait_for_the_feed(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    for (int i = 1; i <= 50; i++) {
        assert_rpc(node, "get", "[\"k\"]", i == 1 ? "null" : "[\"*\", \"*\"]");
        pg_exec(pg,
                "INSERT INTO kv_store (key, value) VALUES ('k', '%d')"
                " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                i);
        const char *version = pg_value(pg, "%s", VERSION_OF_K);
        const char *expected = scenario_text(scenario, "[%d, %s]", i, version);
        const char *options = i % 3 == 0 ? "{\"fresh\": true}"
                              : i % 3 == 1
                                  ? "{\"max_age_ms\": 0}"
                                  : scenario_text(scenario, "{\"min_version\": %s}", version);
        assert_rpc(node, "get", scenario_text(scenario, "[\"k\", %s]", options), expected);
        assert_rpc(node, "sync", "[]", "true");
        assert_rpc(node, "get", "[\"k\"]", expected);
    }
}

static void keys_expire(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"ttl", "[\"k\"]", "null"},
        {"set", "[\"k\", 1]", ACKED},
        {"ttl", "[\"k\"]", "null"},
        {"touch", "[\"none\", 1000]", "false"},
        {"touch", "[\"k\", 100000]", "true"},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {SQL_VALUE, "SELECT expires_at BETWEEN now() + '90s' AND now() + '101s' FROM kv_store",
         "t"},
        {"incr", "[\"k\", 1]", "[2, \"*\"]"},
        {SQL_VALUE, "SELECT expires_at IS NOT NULL FROM kv_store", "t"},
        {"merge", "[\"k\", {\"a\": 1}]", "[{\"a\": 1}, \"*\"]"},
        {"touch", "[\"k\", null]", "true"},
        {"ttl", "[\"k\"]", "null"},
        {SQL_VALUE, "SELECT expires_at IS NULL FROM kv_store", "t"},
        {"set", "[\"k\", 1, {\"ttl_ms\": 100000}]", ACKED},
        {"set", "[\"k\", 2]", ACKED}, // clears the expiry
        {"flush", "[]", ACKED},
        {SQL_VALUE, "SELECT expires_at IS NULL FROM kv_store", "t"},
        {"set", "[\"k\", 1, {\"ttl_ms\": 250}]", ACKED},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {AWAIT, "get [\"k\"]", "null"},
        {"ttl", "[\"k\"]", "null"},
        {"get", "[\"k\", {\"fresh\": true}]", "null"},
        {"mget", "[[\"k\"]]", "[null]"},
        {"scan", "[]", "{\"items\": [], \"next\": null}"},
        {"touch", "[\"k\", 1000]", "false"},
        {"delete", "[\"k\", {\"ack\": \"postgres\"}]",
         "{\"seq\": \"*\", \"deleted\": \"*\", \"version\": \"*\"}"},
        // An expired row is absent for conditions and counters.
        {"set", "[\"k\", 7, {\"ttl_ms\": 100}]", ACKED},
        {AWAIT, "get [\"k\"]", "null"},
        {"incr", "[\"k\", 1]", "[1, \"*\"]"},
        {"ttl", "[\"k\"]", "null"},
        {"set", "[\"k\", 7, {\"ttl_ms\": 100}]", ACKED},
        {AWAIT, "get [\"k\"]", "null"},
        {"set", "[\"k\", 8, {\"if_absent\": true}]", "{\"seq\": \"*\", \"version\": \"*\"}"},
        {"get", "[\"k\"]", "[8, \"*\"]"},
        // Somebody else's expiry.
        {SQL, "UPDATE kv_store SET expires_at = now() + '300ms'", NULL},
        {"sync", "[]", "true"},
        {AWAIT, "get [\"k\"]", "null"},
        {SQL, "UPDATE kv_store SET expires_at = NULL", NULL},
        {"sync", "[]", "true"},
        {"get", "[\"k\"]", "[8, \"*\"]"},
    };
    // Expired rows stay where they are.
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "expiry.reap_every = \"0s\"\n"});
    RUN_STEPS(node, pg, STEPS);
    assert_rpc(node, "set", "[\"t\", 1, {\"ttl_ms\": 60000}]", ACKED);
    for (int i = 0; i < 2; i++) { // pending, and clean
        int64_t left_ms = json_int_at(scenario, rpc(node, "ttl", "[\"t\"]"), "");
        if (left_ms < 40000 || left_ms > 60000) {
            scenario_fail("%lld ms are left of a minute", (long long)left_ms);
        }
        assert_rpc(node, "flush", "[]", ACKED);
    }
}

static void expiry_has_no_ends_of_time(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"set", "[\"k\", 8]", ACKED},
        {"flush", "[]", ACKED},
        {SQL, "UPDATE kv_store SET expires_at = 'infinity'", NULL},
        {"sync", "[]", "true"},
        {"incr", "[\"k\", 1]", "[9, \"*\"]"},
        {"ttl", "[\"k\"]", "null"},
        {SQL, "UPDATE kv_store SET expires_at = '294276-12-31 23:59:59'", NULL},
        {"sync", "[]", "true"},
        {"incr", "[\"k\", 1]", "[10, \"*\"]"},
        {"get", "[\"k\", {\"fresh\": true}]", "[10, \"*\"]"},
        {SQL, "UPDATE kv_store SET expires_at = '-infinity'", NULL},
        {"sync", "[]", "true"},
        {"get", "[\"k\"]", "null"},
        {"ttl", "[\"k\"]", "null"},
        {"incr", "[\"k\", 1]", "[1, \"*\"]"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
}

// Expiry is counted from the acknowledgement: what has expired before its flush never appears.
static void a_write_may_expire_before_its_flush(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    assert_rpc(node, "set", "[\"k\", \"before\", {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", \"short\", {\"ttl_ms\": 200}]", ACKED);
    static const struct step STEPS[] = {{AWAIT, "get [\"k\"]", "null"}};
    RUN_STEPS(node, pg, STEPS);
    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM kv_store WHERE expires_at IS NULL OR expires_at > now()");
    assert_rpc(node, "get", "[\"k\"]", "null");
}

static void scan_pages_through_the_table(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"scan", "[]", "{\"items\": [], \"next\": null}"},
        {"mset", "[[[\"b\", 2], [\"a\", 1], [\"ba\", 21], [\"B\", 0], [\"\303\274\", 9]]]", ACKED},
        {"scan", "[]",
         "{\"items\": [[\"B\", 0, \"*\"], [\"a\", 1, \"*\"], [\"b\", 2, \"*\"], [\"ba\", 21, "
         "\"*\"],"
         " [\"\303\274\", 9, \"*\"]], \"next\": null}"},
        {"scan", "[{\"prefix\": \"b\"}]",
         "{\"items\": [[\"b\", 2, \"*\"], [\"ba\", 21, \"*\"]], \"next\": null}"},
        {"scan", "[{\"limit\": 2}]",
         "{\"items\": [[\"B\", 0, \"*\"], [\"a\", 1, \"*\"]], \"next\": \"a\"}"},
        {"scan", "[{\"limit\": 2, \"after\": \"a\"}]",
         "{\"items\": [[\"b\", 2, \"*\"], [\"ba\", 21, \"*\"]], \"next\": \"ba\"}"},
        {"scan", "[{\"limit\": 2, \"after\": \"ba\"}]",
         "{\"items\": [[\"\303\274\", 9, \"*\"]], \"next\": null}"},
        {"scan", "[{\"prefix\": \"b\", \"after\": \"b\"}]",
         "{\"items\": [[\"ba\", 21, \"*\"]], \"next\": null}"},
        {"scan", "[{\"prefix\": \"zzz\"}]", "{\"items\": [], \"next\": null}"},
        {"all", "[{\"prefix\": \"b\"}]",
         "{\"items\": [[\"b\", 2, \"*\"], [\"ba\", 21, \"*\"]], \"next\": null}"},
        {"flush", "[]", ACKED},
        {SQL, "INSERT INTO kv_store (key, value) VALUES (repeat('l', 600), '1'), ('m', '13')",
         NULL},
        {SQL, "DELETE FROM kv_store WHERE key IN ('B', 'a')", NULL},
        {"scan", "[{\"prefix\": \"m\"}]", "{\"items\": [[\"m\", 13, \"*\"]], \"next\": null}"},
        {"scan", "[]",
         "{\"items\": [[\"b\", 2, \"*\"], [\"ba\", 21, \"*\"], [\"m\", 13, \"*\"],"
         " [\"\303\274\", 9, \"*\"]], \"next\": null, \"skipped\": [\"*\"]}"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
    // Page by page, everything once.
    pg_exec(pg, "TRUNCATE kv_store; INSERT INTO kv_store (key, value)"
                " SELECT 'k' || i, to_jsonb(i) FROM generate_series(1, 2500) i");
    int pages = 0;
    const char *after = "";
    while (strcmp(after, "null") != 0) {
        const char *expected = pg_value(
            pg,
            "SELECT jsonb_build_object('items', jsonb_agg(jsonb_build_array(key, value, version)"
            " ORDER BY key), 'next', CASE WHEN count(*) = 999 THEN max(key) END)"
            " FROM (SELECT * FROM kv_store WHERE key > '%s' ORDER BY key LIMIT 999) AS page",
            after);
        const char *page = rpc(
            node, "scan", scenario_text(scenario, "[{\"limit\": 999, \"after\": \"%s\"}]", after));
        assert_json(page, expected);
        const char *next = json_at(scenario, page, "next");
        after = strcmp(next, "null") == 0
                    ? next
                    : scenario_text(scenario, "%.*s", (int)strlen(next) - 2, next + 1);
        pages++;
    }
    assert_int_equal(pages, 3);
}

// A page ends at 8 MiB, and all is for what fits.
static void large_tables_are_for_scan(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value)"
                " SELECT 'k' || i, to_jsonb(repeat('x', 900000)) FROM generate_series(10, 25) i");
    assert_rpc_error(node, "all", "[{\"timeout_ms\": 20000}]", "TOO_LARGE");
    const char *page = rpc(node, "scan", "[{\"timeout_ms\": 20000}]");
    const char *next = json_at(scenario, page, "next");
    if (next == NULL || strcmp(next, "null") == 0 || json_at(scenario, page, "items.7") == NULL ||
        json_at(scenario, page, "items.10") != NULL) {
        scenario_fail("a page of 900 KB values ends at %s", next);
    }
    const char *all = rpc(node, "all", "[{\"prefix\": \"k2\", \"timeout_ms\": 20000}]");
    if (json_at(scenario, all, "items.5") == NULL || json_at(scenario, all, "items.6") != NULL) {
        scenario_fail("six rows of 900 KB are answered %.300s", all);
    }
}

// While the flush waits for a lock of psql's, scan lays the pending writes over the table.
static void scan_sees_pending_writes(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {SQL,
         "INSERT INTO kv_store (key, value)"
         " VALUES ('a', '1'), ('b', '2'), ('c', '3'), ('d', '4')",
         NULL},
        {"sync", "[]", "true"},
    };
    static const struct step LOCKED[] = {
        {"set", "[\"b\", \"pending\"]", ACKED},
        {"delete", "[\"c\"]", ACKED},
        {"set", "[\"aa\", \"new\"]", ACKED},
        {"scan", "[]",
         "{\"items\": [[\"a\", 1, \"*\"], [\"aa\", \"new\", null], [\"b\", \"pending\", null],"
         " [\"d\", 4, \"*\"]], \"next\": null}"},
        {"scan", "[{\"limit\": 2}]",
         "{\"items\": [[\"a\", 1, \"*\"], [\"aa\", \"new\", null]], \"next\": \"aa\"}"},
        {"scan", "[{\"prefix\": \"c\"}]", "{\"items\": [], \"next\": null}"},
        {"all", "[{\"prefix\": \"b\"}]",
         "{\"items\": [[\"b\", \"pending\", null]], \"next\": null}"},
        {"get", "[\"c\"]", "null"},
        {"invalidate", "[\"b\"]", "0"}, // never a pending write
        {"get", "[\"b\"]", "[\"pending\", null]"},
    };
    static const struct step AFTER[] = {
        {"flush", "[]", ACKED},
        {"scan", "[]",
         "{\"items\": [[\"a\", 1, \"*\"], [\"aa\", \"new\", \"*\"], [\"b\", \"pending\", \"*\"],"
         " [\"d\", 4, \"*\"]], \"next\": null}"},
        {SQL_VALUE, "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store", "a aa b d"},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
    pg_exec(pg, "BEGIN; SELECT 1 FROM kv_store WHERE key = 'b' FOR UPDATE");
    RUN_STEPS(node, pg, LOCKED);
    pg_exec(pg, "COMMIT");
    RUN_STEPS(node, pg, AFTER);
}

static void rows_beyond_our_limits_are_not_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "server.max_value = \"64KiB\"\n"});
    static const struct step STEPS[] = {
        {SQL,
         "INSERT INTO kv_store (key, value) VALUES ('large', to_jsonb(repeat('x', 70000))),"
         " ('deep', (repeat('[', 200) || repeat(']', 200))::jsonb), ('k', '1')",
         NULL},
        {"get", "[\"large\"]", "!TOO_LARGE"},
        {"get", "[\"deep\"]", "!TOO_LARGE"},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {"get", "[\"large\"]", "!TOO_LARGE"},
        {SQL, "UPDATE kv_store SET value = '2'", NULL},
        {"sync", "[]", "true"},
        {"get", "[\"large\"]", "[2, \"*\"]"},
        {"get", "[\"deep\"]", "[2, \"*\"]"},
    };
    RUN_STEPS(node, pg, STEPS);
}

static void watchers_hear_what_is_committed(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    struct rpc *watcher = node_open(node);
    assert_json(rpc_call(watcher, "watch", "[\"user:\"]"), "true");
    assert_json(rpc_call(watcher, "watch", "[\"user:1\"]"), "true");
    // Own changes, after the commit, one event however many prefixes match.
    assert_rpc(node, "set", "[\"other\", 0]", ACKED);
    assert_rpc(node, "set", "[\"user:1\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    assert_json(rpc_receive_event(watcher),
                scenario_text(scenario, "[\"changed\", [\"user:1\", %s, \"set\"]]",
                              pg_value(pg, "SELECT version FROM kv_store WHERE key = 'user:1'")));
    assert_rpc(node, "delete", "[\"user:1\"]", ACKED);
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"user:1\", \"*\", \"delete\"]]");
    // Foreign ones.
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('user:2', '2'), ('x', '1')");
    assert_json(rpc_receive_event(watcher),
                scenario_text(scenario, "[\"changed\", [\"user:2\", %s, \"set\"]]",
                              pg_value(pg, "SELECT version FROM kv_store WHERE key = 'user:2'")));
    pg_exec(pg, "BEGIN; UPDATE kv_store SET value = '3'; ROLLBACK");
    pg_exec(pg, "DELETE FROM kv_store WHERE key = 'user:2'");
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"user:2\", \"*\", \"delete\"]]");
    pg_exec(pg, "TRUNCATE kv_store");
    assert_json(rpc_receive_event(watcher), "[\"resync\", []]");
    assert_json(rpc_call(watcher, "unwatch", "[\"user:\"]"), "true");
    assert_rpc(node, "set", "[\"user:3\", 1]", ACKED);
    assert_rpc(node, "set", "[\"user:11\", 1]", ACKED);
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"user:11\", \"*\", \"set\"]]");
    // A gap.
    pg_exec(pg,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%%'");
    assert_json(rpc_receive_event(watcher), "[\"resync\", []]");
    assert_json(rpc_call(watcher, "unwatch", "[\"never watched\"]"), "true");
}

static void invalidate_counts_what_it_drops(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {"mset", "[[[\"a\", 1], [\"b\", 2], [\"c\", 3]]]", ACKED},
        {"flush", "[]", ACKED},
        {"sync", "[]", "true"},
        {"mget", "[[\"a\", \"b\", \"c\"]]", "[[1, \"*\"], [2, \"*\"], [3, \"*\"]]"},
        {"invalidate", "[\"a\"]", "1"},
        {"invalidate", "[\"a\"]", "0"},
        {"get", "[\"a\"]", "[1, \"*\"]"},
        {"sync", "[]", "true"},
        {"invalidate", "[]", "3"},
        {"invalidate", "[]", "0"},
        {"mget", "[[\"a\", \"b\", \"c\"]]", "[[1, \"*\"], [2, \"*\"], [3, \"*\"]]"},
        {"flush", "[{\"seq\": 1}]", ACKED},
    };
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    RUN_STEPS(node, pg, STEPS);
}

static void stats_and_check_tell_the_truth(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    const char *checks = rpc(node, "check", "[]");
    if (json_at(scenario, checks, "0.item") == NULL || strstr(checks, "\"ok\":false") != NULL) {
        scenario_fail("check of a healthy node says %s", checks);
    }
    assert_rpc(node, "mset", "[[[\"a\", 1], [\"b\", 2], [\"c\", 3]]]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    node_await_stat(node, "count", "3");
    if (node_stat_int(node, "size_bytes") <= 0 ||
        strstr(node_stat(node, "size"), " KB\"") == NULL) {
        scenario_fail("a small table has size %s", node_stat(node, "size"));
    }
    assert_json(node_stat(node, "backups"), "0");
    assert_json(node_stat(node, "outbox.depth"), "0");
    assert_json(node_stat(node, "postgres.state"), "\"live\"");
    assert_rpc(node, "get", "[\"none\"]", "null");
    assert_rpc(node, "sync", "[]", "true"); // the answer has entered the cache
    int64_t hits = node_stat_int(node, "cache.negative_hits");
    assert_rpc(node, "get", "[\"none\"]", "null");
    assert_int_equal(node_stat_int(node, "cache.negative_hits"), hits + 1);
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER ALL");
    checks = rpc(node, "check", "[]");
    if (strstr(checks, "\"ok\":false") == NULL) {
        scenario_fail("check does not see triggers that are disabled: %s", checks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(get_and_its_options),
        SCENARIO(fresh_reads_do_not_wait_for_the_feed),
        SCENARIO(keys_expire),
        SCENARIO(expiry_has_no_ends_of_time),
        SCENARIO(a_write_may_expire_before_its_flush),
        SCENARIO(scan_pages_through_the_table),
        SCENARIO(large_tables_are_for_scan),
        SCENARIO(scan_sees_pending_writes),
        SCENARIO(rows_beyond_our_limits_are_not_cached),
        SCENARIO(watchers_hear_what_is_committed),
        SCENARIO(invalidate_counts_what_it_drops),
        SCENARIO(stats_and_check_tell_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
