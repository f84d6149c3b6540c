// PostgreSQL is killed under load, and the connections to it are cut in the middle of COMMIT (SPEC,
// promise 3): what a lost answer leaves open is settled by the node's row in PostgreSQL, so nothing
// is applied twice and nothing is lost.

#include <stdio.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/load.h"
#include "system/harness/proxy.h"
#include "system/harness/random.h"

enum { CRASHES = 8, CUTS = 60, ACKS_A_ROUND = 400, INCRS_A_ROUND = 12 };

enum { INCRS = 1u << LOAD_INCR_ID | 1u << LOAD_INCR_PLAIN };
enum { SETS = 1u << LOAD_COUNTER | 1u << LOAD_LEDGER };

static void postgresql_crashes(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 100);
    struct pg *pg = pg_start(scenario, &(struct pg_options){.durable = true});
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "log.level = \"info\"\n"});
    struct load *load = load_start(scenario, pg, node);
    int crashes = test_rounds(CRASHES);
    for (int i = 0; i < crashes; i++) {
        load_await_acks(load, INCRS, 1 + random_below(&random, INCRS_A_ROUND));
        pg_stop(pg, PG_STOP_CRASH);
        load_await_acks(load, SETS, random_below(&random, ACKS_A_ROUND));
        pg_start_again(pg);
    }
    load_await_acks(load, INCRS, INCRS_A_ROUND);
    load_stop_and_check(load);
}

// A connection that breaks again and again is made anew after growing pauses, which only a daemon
// just started does not make; and one that is killed here is in no ordinary moment either.
static void kill_now_and_then(struct node *node, int round)
{
    enum { ROUNDS_A_LIFE = 6 };
    if (round % ROUNDS_A_LIFE == ROUNDS_A_LIFE - 1) {
        node_kill(node);
        node_spawn(node);
    }
}

static void await_cut(struct proxy *proxy, int fired_before)
{
    struct deadline deadline = deadline_in(2 * DEADLINE_MS);
    while (proxy_cuts_fired(proxy) == fired_before) {
        if (!deadline_again(&deadline)) {
            scenario_fail("no COMMIT comes");
        }
    }
}

static void connections_are_cut_in_commit(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 101);
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config =
        scenario_text(scenario, "postgres.url = \"%s\"\nlog.level = \"info\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    struct load *load = load_start(scenario, pg, node);
    int cuts = test_rounds(CUTS);
    for (int i = 0; i < cuts; i++) {
        int fired = proxy_cuts_fired(proxy);
        enum proxy_cut cut = (enum proxy_cut)(1 + i % (PROXY_CUT_COUNT - 1));
        load_await_acks(load, INCRS, random_below(&random, INCRS_A_ROUND));
        proxy_cut_at_commit(proxy, cut);
        await_cut(proxy, fired);
        kill_now_and_then(node, i);
    }
    load_await_acks(load, INCRS, INCRS_A_ROUND);
    load_stop_and_check(load);
    fprintf(stderr, "cuts: %d\n", proxy_cuts_fired(proxy));
}

// The feed may be live a little before the flush connection, without which nothing is queued.
static void incr_once_it_can(struct node *node, const char *params)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strstr(rpc(node, "incr", params), "UNAVAILABLE") != NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("incr %s stays unavailable", params);
        }
    }
}

// Every kind of cut on one write whose answer the client waits for.
static void an_incr_is_applied_once_whatever_is_cut(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    int expected = 0;
    for (int cut = PROXY_CUT_NONE + 1; cut < PROXY_CUT_COUNT; cut++) {
        int fired = proxy_cuts_fired(proxy);
        node_await_ready(node);
        proxy_cut_at_commit(proxy, (enum proxy_cut)cut);
        // The answer may be lost with the connection, but the write goes on.
        incr_once_it_can(node, "[\"n\", 1, {\"timeout_ms\": 20000}]");
        expected++;
        await_cut(proxy, fired);
        node_await_ready(node);
        assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", "{\"seq\": \"*\"}");
        assert_pg_value(pg, scenario_text(scenario, "%d", expected),
                        "SELECT value FROM kv_store WHERE key = 'n'");
        assert_rpc(node, "get", "[\"n\"]", scenario_text(scenario, "[%d, \"*\"]", expected));
    }
}

