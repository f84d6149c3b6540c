// A primary with an asynchronous standby dies, and the standby that takes its place has lost its
// last commits (SPEC, promise 8): the node finds its way there by itself, applies again what was
// lost, in order, and reads never show a state without its own acknowledged writes.

#include <signal.h>
#include <string.h>

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
    assert_rpc(node, "get", "[\"k\", {\"fresh\": true, \"timeout_ms\": 20000}]", "[2, \"*\"]");
    pg_exec(servers.standby, "UPDATE kv_store SET value = '3'");
    assert_rpc(node, "sync", "[{\"timeout_ms\": 20000}]", "true");
    assert_rpc(node, "get", "[\"k\"]", "[3, \"*\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_kind_of_write_is_applied_again),
        SCENARIO(reads_wait_for_what_is_applied_again),
        SCENARIO(connections_to_two_primaries_become_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
