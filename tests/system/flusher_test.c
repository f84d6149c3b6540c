// The pg worker against a real PostgreSQL, with the rest of the daemon played by the test: what
// becomes of writes. Every entry is applied once and in order, callers are told what PostgreSQL
// says, and what it refuses is parked or waited for.
#include <sched.h>

#include "system/harness/deadline.h"
#include "system/harness/played_calls.h"

static void writes_reach_the_table_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon->watched = "k7";
    for (int i = 0; i < 500; i++) {
        daemon_set(daemon, scenario_text(scenario, "k%d", i % 100),
                   scenario_text(scenario, "%d", i));
    }
    daemon_write(daemon, call_of(METHOD_DELETE, "k8", NULL));
    daemon_await_applied(daemon);
    assert_pg_value(pg, "99", "SELECT count(*) FROM kv_store");
    assert_pg_value(pg, "t",
                    "SELECT bool_and(value::text = (400 + substr(key, 2)::int)::text)"
                    " FROM kv_store");
    assert_pg_value(pg, "501", "SELECT applied_seq FROM pgnear_node WHERE node = '%s'",
                    DAEMON_NODE);
    assert_int_equal(daemon->watched_key.version,
                     pg_int(pg, "SELECT version FROM kv_store WHERE key = 'k7'"));
    assert_true(daemon->watched_key.present && !daemon->watched_key.has_value);
    daemon_end(daemon);
}

static void results_come_from_postgresql(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "3")), "3");
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "0.5")), "3.5");
    assert_value(daemon,
                 daemon_call(daemon, call_of(METHOD_MERGE, "m", "{\"a\":1,\"b\":{\"c\":null}}")),
                 "{\"a\":1,\"b\":{}}");
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_MERGE, "m", "{\"a\":null,\"d\":[1]}")),
                 "{\"b\":{},\"d\":[1]}");
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_MERGE, "m", "7")), "7");

    struct written touch = call_of(METHOD_TOUCH, "n", NULL);
    touch.call.has_ttl = true;
    touch.call.ttl_ms = 60000;
    struct request *request = daemon_call(daemon, touch);
    assert_done(request);
    assert_true(request->reply.boolean);
    request_destroy(request);
    assert_pg_value(pg, "t",
                    "SELECT expires_at > now() + interval '50 s' FROM kv_store"
                    " WHERE key = 'n'");
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "1")), "4.5");
    assert_pg_value(pg, "t", "SELECT expires_at IS NOT NULL FROM kv_store WHERE key = 'n'");

    request = daemon_call(daemon, call_of(METHOD_TOUCH, "absent", NULL));
    assert_done(request);
    assert_false(request->reply.boolean);
    request_destroy(request);
    daemon_end(daemon);
}

static void conditions_are_decided_in_postgresql(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    struct written write = call_of(METHOD_SET, "k", "1");
    write.call.condition = CONDITION_IF_ABSENT;
    struct request *request = daemon_call(daemon, write);
    assert_done(request);
    assert_true(request->reply.has_version);
    int64_t version = request->reply.version;
    request_destroy(request);
    assert_int_equal(version, pg_int(pg, "SELECT version FROM kv_store WHERE key = 'k'"));

    write = call_of(METHOD_SET, "k", "2");
    write.call.condition = CONDITION_IF_ABSENT;
    request = daemon_call(daemon, write);
    assert_int_equal(request->reply.failure.error, ERROR_CONFLICT);
    assert_true(request->reply.failure.has_version);
    assert_int_equal(request->reply.failure.version, version);
    request_destroy(request);

    write = call_of(METHOD_SET, "k", "3");
    write.call.condition = CONDITION_IF_VERSION;
    write.call.if_version = version;
    request = daemon_call(daemon, write);
    assert_done(request);
    assert_true(request->reply.version > version);
    request_destroy(request);

    write = call_of(METHOD_DELETE, "k", NULL);
    write.call.condition = CONDITION_IF_VERSION;
    write.call.if_version = version;
    request = daemon_call(daemon, write);
    assert_failed(request, ERROR_CONFLICT, "Failed to delete key \"k\"");
    assert_pg_value(pg, "3", "SELECT value FROM kv_store WHERE key = 'k'");

    pg_exec(pg, "UPDATE kv_store SET expires_at = now() - interval '1 s'");
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "k", "5")), "5");
    assert_pg_value(pg, NULL, "SELECT expires_at FROM kv_store WHERE key = 'k'");

    write = call_of(METHOD_DELETE, "k", NULL);
    write.call.ack = ACK_POSTGRES;
    request = daemon_call(daemon, write);
    assert_done(request);
    assert_true(request->reply.has_deleted && request->reply.integer == 1);
    request_destroy(request);
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store");
    daemon_end(daemon);
}

