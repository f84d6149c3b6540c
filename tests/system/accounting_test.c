// Exact accounts of 24 writers on few keys, through kill -9 of the daemon at random moments, of
// PostgreSQL, and of both (SPEC, promises 1 to 3). PGNEAR_TEST_ROUNDS sets the number of rounds of
// each test; scripts/soak runs as many as its time allows.

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "system/harness/random.h"
#include "system/harness/tally.h"

enum { ROUNDS = 10, ACKS_A_ROUND = 300, DELAY_US_MAX = 150000 };

enum victim { VICTIM_DAEMON, VICTIM_POSTGRES, VICTIM_BOTH, VICTIM_COUNT };

struct rounds {
    struct pg *pg;
    struct node *node;
    struct tally *tally;
    struct random random;
    int killed[VICTIM_COUNT];
};

// Some writes later, or at any instruction: while it opens its files, before it reaches
// PostgreSQL, while it applies what the last one left.
static void await_moment(struct rounds *rounds)
{
    if (random_below(&rounds->random, 2) == 0) {
        tally_await(rounds->tally, 1 + random_below(&rounds->random, ACKS_A_ROUND));
    } else {
        struct timespec delay = {.tv_nsec =
                                     (long)random_below(&rounds->random, DELAY_US_MAX) * 1000};
        nanosleep(&delay, NULL);
    }
}

static enum victim choose(struct random *random)
{
    uint64_t chosen = random_below(random, 10);
    return chosen < 7 ? VICTIM_DAEMON : chosen < 8 ? VICTIM_POSTGRES : VICTIM_BOTH;
}

static void kill_one(struct rounds *rounds)
{
    enum victim victim = choose(&rounds->random);
    rounds->killed[victim]++;
    await_moment(rounds);
    bool daemon_first = random_below(&rounds->random, 2) == 0;
    if (victim == VICTIM_BOTH && daemon_first) {
        node_kill(rounds->node);
    }
    if (victim != VICTIM_DAEMON) {
        pg_stop(rounds->pg, random_below(&rounds->random, 2) == 0 ? PG_STOP_CRASH : PG_STOP_KILL);
    }
    if (victim == VICTIM_DAEMON || (victim == VICTIM_BOTH && !daemon_first)) {
        node_kill(rounds->node);
    }
    if (victim != VICTIM_DAEMON) {
        pg_start_again(rounds->pg);
    }
    if (victim != VICTIM_POSTGRES) {
        tally_check_dead(rounds->tally);
        node_spawn(rounds->node);
    }
}

static void run(struct scenario *scenario, const struct tally_options *options, uint64_t stream)
{
    struct rounds rounds = {.random = random_of(random_seed(), stream)};
    rounds.pg = pg_start(scenario, &(struct pg_options){.durable = true});
    const char *config = scenario_text(scenario,
                                       "log.level = \"info\"\nwrites.ack = \"%s\"\n"
                                       "postgres.versioning = %s\n",
                                       options->ack, options->versioned ? "true" : "false");
    rounds.node = node_start(scenario, rounds.pg, &(struct node_options){.config = config});
    rounds.tally = tally_start(scenario, rounds.pg, rounds.node, options);
    tally_await(rounds.tally, ACKS_A_ROUND);
    int64_t begun_us = clock_boot_us();
    int count = test_rounds(ROUNDS);
    for (int i = 0; i < count; i++) {
        kill_one(&rounds);
    }
    tally_await(rounds.tally, ACKS_A_ROUND);
    fprintf(stderr, "%d rounds in %lld s; killed: %d times the daemon, %d PostgreSQL, %d both\n",
            count, (long long)(clock_boot_us() - begun_us) / (1000 * CLOCK_US_PER_MS),
            rounds.killed[VICTIM_DAEMON], rounds.killed[VICTIM_POSTGRES],
            rounds.killed[VICTIM_BOTH]);
    tally_stop_and_check(rounds.tally);
}

static void totals_are_exact_whatever_is_killed(struct scenario *scenario)
{
    run(scenario, &(struct tally_options){.ack = "journal"}, 4000);
}

static void what_postgres_acknowledged_is_there_at_each_kill(struct scenario *scenario)
{
    run(scenario, &(struct tally_options){.ack = "postgres", .versioned = true}, 4001);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(totals_are_exact_whatever_is_killed),
        SCENARIO(what_postgres_acknowledged_is_there_at_each_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
