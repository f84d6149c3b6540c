// The pg worker against a real PostgreSQL, with the rest of the daemon played by the test: every
// entry is applied exactly once whatever is lost, be it a connection, its answer, a server's last
// commits or the daemon's identity.
#include "system/harness/deadline.h"
#include "system/harness/played_calls.h"

static void every_incr_counts_once_whatever_is_killed(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    enum { ROUNDS = 40, INCRS_A_ROUND = 25 };
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < INCRS_A_ROUND; i++) {
            daemon_write(daemon, call_of(METHOD_INCR, "total", "1"));
            daemon_set(daemon, "last", scenario_text(scenario, "%d", round * INCRS_A_ROUND + i));
        }
        pg_exec(pg, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE"
                    " application_name = 'pgnear' AND query NOT LIKE '%%clock_timestamp%%'"
                    " AND query NOT LIKE '%%LISTEN%%'");
    }
    daemon_await_applied(daemon);
    assert_pg_value(pg, "1000", "SELECT value FROM kv_store WHERE key = 'total'");
    assert_pg_value(pg, "999", "SELECT value FROM kv_store WHERE key = 'last'");
    daemon_end(daemon);
}

static void the_results_of_a_lost_commit_are_recovered(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = daemon_behind(scenario, pg, proxy);
    daemon_set(daemon, "n", "1");
    daemon_await_applied(daemon);
    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "41")), "42");
    assert_int_equal(proxy_cuts_fired(proxy), 1);

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    assert_value(daemon,
                 daemon_call(daemon, call_of(METHOD_MERGE, "m", "{\"a\":[1.5,\"\\u00e9\"]}")),
                 "{\"a\":[1.5,\"\\u00e9\"]}");

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    struct written write = call_of(METHOD_SET, "n", "43");
    write.call.condition = CONDITION_IF_ABSENT;
    struct request *request = daemon_call(daemon, write);
    assert_int_equal(request->reply.failure.version,
                     pg_int(pg, "SELECT version FROM kv_store WHERE key = 'n'"));
    assert_failed(request, ERROR_CONFLICT, "Failed to set key \"n\"");

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    write = call_of(METHOD_SET, "n", "44");
    write.call.ack = ACK_POSTGRES;
    request = daemon_call(daemon, write);
    assert_done(request);
    assert_int_equal(request->reply.version,
                     pg_int(pg, "SELECT version FROM kv_store WHERE key = 'n'"));
    request_destroy(request);

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    write = call_of(METHOD_DELETE, "n", NULL);
    write.call.ack = ACK_POSTGRES;
    request = daemon_call(daemon, write);
    assert_done(request);
    assert_int_equal(request->reply.integer, 1);
    request_destroy(request);
    assert_int_equal(proxy_cuts_fired(proxy), 5);
    assert_pg_value(pg, "{\"a\": [1.5, \"\u00e9\"]}", "SELECT value FROM kv_store");
    daemon_end(daemon);
}

static void an_outbox_that_cannot_be_read_then_is_read_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = daemon_behind(scenario, pg, proxy);
    daemon->unreadable_after = proxy;
    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "41")), "41");
    assert_int_equal(proxy_cuts_fired(proxy), 1);
    assert_int_equal(daemon->unread, 1);
    assert_int_equal(daemon->stop_status, -1);
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "1")), "42");
    // Nor is it told of any longer than it lasts, where a batch was to be made of it.
    pthread_mutex_lock(&daemon->mutex);
    daemon->unreadable_after = proxy;
    pthread_mutex_unlock(&daemon->mutex);
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "1")), "43");
    assert_int_equal(daemon->unread, 2);
    struct failure failure = {0};
    if (status_get_error(&daemon->status, &failure)) {
        scenario_fail("%s", failure.message);
    }
    daemon_end(daemon);
}

static void no_cut_at_commit_repeats_or_loses(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = daemon_behind(scenario, pg, proxy);
    enum { CUTS = 16 };
    for (int cut = 0; cut < CUTS; cut++) {
        proxy_cut_at_commit(proxy, (enum proxy_cut)(1 + cut % (PROXY_CUT_COUNT - 1)));
        for (int i = 0; i < 10; i++) {
            daemon_write(daemon, call_of(METHOD_INCR, "total", "1"));
            daemon_write(daemon, call_of(METHOD_INCR, scenario_text(scenario, "k%d", i), "1"));
        }
        daemon_await_applied(daemon);
        assert_int_equal(proxy_cuts_fired(proxy), cut + 1);
    }
    assert_pg_value(pg, "160", "SELECT value FROM kv_store WHERE key = 'total'");
    assert_pg_value(pg, "t", "SELECT bool_and(value = '16') FROM kv_store WHERE key LIKE 'k%%'");
    daemon_end(daemon);
}

static void lost_writes_are_applied_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    for (int i = 0; i < 10; i++) {
        assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "1")),
                     scenario_text(scenario, "%d", i + 1));
    }
    daemon_await_applied(daemon);
    // As if a standby that had the first six had been promoted.
    daemon_stop(daemon, 0);
    pg_exec(pg, "UPDATE pgnear_node SET applied_seq = 6; UPDATE kv_store SET value = '6'");
    daemon_start(daemon, 10);
    daemon_await_int(daemon, &daemon->rewinds, 1);
    daemon_await_applied(daemon);
    pg_await_value(pg, "10", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_pg_value(pg, "10", "SELECT applied_seq FROM pgnear_node");
    daemon_end(daemon);
}

static void an_unheard_batch_is_not_repeated(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    for (int i = 0; i < 10; i++) {
        daemon_write(daemon, call_of(METHOD_INCR, "n", "1"));
    }
    daemon_await_applied(daemon);
    // A daemon that did not hear of the last four, and had another incarnation.
    daemon_stop(daemon, 0);
    pg_exec(pg, "UPDATE pgnear_node SET incarnation = '%s'", DAEMON_EARLIER);
    daemon->watched = "n";
    daemon_start(daemon, 6);
    daemon_await_applied(daemon);
    assert_true(daemon->watched_key.drop);
    assert_pg_value(pg, "10", "SELECT value FROM kv_store WHERE key = 'n'");
    // What was applied is settled before the row is claimed.
    pg_await_value(pg, DAEMON_INCARNATION, "SELECT incarnation FROM pgnear_node");
    daemon_end(daemon);
}

static void a_twin_is_not_flushed_with(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_set(daemon, "k", "1");
    daemon_await_applied(daemon);
    pg_exec(pg, "UPDATE pgnear_node SET incarnation = md5(random()::text)::uuid");
    daemon_set(daemon, "k", "2");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    struct failure failure = {0};
    while (!status_get_error(&daemon->status, &failure) ||
           strstr(failure.message, "two daemons with one identity") == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s", failure.message);
        }
    }
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    pg_exec(pg, "UPDATE pgnear_node SET incarnation = '%s'", DAEMON_EARLIER);
    daemon_await_applied(daemon);
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'k'");
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_incr_counts_once_whatever_is_killed),
        SCENARIO(the_results_of_a_lost_commit_are_recovered),
        SCENARIO(an_outbox_that_cannot_be_read_then_is_read_again),
        SCENARIO(no_cut_at_commit_repeats_or_loses),
        SCENARIO(lost_writes_are_applied_again),
        SCENARIO(an_unheard_batch_is_not_repeated),
        SCENARIO(a_twin_is_not_flushed_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
