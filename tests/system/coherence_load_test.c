// Two nodes and psql on few keys, with feeds cut and a daemon killed now and then (SPEC, promises 1
// and 4): a connection reads its own writes throughout, a read after a sync sees what psql had
// committed before it, and once all is quiet both nodes answer what PostgreSQL holds.

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "system/harness/compare.h"
#include "system/harness/deadline.h"
#include "system/harness/random.h"

enum { SHARED_KEYS = 12, OWN_KEYS = 3, CLIENTS_A_NODE = 4, NODES = 2, DISTURBANCES = 60 };
enum { CLIENTS = CLIENTS_A_NODE * NODES, OPERATIONS_A_DISTURBANCE = 500 };

struct chaos {
    struct scenario *scenario;
    struct pg *pg;
    struct node *nodes[NODES];
    uint64_t seed;
    atomic_ullong operations;
    // Counts the psql writer's last committed value of the key "psql".
    atomic_llong committed;
};

struct client {
    struct chaos *chaos;
    int index;
    struct node *node;
    struct random random;
    struct rpc *rpc;
    long long acked[OWN_KEYS];
    long long sent[OWN_KEYS];
};

static void disconnect(struct client *client)
{
    if (client->rpc != NULL) {
        rpc_close(client->rpc);
        client->rpc = NULL;
    }
}

static bool is_error(const char *answer)
{
    return strncmp(answer, "{\"error\"", strlen("{\"error\"")) == 0;
}

// Errors that an outage explains. Anything else is a fault.
static void expect_outage(const char *answer, const char *what)
{
    if (strstr(answer, "UNAVAILABLE") == NULL && strstr(answer, "TIMEOUT") == NULL &&
        strstr(answer, "OUTCOME_UNKNOWN") == NULL && strstr(answer, "OVERLOADED") == NULL &&
        strstr(answer, "CONFLICT") == NULL && strstr(answer, "REJECTED") == NULL) {
        scenario_fail("%s: %s", what, answer);
    }
}

// NULL where the connection broke.
static const char *call(struct client *client, const char *method, const char *params)
{
    const char *answer = rpc_try_call(client->rpc, method, params);
    if (answer == NULL) {
        disconnect(client);
    }
    return answer;
}

// Nobody else writes these keys, so a read is at least what this connection was acknowledged.
static void use_own_key(struct client *client)
{
    int key = (int)random_below(&client->random, OWN_KEYS);
    struct scenario *scenario = client->chaos->scenario;
    const char *name = scenario_text(scenario, "own:%d:%d", client->index, key);
    if (random_below(&client->random, 2) == 0) {
        static const char *const ACKS[] = {"memory", "journal", "postgres"};
        long long value = ++client->sent[key];
        const char *answer = call(client, "set",
                                  scenario_text(scenario, "[\"%s\", %lld, {\"ack\": \"%s\"}]", name,
                                                value, ACKS[random_below(&client->random, 3)]));
        if (answer != NULL && !is_error(answer)) {
            client->acked[key] = value;
        } else if (answer != NULL) {
            expect_outage(answer, name);
        }
    }
    if (client->rpc == NULL) {
        return;
    }
    const char *options = random_below(&client->random, 4) == 0 ? ", {\"fresh\": true}" : "";
    const char *answer = call(client, "get", scenario_text(scenario, "[\"%s\"%s]", name, options));
    if (answer == NULL) {
        return;
    }
    if (is_error(answer)) {
        expect_outage(answer, name);
        return;
    }
    long long value = strcmp(answer, "null") == 0 ? 0 : json_int_at(scenario, answer, "0");
    if (value < client->acked[key] || value > client->sent[key]) {
        scenario_fail("get %s%s: %s, but %lld was acknowledged and %lld sent", name, options,
                      answer, client->acked[key], client->sent[key]);
    }
}

