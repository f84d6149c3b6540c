// The sweep after a gap, against a real PostgreSQL: what has changed is dropped, what has not is
// kept, whatever the way it is asked for and whatever happens meanwhile.
#include "system/reads_bench.h"

enum { RECORDS = 6500 }; // several pages

static const char *key_of(struct bench *bench, int i)
{
    return scenario_text(bench->scenario, "k%05d", i);
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
static void make_records(struct bench *bench)
{
    pg_exec(bench->pg,
            "INSERT INTO kv_store (key, value)"
            " SELECT 'k' || lpad(i::text, 5, '0'), '1' FROM generate_series(0, %d) i",
            RECORDS - 1);
    PGconn *conn = pg_connect(bench->pg);
    PGresult *rows = PQexec(conn, "SELECT version FROM kv_store ORDER BY key");
    assert_int_equal(PQntuples(rows), RECORDS);
    for (int i = 0; i < RECORDS; i++) {
        bool is_absent = fate_of(i) == STILL_ABSENT || fate_of(i) == APPEARED;
        bench->records[i] = (struct swept_record){
            .key = slice_of_string(key_of(bench, i)),
            .version = is_absent ? 0 : strtoll(PQgetvalue(rows, i, 0), NULL, 10),
            .absent = is_absent,
        };
    }
    bench->records_count = RECORDS;
    PQclear(rows);
    for (int i = 0; i < RECORDS; i++) {
        if (fate_of(i) == CHANGED) {
            bench_run(conn, scenario_text(bench->scenario,
                                          "UPDATE kv_store SET value = '2' WHERE key = '%s'",
                                          key_of(bench, i)));
        } else if (fate_of(i) == DELETED || fate_of(i) == STILL_ABSENT) {
            bench_run(conn, scenario_text(bench->scenario, "DELETE FROM kv_store WHERE key = '%s'",
                                          key_of(bench, i)));
        }
    }
    PQfinish(conn);
}

static size_t sweeps_done(struct bench *bench)
{
    pthread_mutex_lock(&bench->mutex);
    size_t done = bench->sweeps_done;
    pthread_mutex_unlock(&bench->mutex);
    return done;
}

static void await_sweeps(struct bench *bench, size_t count)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (sweeps_done(bench) < count) {
        if (!deadline_again(&deadline)) {
            scenario_fail("the sweep does not end");
        }
    }
}

// Records in the cache of a worker that is live, over which nothing was swept: the start's own
// sweep is over, of which the writer may hear only after the worker is live.
static void add_records(struct bench *bench)
{
    await_sweeps(bench, 1);
    pthread_mutex_lock(&bench->mutex);
    make_records(bench);
    pthread_mutex_unlock(&bench->mutex);
}

// On a table with its triggers.
static struct bench *start_with_records(struct scenario *scenario, struct pg *pg)
{
    struct bench *bench = bench_of(scenario, pg);
    add_records(bench);
    return bench;
}

static void await_sweep(struct bench *bench, size_t before)
{
    await_sweeps(bench, before + 1);
    bench_await(bench, STATUS_PG_STATE, NODE_LIVE);
}

static void break_feed(struct bench *bench)
{
    pg_exec(bench->pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                       " WHERE query ILIKE 'listen%%'");
}

static void assert_drops(struct bench *bench)
{
    int wrong = -1;
    // Who fails must not hold what the writer waits for.
    pthread_mutex_lock(&bench->mutex);
    for (int i = 0; i < RECORDS && wrong < 0; i++) {
        wrong = bench->dropped[i] != is_to_be_dropped(i) ? i : -1;
    }
    pthread_mutex_unlock(&bench->mutex);
    if (wrong >= 0) {
        scenario_fail("record %d (fate %d) was %s", wrong, (int)fate_of(wrong),
                      is_to_be_dropped(wrong) ? "kept" : "dropped");
    }
}

static void what_changed_is_dropped(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = start_with_records(scenario, pg);
    size_t before = sweeps_done(bench);
    int64_t swept = status_get(&bench->status, STATUS_PG_SWEPT);
    break_feed(bench);
    await_sweep(bench, before);
    assert_drops(bench);
    assert_int_equal(status_get(&bench->status, STATUS_PG_SWEPT), swept + RECORDS);
    assert_int_equal(status_get(&bench->status, STATUS_PG_SWEEP_DROPS), bench->drops_count);
    bench_end(bench);
}

