// A walk through every fault point of the daemon, with everything that can be done at each, under a
// load of which exact accounts are kept (harness/accounts.h). Two nodes; the points are those of
// the first. After each step the node is as it should be: it ended as was asked, or it did not end
// at all; it is live again, and every client has answers. At the checks PostgreSQL holds what was
// acknowledged, to the last increment, and both caches hold what PostgreSQL does.
//
// PGNEAR_FAULT_WALK=complete walks through all of it, $PGNEAR_TEST_ROUNDS times; otherwise each
// point crashes and fails once, and a seed decides what else is done.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/accounts.h"
#include "system/harness/deadline.h"
#include "system/harness/faults.h"
#include "system/harness/proxy.h"
#include "system/harness/random.h"

enum { STATUS_STOPPED = 1, STATUS_ABORTED = 128 + SIGABRT, STATUS_KILLED = 128 + SIGKILL };
enum { CHECK_EVERY = 12, OTHERS_ONE_IN = 12 };
enum { STORMS = 2, STORMS_COMPLETE = 40, STORM_MS = 1500, LAST_PASS_MAX = 300 };

// What makes the node come by a point that the load alone does not bring it to.
enum drive {
    DRIVE_LOAD,
    DRIVE_START, // the point is passed at the start, or by a node that has just started
    DRIVE_CUT,   // its connections to PostgreSQL are cut
};

static enum drive drive_of(enum fault fault)
{
    switch (fault) {
    case FAULT_OUTBOX_OPEN:
    case FAULT_OUTBOX_RING_ROOM:
    case FAULT_OUTBOX_LOG_FULL: // of these four, since a log that has failed is not used again
    case FAULT_OUTBOX_BEFORE_LOG:
    case FAULT_OUTBOX_AFTER_LOG:
    case FAULT_OUTBOX_LOG_SYNC:
    case FAULT_CACHE_OPEN:
    case FAULT_CACHE_RECOVER:
    case FAULT_CACHE_LAY:
    case FAULT_ACCEPT:
        return DRIVE_START;
    case FAULT_CACHE_SWEEP:
    case FAULT_CACHE_VISIT:
    case FAULT_SWEEP_PAGE:
    case FAULT_NODE_LOOK:
    case FAULT_NODE_ROW:
    case FAULT_NODE_CLAIM:
    case FAULT_FLUSH_CLAIM:
    case FAULT_CONN_CONNECT:
    case FAULT_CONN_POLL:
    case FAULT_LISTEN:
        return DRIVE_CUT;
    default:
        return DRIVE_LOAD;
    }
}

struct walk {
    struct scenario *scenario;
    struct random random;
    struct node *node;
    struct node *other;
    struct faults *faults;
    struct proxy *proxy;
    struct accounts *accounts;
    int steps;
};

// How the node ends by what was done; -1 where it goes on.
static int expected_end(const struct fault_order *order)
{
    if (order->action == FAULT_CRASH) {
        return STATUS_KILLED;
    }
    if (order->action != FAULT_FAIL) {
        return -1;
    }
    switch (fault_kind(order->fault)) {
    case FAULT_STOPS:
        return STATUS_STOPPED;
    case FAULT_ABORTS:
        return STATUS_ABORTED;
    default:
        return -1;
    }
}

static void drive(struct walk *walk, enum fault fault)
{
    switch (drive_of(fault)) {
    case DRIVE_LOAD:
        break;
    case DRIVE_START:
        node_kill(walk->node);
        node_spawn(walk->node);
        break;
    case DRIVE_CUT:
        proxy_cut_all(walk->proxy);
        break;
    }
}

static void end_as_asked(struct walk *walk, const struct fault_order *order, int status)
{
    int found = node_await_exit(walk->node);
    if (found != status) {
        scenario_fail("%s ended with status %d, not %d, at %s", walk->node->name, found, status,
                      fault_name(order->fault));
    }
    faults_disarm(walk->faults, order->fault);
    node_spawn(walk->node);
}

// The other node is not held up by one that stands still.
static void go_on(struct walk *walk, const struct fault_order *order)
{
    if (order->action == FAULT_STOP || (order->action == FAULT_DELAY && order->delay_us == 0)) {
        accounts_await_progress(walk->accounts, 1, 1);
    }
    faults_disarm(walk->faults, order->fault);
    if (order->action == FAULT_STOP) {
        process_signal(walk->node->process, SIGCONT);
    }
}

