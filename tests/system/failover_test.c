// A primary with an asynchronous standby dies, and the standby that takes its place has lost its
// last commits (SPEC, promise 8): the node finds its way there by itself, applies again what was
// lost, in order, and reads never show a state without its own acknowledged writes.

#include <signal.h>
#include <string.h>

#include "remove_tree.h"
#include "system/harness/deadline.h"
#include "system/harness/proxy.h"
#include "system/harness/replication.h"
#include "system/harness/steps.h"

// What the flush connection said last.
#define FLUSH_BACKEND "application_name = 'pgnear' AND query LIKE 'COMMIT%'"

struct servers {
    struct pg *primary;
    struct pg *standby;
};

static struct servers start_servers(struct scenario *scenario)
{
    struct servers servers = {.primary = pg_start(scenario, &(struct pg_options){.name = "a"})};
    servers.standby =
        pg_start(scenario, &(struct pg_options){.name = "b", .standby_of = servers.primary});
    return servers;
}

static struct node *start_node(struct scenario *scenario, const struct servers *servers,
                               const char *more)
{
    const char *config =
        scenario_text(scenario, "postgres.url = \"%s\"\n%s",
                      pg_pair_url(servers->primary->directory, servers->standby), more);
    struct node *node = node_start(scenario, NULL, &(struct node_options){.config = config});
    node_await_stat(node, "postgres.flushing", "1");
    return node;
}

// What is acknowledged from here on is lost with the primary.
static void cut(struct node *node, const struct servers *servers)
{
    assert_rpc(node, "flush", "[]", ACKED);
    pg_await_shipped(servers->primary, servers->standby);
    pg_cut_stream(servers->standby);
}

static void fail_over(const struct servers *servers)
{
    pg_kill(servers->primary);
    pg_promote(servers->standby);
}

static void await_healed(struct node *node)
{
    node_await_stat(node, "outbox.rewinds", "1");
    node_await_state(node, "live");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", ACKED);
    assert_rpc(node, "sync", "[{\"timeout_ms\": 20000}]", "true");
}

static void every_kind_of_write_is_applied_again(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct node *node = start_node(scenario, &servers, "postgres.versioning = true\n");
    const struct step before[] = {
        {"set", "[\"plain\", 1]", ACKED},
        {"incr", "[\"count\", 5]", "[5, \"*\"]"},
        {"merge", "[\"document\", {\"a\": 1, \"b\": 1}]", "[\"*\", \"*\"]"},
        {"set", "[\"gone\", 1, {\"ack\": \"postgres\"}]", "\"*\""},
        {"set", "[\"kept\", 1, {\"ack\": \"postgres\"}]", "\"*\""},
        {"set", "[\"chain\", 1, {\"ack\": \"postgres\"}]", "\"*\""},
    };
    RUN_STEPS(node, servers.primary, before);
    cut(node, &servers);
    const struct step lost[] = {
        {"set", "[\"plain\", 2]", ACKED},
        {"set", "[\"committed\", \"x\", {\"ack\": \"postgres\"}]",
         "{\"seq\":\"*\",\"version\":\"*\"}"},
        {"incr", "[\"count\", 10]", "[15, \"*\"]"},
        {"incr", "[\"count\", 1]", "[16, \"*\"]"},
        {"merge", "[\"document\", {\"b\": null, \"c\": 3}]", "[{\"a\": 1, \"c\": 3}, \"*\"]"},
        {"delete", "[[\"gone\"]]", ACKED},
        {"mset", "[[[\"m1\", 1], [\"m2\", 2]]]", ACKED},
        {"touch", "[\"kept\", 600000]", "true"},
        {"set", "[\"new\", 1, {\"if_absent\": true}]", "{\"seq\":\"*\",\"version\":\"*\"}"},
        {"set", "[\"new\", 2, {\"if_absent\": true}]", "!CONFLICT"},
        {KEEP, "SELECT version FROM kv_store WHERE key = 'chain'", NULL},
        {"set", "[\"chain\", 2, {\"if_version\": $v}]", "{\"seq\":\"*\",\"version\":\"*\"}"},
        {"set", "[\"chain\", 9, {\"if_version\": $v}]", "!CONFLICT"},
        // Decided on versions that go with the primary.
        {KEEP, "SELECT version FROM kv_store WHERE key = 'chain'", NULL},
        {"set", "[\"chain\", 3, {\"if_version\": $v}]", "{\"seq\":\"*\",\"version\":\"*\"}"},
        {KEEP, "SELECT version FROM kv_store WHERE key = 'new'", NULL},
        {"delete", "[\"new\", {\"if_version\": $v}]", "\"*\""},
        {"set", "[\"new\", 3, {\"if_absent\": true}]", "{\"seq\":\"*\",\"version\":\"*\"}"},
        {"flush", "[]", ACKED},
    };
    RUN_STEPS(node, servers.primary, lost);
    fail_over(&servers);
    await_healed(node);
    const struct step after[] = {
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'plain'", "2"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'committed'", "\"x\""},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'count'", "16"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'document'", "{\"a\": 1, \"c\": 3}"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'gone'", NULL},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'm2'", "2"},
        {SQL_VALUE, "SELECT expires_at > now() FROM kv_store WHERE key = 'kept'", "t"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'chain'", "3"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'new'", "3"},
        {"get", "[\"chain\"]", "[3, \"*\"]"},
        {"get", "[\"count\"]", "[16, \"*\"]"},
        {"get", "[\"gone\"]", "null"},
        {"dead_letters", "[]", "[]"},
    };
    RUN_STEPS(node, servers.standby, after);
    assert_true(node_stat_int(node, "outbox.reapplied") > 0);
    node_await_log(node, "rewind");
}

