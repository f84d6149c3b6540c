// A failover whose lost writes are being applied again when the daemon ends as well (SPEC, promise
// 8): the next start knows which of them were acknowledged as done.
#include "system/harness/faults.h"
#include "system/harness/replication.h"
#include "system/harness/steps.h"

struct world {
    struct pg *primary;
    struct pg *standby;
    struct faults *faults;
    struct node *node;
};

static struct world start_world(struct scenario *scenario)
{
    struct world world = {
        .primary = pg_start(scenario, &(struct pg_options){.name = "a"}),
        .faults = faults_create(scenario, "node"),
    };
    world.standby =
        pg_start(scenario, &(struct pg_options){.name = "b", .standby_of = world.primary});
    const char *config = scenario_text(scenario, "postgres.url = \"%s\"\n",
                                       pg_pair_url(world.primary->directory, world.standby));
    world.node = node_start(
        scenario, NULL,
        &(struct node_options){.config = config, .environment = world.faults->environment});
    node_await_stat(world.node, "postgres.flushing", "1");
    return world;
}

// What is acknowledged here is lost with the primary: a counter, and a chain of conditions.
static void write_and_lose(struct world *world)
{
    assert_rpc(world->node, "set", "[\"chain\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    pg_await_shipped(world->primary, world->standby);
    pg_cut_stream(world->standby);
    const struct step lost[] = {
        {"incr", "[\"count\", 10]", "[10, \"*\"]"},
        {"set", "[\"chain\", 2, {\"ack\": \"postgres\"}]", "\"*\""},
        {KEEP, "SELECT version FROM kv_store WHERE key = 'chain'", NULL},
        {"set", "[\"chain\", 3, {\"if_version\": $v}]", "{\"seq\":\"*\",\"version\":\"*\"}"},
        {"incr", "[\"count\", 1]", "[11, \"*\"]"},
        {"flush", "[]", ACKED},
    };
    RUN_STEPS(world->node, world->primary, lost);
    pg_kill(world->primary);
}

// Up to the second batch of what is applied again, where `action` is.
static void fail_over(struct world *world, enum fault_action action)
{
    faults_arm(world->faults, &(struct fault_order){
                                  .fault = FAULT_FLUSH_BEFORE_COMMIT, .action = action, .pass = 2});
    pg_promote(world->standby);
    faults_await(world->faults, FAULT_FLUSH_BEFORE_COMMIT, 1);
}

static void start_again(struct world *world)
{
    faults_disarm(world->faults, FAULT_FLUSH_BEFORE_COMMIT);
    node_start_again(world->node);
    node_await_ready(world->node);
    assert_rpc(world->node, "flush", "[{\"timeout_ms\": 20000}]", ACKED);
    node_await_state(world->node, "live");
}

// The row in PostgreSQL has the results of the last batch, the versions of the chain with them.
static void a_chain_goes_on_after_a_crash(struct scenario *scenario)
{
    struct world world = start_world(scenario);
    write_and_lose(&world);
    fail_over(&world, FAULT_CRASH);
    node_await_exit(world.node);
    start_again(&world);
    const struct step after[] = {
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'count'", "11"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'chain'", "3"},
        {"get", "[\"chain\"]", "[3, \"*\"]"},
        {"dead_letters", "[]", "[]"},
    };
    RUN_STEPS(world.node, world.standby, after);
}