// After a sync, what psql had committed before is seen.
static void follow_psql(struct client *client)
{
    struct scenario *scenario = client->chaos->scenario;
    long long committed = atomic_load(&client->chaos->committed);
    const char *answer = call(client, "sync", "[{\"timeout_ms\": 10000}]");
    if (answer == NULL || is_error(answer)) {
        expect_outage(answer == NULL ? "UNAVAILABLE" : answer, "sync");
        return;
    }
    answer = call(client, "get", "[\"psql\"]");
    if (answer == NULL || is_error(answer)) {
        return;
    }
    long long value = strcmp(answer, "null") == 0 ? 0 : json_int_at(scenario, answer, "0");
    if (value < committed) {
        scenario_fail("get [\"psql\"] after a sync: %s, but %lld was committed before", answer,
                      committed);
    }
}

static void use_shared_key(struct client *client)
{
    struct scenario *scenario = client->chaos->scenario;
    int key = 1 + (int)random_below(&client->random, SHARED_KEYS);
    unsigned value = (unsigned)random_below(&client->random, 1000);
    const char *method = "get";
    const char *params = scenario_text(scenario, "[\"shared%d\"]", key);
    switch (random_below(&client->random, 10)) {
    case 0:
    case 1:
        method = "set";
        params = scenario_text(scenario, "[\"shared%d\", %u]", key, value);
        break;
    case 2:
        method = "delete";
        break;
    case 3:
        method = "incr";
        params = scenario_text(scenario, "[\"shared%d\", 1]", key);
        break;
    case 4:
        method = "mset";
        params = scenario_text(scenario, "[[[\"shared%d\", %u], [\"shared%d\", %u]]]", key, value,
                               1 + key % SHARED_KEYS, value + 1);
        break;
    case 5:
        method = "invalidate";
        break;
    case 6:
        method = "set";
        params = scenario_text(scenario, "[\"shared%d\", %u, {\"if_absent\": true}]", key, value);
        break;
    default:
        break;
    }
    const char *answer = call(client, method, params);
    if (answer != NULL && is_error(answer)) {
        expect_outage(answer, params);
    }
}

static void run_client(void *context, int index)
{
    struct chaos *chaos = context;
    struct client client = {.chaos = chaos,
                            .index = index,
                            .node = chaos->nodes[index % NODES],
                            .random = random_of(chaos->seed, (uint64_t)index)};
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!worker_is_stopping()) {
        if (client.rpc == NULL) {
            client.rpc = rpc_try_open(chaos->scenario, client.node->socket_path);
            if (client.rpc == NULL && !deadline_again(&deadline)) {
                scenario_fail("%s does not listen", client.node->name);
            }
            continue;
        }
        deadline = deadline_in(DEADLINE_MS);
        switch (random_below(&client.random, 8)) {
        case 0:
            follow_psql(&client);
            break;
        case 1:
        case 2:
        case 3:
            use_own_key(&client);
            break;
        default:
            use_shared_key(&client);
            break;
        }
        atomic_fetch_add(&chaos->operations, 1);
    }
    disconnect(&client);
}

