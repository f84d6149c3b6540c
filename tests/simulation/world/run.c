// The scheduler. Each step lists what could happen next, and one of it does. Which one is a
// function of the step's own number and of the names of the choices, not of their order or count: a
// step does much the same when others are left out, which is what makes shortening work.
#include "simulation/world/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "simulation/world/foreign.h"
#include "simulation/world/loop.h"
#include "simulation/world/machine.h"
#include "simulation/world/node.h"
#include "simulation/world/sql.h"
#include "simulation/world/wire.h"

enum { CHOICES_MAX = 512, DUE_MAX = 64, SETTLE_STEPS_MAX = 60000, BREAK_US_MAX = 100000 };
// A fault of weight 1 against what usually happens.
enum { USUAL = 16 };

// The world of one run.
static struct {
    unsigned faults;
    uint32_t fault_weight;   // against about 100 of all else
    uint32_t foreign_weight; // per program
    uint32_t client_weight;  // per client
    uint32_t asynchronous_per_mille;
    int64_t step_us;
    int64_t lag_us;         // what a failover may lose
    uint32_t mail_weight;   // of what a pg worker is told
    uint32_t orphan_weight; // of sessions whose client is gone
    const char *slow;       // connections of that name are slow; NULL: none
    int nodes_count;
    uint32_t lost_max; // commits, with each failover; 0: it depends
    bool draining;     // no questions until the nodes can be moved
    bool settling;     // the end: no more faults and questions
    uint64_t record;
} world;

enum action {
    ACTION_TURN,
    ACTION_MAIL,
    ACTION_EVENT,
    ACTION_PACKET,
    ACTION_SESSION,
    ACTION_ANSWERS,
    ACTION_PROGRAM,
    ACTION_ASK,
    ACTION_WAIT,
    ACTION_START,
    ACTION_CUT,
    ACTION_STICK,
    ACTION_KILL,
    ACTION_CRASH,
    ACTION_CRASH_IN_TURN,
    ACTION_STOP,
    ACTION_RESTART,
    ACTION_FAILOVER,
    ACTION_DRAIN,
    ACTION_MIGRATE,
    ACTION_SEND,
    ACTION_MOVE,
};

struct choice {
    enum action action;
    uint32_t weight;
    int number; // of the node, session, ...
    void *what;
};

static struct choice choices[CHOICES_MAX];
static size_t choices_count;

static void offer(enum action action, uint32_t weight, int number, void *what)
{
    CHECK(choices_count < CHOICES_MAX);
    if (weight > 0) {
        bool is_fault = action > ACTION_START && action < ACTION_SEND;
        choices[choices_count++] =
            (struct choice){action, is_fault ? weight : weight * USUAL, number, what};
    }
}

// ---- what could happen

static void offer_node(struct node *node, int number)
{
    if (!node_is_up(node)) {
        offer(ACTION_START, world.settling ? 50 : 3, number, node);
        return;
    }
    if (node_has_turn(node)) {
        offer(ACTION_TURN, 30, number, node);
    }
    if (node_has_move(node)) {
        offer(ACTION_MOVE, 10, number, node);
    }
    if (node_has_mail(node)) {
        offer(ACTION_MAIL, world.mail_weight, number, node);
    }
    if (node_has_answers(node)) {
        offer(ACTION_ANSWERS, 30, number, node);
    }
    struct event *due[DUE_MAX];
    size_t count = loop_due(node_base(node), due, DUE_MAX);
    for (size_t i = 0; i < count; i++) {
        offer(ACTION_EVENT, 30, number * DUE_MAX + (int)i, due[i]);
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (node_client_is_idle(node, i) && !world.settling && !world.draining) {
            offer(ACTION_ASK, world.client_weight, number * CLIENTS_MAX + i, node);
        } else if (node_client_is_unsent(node, i)) {
            offer(ACTION_SEND, 10, number * CLIENTS_MAX + i, node);
        }
    }
}

