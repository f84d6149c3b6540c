// The machine stands still and goes on, as a laptop or a virtual machine does: SIGSTOP and SIGCONT,
// of the daemon and of the whole of PostgreSQL, for longer than max_stale. Whoever asks after it
// has slept is not told what was true before, by the socket or by a direct reader; and all goes on
// by itself. $PGNEAR_TEST_SUSPEND_S sets how long each sleep is.

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/direct.h"
#include "system/harness/load.h"
#include "system/harness/random.h"

enum { KEYS = 40, SLEEPERS = 8, ROUNDS = 3, SUSPEND_S = 3, ANY_KIND = 0 };

static int64_t suspension_ms(void)
{
    const char *wanted = getenv("PGNEAR_TEST_SUSPEND_S"); // NOLINT(concurrency-mt-unsafe)
    int64_t seconds = wanted == NULL ? SUSPEND_S : strtoll(wanted, NULL, 10);
    return (seconds < SUSPEND_S ? SUSPEND_S : seconds) * 1000;
}

static void set_all(struct pg *pg, int value)
{
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) SELECT 'k' || i, '%d'"
            " FROM generate_series(0, %d) i ON CONFLICT (key) DO UPDATE SET value = '%d'",
            value, KEYS - 1, value);
}

static const char *key_params(struct scenario *scenario, int key)
{
    return scenario_text(scenario, "[\"k%d\"]", key);
}

// Everything is held, with that value.
static void await_held(struct node *node, int value)
{
    const char *expected = scenario_text(node->scenario, "[%d, \"*\"]", value);
    assert_rpc(node, "sync", "[{\"timeout_ms\": 30000}]", "true");
    for (int key = 0; key < KEYS; key++) {
        assert_rpc(node, "get", key_params(node->scenario, key), expected);
    }
    char name[16];
    snprintf(name, sizeof name, "k%d", KEYS - 1);
    direct_await_hit(node, name);
}

// Clients that read all the time, so that the daemon is stopped in the middle of something.
static void read_on(void *context, int index)
{
    struct node *node = context;
    struct rpc *client = node_open(node);
    struct random random = random_of(random_seed(), (uint64_t)index);
    while (!worker_is_stopping()) {
        enum { PIPELINED = 16 };
        for (int i = 0; i < PIPELINED; i++) {
            rpc_send(client, "get",
                     scenario_text(node->scenario, "[\"k%d\"]", (int)random_below(&random, KEYS)));
        }
        for (int i = 0; i < PIPELINED; i++) {
            rpc_receive(client, NULL);
        }
    }
    rpc_close(client);
}

// Refused or the new value: the old one is a lie by now.
static void assert_not_old(const char *answer, int old)
{
    char text[16];
    snprintf(text, sizeof text, "[%d,", old);
    if (strncmp(answer, text, strlen(text)) == 0) {
        scenario_fail("%s was true before the sleep", answer);
    }
}

static void assert_direct_not_old(pgnear *handle, int key, int old)
{
    char name[16];
    snprintf(name, sizeof name, "k%d", key);
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    options.timeout_ms = 1;
    pgnear_item item;
    if (pgnear_get(handle, pgnear_text(name), &options, &item, NULL) == PGNEAR_OK &&
        direct_int(&item) == old) {
        scenario_fail("%s was true before the sleep, and is read directly", name);
    }
}

struct sleepers {
    struct rpc *clients[SLEEPERS];
    pgnear *handle;
};

static void sleep_once(struct node *node, struct pg *pg, struct sleepers *sleepers, int old)
{
    process_signal(node->process, SIGSTOP);
    set_all(pg, old + 1);
    // Nobody answers while it sleeps.
    struct pollfd entry = {.fd = rpc_fd(sleepers->clients[0]), .events = POLLIN};
    assert_int_equal(poll(&entry, 1, (int)suspension_ms()), 0);
    uint32_t asked[SLEEPERS][KEYS];
    for (int i = 0; i < SLEEPERS; i++) {
        for (int key = 0; key < KEYS; key++) {
            asked[i][key] = rpc_send(sleepers->clients[i], "get", key_params(node->scenario, key));
        }
    }
    assert_direct_not_old(sleepers->handle, 0, old);
    process_signal(node->process, SIGCONT);
    for (int key = 0; key < KEYS; key++) {
        assert_direct_not_old(sleepers->handle, key, old);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        for (int key = 0; key < KEYS; key++) {
            assert_not_old(rpc_await(sleepers->clients[i], asked[i][key]), old);
        }
    }
}

static void nothing_stale_is_served_at_waking(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "cache.max_stale = \"1s\"\n"});
    struct sleepers sleepers = {.handle = direct_open(node)};
    for (int i = 0; i < SLEEPERS; i++) {
        sleepers.clients[i] = node_open(node);
    }
    set_all(pg, 0);
    int rounds = test_rounds(ROUNDS);
    for (int round = 0; round < rounds; round++) {
        await_held(node, round);
        struct workers *readers = workers_start(scenario, 2, read_on, node);
        int64_t requests = node_stat_int(node, "server.requests");
        node_await_stat_min(node, "server.requests", requests + 500);
        sleep_once(node, pg, &sleepers, round);
        node_await_state(node, "live");
        workers_stop(readers);
        workers_join(readers);
    }
    await_held(node, rounds);
    node_await_log(node, "stood still");
    for (int i = 0; i < SLEEPERS; i++) {
        rpc_close(sleepers.clients[i]);
    }
    pgnear_close(sleepers.handle);
}

// The machine of PostgreSQL sleeps: nobody there says a word, not even that he is gone.
static void signal_server(struct scenario *scenario, const struct pg *pg, int signal_number)
{
    const char *script =
        scenario_text(scenario, "kill -%d %d $(cat /proc/%d/task/%d/children)", signal_number,
                      (int)pg->process->pid, (int)pg->process->pid, (int)pg->process->pid);
    process_run(scenario, (const char *[]){"sh", "-c", script, NULL}, NULL);
}

static void a_sleep_of_postgresql_loses_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg,
                   &(struct node_options){
                       .config = "cache.max_stale = \"1s\"\npostgres.connect_timeout = \"1s\"\n"});
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    struct load *load = load_start(scenario, pg, node);
    load_await_acks(load, ANY_KIND, 500);
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
    signal_server(scenario, pg, SIGSTOP);
    node_await_state(node, "disconnected");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (json_matches(rpc(node, "get", "[\"k\", {\"timeout_ms\": 100}]"), "[1, \"*\"]")) {
        if (!deadline_again(&deadline)) {
            scenario_fail("max_stale never passes");
        }
    }
    assert_rpc(node, "set", "[\"while asleep\", 1]", "{\"seq\": \"*\"}");
    struct pollfd nobody = {.fd = -1};
    poll(&nobody, 1, (int)suspension_ms());
    signal_server(scenario, pg, SIGCONT);
    node_await_state(node, "live");
    load_await_acks(load, ANY_KIND, 500);
    load_stop_and_check(load);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'while asleep'");
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(nothing_stale_is_served_at_waking),
        SCENARIO(a_sleep_of_postgresql_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
