// Many nodes lose PostgreSQL at once and come back at once: after a time away they come one by one,
// each with its own connections and no more, each looks once through what it holds, and nothing
// that any of them acknowledged meanwhile is lost. $PGNEAR_TEST_NODES sets how many there are.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/node.h"

enum { NODES = 12, NODES_MAX = 200, CONNECTIONS_A_NODE = 4, KEYS = 20, AWAY_MS = 7000 };

struct herd {
    struct pg *pg;
    struct node *nodes[NODES_MAX];
    int count;
};

static int nodes_wanted(void)
{
    const char *wanted = getenv("PGNEAR_TEST_NODES"); // NOLINT(concurrency-mt-unsafe)
    long count = wanted == NULL ? NODES : strtol(wanted, NULL, 10);
    return count < 2 ? 2 : count > NODES_MAX ? NODES_MAX : (int)count;
}

static void start(struct scenario *scenario, struct herd *herd)
{
    herd->count = nodes_wanted();
    const char **settings = scenario_alloc(scenario, 2 * sizeof *settings);
    settings[0] =
        scenario_text(scenario, "max_connections=%d", herd->count * CONNECTIONS_A_NODE + 20);
    settings[1] = NULL;
    herd->pg = pg_start(scenario, &(struct pg_options){.settings = settings});
    for (int i = 0; i < herd->count; i++) {
        herd->nodes[i] =
            node_create(scenario, herd->pg,
                        &(struct node_options){.name = scenario_text(scenario, "n%d", i),
                                               .config = "cache.size = \"16MiB\"\n"
                                                         "writes.outbox_size = \"4MiB\"\n"
                                                         "postgres.connections = 1\n"
                                                         "cache.audit_rate = 0\n"});
        node_spawn(herd->nodes[i]);
    }
    for (int i = 0; i < herd->count; i++) {
        node_await_state(herd->nodes[i], "live");
    }
    pg_exec(herd->pg,
            "INSERT INTO kv_store (key, value) SELECT 'k' || i, '0' FROM generate_series(1, %d) i",
            KEYS);
}

static void assert_all_hold(struct scenario *scenario, struct herd *herd, int value)
{
    for (int i = 0; i < herd->count; i++) {
        assert_rpc(herd->nodes[i], "sync", "[{\"timeout_ms\": 30000}]", "true");
        for (int key = 1; key <= KEYS; key++) {
            assert_rpc(herd->nodes[i], "get", scenario_text(scenario, "[\"k%d\"]", key),
                       scenario_text(scenario, "[%d, \"*\"]", value));
        }
    }
}

static void await_all(struct herd *herd, const char *state)
{
    for (int i = 0; i < herd->count; i++) {
        node_await_state(herd->nodes[i], state);
    }
}

// When the node became ready for the last time, in ms of the day.
static int64_t ready_ms(struct node *node)
{
    FILE *log = fopen(node->process->log_path, "re");
    assert_non_null(log);
    char line[4096];
    int64_t last_ms = -1;
    while (fgets(line, sizeof line, log) != NULL) {
        int hour, minute, second, us;
        const char *at = strchr(line, 'T');
        // NOLINTNEXTLINE(cert-err34-c): the daemon's own digits
        if (strstr(line, "event=\"ready\"") != NULL && at != NULL &&
            sscanf(at, "T%2d:%2d:%2d.%6d", &hour, &minute, &second, &us) == 4) {
            last_ms = ((hour * 60 + minute) * 60 + second) * 1000ll + us / 1000;
        }
    }
    fclose(log);
    assert_true(last_ms >= 0);
    return last_ms;
}

// After pauses of up to 5 s, none of which is shorter than half of it.
static void assert_came_one_by_one(struct herd *herd)
{
    int64_t first_ms = INT64_MAX, last_ms = 0;
    for (int i = 0; i < herd->count; i++) {
        int64_t at_ms = ready_ms(herd->nodes[i]);
        first_ms = at_ms < first_ms ? at_ms : first_ms;
        last_ms = at_ms > last_ms ? at_ms : last_ms;
    }
    fprintf(stderr, "%d nodes were ready within %lld ms\n", herd->count,
            (long long)(last_ms - first_ms));
    assert_true(last_ms - first_ms > 500);
}

static void nodes_come_back_one_by_one(struct scenario *scenario)
{
    static struct herd herd;
    start(scenario, &herd);
    assert_all_hold(scenario, &herd, 0);
    pg_stop(herd.pg, PG_STOP_CRASH);
    int64_t away_us = clock_boot_us();
    await_all(&herd, "disconnected");
    for (int i = 0; i < herd.count; i++) {
        assert_rpc(herd.nodes[i], "set", scenario_text(scenario, "[\"own%d\", 1]", i),
                   "{\"seq\": \"*\"}");
    }
    // As long as it takes until the pauses have grown.
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (clock_boot_us() < away_us + AWAY_MS * CLOCK_US_PER_MS) {
        assert_true(deadline_again(&deadline));
    }
    pg_start_again(herd.pg);
    pg_exec(herd.pg, "UPDATE kv_store SET value = '1' WHERE key LIKE 'k%%'");
    await_all(&herd, "live");
    assert_came_one_by_one(&herd);
    pg_await_value(herd.pg, scenario_text(scenario, "%d", herd.count * CONNECTIONS_A_NODE),
                   "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgnear'");
    for (int i = 0; i < herd.count; i++) {
        assert_rpc(herd.nodes[i], "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    }
    assert_pg_value(herd.pg, scenario_text(scenario, "%d", herd.count),
                    "SELECT count(*) FROM kv_store WHERE key LIKE 'own%%'");
    assert_all_hold(scenario, &herd, 1);
}

// All listeners of the herd are cut at once: each node sweeps once, and most asks for what it holds
// by key rather than for the table.
static void each_sweeps_once(struct scenario *scenario)
{
    static struct herd herd;
    start(scenario, &herd);
    assert_all_hold(scenario, &herd, 0);
    int64_t swept[NODES_MAX], gaps[NODES_MAX], epochs[NODES_MAX];
    for (int i = 0; i < herd.count; i++) {
        swept[i] = node_stat_int(herd.nodes[i], "postgres.swept");
        gaps[i] = node_stat_int(herd.nodes[i], "postgres.gaps");
        epochs[i] = node_stat_int(herd.nodes[i], "cache.epoch");
    }
    pg_exec(herd.pg, "BEGIN; UPDATE kv_store SET value = '1';"
                     "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                     " WHERE application_name = 'pgnear' AND query ILIKE 'listen%%'; COMMIT");
    for (int i = 0; i < herd.count; i++) {
        node_await_stat_min(herd.nodes[i], "postgres.gaps", gaps[i] + 1);
    }
    await_all(&herd, "live");
    assert_all_hold(scenario, &herd, 1);
    for (int i = 0; i < herd.count; i++) {
        assert_int_equal(node_stat_int(herd.nodes[i], "postgres.gaps"), gaps[i] + 1);
        assert_int_equal(node_stat_int(herd.nodes[i], "cache.epoch"), epochs[i] + 1);
        int64_t looked_at = node_stat_int(herd.nodes[i], "postgres.swept") - swept[i];
        if (looked_at > KEYS) {
            scenario_fail("%lld records were swept where %d are held", (long long)looked_at, KEYS);
        }
    }
    pg_await_value(herd.pg, scenario_text(scenario, "%d", herd.count * CONNECTIONS_A_NODE),
                   "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgnear'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(nodes_come_back_one_by_one),
        SCENARIO(each_sweeps_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