// A transaction of somebody else's that keeps what was lost from being applied again.
static PGconn *hold_rows(const struct pg *pg)
{
    PGconn *holder = pg_connect(pg);
    PGresult *result =
        PQexec(holder, "BEGIN; SELECT FROM kv_store WHERE key LIKE 'lost%' FOR UPDATE");
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    assert_int_equal(PQntuples(result), 1);
    PQclear(result);
    return holder;
}

struct read_case {
    const char *method;
    const char *impatient; // params with a short timeout
    const char *patient;
    const char *expected;
};

static void reads_wait_for_what_is_applied_again(struct scenario *scenario)
{
    static const struct read_case CASES[] = {
        {"get", "[\"lost:count\", {\"timeout_ms\": 200}]", "[\"lost:count\"]", "[3, \"*\"]"},
        {"get", "[\"lost:count\", {\"fresh\": true, \"timeout_ms\": 200}]",
         "[\"lost:count\", {\"fresh\": true}]", "[3, \"*\"]"},
        {"get", "[\"lost:count\", {\"min_version\": 9000000000000000000, \"timeout_ms\": 200}]",
         "[\"lost:count\", {\"min_version\": 9000000000000000000}]", "[3, \"*\"]"},
        {"get", "[\"lost:count\", {\"max_age_ms\": 0, \"timeout_ms\": 200}]",
         "[\"lost:count\", {\"max_age_ms\": 0}]", "[3, \"*\"]"},
        {"mget", "[[\"other\", \"lost:count\"], {\"timeout_ms\": 200}]",
         "[[\"other\", \"lost:count\"]]", "[[1, \"*\"], [3, \"*\"]]"},
        {"ttl", "[\"lost:count\", {\"timeout_ms\": 200}]", "[\"lost:count\"]", "\"*\""},
        {"scan", "[{\"prefix\": \"lost\", \"timeout_ms\": 200}]", "[{\"prefix\": \"lost\"}]",
         "{\"items\": [[\"lost:count\", 3, \"*\"]], \"next\": null}"},
        {"all", "[{\"prefix\": \"lost\", \"timeout_ms\": 200}]", "[{\"prefix\": \"lost\"}]",
         "{\"items\": [[\"lost:count\", 3, \"*\"]], \"next\": null}"},
        {"history", "[\"lost:count\", {\"limit\": 1, \"timeout_ms\": 200}]",
         "[\"lost:count\", {\"limit\": 1}]", "[[\"*\", 3, \"set\", \"*\"]]"},
        {"get", "[\"lost:count\", {\"at_version\": 9000000000000000000, \"timeout_ms\": 200}]",
         "[\"lost:count\", {\"at_version\": 9000000000000000000}]", "null"},
        {"backup", "[{\"timeout_ms\": 200}]", "[]", "{\"table\": \"*\", \"rows\": 2}"},
    };
    struct servers servers = start_servers(scenario);
    struct node *node = start_node(scenario, &servers, "postgres.versioning = true\n");
    assert_rpc(node, "set", "[\"other\", 1]", ACKED);
    assert_rpc(node, "incr", "[\"lost:count\", 1]", "[1, \"*\"]");
    cut(node, &servers);
    assert_rpc(node, "incr", "[\"lost:count\", 1]", "[2, \"*\"]");
    assert_rpc(node, "incr", "[\"lost:count\", 1]", "[3, \"*\"]");
    pg_kill(servers.primary);
    process_signal(node->process, SIGSTOP);
    pg_promote(servers.standby);
    PGconn *holder = hold_rows(servers.standby);
    process_signal(node->process, SIGCONT);
    // The flush waits for the row, and all else is there.
    pg_backend(servers.standby, "wait_event_type = 'Lock'");
    node_await_stat(node, "outbox.rewinds", "1");
    pg_await_value(servers.standby, "1", "SELECT value FROM kv_store WHERE key = 'lost:count'");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_rpc_error(node, CASES[i].method, CASES[i].impatient, "TIMEOUT");
    }
    PQfinish(holder);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_rpc(node, CASES[i].method, CASES[i].patient, CASES[i].expected);
    }
}