// The answers to a batch are more than the network holds, and nobody takes them any more: the old
// backend keeps neither the row of the node nor the key.
static void answers_that_nobody_takes_hold_nothing_up(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config = scenario_text(
        scenario, "postgres.url = \"%s\"\npostgres.statement_timeout = \"1s\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    pg_exec(pg, "INSERT INTO kv_store (key, value)"
                " VALUES ('k', jsonb_build_object('large', repeat('x', 900000)))");
    proxy_cut_at_commit(proxy, PROXY_CUT_UNREAD);
    rpc_send(node_rpc(node), "merge", "[\"k\", {\"n\": 1}, {\"timeout_ms\": 20000}]");
    await_cut(proxy, 0);
    pg_await_value(pg, "1", "SELECT value -> 'n' FROM kv_store WHERE key = 'k'");
    node_await_log(node, "event=\"stranded batch ended\"");
    node_await_stat(node, "outbox.depth", "0");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

// A network so slow that a batch takes longer than PostgreSQL lets a statement run: it is sent to
// its end, PostgreSQL says so, and less is sent at a time.
static void a_slow_network_gets_all_there(struct scenario *scenario)
{
    enum { WRITES = 64, VALUE_BYTES = 8 * 1024, BYTES_A_SECOND = 150 * 1024 };
    static char value[VALUE_BYTES + 1];
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config = scenario_text(scenario,
                                       "postgres.url = \"%s\"\npostgres.connect_timeout = \"1s\"\n"
                                       "postgres.statement_timeout = \"700ms\"\n",
                                       proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    memset(value, 'x', VALUE_BYTES);
    proxy_set_open(proxy, false);
    proxy_cut_all(proxy);
    for (int i = 0; i < WRITES; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\", \"%s\"]", i, value),
                   "{\"seq\": \"*\"}");
    }
    proxy_set_rate(proxy, BYTES_A_SECOND);
    proxy_set_open(proxy, true);
    pg_await_value(pg, scenario_text(scenario, "%d", WRITES), "SELECT count(*) FROM kv_store");
    node_await_stat(node, "outbox.depth", "0");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

// A daemon that was killed had sent a write and not heard of it. The next one is asked for the same
// write again while it cannot reach PostgreSQL: it must not take it back as never sent.
static void what_an_earlier_life_sent_is_not_taken_back(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    incr_once_it_can(node, "[\"other\", 1]");
    proxy_set_open(proxy, false);
    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    rpc_send(node_rpc(node), "incr", "[\"n\", 1, {\"id\": \"once\"}]");
    await_cut(proxy, 0);
    pg_await_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'n'");
    node_kill(node);
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc_error(node, "incr", "[\"n\", 1, {\"id\": \"once\", \"timeout_ms\": 100}]",
                     "OUTCOME_UNKNOWN");
    proxy_set_open(proxy, true);
    node_await_state(node, "live");
    assert_rpc(node, "incr", "[\"n\", 1, {\"id\": \"once\", \"timeout_ms\": 20000}]", "[1, \"*\"]");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'n'");
}

// Two clients saw one version, and the daemon and PostgreSQL ended before either was answered. One
// of the two writes holds, and who repeats the other is told the version that it made.
static void one_version_lets_one_write_through(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "set", "[\"k\", 0]", "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    const char *version = pg_value(pg, "SELECT version FROM kv_store WHERE key = 'k'");
    PGconn *holder = pg_connect(pg);
    PQclear(PQexec(holder, "BEGIN; SELECT FROM kv_store WHERE key = 'k' FOR UPDATE"));
    const char *writes[2];
    for (int i = 0; i < 2; i++) {
        writes[i] = scenario_text(
            scenario, "[\"k\", %d, {\"if_version\": %s, \"id\": \"id-%d\", \"timeout_ms\": 20000}]",
            i + 1, version, i);
        rpc_send(rpc_open(scenario, node->socket_path), "set", writes[i]);
        node_await_stat(node, "outbox.depth", i == 0 ? "1" : "2");
    }
    node_kill(node);
    pg_stop(pg, PG_STOP_CRASH);
    PQfinish(holder);
    pg_start_again(pg);
    node_spawn(node);
    node_await_ready(node);
    const char *first = rpc(node, "set", writes[0]);
    const char *second = rpc(node, "set", writes[1]);
    version = pg_value(pg, "SELECT version FROM kv_store WHERE key = 'k'");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_null(strstr(first, "CONFLICT"));
    assert_non_null(strstr(first, version));
    assert_non_null(strstr(second, "CONFLICT"));
    assert_non_null(strstr(second, version));
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

// Every connection at once, and for a while no new one.
static void the_whole_network_breaks(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 102);
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    const char *config =
        scenario_text(scenario, "postgres.url = \"%s\"\nlog.level = \"info\"\n", proxy_url(proxy));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    struct load *load = load_start(scenario, pg, node);
    int cuts = test_rounds(CUTS / 3);
    for (int i = 0; i < cuts; i++) {
        load_await_acks(load, INCRS, 1 + random_below(&random, INCRS_A_ROUND));
        if (random_below(&random, 2) == 0) {
            proxy_cut_all(proxy);
        } else {
            proxy_set_open(proxy, false);
            proxy_cut_all(proxy);
            load_await_acks(load, SETS, random_below(&random, ACKS_A_ROUND));
            proxy_set_open(proxy, true);
        }
        kill_now_and_then(node, i);
    }
    load_await_acks(load, INCRS, INCRS_A_ROUND);
    load_stop_and_check(load);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(postgresql_crashes),
        SCENARIO(an_incr_is_applied_once_whatever_is_cut),
        SCENARIO(answers_that_nobody_takes_hold_nothing_up),
        SCENARIO(a_slow_network_gets_all_there),
        SCENARIO(what_an_earlier_life_sent_is_not_taken_back),
        SCENARIO(one_version_lets_one_write_through),
        SCENARIO(connections_are_cut_in_commit),
        SCENARIO(the_whole_network_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
