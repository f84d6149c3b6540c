// The sweep after a gap, against a real PostgreSQL: what has changed is dropped, what has not is
// kept, whatever the way it is asked for and whatever happens meanwhile.
#include <stdlib.h>

#include "system/harness/deadline.h"
#include "system/harness/played_calls.h"

enum { RECORDS = 6500 }; // several pages

static const char *key_of(struct daemon *daemon, int i)
{
    return scenario_text(daemon->scenario, "k%05d", i);
}

// What became of a row since it was cached.
enum fate { SAME, CHANGED, DELETED, STILL_ABSENT, APPEARED, FATES };

static enum fate fate_of(int i)
{
    return i % 100 < 90 ? SAME : (enum fate)(i % 5);
}

static bool is_to_be_dropped(int i)
{
    enum fate fate = fate_of(i);
    return fate == CHANGED || fate == DELETED || fate == APPEARED;
}

// A table of which the cache holds every record, some of them no longer as they are.
static void make_records(struct daemon *daemon)
{
    pg_exec(daemon->pg,
            "INSERT INTO kv_store (key, value)"
            " SELECT 'k' || lpad(i::text, 5, '0'), '1' FROM generate_series(0, %d) i",
            RECORDS - 1);
    PGconn *conn = pg_connect(daemon->pg);
    PGresult *rows = PQexec(conn, "SELECT version FROM kv_store ORDER BY key");
    assert_int_equal(PQntuples(rows), RECORDS);
    for (int i = 0; i < RECORDS; i++) {
        bool is_absent = fate_of(i) == STILL_ABSENT || fate_of(i) == APPEARED;
        daemon->records[i] = (struct swept_record){
            .key = slice_of_string(key_of(daemon, i)),
            .version = is_absent ? 0 : strtoll(PQgetvalue(rows, i, 0), NULL, 10),
            .absent = is_absent,
        };
    }
    daemon->records_count = RECORDS;
    PQclear(rows);
    for (int i = 0; i < RECORDS; i++) {
        if (fate_of(i) == CHANGED) {
            session_run(conn, scenario_text(daemon->scenario,
                                            "UPDATE kv_store SET value = '2' WHERE key = '%s'",
                                            key_of(daemon, i)));
        } else if (fate_of(i) == DELETED || fate_of(i) == STILL_ABSENT) {
            session_run(conn,
                        scenario_text(daemon->scenario, "DELETE FROM kv_store WHERE key = '%s'",
                                      key_of(daemon, i)));
        }
    }
    PQfinish(conn);
}

static size_t sweeps_done(struct daemon *daemon)
{
    pthread_mutex_lock(&daemon->mutex);
    size_t done = daemon->sweeps_done;
    pthread_mutex_unlock(&daemon->mutex);
    return done;
}

static void await_sweeps(struct daemon *daemon, size_t count)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (sweeps_done(daemon) < count) {
        if (!deadline_again(&deadline)) {
            scenario_fail("the sweep does not end");
        }
    }
}

// Records in the cache of a worker that is live, over which nothing was swept: the start's own
// sweep is over, of which the writer may hear only after the worker is live.
static void add_records(struct daemon *daemon)
{
    await_sweeps(daemon, 1);
    pthread_mutex_lock(&daemon->mutex);
    make_records(daemon);
    pthread_mutex_unlock(&daemon->mutex);
}

// On a table with its triggers.
static struct daemon *start_with_records(struct scenario *scenario, struct pg *pg)
{
    struct daemon *daemon = daemon_of(scenario, pg);
    add_records(daemon);
    return daemon;
}

static void await_sweep(struct daemon *daemon, size_t before)
{
    await_sweeps(daemon, before + 1);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
}

static void break_feed(struct daemon *daemon)
{
    pg_exec(daemon->pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE query ILIKE 'listen%%'");
}

static void assert_drops(struct daemon *daemon)
{
    int wrong = -1;
    // Who fails must not hold what the writer waits for.
    pthread_mutex_lock(&daemon->mutex);
    for (int i = 0; i < RECORDS && wrong < 0; i++) {
        wrong = daemon->dropped[i] != is_to_be_dropped(i) ? i : -1;
    }
    pthread_mutex_unlock(&daemon->mutex);
    if (wrong >= 0) {
        scenario_fail("record %d (fate %d) was %s", wrong, (int)fate_of(wrong),
                      is_to_be_dropped(wrong) ? "kept" : "dropped");
    }
}

static void what_changed_is_dropped(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_with_records(scenario, pg);
    size_t before = sweeps_done(daemon);
    int64_t swept = status_get(&daemon->status, STATUS_PG_SWEPT);
    break_feed(daemon);
    await_sweep(daemon, before);
    assert_drops(daemon);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_SWEPT), swept + RECORDS);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_SWEEP_DROPS), daemon->drops_count);
    daemon_end(daemon);
}