// No read shows anything else, while the connections for reading find their way.
static void await_fresh(struct node *node, const char *expected)
{
    static const char PARAMS[] = "[\"k\", {\"fresh\": true}]";
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *answer;
    while (strstr(answer = rpc(node, "get", PARAMS), "\"UNAVAILABLE\"") != NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("no fresh read succeeds: %s", answer);
        }
    }
    assert_json(answer, expected);
}

// The old primary goes on answering on the connections that are there, while new ones lead to the
// new primary, as where a name or an address was moved.
static void connections_to_two_primaries_become_one(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct proxy *proxy = proxy_start(scenario, servers.primary, "proxy");
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\n",
                                       pg_pair_url(proxy_directory(proxy), servers.standby));
    struct node *node = node_start(scenario, NULL, &(struct node_options){.config = config});
    node_await_stat(node, "postgres.flushing", "1");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    pg_await_shipped(servers.primary, servers.standby);
    pg_promote(servers.standby);
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
    proxy_set_open(proxy, false);
    pg_exec(servers.primary, "SELECT pg_terminate_backend(%d)",
            (int)pg_backend(servers.primary, FLUSH_BACKEND));
    assert_rpc(node, "set", "[\"k\", 2, {\"ack\": \"postgres\", \"timeout_ms\": 20000}]", "\"*\"");
    assert_pg_value(servers.standby, "2", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_pg_value(servers.primary, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    await_fresh(node, "[2, \"*\"]");
    pg_exec(servers.standby, "UPDATE kv_store SET value = '3'");
    assert_rpc(node, "sync", "[{\"timeout_ms\": 20000}]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[3, \"*\"]");
}

// ---- A server that takes no writes

static void assert_names_standby(const char *what, const char *answer)
{
    if (answer == NULL || strstr(answer, "standby") == NULL) {
        scenario_fail("%s: %s does not name the standby", what, answer == NULL ? "null" : answer);
    }
}

static void await_hit(struct node *node, const char *params)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t hits = node_stat_int(node, "cache.hits");
    do {
        rpc(node, "get", params);
        if (!deadline_again(&deadline)) {
            scenario_fail("%s is not cached", params);
        }
    } while (node_stat_int(node, "cache.hits") == hits);
}