static void step(struct walk *walk, const struct fault_order *order, uint64_t times)
{
    static const char *const WORDS[] = {"none", "crash", "fail", "delay", "stop"};
    fprintf(stderr, "%s=%s:%llu:%u%%\n", fault_name(order->fault), WORDS[order->action],
            order->pass, order->percent);
    uint64_t fired = faults_fired(walk->faults, order->fault);
    faults_arm(walk->faults, order);
    drive(walk, order->fault);
    int status = expected_end(order);
    faults_await(walk->faults, order->fault, fired + (status >= 0 ? 1 : times));
    if (status >= 0) {
        end_as_asked(walk, order, status);
    } else {
        go_on(walk, order);
    }
    node_await_ready(walk->node);
    accounts_await_progress(walk->accounts, 0, 1);
    if (++walk->steps % CHECK_EVERY == 0) {
        accounts_check(walk->accounts);
    }
}

static bool can_be(enum fault fault, enum fault_action action)
{
    return action != FAULT_FAIL || fault_kind(fault) != FAULT_MOMENT;
}

// Once, at one of the next passes; or again and again where the daemon lives with it.
static void step_at_random(struct walk *walk, enum fault fault, enum fault_action action)
{
    struct fault_order order = {.fault = fault, .action = action};
    bool ends = expected_end(&order) >= 0;
    uint64_t times = 1;
    bool by_load = drive_of(fault) == DRIVE_LOAD;
    if (action == FAULT_FAIL && !ends && by_load && random_below(&walk->random, 2) == 0) {
        order.percent = 50;
        times = 1 + random_below(&walk->random, 3);
    } else {
        order.pass = 1 + random_below(&walk->random, by_load ? 3 : 1);
    }
    if (action == FAULT_DELAY && random_below(&walk->random, 2) == 0) {
        order.delay_us = 1000 * (1 + (int64_t)random_below(&walk->random, 200));
    }
    step(walk, &order, times);
}

static void walk_all(struct walk *walk, bool complete)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        for (int action = FAULT_CRASH; action <= FAULT_STOP; action++) {
            bool always = complete || action == FAULT_CRASH || action == FAULT_FAIL;
            if (can_be((enum fault)i, (enum fault_action)action) &&
                (always || random_below(&walk->random, OTHERS_ONE_IN) == 0)) {
                step_at_random(walk, (enum fault)i, (enum fault_action)action);
            }
        }
    }
}

// ---- Everything at once

// Failures at one pass in a hundred, and short delays.
static void arm_storm(struct walk *walk)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        struct fault_order order = {.fault = (enum fault)i, .percent = 1};
        if (fault_kind(order.fault) == FAULT_ERROR && random_below(&walk->random, 2) == 0) {
            order.action = FAULT_FAIL;
        } else if (random_below(&walk->random, 4) == 0) {
            order.action = FAULT_DELAY;
            order.delay_us = 1000;
        }
        faults_arm(walk->faults, &order);
    }
}

// One point at which the node ends.
static void arm_end(struct walk *walk)
{
    struct fault_order end = {
        .fault = (enum fault)random_below(&walk->random, FAULT_COUNT),
        .action = FAULT_CRASH,
        .pass = 1 + random_below(&walk->random, LAST_PASS_MAX),
    };
    if (fault_kind(end.fault) != FAULT_MOMENT && random_below(&walk->random, 2) == 0) {
        end.action = FAULT_FAIL;
    }
    faults_arm(walk->faults, &end);
}

static void disarm_all(struct walk *walk)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        faults_disarm(walk->faults, (enum fault)i);
    }
}

// It ends by what was armed; or it is told to, and ends in time whatever fails meanwhile.
static void end_somehow(struct walk *walk)
{
    bool is_told = process_is_running(walk->node->process);
    if (is_told) {
        process_signal(walk->node->process, SIGTERM);
    }
    int status = node_await_exit(walk->node);
    if (status != STATUS_KILLED && status != STATUS_STOPPED && status != STATUS_ABORTED &&
        !(is_told && status == 0)) {
        scenario_fail("%s ended with status %d", walk->node->name, status);
    }
}

