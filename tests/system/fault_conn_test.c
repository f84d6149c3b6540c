// What is never answered, on a connection of the test's own: because libpq refuses to send it, or
// because PostgreSQL stands still. The unit is lost, and nothing else is taken to be its answer.
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "pg/conn.h"
#include "system/harness/deadline.h"
#include "system/harness/faults.h"
#include "system/harness/pg.h"

struct ending {
    bool is_known;
    enum unit_outcome outcome;
};

struct rig {
    struct event_base *base;
    struct conn *conn;
    struct event *deadline;
    bool sends_script; // the second one
    struct pg *holds;  // stops the backend before the second one is sent; NULL: libpq refuses it
    struct ending first;
    struct ending second;
};

static void note(struct ending *ending, enum unit_outcome outcome)
{
    assert_false(ending->is_known);
    *ending = (struct ending){.is_known = true, .outcome = outcome};
}

static void on_second_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    (void)failure;
    struct rig *rig = context;
    note(&rig->second, outcome);
    event_base_loopbreak(rig->base);
}

static const struct query ONE = {.sql = "SELECT 1"};

static void ask(struct rig *rig, bool script,
                void (*on_done)(void *context, enum unit_outcome outcome,
                                const struct failure *failure))
{
    struct unit unit = {.queries = &ONE, .queries_count = 1, .context = rig, .on_done = on_done};
    if (script) {
        conn_run_script(rig->conn, "SELECT 1", &unit);
    } else {
        conn_send(rig->conn, &unit);
    }
}

// Sends the second while the answers to the first are still being taken.
static void on_first_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    (void)failure;
    struct rig *rig = context;
    note(&rig->first, outcome);
    struct failure wrong;
    if (rig->holds != NULL) {
        pg_hold(rig->holds, conn_backend_pid(rig->conn));
    } else {
        assert_int_equal(fault_arm("conn.send=fail:1", &wrong), ERROR_NONE);
    }
    ask(rig, rig->sends_script, on_second_done);
}

static void on_connected(void *context)
{
    struct rig *rig = context;
    if (!rig->first.is_known) {
        ask(rig, false, on_first_done);
    }
}

static void on_lost(void *context, const struct failure *failure)
{
    (void)context;
    (void)failure;
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    event_base_loopbreak(((struct rig *)context)->base);
}

static void run(const struct pg *pg, struct rig rig)
{
    rig.base = event_base_new();
    rig.conn = conn_create(&(struct conn_options){
        .base = rig.base,
        .name = "test",
        .conninfo = pg->url,
        .connect_timeout_us = 3 * CLOCK_US_PER_S,
        .statement_timeout_us = CLOCK_US_PER_S,
        .context = &rig,
        .on_connected = on_connected,
        .on_lost = on_lost,
    });
    rig.deadline = evtimer_new(rig.base, on_deadline, &rig);
    evtimer_add(rig.deadline, &(struct timeval){.tv_sec = DEADLINE_MS / 1000});
    conn_open(rig.conn);
    alarm(2 * DEADLINE_MS / 1000); // a loop that is never left
    event_base_dispatch(rig.base);
    alarm(0);
    assert_true(rig.first.is_known && rig.second.is_known);
    assert_int_equal(rig.first.outcome, UNIT_OK);
    assert_int_equal(rig.second.outcome, UNIT_LOST);
    conn_destroy(rig.conn);
    event_free(rig.deadline);
    event_base_free(rig.base);
}

static void what_is_not_sent_is_lost(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    run(pg, (struct rig){.sends_script = false});
    run(pg, (struct rig){.sends_script = true});
}

static void a_backend_that_stands_still_is_given_up(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    run(pg, (struct rig){.holds = pg});
}

static void a_refused_listen_is_told_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct faults *faults = faults_create(scenario, "node");
    faults_arm(faults, &(struct fault_order){.fault = FAULT_LISTEN, .action = FAULT_FAIL});
    struct node *node =
        node_create(scenario, pg, &(struct node_options){.environment = faults->environment});
    node_spawn(node);
    faults_await(faults, FAULT_LISTEN, 3);
    assert_int_equal(node_log_count(node, "event=\"listen refused\""), 1);
    assert_int_equal(node_log_count(node, "event=\"connection given up\" connection=\"listen\""),
                     0);
    faults_disarm(faults, FAULT_LISTEN);
    node_await_ready(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(what_is_not_sent_is_lost),
        SCENARIO(a_backend_that_stands_still_is_given_up),
        SCENARIO(a_refused_listen_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