static void offer_wire(void)
{
    struct conn **conns;
    size_t count = wire_conns(&conns);
    for (size_t i = 0; i < count; i++) {
        if (conns[i] == NULL) {
            continue;
        }
        if (wire_has_packet(conns[i])) {
            bool is_slow = world.slow != NULL && strcmp(world.slow, wire_name(conns[i])) == 0;
            offer(ACTION_PACKET, is_slow && !world.settling ? 1 : 20, (int)i, conns[i]);
        }
        if (wire_is_stuck(conns[i])) {
            offer(ACTION_CUT, world.settling ? 20 * USUAL : USUAL / 2, (int)i, conns[i]);
        }
    }
    for (int i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &server.sessions[i];
        if (session_is_busy(session)) {
            // Whom nobody waits for any more may take its time.
            uint32_t weight = session->client != NULL || world.settling ? 20 : world.orphan_weight;
            offer(ACTION_SESSION, weight, i, session);
        }
    }
}

static void offer_programs(void)
{
    for (int i = 0; i < FOREIGN_MAX; i++) {
        struct foreign *foreign = foreign_of(i);
        bool wanted = foreign_can_step(foreign) && (!world.settling || !foreign_is_idle(foreign));
        if (wanted) {
            offer(ACTION_PROGRAM, world.settling ? 20 : world.foreign_weight, i, foreign);
        }
    }
}

static bool may(enum run_faults fault)
{
    return !world.settling && (world.faults & (unsigned)fault) != 0;
}

static void offer_node_faults(void)
{
    for (int i = 0; i < world.nodes_count; i++) {
        struct node *node = node_of(i);
        if (!node_is_up(node)) {
            continue;
        }
        if (node_has_failed(node)) {
            offer(ACTION_CRASH, 30 * USUAL, i, node);
        } else if (may(RUN_CRASHES)) {
            if (node_may_go_down(node)) {
                offer(ACTION_CRASH, world.fault_weight * 2, i, node);
            }
            if (node_has_turn(node) && node_may_crash_in_turn(node)) {
                offer(ACTION_CRASH_IN_TURN, world.fault_weight * 4, i, node);
            }
        }
        if (may(RUN_STOPS) && node_may_go_down(node)) {
            offer(ACTION_STOP, world.fault_weight, i, node);
        }
    }
}

static bool are_drained(void)
{
    for (int i = 0; i < world.nodes_count; i++) {
        if (!node_is_drained(node_of(i))) {
            return false;
        }
    }
    return true;
}

static void offer_migration(void)
{
    if (!may(RUN_MOVES)) {
        return;
    }
    if (!world.draining) {
        offer(ACTION_DRAIN, world.fault_weight * 2, 0, NULL);
    } else if (are_drained()) {
        offer(ACTION_MIGRATE, 30 * USUAL, 0, NULL);
    }
}

static void offer_faults(void)
{
    offer_node_faults();
    struct conn **conns;
    size_t count = wire_conns(&conns);
    for (size_t i = 0; i < count && !world.settling; i++) {
        if (conns[i] == NULL || !wire_is_connected(conns[i])) {
            continue;
        }
        offer(ACTION_CUT, may(RUN_CUTS) ? world.fault_weight : 0, (int)i, conns[i]);
        offer(ACTION_STICK, may(RUN_STICKS) ? world.fault_weight : 0, (int)i, conns[i]);
        offer(ACTION_KILL, may(RUN_KILLS) ? world.fault_weight : 0, (int)i, conns[i]);
    }
    offer(ACTION_RESTART, may(RUN_RESTARTS) ? world.fault_weight * 2 : 0, 0, NULL);
    offer(ACTION_FAILOVER, may(RUN_FAILOVERS) ? world.fault_weight * 2 : 0, 0, NULL);
    offer_migration();
}

static int64_t next_timer_us(void)
{
    int64_t next_us = INT64_MAX;
    for (int i = 0; i < world.nodes_count; i++) {
        if (node_is_up(node_of(i))) {
            int64_t due_us = loop_next_us(node_base(node_of(i)));
            next_us = due_us < next_us ? due_us : next_us;
        }
    }
    return next_us;
}

static void list_choices(void)
{
    choices_count = 0;
    for (int i = 0; i < world.nodes_count; i++) {
        offer_node(node_of(i), i);
    }
    offer_wire();
    bool is_calm = choices_count <= (size_t)(world.nodes_count * CLIENTS_MAX);
    offer_programs();
    offer_faults();
    int64_t next_us = next_timer_us();
    if (next_us > machine.now_us && next_us != INT64_MAX) {
        offer(ACTION_WAIT, is_calm ? 40 : 1, !is_calm, NULL);
    }
}

