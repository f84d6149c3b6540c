// A miss whose question a server loop sends by itself (pg/guest.h), and what becomes of it where
// the pg worker is busy, the answer is large, or the connection is lost.
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "system/harness/deadline.h"
#include "system/harness/faults.h"

enum { KEYS = 40, CONNECTIONS = 8, GETS = 25, LARGE_BYTES = 300000, INVALIDATIONS = 8 };
enum { SLEEPS = 2, SLEEP_MS = 1200 };

static struct node *start(struct scenario *scenario, struct pg *pg, struct faults *faults,
                          const char *config)
{
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = config, .environment = faults->environment});
    pg_exec(pg,
            "INSERT INTO kv_store (key, value)"
            " SELECT 'k' || i, to_jsonb(i) FROM generate_series(0, %d) i",
            KEYS * 8);
    assert_rpc(node, "sync", "[]", "true");
    return node;
}

static int get_some(struct node *node, int first)
{
    int64_t before = node_stat_int(node, "postgres.loop_fetches");
    for (int i = first; i < first + KEYS; i++) {
        char params[32], expected[32];
        snprintf(params, sizeof params, "[\"k%d\"]", i);
        snprintf(expected, sizeof expected, "[%d, \"*\"]", i);
        assert_rpc(node, "get", params, expected);
    }
    return (int)(node_stat_int(node, "postgres.loop_fetches") - before);
}

// The worker may be busy just then, so one of many will do.
static void assert_loop_fetches(struct node *node)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    do {
        assert_true(deadline_again(&deadline));
        rpc(node, "invalidate", "[]");
    } while (get_some(node, 0) == 0);
}

static PGconn *lock_table(const struct pg *pg)
{
    PGconn *session = pg_connect(pg);
    PQclear(PQexec(session, "BEGIN"));
    PGresult *result = PQexec(session, "LOCK TABLE kv_store IN ACCESS EXCLUSIVE MODE");
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    return session;
}

static const char *const IS_BLOCKED = "wait_event_type = 'Lock' AND query LIKE '%%octet_length%%'";

struct asked {
    PGconn *lock; // what the answer waits for
    uint32_t msgid;
    int key;
};

// Asks for one key after the other, with the table locked, until a loop has sent the question
// itself: the worker may be busy.
static struct asked ask_and_block(struct node *node, struct pg *pg, int key, const char *options)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (;; key++) {
        int64_t before = node_stat_int(node, "postgres.loop_fetches");
        char params[64];
        snprintf(params, sizeof params, "[\"k%d\"%s]", key, options);
        struct asked asked = {.lock = lock_table(pg), .key = key};
        asked.msgid = rpc_send(node_rpc(node), "get", params);
        pg_await_value(pg, "1", "SELECT count(*) FROM pg_stat_activity WHERE %s", IS_BLOCKED);
        if (node_stat_int(node, "postgres.loop_fetches") > before) {
            return asked;
        }
        PQfinish(asked.lock);
        rpc_await(node_rpc(node), asked.msgid);
        assert_true(deadline_again(&deadline));
    }
}

static void assert_answered(struct node *node, const struct asked *asked)
{
    char expected[32];
    snprintf(expected, sizeof expected, "[%d, \"*\"]", asked->key);
    assert_json(rpc_await(node_rpc(node), asked->msgid), expected);
}

static void a_lone_miss_is_fetched_by_its_loop(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    int64_t fetches = node_stat_int(node, "postgres.fetches");
    get_some(node, 0);
    assert_int_equal(node_stat_int(node, "postgres.fetches"), fetches + KEYS);
    // What it brought is cached.
    node_await_stat(node, "cache.entries", "40");
    get_some(node, 0);
    assert_int_equal(node_stat_int(node, "postgres.fetches"), fetches + KEYS);
    assert_loop_fetches(node);
}

static void where_the_worker_is_busy_it_is_asked(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    faults_arm(faults, &(struct fault_order){.fault = FAULT_VISIT, .action = FAULT_FAIL});
    assert_int_equal(get_some(node, 0), 0);
    faults_disarm(faults, FAULT_VISIT);
    assert_loop_fetches(node);
}

