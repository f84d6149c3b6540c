// The pg worker against a real PostgreSQL, with the rest of the daemon played by the test: the feed
// says when it may be trusted, and flush and sync are answered when it is true.
#include "system/harness/played_calls.h"

static void a_silent_feed_is_given_up(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = daemon_behind(scenario, pg, proxy);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    int64_t began_us = clock_boot_us();
    assert_int_equal(proxy_freeze_listeners(proxy), 1);
    daemon_await_int(daemon, &daemon->feeds[FEED_LOST], 1);
    int64_t took_us = clock_boot_us() - began_us;
    // Not at the first heartbeat that is late.
    assert_true(took_us > CLOCK_US_PER_S);
    daemon_await_int(daemon, &daemon->feeds[FEED_STARTED], 2);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);

    assert_true(proxy_freeze_all(proxy) >= 3);
    daemon_await_int(daemon, &daemon->feeds[FEED_LOST], 2);
    daemon_set(daemon, "k", "1");
    daemon_await_applied(daemon);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store");
    daemon_end(daemon);
}

static void a_lost_listen_is_a_gap(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_await_int(daemon, &daemon->feeds[FEED_HEARTBEAT], 1);
    assert_int_equal(daemon_int(daemon, &daemon->feeds[FEED_STARTED]), 1);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('x', '1'), ('y', '2')");
    daemon_await_int(daemon, &daemon->foreign_changes, 2);
    daemon_set(daemon, "mine", "1");
    daemon_await_applied(daemon);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
                " OR (application_name = 'pgnear' AND query LIKE '%%LISTEN%%')");
    daemon_await_int(daemon, &daemon->feeds[FEED_LOST], 1);
    daemon_await_int(daemon, &daemon->feeds[FEED_STARTED], 2);
    daemon_await_int(daemon, &daemon->resyncs, 1);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_GAPS), 1);
    daemon_end(daemon);
}

static void a_restarted_server_is_another_one(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_await_int(daemon, &daemon->feeds[FEED_STARTED], 1);
    assert_value(daemon, daemon_call(daemon, call_of(METHOD_INCR, "n", "1")), "1");
    int64_t version = pg_int(pg, "SELECT version FROM kv_store");
    pg_stop(pg, PG_STOP_FAST);
    daemon_await_int(daemon, &daemon->feeds[FEED_LOST], 1);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_STATE), NODE_DISCONNECTED);
    struct written flush = {.call = {.method = METHOD_FLUSH, .timeout_ms = 50}};
    daemon_write(daemon, call_of(METHOD_INCR, "n", "1"));
    assert_failed(daemon_call(daemon, flush), ERROR_UNAVAILABLE, "connection");
    pg_start_again(pg);
    daemon_await_int(daemon, &daemon->feeds[FEED_REPLACED], 1);
    daemon_await_applied(daemon);
    assert_true(pg_int(pg, "SELECT version FROM kv_store") > version);
    assert_pg_value(pg, "2", "SELECT value FROM kv_store");
    assert_int_equal(daemon->rewinds, 0);
    daemon_end(daemon);
}

static void flush_and_sync_are_answered(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_set(daemon, "k", "1");
    struct written flush = {.call = {.method = METHOD_FLUSH, .timeout_ms = 20000}};
    struct request *request = daemon_call(daemon, flush);
    assert_done(request);
    assert_int_equal(request->reply.seq, 1);
    request_destroy(request);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    struct written sync = {.call = {.method = METHOD_SYNC, .timeout_ms = 20000}};
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('x', '1')");
    request = daemon_call(daemon, sync);
    assert_done(request);
    assert_true(request->reply.boolean);
    assert_true(daemon_int(daemon, &daemon->foreign_changes) >= 1);
    request_destroy(request);
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_silent_feed_is_given_up),
        SCENARIO(a_lost_listen_is_a_gap),
        SCENARIO(a_restarted_server_is_another_one),
        SCENARIO(flush_and_sync_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
