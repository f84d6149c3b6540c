// A read that has missed the cache, and whose loop then waits for the processor until the answer to
// another read of the key has been cached and forgotten by the fetcher: the key costs one SELECT.
#include "system/harness/deadline.h"
#include "system/harness/faults.h"

static void await_passes(const struct faults *faults, enum fault fault, uint64_t passes)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (faults_passes(faults, fault) < passes) {
        assert_true(deadline_again(&deadline));
    }
}

// Who comes there waits until the point is disarmed; returns once somebody has.
static uint32_t send_and_hold(struct faults *faults, enum fault fault, struct rpc *rpc)
{
    faults_arm(faults, &(struct fault_order){.fault = fault, .action = FAULT_DELAY});
    uint32_t msgid = rpc_send(rpc, "get", "[\"k\"]");
    faults_await(faults, fault, 1);
    return msgid;
}

static void a_key_that_many_miss_costs_one_select(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.environment = faults->environment});
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    assert_rpc(node, "sync", "[]", "true");
    int64_t fetches = node_stat_int(node, "postgres.fetches");
    // The fetcher's thread is to stand still, not the loop's that would do its work (pg/guest.h).
    faults_arm(faults, &(struct fault_order){.fault = FAULT_VISIT, .action = FAULT_FAIL});
    struct rpc *early = node_open(node);
    struct rpc *late = node_open(node);

    uint32_t early_id = send_and_hold(faults, FAULT_FETCH_ANSWERED, early);
    uint32_t late_id = send_and_hold(faults, FAULT_ASKS, late);
    uint64_t fills = faults_passes(faults, FAULT_CACHE_FILL);
    faults_disarm(faults, FAULT_FETCH_ANSWERED);
    await_passes(faults, FAULT_CACHE_FILL, fills + 1);
    // The fetcher has heard that it is cached when the next heartbeats come back.
    await_passes(faults, FAULT_HEARTBEAT, faults_passes(faults, FAULT_HEARTBEAT) + 2);
    faults_disarm(faults, FAULT_ASKS);

    assert_json(rpc_await(early, early_id), "[1, \"*\"]");
    assert_json(rpc_await(late, late_id), "[1, \"*\"]");
    assert_int_equal(node_stat_int(node, "postgres.fetches"), fetches + 1);
    assert_int_equal(node_stat_int(node, "cache.late_hits"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_key_that_many_miss_costs_one_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