static void an_answer_that_finds_the_worker_busy_is_left_to_it(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    for (int round = 0; round < 3; round++) {
        struct asked asked = ask_and_block(node, pg, KEYS * (3 + round), "");
        uint64_t fired = faults_fired(faults, FAULT_VISIT);
        faults_arm(faults, &(struct fault_order){.fault = FAULT_VISIT, .action = FAULT_FAIL});
        PQfinish(asked.lock);
        assert_answered(node, &asked);
        assert_true(faults_fired(faults, FAULT_VISIT) > fired);
        faults_disarm(faults, FAULT_VISIT);
        // And the loop does so again.
        assert_loop_fetches(node);
    }
}

static void a_large_answer_is_left_to_the_worker(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    pg_exec(pg, "UPDATE kv_store SET value = to_jsonb(repeat('x', %d)) WHERE key >= 'k90'",
            LARGE_BYTES);
    assert_rpc(node, "sync", "[]", "true");
    struct asked asked = ask_and_block(node, pg, 90, "");
    PQfinish(asked.lock);
    const char *answer = rpc_await(node_rpc(node), asked.msgid);
    assert_true(strlen(answer) > LARGE_BYTES);
    assert_loop_fetches(node);
}

static void a_lost_question_is_asked_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    struct asked asked = ask_and_block(node, pg, 0, "");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %s", IS_BLOCKED);
    node_await_log(node, "connection lost");
    PQfinish(asked.lock);
    assert_answered(node, &asked);
    // One that is lost while nobody asks is made anew as well.
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND query LIKE '%%octet_length%%'");
    assert_in_range(get_some(node, KEYS), 0, KEYS);
}

// With one connection for all, a scan and an mget come next.
static void who_waits_for_the_connection_gets_it(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, "postgres.connections = 1\n");
    const char *const questions[][2] = {
        {"scan", "[{\"prefix\": \"k1\", \"limit\": 1}]"},
        {"mget", "[[\"k2\", \"k3\"]]"},
    };
    const char *const answers[] = {"\"items\"", "[[2,"};
    for (int i = 0; i < 2; i++) {
        struct asked asked = ask_and_block(node, pg, KEYS * (1 + i), "");
        uint32_t second = rpc_send(node_rpc(node), questions[i][0], questions[i][1]);
        assert_rpc(node, "flush", "[]", "\"*\""); // behind it in the worker's mailbox
        PQfinish(asked.lock);
        assert_answered(node, &asked);
        assert_non_null(strstr(rpc_await(node_rpc(node), second), answers[i]));
    }
}

static void a_deadline_is_kept(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    struct asked asked = ask_and_block(node, pg, 0, ", {\"timeout_ms\": 500}");
    assert_non_null(strstr(rpc_await(node_rpc(node), asked.msgid), "TIMEOUT"));
    PQfinish(asked.lock);
    assert_in_range(get_some(node, 0), 0, KEYS);
}

static void many_loops_ask_once_for_a_key(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, "server.threads = 4\n");
    int64_t fetches = node_stat_int(node, "postgres.fetches");
    struct rpc *connections[CONNECTIONS];
    uint32_t msgids[CONNECTIONS][GETS];
    PGconn *lock = lock_table(pg);
    for (int i = 0; i < CONNECTIONS; i++) {
        connections[i] = node_open(node);
        for (int j = 0; j < GETS; j++) {
            msgids[i][j] = rpc_send(connections[i], "get", "[\"k5\"]");
        }
    }
    node_await_stat_min(node, "cache.misses", CONNECTIONS * GETS);
    PQfinish(lock);
    for (int i = 0; i < CONNECTIONS; i++) {
        for (int j = 0; j < GETS; j++) {
            assert_json(rpc_await(connections[i], msgids[i][j]), "[5, \"*\"]");
        }
    }
    assert_int_equal(node_stat_int(node, "postgres.fetches"), fetches + 1);
}

// The worker is slow to begin what it is told, so that the loop comes in between.
static void what_is_invalidated_is_asked_for_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, NULL);
    assert_loop_fetches(node);
    faults_arm(faults, &(struct fault_order){
                           .fault = FAULT_PG_TURN, .action = FAULT_DELAY, .delay_us = 10000});
    for (int i = 1000; i < 1000 + INVALIDATIONS; i++) {
        char expected[32];
        rpc(node, "invalidate", "[\"k1\"]");
        rpc(node, "get", "[\"k1\"]");
        pg_exec(pg, "UPDATE kv_store SET value = '%d' WHERE key = 'k1'", i);
        rpc(node, "invalidate", "[\"k1\"]");
        snprintf(expected, sizeof expected, "[%d, \"*\"]", i);
        assert_rpc(node, "get", "[\"k1\"]", expected);
    }
    faults_disarm(faults, FAULT_PG_TURN);
}

