// The pg worker against a real PostgreSQL, with the rest of the daemon played by the test: a batch
// that is sent while the writer still has the one before. Whatever becomes of it, each entry is
// applied once, and who waits gets the answer.
#include "base/fault.h"
#include "system/harness/played_calls.h"

enum { BATCH_ROWS = 3 };

static const char APPLIED_SEQ[] = "SELECT applied_seq FROM pgnear_node";
static const char SESSIONS_AT[] = "pg_stat_activity WHERE application_name = 'pgnear' AND query";

// A writer that keeps what it is told of batches, and batches of BATCH_ROWS.
static struct daemon *start_held(struct scenario *scenario, struct pg *pg, const char *faults)
{
    struct failure wrong = {0};
    assert_int_equal(fault_arm(faults, &wrong), ERROR_NONE);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.writes.batch_rows = BATCH_ROWS;
    daemon->holds_flushed = true;
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_FLUSHABLE, 1);
    return daemon;
}

static void queue_sets(struct daemon *daemon, const char *prefix, const char *json)
{
    for (int i = 0; i < BATCH_ROWS; i++) {
        daemon_journal(daemon, METHOD_SET, scenario_text(daemon->scenario, "%s%d", prefix, i),
                       json);
    }
}

static void let_go(struct daemon *daemon)
{
    daemon_hold_flushed(daemon, false);
    daemon_await_applied(daemon);
}

static void the_next_batch_does_not_wait_for_the_writer(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_held(scenario, pg, "");
    queue_sets(daemon, "a", "1");
    queue_sets(daemon, "b", "2");
    queue_sets(daemon, "c", "3");
    daemon_publish(daemon);
    pg_await_value(pg, "6", "%s", APPLIED_SEQ);
    assert_int_equal(status_get(&daemon->status, STATUS_OUTBOX_APPLIED_SEQ), 0);
    assert_int_equal(daemon_int(daemon, &daemon->flushed), 1);
    let_go(daemon);
    assert_int_equal(daemon->flushed, 3);
    assert_pg_value(pg, "9", "SELECT count(*) FROM kv_store");
    assert_pg_value(pg, "8", "SELECT max(version) - min(version) FROM kv_store");
    daemon_end(daemon);
}

// The batch that follows would clear them before the writer has made them durable.
static void results_stay_in_the_nodes_row(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_held(scenario, pg, "");
    daemon_journal(daemon, METHOD_INCR, "n", "42");
    daemon_journal(daemon, METHOD_SET, "a", "1");
    daemon_journal(daemon, METHOD_SET, "b", "1");
    queue_sets(daemon, "c", "2");
    daemon_publish(daemon);
    daemon_await_int(daemon, &daemon->flushed, 1);
    daemon_stop(daemon, 0); // as if it had been killed
    assert_pg_value(pg, "3", "%s", APPLIED_SEQ);
    assert_pg_value(pg, "42", "SELECT results -> 0 ->> 4 FROM pgnear_node");
    daemon_start(daemon, 0);
    let_go(daemon);
    assert_pg_value(pg, "42", "SELECT value FROM kv_store WHERE key = 'n'");
    daemon_end(daemon);
}

static void a_lost_answer_is_made_up_for(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_held(scenario, pg, "flush.answered=fail:2");
    queue_sets(daemon, "a", "1");
    daemon_journal(daemon, METHOD_SET, "b", "2");
    daemon_journal(daemon, METHOD_SET, "c", "2");
    struct written incr = call_of(METHOD_INCR, "n", "42");
    struct request *request = daemon_send_written(daemon, incr);
    pg_await_value(pg, "6", "%s", APPLIED_SEQ);
    pg_await_value(pg, "0", "SELECT count(*) FROM %s = 'COMMIT'", SESSIONS_AT);
    daemon_hold_flushed(daemon, false);
    assert_value(daemon, daemon_await_reply(daemon, request), "42");
    daemon_await_applied(daemon);
    assert_pg_value(pg, "42", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_pg_value(pg, "5", "SELECT max(version) - min(version) FROM kv_store");
    daemon_end(daemon);
}

static void what_was_sent_early_is_not_taken_back(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_held(scenario, pg, "");
    queue_sets(daemon, "a", "1");
    daemon_journal(daemon, METHOD_SET, "b", "2");
    daemon_journal(daemon, METHOD_SET, "c", "2");
    struct written incr = call_of(METHOD_INCR, "n", "42");
    incr.call.timeout_ms = 500;
    struct request *request = daemon_call(daemon, incr);
    assert_int_equal(request->reply.failure.error, ERROR_OUTCOME_UNKNOWN);
    request_destroy(request);
    assert_int_equal(daemon->retires_count, 0);
    let_go(daemon);
    assert_pg_value(pg, "42", "SELECT value FROM kv_store WHERE key = 'n'");
    daemon_end(daemon);
}

static void forbid(struct pg *pg)
{
    pg_exec(pg, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'not this one'; END $$;"
                "CREATE TRIGGER refuse BEFORE INSERT ON kv_store FOR EACH ROW"
                " WHEN (NEW.value = '\"bad\"') EXECUTE FUNCTION refuse()");
}

static void queue_poison(struct daemon *daemon)
{
    queue_sets(daemon, "a", "1");
    daemon_journal(daemon, METHOD_SET, "b", "2");
    daemon_journal(daemon, METHOD_SET, "c", "\"bad\"");
    daemon_journal(daemon, METHOD_SET, "d", "2");
    daemon_publish(daemon);
    pg_await_value(daemon->pg, "1", "SELECT count(*) FROM %s = 'ROLLBACK' AND state = 'idle'",
                   SESSIONS_AT);
}

static void assert_parked_alone(struct daemon *daemon)
{
    let_go(daemon);
    assert_pg_value(daemon->pg, "5", "SELECT count(*) FROM kv_store");
    assert_int_equal(daemon->retires_count, 1);
    assert_int_equal(daemon->retires[0].seq, 5);
    assert_int_equal(daemon->retires[0].reason, RETIRE_DEAD_LETTER);
}

static void a_refused_write_is_parked_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_held(scenario, pg, "");
    forbid(pg);
    queue_poison(daemon);
    assert_int_equal(status_get(&daemon->status, STATUS_OUTBOX_APPLIED_SEQ), 0);
    assert_parked_alone(daemon);
    daemon_end(daemon);
}

// What PostgreSQL refused is sent again on the connection that follows, and refused there.
static void a_refusal_outlives_its_connection(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_held(scenario, pg, "");
    forbid(pg);
    queue_poison(daemon);
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM %s = 'ROLLBACK'", SESSIONS_AT);
    pg_await_value(pg, "0", "SELECT count(*) FROM %s = 'ROLLBACK'", SESSIONS_AT);
    assert_parked_alone(daemon);
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(the_next_batch_does_not_wait_for_the_writer),
        SCENARIO(results_stay_in_the_nodes_row),
        SCENARIO(a_lost_answer_is_made_up_for),
        SCENARIO(what_was_sent_early_is_not_taken_back),
        SCENARIO(a_refused_write_is_parked_alone),
        SCENARIO(a_refusal_outlives_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