// The one server that the node knows becomes a standby, for a time.
static void a_standby_is_only_waited_for(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct node *node = node_start(scenario, servers.primary, NULL);
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    await_hit(node, "[\"k\"]");
    pg_await_shipped(servers.primary, servers.standby);
    pg_stop(servers.primary, PG_STOP_FAST);
    pg_promote(servers.standby);
    pg_follow(servers.primary, servers.standby);
    node_await_log(node, "error=\"the server is a standby");
    // What is held is served, what is written waits, all else is refused in clear words.
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
    assert_rpc(node, "set", "[\"later\", 2]", ACKED);
    assert_rpc(node, "get", "[\"later\"]", "[2, null]");
    assert_names_standby("incr", assert_rpc_error(node, "incr", "[\"n\", 1]", "UNAVAILABLE"));
    assert_names_standby("get", assert_rpc_error(node, "get", "[\"absent\"]", "UNAVAILABLE"));
    assert_names_standby("hello",
                         json_at(scenario, rpc(node, "hello", "[\"test\"]"), "last_error"));
    assert_names_standby("check", rpc(node, "check", "[]"));
    assert_rpc(node, "dead_letters", "[]", "[]");
    assert_int_equal(node_stat_int(node, "outbox.depth"), 1);
    pg_await_shipped(servers.standby, servers.primary);
    pg_stop(servers.standby, PG_STOP_FAST);
    pg_promote(servers.primary);
    node_await_state(node, "live");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", ACKED);
    assert_pg_value(servers.primary, "2", "SELECT value FROM kv_store WHERE key = 'later'");
    assert_int_equal(node_stat_int(node, "outbox.rewinds"), 0);
}

// A change of roles in order loses nothing; the former primary, first in the list, is a standby.
static void a_demoted_primary_is_left(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct node *node = start_node(scenario, &servers, "");
    assert_rpc(node, "incr", "[\"n\", 1]", "[1, \"*\"]");
    pg_await_shipped(servers.primary, servers.standby);
    pg_stop(servers.primary, PG_STOP_FAST);
    assert_rpc(node, "set", "[\"waits\", 1]", ACKED);
    pg_promote(servers.standby);
    pg_follow(servers.primary, servers.standby);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", ACKED);
    assert_pg_value(servers.standby, "1", "SELECT value FROM kv_store WHERE key = 'waits'");
    pg_exec(servers.standby, "UPDATE kv_store SET value = '5' WHERE key = 'n'");
    node_await_state(node, "live");
    assert_rpc(node, "sync", "[{\"timeout_ms\": 20000}]", "true");
    assert_rpc(node, "get", "[\"n\"]", "[5, \"*\"]");
    // And back.
    pg_await_shipped(servers.standby, servers.primary);
    pg_stop(servers.standby, PG_STOP_FAST);
    pg_promote(servers.primary);
    assert_rpc(node, "set", "[\"back\", 1]", ACKED);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", ACKED);
    assert_pg_value(servers.primary, "1", "SELECT value FROM kv_store WHERE key = 'back'");
    assert_int_equal(node_stat_int(node, "outbox.rewinds"), 0);
    assert_rpc(node, "dead_letters", "[]", "[]");
}