// Where the cache holds most of the table, its ranges are asked for. Many rows that the cache does
// not hold lie among the others, more than one answer takes, and some that are too long for it.
static void ranges_tell_the_same(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_with_records(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k00100' || i, '1'"
                " FROM generate_series(1, 20000) i;"
                "INSERT INTO kv_store (key, value) SELECT 'k00200' || repeat('x', 600) || i, '1'"
                " FROM generate_series(1, 100) i");
    status_set(&daemon->status, STATUS_CACHE_ENTRIES, 1000000);
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 20000);
    size_t before = sweeps_done(daemon);
    break_feed(daemon);
    await_sweep(daemon, before);
    assert_drops(daemon);
    assert_pg_value(pg, "t",
                    "SELECT count(*) > 0 FROM pg_stat_activity"
                    " WHERE query LIKE '%%key >= $1%%key <= $2%%LIMIT%%'");
    daemon_end(daemon);
}

// The cache is not looked at before the writer has begun the epoch: until then it holds nothing
// that it takes to be suspect.
static void a_sweep_waits_for_the_epoch(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_with_records(scenario, pg);
    size_t before = sweeps_done(daemon);
    int64_t epoch = status_get(&daemon->status, STATUS_CACHE_EPOCH);
    pthread_mutex_lock(&daemon->mutex);
    daemon->is_begun_late = true;
    pthread_mutex_unlock(&daemon->mutex);
    break_feed(daemon);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&daemon->status, STATUS_PG_STATE) == NODE_LIVE) {
        assert_true(deadline_again(&deadline));
    }
    daemon_await(daemon, STATUS_PG_STATE, NODE_CATCHING_UP);
    daemon_get(daemon, "k00000"); // the sweep had its turn
    assert_int_equal(sweeps_done(daemon), before);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_SWEPT), 0);
    status_set(&daemon->status, STATUS_CACHE_EPOCH, epoch + 1);
    await_sweep(daemon, before);
    assert_drops(daemon);
    daemon_end(daemon);
}

// Held up by a lock, a sweep is neither lost with its connection nor taken over into the next
// epoch.
static void a_sweep_survives_what_it_asks_with(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start_with_records(scenario, pg);
    size_t before = sweeps_done(daemon);
    PGconn *lock = session_lock_table(daemon);
    break_feed(daemon);
    daemon_await_blocked(daemon, "1");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT key%%'");
    daemon_await_blocked(daemon, "1");
    int64_t epoch = status_get(&daemon->status, STATUS_CACHE_EPOCH);
    break_feed(daemon);
    daemon_await(daemon, STATUS_CACHE_EPOCH, epoch + 1);
    daemon_await_blocked(daemon, "1");
    assert_int_equal(sweeps_done(daemon), before);
    session_commit(lock);
    await_sweep(daemon, before);
    assert_drops(daemon);
    assert_int_equal(sweeps_done(daemon), before + 1);
    daemon_end(daemon);
}

// With two connections a miss never waits for a sweep.
static void misses_go_before(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.postgres.connections = 2;
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    add_records(daemon);
    size_t before = sweeps_done(daemon);
    PGconn *lock = session_lock_table(daemon);
    break_feed(daemon);
    daemon_await_blocked(daemon, "1"); // the sweep
    struct call scan = {.method = METHOD_SCAN, .limit = 10};
    struct request *scanning = daemon_send(daemon, &scan);
    struct request *getting = daemon_send_get(daemon, "none");
    daemon_await_blocked(daemon, "2"); // and the get, although the scan came first
    pid_t getter = pg_backend(pg, "wait_event_type = 'Lock' AND query LIKE '%OFFSET 0) rows'");
    assert_true(getter > 0);
    session_commit(lock);
    assert_string_equal(daemon_outcome(daemon, getting), "absent");
    request_destroy(daemon_await_reply(daemon, scanning));
    await_sweep(daemon, before);
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(what_changed_is_dropped),
        SCENARIO(ranges_tell_the_same),
        SCENARIO(a_sweep_waits_for_the_epoch),
        SCENARIO(a_sweep_survives_what_it_asks_with),
        SCENARIO(misses_go_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