// ---- one of it

// Weighted, and each choice by its own dice (Efraimidis and Spirakis 2006), so that the one that
// wins still wins where a loser is missing.
static const struct choice *choose(void)
{
    const struct choice *best = NULL;
    double best_score = 0;
    for (size_t i = 0; i < choices_count; i++) {
        const struct choice *choice = &choices[i];
        uint64_t name = (uint64_t)choice->action << 32 | (uint32_t)choice->number;
        double dice = ((double)(machine_mix(world.record, name) >> 11) + 1) * 0x1p-53;
        double score = -log(dice) / choice->weight;
        if (best == NULL || score < best_score) {
            best = choice;
            best_score = score;
        }
    }
    return best;
}

static void go_down(struct node *node)
{
    if (may(RUN_POWER) && machine_chance(200)) {
        node_lose_machine(node);
    }
}

static void fail_over(bool promotes)
{
    foreign_stop_all();
    uint32_t many = machine_chance(500) ? 20 : 500;
    many = world.lost_max > 0 ? world.lost_max : many;
    size_t lost = promotes ? server_lose(1 + machine_below(many), world.lag_us, false)
                           : server_lose(100, INT64_MAX / 2, true);
    trace("PostgreSQL is %s, %zu commits are lost", promotes ? "replaced" : "restarted", lost);
    server_restart(promotes, machine_chance(500) ? "57P01" : "");
}

// By an operator, who stops the nodes and moves the data by other means; they start there.
static void migrate(void)
{
    for (int i = 0; i < world.nodes_count; i++) {
        if (node_is_up(node_of(i))) {
            node_stop(node_of(i));
        }
    }
    foreign_stop_all();
    world.draining = false;
    trace("the data is moved to another server");
    server_migrate();
}

static void act_fault(const struct choice *choice)
{
    struct node *node = choice->what;
    struct conn *conn = choice->what;
    switch (choice->action) {
    case ACTION_START:
        node_start(node);
        break;
    case ACTION_CUT:
        trace("conn %d %s: cut", choice->number, wire_name(conn));
        wire_cut(conn);
        break;
    case ACTION_STICK:
        trace("conn %d %s: half-open", choice->number, wire_name(conn));
        wire_stick(conn);
        break;
    case ACTION_KILL:
        trace("conn %d %s: killed by the server", choice->number, wire_name(conn));
        wire_kill(conn);
        break;
    case ACTION_CRASH:
        node_crash(node);
        go_down(node);
        node_lose_cache(node);
        break;
    case ACTION_CRASH_IN_TURN:
        node_turn_and_crash(node);
        go_down(node);
        node_lose_cache(node);
        break;
    case ACTION_STOP:
        node_stop(node);
        go_down(node);
        break;
    case ACTION_RESTART:
        fail_over(false);
        break;
    case ACTION_FAILOVER:
        fail_over(true);
        break;
    case ACTION_DRAIN:
        trace("the nodes are to be moved");
        world.draining = true;
        break;
    case ACTION_MIGRATE:
        migrate();
        break;
    default:
        CHECK_VALUES(false, "action %d", (int)choice->action);
    }
}

static void act(const struct choice *choice)
{
    struct node *node = choice->what;
    struct conn *conn = choice->what;
    switch (choice->action) {
    case ACTION_TURN:
        node_turn(node);
        break;
    case ACTION_MOVE:
        node_move(node);
        break;
    case ACTION_MAIL:
        node_take_mail(node);
        break;
    case ACTION_EVENT:
        trace("event %d", choice->number);
        loop_fire(choice->what);
        break;
    case ACTION_PACKET:
        trace("conn %d %s: packet", choice->number, wire_name(conn));
        wire_take(conn);
        break;
    case ACTION_SESSION:
        session_step(choice->what);
        break;
    case ACTION_ANSWERS:
        node_take_answers(node);
        break;
    case ACTION_PROGRAM:
        foreign_step(choice->what, !world.settling, world.asynchronous_per_mille);
        break;
    case ACTION_ASK:
        node_client_asks(node, choice->number % CLIENTS_MAX);
        break;
    case ACTION_SEND:
        node_client_sends(node, choice->number % CLIENTS_MAX);
        break;
    case ACTION_WAIT:
        // While there is something to do, time does not pass as if there were not.
        machine.now_us =
            choice->number == 0 ? next_timer_us() : machine.now_us + machine_below(BREAK_US_MAX);
        break;
    default:
        act_fault(choice);
    }
}

