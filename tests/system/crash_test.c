// kill -9 of the daemon in a loop while 18 clients write (SPEC, promises 1 to 3): whatever moment
// it hits, what was acknowledged is in PostgreSQL exactly once and in order, and what the node
// reads after its restart is what it acknowledged before.

#include "remove_tree.h"
#include "system/harness/deadline.h"
#include "system/harness/load.h"
#include "system/harness/random.h"

#include <stdio.h>

enum { KILLS = 100, ACKS_A_ROUND = 400, INCRS_A_ROUND = 12 };

static const char IN_RING_ALONE[] = "memory-acknowledged writes recovered";

enum moment {
    MOMENT_ANY,   // after some acknowledged writes, the first of them before PostgreSQL is reached
    MOMENT_INCR,  // while results are being awaited from PostgreSQL
    MOMENT_START, // while it opens its files
    MOMENT_COUNT
};

static void await_moment(struct load *load, struct random *random)
{
    switch ((enum moment)random_below(random, MOMENT_COUNT)) {
    case MOMENT_ANY:
        load_await_acks(load, 0, 1 + random_below(random, ACKS_A_ROUND));
        break;
    case MOMENT_INCR:
        load_await_acks(load, 1u << LOAD_INCR_ID | 1u << LOAD_INCR_PLAIN,
                        1 + random_below(random, INCRS_A_ROUND));
        break;
    default:
        break;
    }
}

static void nothing_acknowledged_is_lost_or_repeated(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), UINT64_MAX);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "log.level = \"info\"\n"});
    struct load *load = load_start(scenario, pg, node);
    load_await_acks(load, 0, ACKS_A_ROUND);
    int kills = test_rounds(KILLS);
    for (int i = 0; i < kills; i++) {
        await_moment(load, &random);
        node_kill(node);
        node_spawn(node);
    }
    load_stop_and_check(load);
}

// The same kill loop while PostgreSQL cannot be reached: the journal alone carries everything.
static void the_outbox_survives_on_its_own(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), UINT64_MAX - 1);
    struct pg *pg = pg_start(scenario, &(struct pg_options){.durable = true});
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "log.level = \"info\"\n"});
    struct load *load = load_start(scenario, pg, node);
    load_await_acks(load, 0, ACKS_A_ROUND);
    pg_stop(pg, PG_STOP_FAST);
    int kills = test_rounds(KILLS / 5);
    for (int i = 0; i < kills; i++) {
        load_await_acks(load, 1u << LOAD_COUNTER | 1u << LOAD_LEDGER,
                        1 + random_below(&random, ACKS_A_ROUND));
        node_kill(node);
        node_spawn(node);
    }
    pg_start_again(pg);
    load_stop_and_check(load);
}

// What is acknowledged in memory alone survives the process, whatever becomes of the cache. It is
// killed until some of it was in the ring alone.
static void memory_acks_survive_without_the_cache(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), UINT64_MAX - 2);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg,
        &(struct node_options){.config = "log.level = \"info\"\nwrites.ack = \"memory\"\n"});
    struct load *load = load_start(scenario, pg, node);
    load_await_acks(load, 0, ACKS_A_ROUND);
    int kills = test_rounds(KILLS / 10);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (int i = 0; i < kills || !node_log_has(node, IN_RING_ALONE); i++) {
        assert_true(deadline_again(&deadline));
        load_await_acks(load, 1u << LOAD_COUNTER | 1u << LOAD_LEDGER,
                        1 + random_below(&random, ACKS_A_ROUND));
        node_kill(node);
        assert_true(remove_tree(node->cache_dir));
        node_spawn(node);
    }
    load_stop_and_check(load);
    assert_int_equal(node_stat_int(node, "outbox.lost"), 0);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(nothing_acknowledged_is_lost_or_repeated),
        SCENARIO(the_outbox_survives_on_its_own),
        SCENARIO(memory_acks_survive_without_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
