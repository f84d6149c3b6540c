// PostgreSQL is away (SPEC, promise 5): what is held is served for cache.max_stale, what is pending
// always, writes go on until the outbox is full, all else is refused in the documented words; and
// when it comes back everything drains in order.

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/node.h"

enum { MAX_STALE_MS = 3000, AT_ONCE_MS = 1000 };

static const char FELT[] = "clients are answered UNAVAILABLE";

static int64_t now_ms(void)
{
    return clock_boot_us() / CLOCK_US_PER_MS;
}

// UNAVAILABLE, with the word that the documentation promises.
static void assert_no_connection(struct node *node, const char *method, const char *params)
{
    const char *error = assert_rpc_error(node, method, params, "UNAVAILABLE");
    const char *message = json_at(node->scenario, error, "message");
    if (strstr(message, "connection") == NULL) {
        scenario_fail("%s %s: %s does not speak of the connection", method, params, message);
    }
    assert_json(json_at(node->scenario, error, "retryable"), "true");
}

// When the key was last served, in ms of now_ms().
static int64_t await_refusal(struct node *node, const char *params, const char *expected)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t served_ms = now_ms();
    const char *answer;
    while (json_matches(answer = rpc(node, "get", params), expected)) {
        served_ms = now_ms();
        if (!deadline_again(&deadline)) {
            scenario_fail("get %s is served for ever", params);
        }
    }
    assert_no_connection(node, "get", params);
    return served_ms;
}

static void cached_keys_are_served_until_max_stale(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "cache.max_stale = \"3s\"\n"});
    assert_rpc(node, "set", "[\"clean\", {\"a\": 1}]", "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"clean\"]", "[{\"a\": 1}, \"*\"]");
    assert_rpc(node, "get", "[\"absent\"]", "null");
    int64_t before_ms = now_ms();
    pg_stop(pg, PG_STOP_FAST);
    int64_t after_ms = now_ms();
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"pending\", 7]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"pending\"]", "[7, null]");
    assert_no_connection(node, "get", "[\"never seen\"]");

    int64_t served_ms = await_refusal(node, "[\"clean\"]", "[{\"a\": 1}, \"*\"]");
    // The last heartbeat that came back was sent within a second before the stop.
    if (served_ms < before_ms + MAX_STALE_MS - 1500) {
        scenario_fail("refused %lld ms after the stop", (long long)(served_ms - before_ms));
    }
    if (served_ms > after_ms + MAX_STALE_MS) {
        scenario_fail("still served %lld ms after the stop", (long long)(served_ms - after_ms));
    }
    assert_no_connection(node, "get", "[\"absent\"]");
    assert_rpc(node, "get", "[\"pending\"]", "[7, null]");
    assert_rpc(node, "mget", "[[\"pending\"]]", "[[7, null]]");
    // The log says once that clients feel it.
    node_await_log(node, FELT);
    assert_int_equal(node_log_count(node, FELT), 1);

    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "get", "[\"clean\"]", "[{\"a\": 1}, \"*\"]");
    assert_rpc(node, "get", "[\"absent\"]", "null");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "7", "SELECT value FROM kv_store WHERE key = 'pending'");
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_no_connection(node, "get", "[\"never seen either\"]");
    assert_no_connection(node, "get", "[\"nor this\"]");
    node_await_log(node, "never seen either");
    assert_int_equal(node_log_count(node, FELT), 2);
    pg_start_again(pg);
}

static void what_needs_the_connection_is_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");

    assert_no_connection(node, "incr", "[\"k\", 1]");
    assert_no_connection(node, "merge", "[\"k\", {\"a\": 1}]");
    assert_no_connection(node, "touch", "[\"k\", 1000]");
    assert_no_connection(node, "set", "[\"k\", 2, {\"if_version\": 1}]");
    assert_no_connection(node, "set", "[\"new\", 2, {\"if_absent\": true}]");
    assert_no_connection(node, "delete", "[\"k\", {\"if_version\": 1}]");
    assert_no_connection(node, "get", "[\"k\", {\"fresh\": true}]");
    assert_no_connection(node, "get", "[\"never seen\"]");
    assert_no_connection(node, "mget", "[[\"k\", \"never seen\"]]");
    assert_no_connection(node, "scan", "[]");
    assert_no_connection(node, "all", "[]");
    assert_no_connection(node, "sync", "[]");
    assert_rpc(node, "ping", "[]", "\"pong\"");
    assert_json(node_stat(node, "count"), "null");
    assert_json(node_stat(node, "size"), "null");

    // It is in the outbox, so what becomes of it is only not known yet.
    const char *error = assert_rpc_error(
        node, "set", "[\"k\", 3, {\"ack\": \"postgres\", \"timeout_ms\": 300}]", "OUTCOME_UNKNOWN");
    int64_t seq = json_int_at(scenario, error, "seq");
    assert_rpc(node, "get", "[\"k\"]", "[3, null]");

    pg_start_again(pg);
    assert_rpc(node, "flush",
               scenario_text(scenario, "[{\"seq\": %lld, \"timeout_ms\": 20000}]", (long long)seq),
               "{\"seq\": \"*\"}");
    assert_pg_value(pg, "3", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_pg_value(pg, "1", "SELECT count(*) FROM kv_store");
}

