// Two nodes under load while their primary dies with its last commits and its asynchronous standby
// is promoted (SPEC, promise 8). Every client writes keys of its own, with every kind of write, and
// knows exactly what they hold, since each write carries an id and is repeated until it is decided;
// it reads them all the time. All clients count on common counters and set common keys. In the end
// PostgreSQL and both nodes hold each client's own keys as acknowledged, the counters as the sum of
// all increments, and each common key at one of the writes of the lost window or later.

#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/node.h"
#include "system/harness/replication.h"
#include "system/harness/witness.h"

enum { NODES = 2, CLIENTS_A_NODE = 3, CLIENTS = NODES * CLIENTS_A_NODE };
enum { WARM_WRITES = 60, LOST_WRITES = 60, LATER_WRITES = 60 };

struct load {
    struct scenario *scenario;
    struct node *nodes[NODES];
    struct witness clients[CLIENTS];
    struct workers *workers;
    atomic_ullong writes[NODES];
    struct pg *pg;
    // Of the standby when its stream had been cut:
    long long kept_seq[NODES];
    const char *kept_common[WITNESS_COMMON_KEYS];
};

static void work(void *context, int index)
{
    struct load *load = context;
    while (!worker_is_stopping()) {
        witness_act(&load->clients[index]);
    }
}

static void start_load(struct scenario *scenario, struct load *load)
{
    load->scenario = scenario;
    for (int i = 0; i < CLIENTS; i++) {
        witness_init(&load->clients[i], scenario, load->nodes[i % NODES], i,
                     &load->writes[i % NODES]);
    }
    load->workers = workers_start(scenario, CLIENTS, work, load);
}

// Waits until that many further writes were acknowledged by each node.
static void await_writes(struct load *load, unsigned long long more)
{
    for (int i = 0; i < NODES; i++) {
        unsigned long long wanted = atomic_load(&load->writes[i]) + more;
        struct deadline deadline = deadline_in(3 * DEADLINE_MS);
        while (atomic_load(&load->writes[i]) < wanted) {
            if (!deadline_again(&deadline)) {
                scenario_fail("node %d acknowledges nothing", i);
            }
        }
    }
}

static long long applied_on(struct pg *pg, struct node *node)
{
    const char *hello = rpc(node, "hello", "[\"test\"]");
    const char *name = json_at(node->scenario, hello, "node");
    return pg_int(pg, "SELECT applied_seq FROM pgnear_node WHERE node::text = '%.36s'", name + 1);
}

// What the standby will begin with. Nothing more comes.
static void note_kept(struct load *load, struct pg *standby)
{
    for (int i = 0; i < NODES; i++) {
        load->kept_seq[i] = applied_on(standby, load->nodes[i]);
    }
    for (int i = 0; i < WITNESS_COMMON_KEYS; i++) {
        load->kept_common[i] =
            pg_value(standby, "SELECT value #>> '{}' FROM kv_store WHERE key = 'common:%d'", i);
    }
}

// ---- The end

static void check_own(struct load *load, struct witness *client)
{
    for (int i = 0; i < WITNESS_NUMBERS; i++) {
        assert_pg_value(load->pg,
                        client->numbers[i] == WITNESS_ABSENT
                            ? NULL
                            : witness_number(client, client->numbers[i]),
                        "SELECT value FROM kv_store WHERE key = 'own:%d:n%d'", client->index, i);
    }
    const char *object = pg_value(
        load->pg, "SELECT value FROM kv_store WHERE key = 'own:%d:object0'", client->index);
    assert_json(object == NULL ? "null" : object, witness_object(client));
    for (int i = 0; i < 2; i++) {
        assert_pg_value(
            load->pg, client->pair == WITNESS_ABSENT ? NULL : witness_number(client, client->pair),
            "SELECT value FROM kv_store WHERE key = 'own:%d:p%d'", client->index, i);
    }
}

