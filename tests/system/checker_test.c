// What check and the size of the table say of a real PostgreSQL, in order and not.
#include "system/harness/deadline.h"
#include "system/harness/played_calls.h"

// The message of an item, after "ok: " or "wrong: "; NULL where there is none.
static const char *item_of(struct daemon *daemon, const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->reply.checks_count; i++) {
        const struct check_item *item = &request->reply.checks[i];
        if (slice_equal(item->item, slice_of_string(name))) {
            return scenario_text(daemon->scenario, "%s: %.*s", item->ok ? "ok" : "wrong",
                                 SLICE_FORMAT(item->message));
        }
    }
    return NULL;
}

static struct request *check(struct daemon *daemon)
{
    struct call call = {.method = METHOD_CHECK};
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    return request;
}

static void assert_starts(const char *text, const char *start)
{
    if (text == NULL || strncmp(text, start, strlen(start)) != 0) {
        scenario_fail("%s", text == NULL ? "no such item" : text);
    }
}

static void all_is_in_order(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_sync(daemon);
    struct request *request = check(daemon);
    for (size_t i = 0; i < request->reply.checks_count; i++) {
        const struct check_item *item = &request->reply.checks[i];
        if (!item->ok) {
            scenario_fail("%.*s: %.*s", SLICE_FORMAT(item->item), SLICE_FORMAT(item->message));
        }
    }
    assert_starts(item_of(daemon, request, "connection"), "ok: PostgreSQL ");
    assert_starts(item_of(daemon, request, "primary"), "ok: the server is the primary");
    assert_starts(item_of(daemon, request, "pooler"), "ok: none in between");
    assert_starts(item_of(daemon, request, "notify"), "ok: a notification comes back in ");
    assert_starts(item_of(daemon, request, "flush"), "ok: 0 writes wait");
    assert_starts(item_of(daemon, request, "triggers"), "ok: ");
    assert_starts(item_of(daemon, request, "rights"), "ok: ");
    assert_starts(item_of(daemon, request, "disk"), "ok: there is room");
    request_destroy(request);
    daemon_end(daemon);
}

static void what_is_wrong_is_named(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER pgnear_update;"
                "DROP INDEX kv_store_updated_at_idx");
    struct request *request = check(daemon);
    assert_starts(item_of(daemon, request, "triggers"),
                  "wrong: kv_store does not always fire its trigger pgnear_update");
    assert_starts(item_of(daemon, request, "index"), "wrong: updated_at has no index");
    assert_starts(item_of(daemon, request, "connection"), "ok: PostgreSQL ");
    request_destroy(request);
    daemon_end(daemon);
}

static void without_postgresql_the_rest_is_checked(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 0);
    pg_stop(pg, PG_STOP_FAST);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&daemon->status, STATUS_PG_STATE) != NODE_DISCONNECTED) {
        assert_true(deadline_again(&deadline));
    }
    struct request *request = check(daemon);
    assert_starts(item_of(daemon, request, "connection"), "wrong: no connection to PostgreSQL: ");
    assert_starts(item_of(daemon, request, "notify"), "wrong: ");
    assert_starts(item_of(daemon, request, "disk"), "ok: there is room");
    request_destroy(request);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_TABLE_ROWS), -1);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_TABLE_BYTES), -1);
    pg_start_again(pg);
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 0);
    daemon_end(daemon);
}

static void a_check_that_hangs_says_so(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct request *get = daemon_send_get(daemon, "k");
    daemon_await_blocked(daemon, "1");
    struct call call = {.method = METHOD_CHECK, .timeout_ms = 100};
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
    assert_starts(item_of(daemon, request, "connection"),
                  "wrong: PostgreSQL did not answer within 100 ms");
    request_destroy(request);
    session_commit(lock);
    assert_string_equal(daemon_outcome(daemon, get), "absent");
    daemon_end(daemon);
}

static void the_size_of_the_table_is_known(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 0);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT i, '1' FROM generate_series(1, 12345) i");
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 12345);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_TABLE_ROWS), 12345);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_TABLE_BYTES),
                     pg_int(pg, "SELECT pg_total_relation_size('kv_store')"));
    daemon_end(daemon);
}

static void partitions_are_counted(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.postgres.partitions = 4;
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT i, '1' FROM generate_series(1, 1000) i");
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 1000);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_TABLE_BYTES),
                     pg_int(pg, "SELECT sum(pg_total_relation_size(relid))"
                                " FROM pg_partition_tree('kv_store') WHERE isleaf"));
    daemon_end(daemon);
}

// A count that takes too long is given up for the planner's estimate. A policy of row security, to
// which the owner is subject, makes each row take its time.
static void a_slow_count_becomes_an_estimate(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.postgres.conninfo = (char *)scenario_text(scenario, "%s&user=app", pg_url(pg));
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 0);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT i, '1' FROM generate_series(1, 1000) i;"
                "ANALYZE kv_store; ALTER TABLE kv_store FORCE ROW LEVEL SECURITY;"
                "ALTER TABLE kv_store ENABLE ROW LEVEL SECURITY;"
                "CREATE POLICY slowly ON kv_store USING (pg_sleep(0.002) IS NOT NULL)");
    daemon_await(daemon, STATUS_PG_TABLE_ROWS, 1000);
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE"
                    " '%%count(*)%%' AND usename = 'app'");
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(all_is_in_order),
        SCENARIO(what_is_wrong_is_named),
        SCENARIO(without_postgresql_the_rest_is_checked),
        SCENARIO(a_check_that_hangs_says_so),
        SCENARIO(the_size_of_the_table_is_known),
        SCENARIO(partitions_are_counted),
        SCENARIO(a_slow_count_becomes_an_estimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