static void a_poisoned_write_is_parked_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'not this one'; END $$;"
                "CREATE TRIGGER refuse BEFORE INSERT ON kv_store FOR EACH ROW"
                " WHEN (NEW.value = '\"bad\"') EXECUTE FUNCTION refuse()");
    for (int i = 0; i < 200; i++) {
        daemon_set(daemon, scenario_text(scenario, "k%d", i), i == 77 || i == 78 ? "\"bad\"" : "1");
    }
    daemon_await_applied(daemon);
    assert_pg_value(pg, "198", "SELECT count(*) FROM kv_store");
    assert_int_equal(daemon->retires_count, 2);
    assert_int_equal(daemon->retires[0].seq, 78);
    assert_int_equal(daemon->retires[1].seq, 79);
    assert_int_equal(daemon->retires[0].reason, RETIRE_DEAD_LETTER);
    assert_string_equal(daemon->retires[0].sqlstate, "P0001");
    assert_string_equal(daemon->retires[0].text, "not this one");

    struct written write = call_of(METHOD_SET, "w", "\"bad\"");
    write.call.ack = ACK_POSTGRES;
    assert_failed(daemon_call(daemon, write), ERROR_REJECTED,
                  "Failed to set key \"w\": not this one");
    assert_int_equal(daemon->retires[2].reason, RETIRE_WITHDRAWN);
    daemon_end(daemon);
}

static void an_incr_of_a_text_is_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_set(daemon, "t", "\"text\"");
    struct request *request = daemon_call(daemon, call_of(METHOD_INCR, "t", "1"));
    assert_string_equal(request->reply.failure.sqlstate, "22023");
    assert_failed(request, ERROR_REJECTED, "Failed to incr key \"t\": ");
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "1")), "1");
    daemon_end(daemon);
}

static void an_operators_error_stops_the_flush(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_set(daemon, "before", "1");
    daemon_await_applied(daemon);
    pg_exec(pg, "ALTER TABLE kv_store RENAME TO hidden");
    struct written write = call_of(METHOD_SET, "test", "1");
    write.call.ack = ACK_POSTGRES;
    struct request *request = daemon_call(daemon, write);
    assert_string_equal(request->reply.failure.sqlstate, "42P01");
    assert_failed(request, ERROR_REJECTED, "Failed to set key \"test\": relation ");
    struct failure failure = {0};
    assert_true(status_get_error(&daemon->status, &failure));
    assert_string_equal(failure.sqlstate, "42P01");
    daemon_set(daemon, "queued", "2");
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FLUSHABLE), 0);
    pg_exec(pg, "ALTER TABLE hidden RENAME TO kv_store");
    daemon_await_applied(daemon);
    daemon_await(daemon, STATUS_PG_FLUSHABLE, 1);
    assert_false(status_get_error(&daemon->status, &failure));
    assert_pg_value(pg, "before, queued",
                    "SELECT string_agg(key, ', ' ORDER BY key) FROM kv_store");
    assert_int_equal(daemon->retires_count, 1);
    daemon_end(daemon);
}

static void what_a_trigger_altered_is_dropped(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon->watched = "k";
    daemon_set(daemon, "k", "0");
    daemon_set(daemon, "k", "1");
    daemon_await_applied(daemon);
    assert_false(daemon->watched_key.drop);
    pg_exec(pg, "CREATE FUNCTION alter_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " NEW.value := '\"altered\"'; RETURN NEW; END $$;"
                "CREATE TRIGGER alter_it BEFORE INSERT OR UPDATE ON kv_store FOR EACH ROW"
                " WHEN (NEW.value = '2') EXECUTE FUNCTION alter_it()");
    daemon_set(daemon, "k", "2"); // not yet known of: everything is dropped, and swept
    daemon_await_applied(daemon);
    assert_true(daemon->watched_key.drop);
    daemon_await_int(daemon, &daemon->feeds[FEED_STARTED], 2);
    daemon_set(daemon, "k", "3"); // known of: compared, and as it was written
    daemon_await_applied(daemon);
    assert_false(daemon->watched_key.drop);
    daemon_set(daemon, "k", "2");
    daemon_await_applied(daemon);
    assert_true(daemon->watched_key.drop);
    assert_pg_value(pg, "\"altered\"", "SELECT value FROM kv_store");
    daemon_end(daemon);
}