static const char *change_shared(struct chaos *chaos, struct random *random, long long value)
{
    int key = 1 + (int)random_below(random, SHARED_KEYS);
    switch (random_below(random, 3)) {
    case 0:
        return scenario_text(chaos->scenario,
                             "UPDATE kv_store SET value = '%lld' WHERE key = 'shared%d'", value,
                             key);
    case 1:
        return scenario_text(chaos->scenario, "DELETE FROM kv_store WHERE key = 'shared%d'", key);
    default:
        return scenario_text(chaos->scenario,
                             "INSERT INTO kv_store (key, value) VALUES ('shared%d', '%lld')"
                             " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                             key, value);
    }
}

// Nodes that insert and delete the same keys may deadlock, and PostgreSQL may choose this one as
// the victim: it is repeated, as anybody would.
static void exec_unless_victim(PGconn *conn, const char *statement)
{
    bool is_victim = true;
    while (is_victim) {
        PGresult *result = PQexec(conn, statement);
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        is_victim = sqlstate != NULL && strcmp(sqlstate, "40P01") == 0;
        if (PQresultStatus(result) != PGRES_COMMAND_OK && !is_victim) {
            scenario_fail("%s: %s", statement, PQerrorMessage(conn));
        }
        PQclear(result);
    }
}

static void run_psql(void *context, int index)
{
    (void)index;
    struct chaos *chaos = context;
    struct random random = random_of(chaos->seed, 1000);
    PGconn *conn = pg_connect(chaos->pg);
    long long value = 0;
    while (!worker_is_stopping()) {
        value++;
        const char *statements[] = {
            scenario_text(chaos->scenario,
                          "INSERT INTO kv_store (key, value) VALUES ('psql', '%lld')"
                          " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                          value),
            change_shared(chaos, &random, value),
        };
        for (size_t i = 0; i < 2; i++) {
            exec_unless_victim(conn, statements[i]);
            if (i == 0) {
                atomic_store(&chaos->committed, value);
            }
        }
        struct deadline pause = deadline_in(DEADLINE_MS);
        deadline_again(&pause);
    }
    PQfinish(conn);
}

static void disturb(struct chaos *chaos, struct random *random)
{
    struct node *node = chaos->nodes[random_below(random, NODES)];
    switch (random_below(random, 4)) {
    case 0:
        node_kill(node);
        node_spawn(node);
        break;
    case 1:
        pg_exec(chaos->pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                           " WHERE query ILIKE 'listen%%' AND pid <> pg_backend_pid()");
        break;
    case 2: // any backend of the nodes
        pg_exec(chaos->pg, "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
                           " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                           " AND application_name LIKE 'pgnear%%'"
                           " ORDER BY random() LIMIT 2) AS chosen");
        break;
    default:
        break;
    }
}

static void await_operations(struct chaos *chaos, uint64_t more)
{
    uint64_t goal = atomic_load(&chaos->operations) + more;
    struct deadline deadline = deadline_in(2 * DEADLINE_MS);
    while (atomic_load(&chaos->operations) < goal) {
        if (!deadline_again(&deadline)) {
            scenario_fail("the clients hang");
        }
    }
}

static void quiet_nodes_agree_with_postgresql(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 2000);
    struct chaos *chaos = scenario_alloc(scenario, sizeof *chaos);
    chaos->scenario = scenario;
    chaos->seed = random_seed();
    chaos->pg = pg_start(scenario, NULL);
    const char *const names[NODES] = {"a", "b"};
    for (int i = 0; i < NODES; i++) {
        chaos->nodes[i] = node_start(
            scenario, chaos->pg,
            &(struct node_options){.name = names[i],
                                   .config = "log.level = \"info\"\ncache.audit_rate = 10000\n"});
    }
    struct workers *clients = workers_start(scenario, CLIENTS, run_client, chaos);
    struct workers *psql = workers_start(scenario, 1, run_psql, chaos);
    int disturbances = test_rounds(DISTURBANCES);
    for (int i = 0; i < disturbances; i++) {
        await_operations(chaos, OPERATIONS_A_DISTURBANCE);
        disturb(chaos, &random);
    }
    await_operations(chaos, OPERATIONS_A_DISTURBANCE);
    workers_stop(clients);
    workers_stop(psql);
    workers_join(clients);
    workers_join(psql);
    for (int i = 0; i < NODES; i++) {
        node_await_ready(chaos->nodes[i]);
        assert_rpc(chaos->nodes[i], "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
        assert_false(node_log_has(chaos->nodes[i], "stale record found"));
    }
    assert_synced_nodes_equal_table(chaos->nodes, NODES, chaos->pg, "shared", SHARED_KEYS);
    for (int client = 0; client < CLIENTS; client++) {
        const char *prefix = scenario_text(scenario, "own:%d:", client);
        assert_synced_nodes_equal_table(chaos->nodes, NODES, chaos->pg, prefix, OWN_KEYS);
    }
    fprintf(stderr, "%llu operations, %lld statements of psql\n",
            (unsigned long long)atomic_load(&chaos->operations),
            (long long)atomic_load(&chaos->committed));
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {SCENARIO(quiet_nodes_agree_with_postgresql)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