// Where the cache holds most of the table, its ranges are asked for. Many rows that the cache does
// not hold lie among the others, more than one answer takes, and some that are too long for it.
static void ranges_tell_the_same(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = start_with_records(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k00100' || i, '1'"
                " FROM generate_series(1, 20000) i;"
                "INSERT INTO kv_store (key, value) SELECT 'k00200' || repeat('x', 600) || i, '1'"
                " FROM generate_series(1, 100) i");
    status_set(&bench->status, STATUS_CACHE_ENTRIES, 1000000);
    bench_await(bench, STATUS_PG_TABLE_ROWS, 20000);
    size_t before = sweeps_done(bench);
    break_feed(bench);
    await_sweep(bench, before);
    assert_drops(bench);
    assert_pg_value(pg, "t",
                    "SELECT count(*) > 0 FROM pg_stat_activity"
                    " WHERE query LIKE '%%key >= $1%%key <= $2%%LIMIT%%'");
    bench_end(bench);
}

// The cache is not looked at before the writer has begun the epoch: until then it holds nothing
// that it takes to be suspect.
static void a_sweep_waits_for_the_epoch(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = start_with_records(scenario, pg);
    size_t before = sweeps_done(bench);
    int64_t epoch = status_get(&bench->status, STATUS_CACHE_EPOCH);
    pthread_mutex_lock(&bench->mutex);
    bench->is_begun_late = true;
    pthread_mutex_unlock(&bench->mutex);
    break_feed(bench);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&bench->status, STATUS_PG_STATE) == NODE_LIVE) {
        assert_true(deadline_again(&deadline));
    }
    bench_await(bench, STATUS_PG_STATE, NODE_CATCHING_UP);
    bench_get(bench, "k00000"); // the sweep had its turn
    assert_int_equal(sweeps_done(bench), before);
    assert_int_equal(status_get(&bench->status, STATUS_PG_SWEPT), 0);
    status_set(&bench->status, STATUS_CACHE_EPOCH, epoch + 1);
    await_sweep(bench, before);
    assert_drops(bench);
    bench_end(bench);
}

// Held up by a lock, a sweep is neither lost with its connection nor taken over into the next
// epoch.
static void a_sweep_survives_what_it_asks_with(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = start_with_records(scenario, pg);
    size_t before = sweeps_done(bench);
    PGconn *lock = bench_lock_table(bench);
    break_feed(bench);
    bench_await_blocked(bench, "1");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT key%%'");
    bench_await_blocked(bench, "1");
    int64_t epoch = status_get(&bench->status, STATUS_CACHE_EPOCH);
    break_feed(bench);
    bench_await(bench, STATUS_CACHE_EPOCH, epoch + 1);
    bench_await_blocked(bench, "1");
    assert_int_equal(sweeps_done(bench), before);
    bench_commit(lock);
    await_sweep(bench, before);
    assert_drops(bench);
    assert_int_equal(sweeps_done(bench), before + 1);
    bench_end(bench);
}

// With two connections a miss never waits for a sweep.
static void misses_go_before(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_create(scenario, pg);
    bench->settings.postgres.connections = 2;
    bench_start(bench);
    bench_await(bench, STATUS_PG_STATE, NODE_LIVE);
    add_records(bench);
    size_t before = sweeps_done(bench);
    PGconn *lock = bench_lock_table(bench);
    break_feed(bench);
    bench_await_blocked(bench, "1"); // the sweep
    struct call scan = {.method = METHOD_SCAN, .limit = 10};
    struct request *scanning = bench_send(bench, &scan);
    struct request *getting = bench_send_get(bench, "none");
    bench_await_blocked(bench, "2"); // and the get, although the scan came first
    pid_t getter = pg_backend(pg, "wait_event_type = 'Lock' AND query LIKE '%OFFSET 0) rows'");
    assert_true(getter > 0);
    bench_commit(lock);
    assert_string_equal(bench_outcome(bench, getting), "absent");
    request_destroy(bench_await_reply(bench, scanning));
    await_sweep(bench, before);
    bench_end(bench);
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