// Nobody fences the old primary: the node goes on there, and what it wrote is applied again once it
// is gone. Another node follows the new one meanwhile.
static void a_split_brain_heals(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct node *behind = start_node(scenario, &servers, "");
    assert_rpc(behind, "incr", "[\"n\", 1]", "[1, \"*\"]");
    assert_rpc(behind, "set", "[\"both\", 0, {\"ack\": \"postgres\"}]", "\"*\"");
    cut(behind, &servers);
    pg_promote(servers.standby);
    struct node *ahead =
        node_start(scenario, servers.standby, &(struct node_options){.name = "ahead"});
    node_await_stat(ahead, "postgres.flushing", "1");
    assert_rpc(behind, "incr", "[\"n\", 10]", "[11, \"*\"]");
    assert_rpc(ahead, "incr", "[\"n\", 100]", "[101, \"*\"]");
    assert_rpc(behind, "set", "[\"both\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    assert_rpc(ahead, "set", "[\"both\", 2, {\"ack\": \"postgres\"}]", "\"*\"");
    assert_rpc(behind, "set", "[\"mine\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    pg_stop(servers.primary, PG_STOP_CRASH);
    await_healed(behind);
    assert_pg_value(servers.standby, "111", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_pg_value(servers.standby, "1", "SELECT value FROM kv_store WHERE key = 'mine'");
    const char *both = pg_value(servers.standby, "SELECT value FROM kv_store WHERE key = 'both'");
    assert_true(strcmp(both, "1") == 0 || strcmp(both, "2") == 0);
    struct node *const nodes[] = {behind, ahead};
    for (int i = 0; i < 2; i++) {
        assert_rpc(nodes[i], "sync", "[{\"timeout_ms\": 20000}]", "true");
        assert_rpc(nodes[i], "get", "[\"n\"]", "[111, \"*\"]");
        assert_rpc(nodes[i], "get", "[\"mine\"]", "[1, \"*\"]");
        assert_rpc(nodes[i], "get", "[\"both\"]", scenario_text(scenario, "[%s, \"*\"]", both));
    }
}

// ---- What a failover cannot give back

static void versions_drawn_again_leave_nothing_stale(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct node *node = start_node(scenario, &servers, "");
    cut(node, &servers);
    pg_exec(servers.primary, "INSERT INTO kv_store (key, value) VALUES ('k', '\"lost\"')");
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[\"lost\", \"*\"]");
    int64_t version = pg_int(servers.primary, "SELECT version FROM kv_store WHERE key = 'k'");
    process_signal(node->process, SIGSTOP);
    fail_over(&servers);
    // The same key with the same version and another value.
    pg_exec(servers.standby, "SELECT setval('kv_store_version_seq', %lld, false)",
            (long long)version);
    pg_exec(servers.standby, "INSERT INTO kv_store (key, value) VALUES ('k', '\"drawn again\"')");
    assert_int_equal(pg_int(servers.standby, "SELECT version FROM kv_store WHERE key = 'k'"),
                     version);
    process_signal(node->process, SIGCONT);
    node_await_log(node, "server_replaced=1");
    assert_rpc(node, "sync", "[{\"timeout_ms\": 20000}]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[\"drawn again\", \"*\"]");
    // And is not drawn a third time, nor is any that the lost server can have drawn.
    pg_exec(servers.standby, "UPDATE kv_store SET value = '3' WHERE key = 'k'");
    assert_true(pg_int(servers.standby, "SELECT version FROM kv_store WHERE key = 'k'") >
                version + 1000);
}

static void a_window_longer_than_retained_is_told(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    struct node *node = start_node(scenario, &servers, "writes.retain = \"0s\"\n");
    cut(node, &servers);
    assert_rpc(node, "set", "[\"gone\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    // A commit of the outbox after that gives up what is applied.
    int64_t commits = node_stat_int(node, "outbox.commits");
    node_await_stat_min(node, "outbox.commits", commits + 2);
    pg_kill(servers.primary);
    assert_rpc(node, "set", "[\"kept\", 2]", ACKED);
    pg_promote(servers.standby);
    await_healed(node);
    assert_int_equal(node_stat_int(node, "outbox.rewinds_short"), 1);
    node_await_log(node, "level=error event=\"writes lost in failover\"");
    assert_pg_value(servers.standby, NULL, "SELECT value FROM kv_store WHERE key = 'gone'");
    assert_pg_value(servers.standby, "2", "SELECT value FROM kv_store WHERE key = 'kept'");
    // The node does not go on as if it were there.
    assert_rpc(node, "get", "[\"gone\"]", "null");
}

// The cache may be on a memory file system, and goes with a crash: which server took what is
// applied is in the outbox too. This one has never heard of the node.
static void a_start_without_the_cache_knows_the_server(struct scenario *scenario)
{
    struct servers servers = start_servers(scenario);
    pg_cut_stream(servers.standby);
    struct node *node = start_node(scenario, &servers, "");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    assert_rpc(node, "incr", "[\"n\", 5]", "[5, \"*\"]");
    node_kill(node);
    assert_true(remove_tree(node->cache_dir));
    fail_over(&servers);
    node_start_again(node);
    await_healed(node);
    assert_pg_value(servers.standby, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_pg_value(servers.standby, "5", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_rpc(node, "get", "[\"n\"]", "[5, \"*\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_kind_of_write_is_applied_again),
        SCENARIO(reads_wait_for_what_is_applied_again),
        SCENARIO(connections_to_two_primaries_become_one),
        SCENARIO(a_standby_is_only_waited_for),
        SCENARIO(a_demoted_primary_is_left),
        SCENARIO(a_split_brain_heals),
        SCENARIO(a_start_without_the_cache_knows_the_server),
        SCENARIO(versions_drawn_again_leave_nothing_stale),
        SCENARIO(a_window_longer_than_retained_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