// Where the last batch is confirmed already, the version that its write has on the new primary is
// known to nobody. What was acknowledged as done must not vanish.
static void a_broken_chain_is_a_dead_letter(struct scenario *scenario)
{
    struct world world = start_world(scenario);
    write_and_lose(&world);
    fail_over(&world, FAULT_DELAY);
    // A commit of the outbox, which notes what is applied.
    assert_rpc(world.node, "set", "[\"other\", 1, {\"id\": \"other\"}]", ACKED);
    node_kill(world.node);
    start_again(&world);
    const struct step after[] = {
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'count'", "11"},
        {SQL_VALUE, "SELECT value FROM kv_store WHERE key = 'chain'", "2"},
        {"get", "[\"chain\"]", "[2, \"*\"]"},
    };
    RUN_STEPS(world.node, world.standby, after);
    node_await_log(world.node, "level=error event=\"condition lost in failover\"");
    const char *letters = rpc(world.node, "dead_letters", "[]");
    assert_json(
        letters,
        "[{\"seq\": \"*\", \"key\": \"chain\", \"keys\": 1, \"op\": \"set\", \"sqlstate\": \"\","
        " \"message\": \"lost in failover: the state that it was decided on is"
        " gone\", \"at_us\": \"*\"}]");
    const char *retry = scenario_text(scenario, "[%s]", json_at(scenario, letters, "0.seq"));
    assert_rpc(world.node, "retry_dead_letter", retry, ACKED);
    assert_rpc(world.node, "flush", "[]", ACKED);
    assert_pg_value(world.standby, "3", "SELECT value FROM kv_store WHERE key = 'chain'");
}

// The data was moved by other means, and the node, with nothing waiting, follows it. What it
// retains of before is there already, whatever happens to its first start.
static void a_move_to_another_database_repeats_nothing(struct scenario *scenario)
{
    struct pg *from = pg_start(scenario, &(struct pg_options){.name = "a"});
    struct pg *to = pg_start(scenario, &(struct pg_options){.name = "b"});
    struct faults *faults = faults_create(scenario, "node");
    struct node_options options = {.environment = faults->environment};
    struct node *node = node_start(scenario, from, &options);
    assert_rpc(node, "incr", "[\"n\", 5]", "[5, \"*\"]");
    // What the first start there has done: the outbox alone knows; the node's row is made.
    static const enum fault LAST[] = {FAULT_NODE_LOOK, FAULT_NODE_CLAIM};
    for (int i = 0; i < 2; i++) {
        const char *name = scenario_text(scenario, "moved%d", i);
        const char *config =
            scenario_text(scenario, "postgres.url = \"postgresql://postgres@/%s?host=%s\"\n", name,
                          to->directory);
        pg_exec(to, "CREATE DATABASE %s", name);
        struct node *mover =
            node_start(scenario, to, &(struct node_options){.name = name, .config = config});
        assert_rpc(mover, "incr", scenario_text(scenario, "[\"n\", %d]", 5 + i), "\"*\"");
        assert_int_equal(node_stop(node), 0);
        options.config = config;
        node_configure(node, to, &options);
        faults_arm(faults,
                   &(struct fault_order){.fault = LAST[i], .action = FAULT_CRASH, .pass = 1});
        node_spawn(node);
        node_await_exit(node);
        faults_disarm(faults, LAST[i]);
        node_start_again(node);
        assert_rpc(node, "incr", "[\"n\", 1]", scenario_text(scenario, "[%d, \"*\"]", 6 + i));
        assert_int_equal(node_stat_int(node, "outbox.rewinds"), 0);
    }
}

// What comes to it before it has met the new server is for that one.
static void a_move_takes_what_came_before_the_first_connection(struct scenario *scenario)
{
    struct pg *from = pg_start(scenario, &(struct pg_options){.name = "a"});
    struct pg *to = pg_start(scenario, &(struct pg_options){.name = "b"});
    struct node *node = node_start(scenario, from, &(struct node_options){0});
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]", "\"*\"");
    assert_int_equal(node_stop(node), 0);
    pg_stop(to, PG_STOP_FAST);
    node_configure(node, to, &(struct node_options){0});
    node_spawn(node);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", 2]", ACKED);
    pg_start_again(to);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", ACKED);
    assert_pg_value(to, "2", "SELECT value FROM kv_store WHERE key = 'k'");
    assert_int_equal(node_stop(node), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_chain_goes_on_after_a_crash),
        SCENARIO(a_broken_chain_is_a_dead_letter),
        SCENARIO(a_move_to_another_database_repeats_nothing),
        SCENARIO(a_move_takes_what_came_before_the_first_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