static bool step(uint64_t record)
{
    machine.step++;
    machine_seed(record);
    machine.now_us += 1 + machine_below((uint32_t)(2 * world.step_us));
    world.record = machine_random();
    list_choices();
    const struct choice *choice = choose();
    if (choice != NULL) {
        act(choice);
    }
    for (int i = 0; i < world.nodes_count; i++) {
        if (node_is_up(node_of(i)) && node_stale_count(node_of(i)) > 0) {
            violation("audit", "node %d found a stale record", i);
        }
    }
    return choice != NULL;
}

// ---- the world and its end

static bool one_in(uint32_t count)
{
    return machine_below(count) == 0;
}

// One node and little that goes wrong: what is left to it happens the more often.
static void make_calm_world(void)
{
    static const char *const SLOW[] = {NULL, "flush", "flush", "read", "read", "listen"};
    world.nodes_count = 1;
    world.faults &= RUN_CUTS;
    world.slow = SLOW[machine_below(6)];
    world.step_us = one_in(2) ? 200 : 4000;
    ledger_hot_keys = one_in(3) ? KEYS_COUNT : 2;
    value_padding_bytes = 0;
}

// The faults are the point of the run: none is left out, and little is lost by each, of few keys
// and after they were read, so that what comes after it is at the same place.
static void insist(unsigned faults)
{
    world.faults = faults;
    world.fault_weight = 1;
    world.foreign_weight = 2;
    world.client_weight = 8;
    world.lost_max = 3;
    ledger_hot_keys = 2;
}

// Each run has faults of its own, so that none hides another: "swarm testing" (Groce et al. 2012).
static void make_world(const struct run *run)
{
    static const int64_t STEPS_US[] = {20, 200, 2000, 8000};
    static const char *const SLOW[] = {NULL, NULL, "flush", "read", "listen", "control"};
    machine_seed(run->seed);
    world.faults = run->faults & (unsigned)(machine_random() | machine_random());
    world.fault_weight = one_in(3) ? 6 : 1;
    world.foreign_weight = 1 + machine_below(12);
    world.client_weight = 1 + machine_below(8);
    world.asynchronous_per_mille = one_in(2) ? 700 : 0;
    world.step_us = STEPS_US[machine_below(4)];
    world.lag_us = one_in(2) ? 1000000 : 10000000;
    world.orphan_weight = one_in(2) ? 1 : 10;
    world.nodes_count = 1 + (int)machine_below((uint32_t)run->nodes_max);
    world.slow = SLOW[machine_below(6)];
    ledger_hot_keys = one_in(2) ? KEYS_COUNT : 2;
    value_padding_bytes = one_in(3) ? 3000 : 0;
    if (run->insists) {
        insist(run->faults);
    } else if (run->faults == RUN_CUTS || one_in(3)) {
        make_calm_world();
    }
}

// In some runs what is pending does not stay in its place for long.
static void arm_faults(uint64_t seed)
{
    struct failure failure;
    bool is_tight = machine_mix(seed, 0x719473) % 3 == 0;
    CHECK(fault_arm(is_tight ? "cache.memtable_tight=fail" : "", &failure) == ERROR_NONE);
}

static void make_nodes(const char *directory, uint64_t seed)
{
    arm_faults(seed);
    bool invalidates_often = machine_mix(seed, 0x1a08) % 4 == 0;
    world.mail_weight = invalidates_often ? 3 : 30;
    bool is_small = (world.faults & RUN_SMALL) != 0;
    bool forgets = (world.faults & (RUN_FAILOVERS)) == 0;
    for (int i = 0; i < world.nodes_count; i++) {
        const struct node_settings settings = {
            .directory = directory,
            .cache_bytes = is_small && forgets ? 256 << 10 : 1 << 20,
            // A full outbox gives up what it retains for a failover.
            .outbox_bytes = is_small && forgets ? 64 << 10 : 512 << 10,
            .batch_rows = one_in(2) ? 4 : 40,
            .linger_us = one_in(2) ? 0 : 1000,
            .retain_us = forgets && one_in(2) ? 50000 : 60000000,
            .max_stale_us = one_in(2) ? 60000000 : 4000000,
            .timeout_ms = one_in(3) ? 500 : 5000,
            .negative = !one_in(4),
            .preload = machine_mix(seed, 0x9e10ad) % 4 == 0,
            .has_readers = machine_mix(seed, 0x40840) % 2 == 0,
            .fetches_itself = machine_mix(seed, 0xc8f4) % 3 != 0,
            .invalidates_often = invalidates_often,
            .sends_late = machine_mix(seed, 0x5e4d3) % 3 == 0,
            .loses_cache = machine_mix(seed, 0xcac4e) % 3 == 0,
            .audit_rate = machine_mix(seed, 0xa0d17) % 3 == 0 ? 10000 : 0,
            .step_us = world.step_us,
        };
        node_prepare(i, &settings);
        node_start(node_of(i));
    }
}