// The process stands still for longer than max_stale, and the loop wakes up before the worker. What
// was fetched before, and is not told to the writer yet, is not what a loop is given.
static void what_was_fetched_before_a_sleep_is_asked_for_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, "cache.max_stale = \"1s\"\n");
    assert_loop_fetches(node);
    for (int key = KEYS; key < KEYS + SLEEPS; key++) {
        char params[32];
        snprintf(params, sizeof params, "[\"k%d\"]", key);
        node_await_state(node, "live");
        rpc(node, "get", params);
        process_signal(node->process, SIGSTOP);
        faults_arm(faults, &(struct fault_order){
                               .fault = FAULT_PG_TURN, .action = FAULT_DELAY, .delay_us = 10000});
        pg_exec(pg, "UPDATE kv_store SET value = '-1' WHERE key = 'k%d'", key);
        struct pollfd nobody = {.fd = -1};
        poll(&nobody, 1, SLEEP_MS);
        uint32_t msgid = rpc_send(node_rpc(node), "get", params);
        process_signal(node->process, SIGCONT);
        assert_json(rpc_await(node_rpc(node), msgid), "[-1, \"*\"]");
        faults_disarm(faults, FAULT_PG_TURN);
    }
}

// The worker stands still once it has heard that its mailbox holds something, and looks into it
// before it hears what was announced meanwhile. A get that came meanwhile too is not given what was
// fetched before, and is still kept since the writer stands still as well.
static void nothing_kept_is_given_after_the_worker_stood_still(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node = start(scenario, pg, faults, "cache.max_stale = \"1s\"\n");
    struct pollfd nobody = {.fd = -1};
    for (int key = KEYS; key < KEYS + SLEEPS; key++) {
        char params[32], other_params[32];
        snprintf(params, sizeof params, "[\"k%d\"]", key);
        snprintf(other_params, sizeof other_params, "[\"k%d\"]", key + KEYS);
        assert_rpc(node, "sync", "[]", "true"); // nobody stands still any more
        faults_arm(faults, &(struct fault_order){.fault = FAULT_VISIT, .action = FAULT_FAIL});
        uint64_t fills = faults_fired(faults, FAULT_CACHE_FILL);
        faults_arm(faults, &(struct fault_order){.fault = FAULT_CACHE_FILL, .action = FAULT_DELAY});
        rpc(node, "get", params);
        faults_await(faults, FAULT_CACHE_FILL, fills + 1);
        uint64_t turns = faults_fired(faults, FAULT_PG_TURN);
        faults_arm(faults, &(struct fault_order){.fault = FAULT_PG_TURN, .action = FAULT_DELAY});
        uint32_t others_msgid = rpc_send(node_rpc(node), "get", other_params);
        faults_await(faults, FAULT_PG_TURN, turns + 1);
        pg_exec(pg, "UPDATE kv_store SET value = '-1' WHERE key = 'k%d'", key);
        poll(&nobody, 1, SLEEP_MS);
        int64_t asked = node_stat_int(node, "cache.misses");
        uint32_t msgid = rpc_send(node_rpc(node), "get", params);
        node_await_stat_min(node, "cache.misses", asked + 1);
        faults_disarm(faults, FAULT_PG_TURN);
        assert_json(rpc_await(node_rpc(node), msgid), "[-1, \"*\"]");
        faults_disarm(faults, FAULT_CACHE_FILL);
        rpc_await(node_rpc(node), others_msgid);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_lone_miss_is_fetched_by_its_loop),
        SCENARIO(where_the_worker_is_busy_it_is_asked),
        SCENARIO(an_answer_that_finds_the_worker_busy_is_left_to_it),
        SCENARIO(a_large_answer_is_left_to_the_worker),
        SCENARIO(a_lost_question_is_asked_again),
        SCENARIO(who_waits_for_the_connection_gets_it),
        SCENARIO(a_deadline_is_kept),
        SCENARIO(what_is_invalidated_is_asked_for_again),
        SCENARIO(what_was_fetched_before_a_sleep_is_asked_for_again),
        SCENARIO(nothing_kept_is_given_after_the_worker_stood_still),
        SCENARIO(many_loops_ask_once_for_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