static void stopping_drains_the_outbox(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon->settings.writes.linger_us = 60 * (int64_t)CLOCK_US_PER_S;
    for (int i = 0; i < 100; i++) {
        daemon_set(daemon, scenario_text(scenario, "k%d", i), "1");
    }
    daemon_stop(daemon, 20 * (int64_t)CLOCK_US_PER_S);
    assert_pg_value(pg, "100", "SELECT count(*) FROM kv_store");
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'pgnear'");
    daemon_start(daemon, 100);
    daemon_end(daemon);
}

// Threads that clients wait for, and that want for a processor.
struct crowd {
    struct daemon *daemon;
    cpu_set_t processor;
};

static void want_the_processor(void *context, int index)
{
    (void)index;
    struct crowd *crowd = context;
    assert_int_equal(sched_setaffinity(0, sizeof crowd->processor, &crowd->processor), 0);
    contention_join(&crowd->daemon->status.serving);
    while (!worker_is_stopping()) {
    }
}

static struct workers *start_crowd(struct daemon *daemon)
{
    struct crowd *crowd = scenario_alloc(daemon->scenario, sizeof *crowd);
    cpu_set_t all;
    size_t processor = 0;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(processor, &all)) {
        processor++;
    }
    crowd->daemon = daemon;
    CPU_ZERO(&crowd->processor);
    CPU_SET(processor, &crowd->processor);
    return workers_start(daemon->scenario, 2, want_the_processor, crowd);
}

// A write for which the flush gives way.
static void set_held_back(struct daemon *daemon)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t yields = status_get(&daemon->status, STATUS_PG_FLUSH_YIELDS);
    while (status_get(&daemon->status, STATUS_PG_FLUSH_YIELDS) == yields) {
        daemon_set(daemon, "k", "1");
        assert_true(deadline_again(&deadline));
    }
}

static void the_flush_gives_way_to_clients(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon->settings.writes.outbox_bytes = 1 << 20;
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    struct workers *crowd = start_crowd(daemon);
    set_held_back(daemon);
    daemon_await_applied(daemon); // within a second or so, asked for by nobody
    // Who waits for it does not wait for that; try again, since the machine has other work.
    int64_t spent_us;
    int tries = 0;
    bool is_age_shown = false;
    daemon_await_applied(daemon);
    do {
        set_held_back(daemon);
        is_age_shown = is_age_shown || status_get(&daemon->status, STATUS_OUTBOX_OLDEST_US) != 0;
        int64_t began_us = clock_boot_us();
        struct request *request = daemon_call(daemon, call_of(METHOD_FLUSH, "", NULL));
        assert_done(request);
        request_destroy(request);
        spent_us = clock_boot_us() - began_us;
        assert_true(++tries <= 20);
    } while (spent_us > CLOCK_US_PER_S / 2 || !is_age_shown);
    workers_stop(crowd);
    workers_join(crowd);
    daemon_await_applied(daemon);
    daemon_end(daemon);
}

static void another_table_is_refused_while_writes_wait(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_set(daemon, "k", "1");
    daemon_await_applied(daemon);
    daemon_stop(daemon, 0);
    daemon_journal(daemon, METHOD_DELETE, "k", NULL);
    status_set(&daemon->status, STATUS_OUTBOX_JOURNALED_SEQ, 2);
    daemon->settings.postgres.table = "other";
    daemon_start(daemon, 1);
    assert_int_equal(daemon_await_stop(daemon), 1);
    assert_pg_value(pg, "1", "SELECT count(*) FROM kv_store");
    daemon_stop(daemon, 0);
    daemon->settings.postgres.table = "kv_store";
    daemon_start(daemon, 1);
    daemon_await_applied(daemon);
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store");
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(writes_reach_the_table_once),
        SCENARIO(results_come_from_postgresql),
        SCENARIO(conditions_are_decided_in_postgresql),
        SCENARIO(a_poisoned_write_is_parked_alone),
        SCENARIO(an_incr_of_a_text_is_refused),
        SCENARIO(an_operators_error_stops_the_flush),
        SCENARIO(what_a_trigger_altered_is_dropped),
        SCENARIO(stopping_drains_the_outbox),
        SCENARIO(the_flush_gives_way_to_clients),
        SCENARIO(another_table_is_refused_while_writes_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