static void storm(struct walk *walk)
{
    bool is_mild = random_below(&walk->random, 2) == 0;
    arm_storm(walk);
    if (!is_mild) {
        arm_end(walk);
    }
    if (random_below(&walk->random, 2) == 0) {
        proxy_cut_all(walk->proxy);
    }
    struct deadline deadline = deadline_in(STORM_MS);
    while (process_is_running(walk->node->process) && deadline_again(&deadline)) {
    }
    if (!is_mild) {
        end_somehow(walk);
    }
    disarm_all(walk);
    if (!is_mild) {
        node_spawn(walk->node);
    }
    node_await_state(walk->node, "live");
    accounts_await_progress(walk->accounts, 0, 1);
    accounts_check(walk->accounts);
}

static bool is_complete(void)
{
    const char *mode = getenv("PGNEAR_FAULT_WALK");
    return mode != NULL && strcmp(mode, "complete") == 0;
}

// The nodes are not always the same.
static const char *variant(struct random *random)
{
    static const char *const VARIANTS[] = {
        "",
        "postgres.versioning = true\n",
        "server.threads = 3\n",
        "postgres.connections = 1\nwrites.batch_rows = 3\n",
        "cache.negative = false\nwrites.linger = \"0ms\"\n",
    };
    size_t chosen = random_below(random, sizeof VARIANTS / sizeof VARIANTS[0]);
    fprintf(stderr, "settings: %s\n", VARIANTS[chosen]);
    return VARIANTS[chosen];
}

static struct walk *walk_begin(struct scenario *scenario)
{
    struct walk *walk = scenario_alloc(scenario, sizeof *walk);
    struct pg *pg = pg_start(scenario, NULL);
    *walk = (struct walk){
        .scenario = scenario,
        .random = random_of(random_seed(), UINT64_MAX),
        .faults = faults_create(scenario, "node"),
        .proxy = proxy_start(scenario, pg, "proxy"),
    };
    const char *plain =
        scenario_text(scenario, "%s%s", accounts_config(is_complete()), variant(&walk->random));
    const char *config =
        scenario_text(scenario, "%spostgres.url = \"%s\"\n", plain, proxy_url(walk->proxy));
    walk->node = node_start(
        scenario, NULL,
        &(struct node_options){.config = config, .environment = walk->faults->environment});
    walk->other =
        node_start(scenario, pg, &(struct node_options){.name = "other", .config = plain});
    walk->accounts =
        accounts_start(scenario, pg, (struct node *const[]){walk->node, walk->other}, 2);
    accounts_await_progress(walk->accounts, 0, 1);
    accounts_await_progress(walk->accounts, 1, 1);
    return walk;
}

static void walk_end(struct walk *walk)
{
    assert_int_equal(node_stop(walk->node), 0);
    assert_int_equal(node_stop(walk->other), 0);
}

static void every_fault_is_survived_and_accounted_for(struct scenario *scenario)
{
    struct walk *walk = walk_begin(scenario);
    int rounds = is_complete() ? test_rounds(1) : 1;
    for (int i = 0; i < rounds; i++) {
        walk_all(walk, is_complete());
    }
    accounts_stop_and_check(walk->accounts);
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (faults_fired(walk->faults, (enum fault)i) == 0) {
            scenario_fail("%s never fired", fault_name((enum fault)i));
        }
    }
    fprintf(stderr, "%d steps\n", walk->steps);
    walk_end(walk);
}

static void faults_at_once_are_survived_and_accounted_for(struct scenario *scenario)
{
    struct walk *walk = walk_begin(scenario);
    int rounds = is_complete() ? STORMS_COMPLETE * test_rounds(1) : STORMS;
    for (int i = 0; i < rounds; i++) {
        storm(walk);
    }
    accounts_stop_and_check(walk->accounts);
    walk_end(walk);
}

static void an_unknown_point_stops_the_start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    const char *environment[] = {"PGNEAR_FAULT=outbox.begn=fail", NULL};
    struct node *node =
        node_create(scenario, pg, &(struct node_options){.environment = environment});
    node_spawn(node);
    assert_int_equal(node_await_exit(node), 2);
    assert_true(node_log_has(node, "PGNEAR_FAULT: there is no point \"outbox.begn\""));
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(an_unknown_point_stops_the_start),
        SCENARIO(every_fault_is_survived_and_accounted_for),
        SCENARIO(faults_at_once_are_survived_and_accounted_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