// One of the writes that the standby did not have, or where there is none, what it had.
static void check_common(struct load *load, int key)
{
    const char *held =
        pg_value(load->pg, "SELECT value #>> '{}' FROM kv_store WHERE key = 'common:%d'", key);
    int candidates = 0;
    bool is_found = false;
    for (int i = 0; i < CLIENTS; i++) {
        const struct witness *client = &load->clients[i];
        for (int j = 0; j < client->common_count; j++) {
            const struct common_write *write = &client->common[j];
            if (write->key == key && write->seq > load->kept_seq[i % NODES]) {
                candidates++;
                is_found =
                    is_found || (held != NULL &&
                                 strcmp(held, scenario_text(load->scenario, "%d-%d", i, j)) == 0);
            }
        }
    }
    const char *kept = load->kept_common[key];
    if (candidates == 0) {
        is_found = held == NULL || kept == NULL ? held == kept : strcmp(held, kept) == 0;
    }
    if (!is_found) {
        scenario_fail("common:%d holds %s, which is none of %d lost writes", key,
                      held == NULL ? "nothing" : held, candidates);
    }
}

static void check_counters(struct load *load)
{
    for (int counter = 0; counter < WITNESS_COUNTERS; counter++) {
        long long sum = 0;
        for (int i = 0; i < CLIENTS; i++) {
            sum += load->clients[i].counted[counter];
        }
        assert_pg_value(load->pg, scenario_text(load->scenario, "%lld", sum),
                        "SELECT value FROM kv_store WHERE key = 'count:%d'", counter);
    }
}

// Every key through the node is what PostgreSQL holds.
static void check_node(struct load *load, struct node *node)
{
    assert_rpc(node, "sync", "[{\"timeout_ms\": 30000}]", "true");
    const char *rows =
        pg_value(load->pg, "SELECT jsonb_agg(jsonb_build_array(key, value) ORDER BY key)"
                           " FROM kv_store");
    for (int i = 0;; i++) {
        const char *key = json_at(load->scenario, rows, scenario_text(load->scenario, "%d.0", i));
        if (key == NULL) {
            break;
        }
        const char *value = json_at(load->scenario, rows, scenario_text(load->scenario, "%d.1", i));
        assert_rpc(node, "get", scenario_text(load->scenario, "[%s]", key),
                   scenario_text(load->scenario, "[%s, \"*\"]", value));
    }
}

static void stop_and_check(struct load *load, struct pg *pg)
{
    load->pg = pg;
    workers_stop(load->workers);
    workers_join(load->workers);
    for (int i = 0; i < NODES; i++) {
        node_await_state(load->nodes[i], "live");
        assert_rpc(load->nodes[i], "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
        assert_rpc(load->nodes[i], "dead_letters", "[]", "[]");
    }
    for (int i = 0; i < CLIENTS; i++) {
        check_own(load, &load->clients[i]);
    }
    check_counters(load);
    for (int i = 0; i < WITNESS_COMMON_KEYS; i++) {
        check_common(load, i);
    }
    for (int i = 0; i < NODES; i++) {
        check_node(load, load->nodes[i]);
    }
}

// ---- The scenarios

static struct load *start(struct scenario *scenario, struct pg **primary, struct pg **standby)
{
    *primary = pg_start(scenario, &(struct pg_options){.name = "a"});
    *standby = pg_start(scenario, &(struct pg_options){.name = "b", .standby_of = *primary});
    struct load *load = scenario_alloc(scenario, sizeof *load);
    *load = (struct load){0};
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\nlog.level = \"info\"\n",
                                       pg_pair_url((*primary)->directory, *standby));
    static const char *const NAMES[NODES] = {"n0", "n1"};
    for (int i = 0; i < NODES; i++) {
        load->nodes[i] =
            node_start(scenario, NULL, &(struct node_options){.name = NAMES[i], .config = config});
    }
    start_load(scenario, load);
    await_writes(load, WARM_WRITES);
    pg_cut_stream(*standby);
    note_kept(load, *standby);
    await_writes(load, LOST_WRITES);
    return load;
}

static void a_failover_under_load_heals(struct scenario *scenario)
{
    struct pg *primary, *standby;
    struct load *load = start(scenario, &primary, &standby);
    pg_kill(primary);
    pg_promote(standby);
    await_writes(load, LATER_WRITES);
    stop_and_check(load, standby);
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(node_stat_int(load->nodes[i], "outbox.rewinds"), 1);
        assert_true(node_stat_int(load->nodes[i], "outbox.reapplied") > 0);
        assert_int_equal(node_stat_int(load->nodes[i], "outbox.rewinds_short"), 0);
        assert_true(node_log_has(load->nodes[i], "event=\"rewind\""));
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(a_failover_under_load_heals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