static bool is_at_rest(void)
{
    for (int i = 0; i < world.nodes_count; i++) {
        if (!node_is_up(node_of(i)) || !node_is_at_rest(node_of(i))) {
            return false;
        }
    }
    for (int i = 0; i < SESSIONS_MAX; i++) {
        if (server.sessions[i].used && server.sessions[i].unit != NULL) {
            return false;
        }
    }
    struct conn **conns;
    size_t count = wire_conns(&conns);
    for (size_t i = 0; i < count; i++) {
        if (conns[i] != NULL && (wire_has_packet(conns[i]) || wire_is_stuck(conns[i]))) {
            return false;
        }
    }
    return true;
}

// Faults are over: the nodes must come to rest, and then hold what PostgreSQL holds.
static void settle(uint64_t seed)
{
    world.settling = true;
    world.step_us = 200;
    trace("no more faults");
    for (uint32_t i = 0; i < SETTLE_STEPS_MAX && !is_at_rest(); i++) {
        step(machine_mix(seed ^ 0x5e771e, i));
    }
    for (int i = 0; i < world.nodes_count; i++) {
        if (!is_at_rest()) {
            violation("rest", "node %d does not come to rest: %s", i, node_state_text(node_of(i)));
        }
        node_check_clients(node_of(i));
    }
    ledger_check_end();
    for (int i = 0; i < world.nodes_count; i++) {
        for (int key = 0; key < KEYS_COUNT; key++) {
            node_check_key(node_of(i), key);
        }
    }
}

static bool is_preloading(void)
{
    for (int i = 0; i < world.nodes_count; i++) {
        if (node_is_preloading(node_of(i))) {
            return true;
        }
    }
    return false;
}

// A cold start while nobody writes: what reads the table holds all of it then. (A small cache may
// not have the room.)
static void check_preloads(uint64_t seed)
{
    bool preloads = node_preloads(node_of(0)); // as the others
    if (!preloads || (world.faults & RUN_SMALL) != 0) {
        return;
    }
    for (int i = 0; i < world.nodes_count; i++) {
        node_stop(node_of(i));
        node_lose_machine(node_of(i));
        node_start(node_of(i));
    }
    // It begins with the end of the sweep, by which the node comes to rest.
    for (uint32_t i = 0; i < SETTLE_STEPS_MAX && (!is_at_rest() || is_preloading()); i++) {
        step(machine_mix(seed ^ 0x9e10ad, i));
    }
    for (int i = 0; i < world.nodes_count; i++) {
        if (!is_at_rest() || is_preloading()) {
            violation("preload", "node %d does not come to the end of it: %s", i,
                      node_state_text(node_of(i)));
        }
        for (int key = 0; key < KEYS_COUNT; key++) {
            node_check_preloaded(node_of(i), key);
        }
    }
}

void run_once(const struct run *run, const char *directory)
{
    machine.traces = run->traces;
    log_configure(run->traces ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    make_world(run);
    ledger_start();
    server_start();
    sql_start();
    make_nodes(directory, run->seed);
    trace("seed %llu: %d nodes, faults %#x, a step is %lld us", (unsigned long long)run->seed,
          world.nodes_count, world.faults, (long long)world.step_us);
    for (uint32_t i = 0; i < run->steps; i++) {
        if (run->skipped == NULL || !run->skipped[i]) {
            step(machine_mix(run->seed, i));
        }
    }
    settle(run->seed);
    check_preloads(run->seed);
}
