// The simulator (README.md) on a fixed set of seeds and on fresh ones. Each failure prints its seed
// and a shortened trace. In the environment:
//
//   PGNEAR_SIMULATION_SEED     only this seed, shortened and traced
//   PGNEAR_SIMULATION_FIRST    fresh seeds only, from this one on
//   PGNEAR_SIMULATION_STEPS    of a run [4000]
//   PGNEAR_SIMULATION_SECONDS  for each of the tests here [20]
//   PGNEAR_SIMULATION_FAULTS   those of enum run_faults that may happen [all]
//   PGNEAR_SIMULATION_INSISTS  1: all of those in each run of a hunt or of one seed, and often
//   PGNEAR_SIMULATION_HUNTS    1: a bug was put in (scripts/check-mutations); find it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "simulation/world/harness.h"

enum { STEPS = 4000, SECONDS = 20, FIXED_SEEDS = 100000, SEEDS_MAX = 1 << 30 };
enum { FIXED_COUNT = 100 };

static uint64_t given(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name); // NOLINT(concurrency-mt-unsafe): there are no threads
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static void run(const char *name, unsigned faults, int nodes_max, uint64_t first_seed,
                uint32_t seeds_max)
{
    const struct harness_options options = {
        .name = name,
        .faults = faults,
        .nodes_max = nodes_max,
        .steps = (uint32_t)given("PGNEAR_SIMULATION_STEPS", STEPS),
        .first_seed = first_seed,
        .seeds_max = seeds_max,
        .seconds_max = (double)given("PGNEAR_SIMULATION_SECONDS", SECONDS),
    };
    struct harness_result result = harness_run(&options, true);
    printf("%s: %u runs, %llu steps, %.1f s, %.0f steps a minute\n", name, result.runs,
           (unsigned long long)result.steps, result.seconds,
           (double)result.steps * 60 / result.seconds);
    if (result.failed) {
        fail_msg("seed %llu: %s", (unsigned long long)result.seed, result.verdict);
    }
    assert_true(result.runs > 0);
}

// One node, foreign writers, and connections that break: the coherence of the cache alone.
static void test_one_node_in_a_calm_world(void **state)
{
    (void)state;
    run("calm", RUN_CUTS, 1, 1, FIXED_COUNT);
}

static void test_fixed_seeds(void **state)
{
    (void)state;
    run("fixed", RUN_ALL, 3, FIXED_SEEDS, FIXED_COUNT);
}

// Fresh ones that found a bug of the daemon, in worlds without what has been added since.
static void test_kept_seeds(void **state)
{
    (void)state;
    static const uint64_t KEPT[] = {1882903988404354, 1882904501157966, 1882905034883273,
                                    1882905301221743, 1882945858044108, 1882947181347005,
                                    1882962973949961, 1882975231803570, 300224};
    for (size_t i = 0; i < sizeof KEPT / sizeof KEPT[0]; i++) {
        run("kept", RUN_ALL & ~RUN_MOVES, 3, KEPT[i], 1);
    }
}

static void test_fresh_seeds(void **state)
{
    (void)state;
    uint64_t first_seed = given("PGNEAR_SIMULATION_FIRST", (uint64_t)time(NULL) << 20);
    run("fresh", RUN_ALL, 3, first_seed, SEEDS_MAX);
}

static void test_the_given_seed(void **state)
{
    (void)state;
    const struct harness_options options = {
        .name = "given",
        .faults = (unsigned)given("PGNEAR_SIMULATION_FAULTS", RUN_ALL),
        .insists = given("PGNEAR_SIMULATION_INSISTS", 0) != 0,
        .nodes_max = 3,
        .steps = (uint32_t)given("PGNEAR_SIMULATION_STEPS", STEPS),
        .first_seed = given("PGNEAR_SIMULATION_SEED", 0),
        .seeds_max = 1,
        .seconds_max = 1,
    };
    struct harness_result result = harness_run(&options, true);
    if (result.failed) {
        fail_msg("%s", result.verdict);
    }
}

// A mutated daemon must fail. One line tells how it did; the exit status is 0 where it did.
static int hunt(void)
{
    const struct harness_options options = {
        .name = "hunt",
        .faults = (unsigned)given("PGNEAR_SIMULATION_FAULTS", RUN_ALL),
        .insists = given("PGNEAR_SIMULATION_INSISTS", 0) != 0,
        .nodes_max = 3,
        .steps = (uint32_t)given("PGNEAR_SIMULATION_STEPS", STEPS),
        .first_seed = FIXED_SEEDS,
        .seeds_max = SEEDS_MAX,
        .seconds_max = (double)given("PGNEAR_SIMULATION_SECONDS", SECONDS),
    };
    struct harness_result result = harness_run(&options, false);
    printf("%s after %u runs, %.1f s: %.150s\n", result.failed ? "found" : "NOT FOUND", result.runs,
           result.seconds, result.verdict);
    return result.failed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(void)
{
    if (given("PGNEAR_SIMULATION_HUNTS", 0) != 0) {
        return hunt();
    }
    const struct CMUnitTest one[] = {
        cmocka_unit_test(test_the_given_seed),
    };
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_one_node_in_a_calm_world),
        cmocka_unit_test(test_fixed_seeds),
        cmocka_unit_test(test_kept_seeds),
        cmocka_unit_test(test_fresh_seeds),
    };
    const struct CMUnitTest fresh[] = {
        cmocka_unit_test(test_fresh_seeds),
    };
    if (given("PGNEAR_SIMULATION_FIRST", 0) != 0) {
        return cmocka_run_group_tests(fresh, NULL, NULL);
    }
    if (given("PGNEAR_SIMULATION_SEED", 0) != 0) {
        return cmocka_run_group_tests(one, NULL, NULL);
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