// Writes <prefix><number> with a KiB each until one is refused; how many were acknowledged.
static int fill_outbox(struct node *node)
{
    char filling[1024];
    memset(filling, 'x', sizeof filling - 1);
    filling[sizeof filling - 1] = '\0';
    for (int number = 1; number < 20000; number++) {
        const char *params = scenario_text(node->scenario, "[\"k%06d\", \"%s\"]", number, filling);
        int64_t asked_ms = now_ms();
        const char *answer = rpc(node, "set", params);
        if (!json_matches(answer, "{\"seq\": \"*\"}")) {
            assert_json(json_at(node->scenario, answer, "error.code"), "\"OVERLOADED\"");
            assert_json(json_at(node->scenario, answer, "error.retryable"), "true");
            if (now_ms() - asked_ms > AT_ONCE_MS) {
                scenario_fail("OVERLOADED came after %lld ms", (long long)(now_ms() - asked_ms));
            }
            return number - 1;
        }
    }
    scenario_fail("the outbox is never full");
}

static void writes_go_on_until_the_outbox_is_full(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg,
                   &(struct node_options){.config = "writes.outbox_size = \"1MiB\"\n"
                                                    "cache.max_stale = \"1s\"\n"
                                                    "writes.batch_rows = 50\n"});
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    int acked = fill_outbox(node);
    fprintf(stderr, "%d KiB were acknowledged\n", acked);
    if (acked < 200) {
        scenario_fail("an outbox of 1 MiB took no more than %d KiB", acked);
    }
    for (int number = 1; number <= acked; number += 37) {
        assert_rpc(node, "get", scenario_text(scenario, "[\"k%06d\"]", number), "[\"*\", null]");
    }
    // What was refused was not done.
    assert_no_connection(node, "get", scenario_text(scenario, "[\"k%06d\"]", acked + 1));
    node_kill(node);
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "get", scenario_text(scenario, "[\"k%06d\"]", acked), "[\"*\", null]");

    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, scenario_text(scenario, "%d", acked), "SELECT count(*) FROM kv_store");
    // Keys were written in byte order, so versions drawn in order rise with them.
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM (SELECT version < lag(version) OVER (ORDER BY key)"
                    " AS earlier FROM kv_store) AS pairs WHERE earlier");
    node_await_stat(node, "outbox.depth", "0");
    for (int number = 0; number < 100; number++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"later%d\", 1]", number),
                   "{\"seq\": \"*\"}");
    }
}

static void the_daemon_starts_without_postgresql(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_stop(pg, PG_STOP_FAST);
    struct node *node = node_create(scenario, pg, NULL);
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", [1, 2]]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"k\"]", "[[1, 2], null]");
    assert_no_connection(node, "get", "[\"other\"]");
    assert_no_connection(node, "incr", "[\"k\", 1]");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (
        json_matches(json_at(scenario, rpc(node, "hello", "[\"test\"]"), "last_error"), "null")) {
        if (!deadline_again(&deadline)) {
            scenario_fail("hello tells no last_error");
        }
    }
    node_kill(node);
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "get", "[\"k\"]", "[[1, 2], null]");

    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "[1, 2]", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_rpc(node, "get", "[\"k\"]", "[[1, 2], \"*\"]");
    assert_rpc(node, "get", "[\"other\"]", "null");
    assert_rpc(node, "incr", "[\"n\", 1]", "[1, \"*\"]");
}

static void a_stop_leaves_what_cannot_be_drained(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "server.drain_timeout = \"300ms\"\n"});
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    assert_rpc(node, "set", "[\"m\", 2, {\"ack\": \"memory\"}]", "{\"seq\": \"*\"}");
    assert_int_equal(node_stop(node), 0);
    pg_start_again(pg);
    node_start_again(node);
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'm'");
}

// A server that accepts nobody is as far away as one that is down.
static void the_database_may_be_missing_at_first(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    const char *config =
        scenario_text(scenario, "postgres.url = \"postgresql://postgres@/later?host=%s&port=%d\"\n",
                      pg->directory, pg->port);
    struct node *node = node_create(scenario, pg, &(struct node_options){.config = config});
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strstr(rpc(node, "hello", "[\"test\"]"), "later") == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("last_error does not name the database that is missing");
        }
    }
    pg_exec(pg, "CREATE DATABASE later");
    node_await_ready(node);
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"k\", {\"fresh\": true}]", "[1, \"*\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(cached_keys_are_served_until_max_stale),
        SCENARIO(what_needs_the_connection_is_refused),
        SCENARIO(writes_go_on_until_the_outbox_is_full),
        SCENARIO(the_daemon_starts_without_postgresql),
        SCENARIO(a_stop_leaves_what_cannot_be_drained),
        SCENARIO(the_database_may_be_missing_at_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
