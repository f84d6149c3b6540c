// Scans against a real PostgreSQL: complete, in byte order, page after page, with this node's
// pending writes laid over, also where these are flushed while the scan is on its way.
#include "system/harness/played_calls.h"

static struct call scan_of(const char *prefix, const char *after, uint32_t limit)
{
    return (struct call){
        .method = METHOD_SCAN,
        .prefix = slice_of_string(prefix),
        .after = slice_of_string(after),
        .limit = limit,
    };
}

static struct request *run(struct daemon *daemon, const struct call *call)
{
    return daemon_await_reply(daemon, daemon_send(daemon, call));
}

// "a=1 b=2- next=b skipped=c": a minus sign where there is no version.
static const char *told(struct daemon *daemon, struct request *request)
{
    const struct reply *reply = &request->reply;
    const char *text =
        reply->failure.error == ERROR_NONE
            ? ""
            : scenario_text(daemon->scenario, "%s: %s ", error_wire_code(reply->failure.error),
                            reply->failure.message);
    for (size_t i = 0; reply->failure.error == ERROR_NONE && i < reply->items_count; i++) {
        const struct item *item = &reply->items[i];
        text = scenario_text(daemon->scenario, "%s%.*s=%s%s ", text, SLICE_FORMAT(item->key),
                             daemon_json(daemon, item->value), item->has_version ? "" : "-");
    }
    if (reply->next.len > 0) {
        text = scenario_text(daemon->scenario, "%snext=%.*s ", text, SLICE_FORMAT(reply->next));
    }
    for (size_t i = 0; i < reply->skipped_count; i++) {
        text = scenario_text(daemon->scenario, "%sskipped=%.*s ", text,
                             SLICE_FORMAT(reply->skipped[i]));
    }
    request_destroy(request);
    return text;
}

static void assert_scan(struct daemon *daemon, const char *prefix, const char *after,
                        uint32_t limit, const char *expected)
{
    struct call call = scan_of(prefix, after, limit);
    assert_string_equal(told(daemon, run(daemon, &call)), expected);
}

static void pages_follow_each_other(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg,
            "INSERT INTO kv_store (key, value, expires_at) VALUES ('a', '1', NULL),"
            " ('b', '2', now() - '1s'::interval), ('c', '3', now() + '1 hour'), ('B', '4', NULL),"
            " ('é', '5', NULL), ('z', '6', NULL), ('ca', '7', NULL), ('cé', '8', NULL),"
            " ('', '9', NULL)");
    assert_scan(daemon, "", "", 100, "B=4 a=1 c=3 ca=7 cé=8 z=6 é=5 ");
    assert_scan(daemon, "", "", 7, "B=4 a=1 c=3 ca=7 cé=8 z=6 é=5 ");
    assert_scan(daemon, "", "", 6, "B=4 a=1 c=3 ca=7 cé=8 z=6 next=z ");
    assert_scan(daemon, "", "z", 6, "é=5 ");
    assert_scan(daemon, "", "", 1, "B=4 next=B ");
    // What has expired is between the last item and the next.
    assert_scan(daemon, "", "B", 1, "a=1 next=b ");
    assert_scan(daemon, "", "b", 1, "c=3 next=c ");
    assert_scan(daemon, "c", "", 100, "c=3 ca=7 cé=8 ");
    assert_scan(daemon, "c", "c", 1, "ca=7 next=ca ");
    assert_scan(daemon, "é", "", 100, "é=5 ");
    assert_scan(daemon, "none", "", 100, "");
    struct call all = {.method = METHOD_ALL, .all = true, .prefix = slice_of_string("c")};
    assert_string_equal(told(daemon, run(daemon, &all)), "c=3 ca=7 cé=8 ");
    daemon_end(daemon);
}

static void every_row_comes_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || lpad(i::text, 5, '0'), to_jsonb(i)"
                " FROM generate_series(0, 2999) i");
    const char *after = "";
    int count = 0;
    do {
        struct call call = scan_of("k", after, 700);
        struct request *request = run(daemon, &call);
        assert_int_equal(request->reply.failure.error, ERROR_NONE);
        for (size_t i = 0; i < request->reply.items_count; i++, count++) {
            assert_string_equal(daemon_text(daemon, request->reply.items[i].key),
                                scenario_text(scenario, "k%05d", count));
        }
        after = daemon_text(daemon, request->reply.next);
        request_destroy(request);
    } while (*after != '\0');
    assert_int_equal(count, 3000);
    struct call all = {.method = METHOD_ALL, .all = true};
    struct request *request = run(daemon, &all);
    assert_int_equal(request->reply.items_count, 3000);
    request_destroy(request);
    daemon_end(daemon);
}

static void a_page_ends_at_8_mib(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || lpad(i::text, 2, '0'),"
                " to_jsonb(repeat('x', 1000000)) FROM generate_series(0, 19) i");
    const char *after = "";
    const size_t expected[] = {8, 8, 4};
    for (int page = 0; page < 3; page++) {
        struct call call = scan_of("", after, 1000);
        struct request *request = run(daemon, &call);
        assert_int_equal(request->reply.failure.error, ERROR_NONE);
        assert_int_equal(request->reply.items_count, expected[page]);
        after = daemon_text(daemon, request->reply.next);
        assert_int_equal(*after == '\0', page == 2);
        request_destroy(request);
    }
    struct call all = {.method = METHOD_ALL, .all = true};
    assert_string_equal(told(daemon, run(daemon, &all)),
                        "TOO_LARGE: Failed to all: more than 8388608 bytes: use scan ");
    all.prefix = slice_of_string("k0");
    assert_string_equal(told(daemon, run(daemon, &all)),
                        "TOO_LARGE: Failed to all: more than 8388608 bytes: use scan ");
    all.prefix = slice_of_string("k00");
    struct request *request = run(daemon, &all);
    assert_int_equal(request->reply.items_count, 1);
    request_destroy(request);
    daemon_end(daemon);
}

static void what_is_beyond_the_limits_is_named(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.server.max_value_bytes = 10000;
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(
        pg,
        "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', to_jsonb(repeat('x', 20000))),"
        " ('c', to_jsonb(repeat('x', 5000000))), ('d', (repeat('[', 200) || repeat(']', "
        "200))::jsonb),"
        " ('e', '2'), ('f' || repeat('y', 600), '3'), ('g', '4')");
    char long_name[602] = "f";
    memset(long_name + 1, 'y', 600);
    assert_scan(daemon, "", "", 100,
                scenario_text(scenario, "a=1 e=2 g=4 skipped=b skipped=c skipped=d skipped=%s ",
                              long_name));
    assert_scan(daemon, "", "", 1, "a=1 next=d skipped=b skipped=c skipped=d ");
    assert_scan(daemon, "", "d", 1, "e=2 next=e ");
    assert_scan(daemon, "", "e", 1, scenario_text(scenario, "g=4 skipped=%s ", long_name));
    daemon_end(daemon);
}

// ---- The overlay

// Holds the flush up before it writes anything.
static PGconn *hold_flush(struct daemon *daemon)
{
    PGconn *conn = pg_connect(daemon->pg);
    session_run(conn, "BEGIN; SELECT FROM pgnear_node FOR UPDATE");
    return conn;
}

static void pending_writes_are_laid_over(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('c', '2'), ('e', '3')");
    PGconn *hold = hold_flush(daemon);
    daemon_journal(daemon, METHOD_SET, "a", "10");
    daemon_journal(daemon, METHOD_SET, "b", "20");
    daemon_journal(daemon, METHOD_SET, "b", "21");
    daemon_journal(daemon, METHOD_DELETE, "c", NULL);
    daemon_journal(daemon, METHOD_SET, "d", "30");
    daemon_journal(daemon, METHOD_DELETE, "d", NULL);
    daemon_journal(daemon, METHOD_SET, "f", "40");
    daemon_publish(daemon);
    assert_scan(daemon, "", "", 100, "a=10- b=21- e=3 f=40- ");
    assert_scan(daemon, "", "", 2, "a=10- b=21- next=d ");
    assert_scan(daemon, "", "b", 1, "e=3 next=e ");
    assert_scan(daemon, "f", "", 1, "f=40- ");
    assert_scan(daemon, "b", "", 1, "b=21- ");
    session_commit(hold);
    daemon_await(daemon, STATUS_OUTBOX_APPLIED_SEQ, 7);
    assert_scan(daemon, "", "", 100, "a=10 b=21 e=3 f=40 ");
    daemon_end(daemon);
}

// A write acknowledged in memory only is laid over, though nothing has journaled it yet.
static void memory_writes_are_laid_over(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    daemon_journal(daemon, METHOD_SET, "a", "1");
    assert_scan(daemon, "", "", 10, "a=1- ");
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store");
    daemon_publish(daemon);
    daemon_await(daemon, STATUS_OUTBOX_APPLIED_SEQ, 1);
    assert_scan(daemon, "", "", 10, "a=1 ");
    daemon_end(daemon);
}

// An incr that was acknowledged is in PostgreSQL, but what came before it may still look pending.
static void decided_writes_are_waited_for(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *hold = hold_flush(daemon);
    daemon_journal(daemon, METHOD_SET, "a", "1");
    daemon_journal(daemon, METHOD_INCR, "a", "1");
    daemon_publish(daemon);
    struct call call = scan_of("a", "", 10);
    struct request *request = daemon_send(daemon, &call);
    assert_scan(daemon, "b", "", 10, ""); // not for those of another range
    assert_false(daemon_is_home(daemon, request));
    session_commit(hold);
    assert_string_equal(told(daemon, daemon_await_reply(daemon, request)), "a=2 ");
    daemon_end(daemon);
}

// Rule 13: the SELECT is under way while the flush commits, and others write to the same keys.
static void what_is_flushed_meanwhile_is_fetched_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('c', '2')");
    daemon_get(daemon, "a");
    pid_t reader = pg_backend(pg, "backend_type = 'client backend' AND query ~"
                                  " '^SELECT (key|count|coalesce\\(sum|set_config)'");
    PGconn *hold = hold_flush(daemon);
    daemon_journal(daemon, METHOD_SET, "a", "10");
    daemon_journal(daemon, METHOD_SET, "b", "20");
    daemon_journal(daemon, METHOD_DELETE, "c", NULL);
    daemon_journal(daemon, METHOD_DELETE, "d", NULL);
    daemon_journal(daemon, METHOD_SET, "e", "30");
    daemon_publish(daemon);
    pg_hold(pg, reader);
    struct call call = scan_of("", "", 10);
    struct request *request = daemon_send(daemon, &call);
    daemon_sync(daemon); // by now its SELECT has been sent
    session_commit(hold);
    daemon_await(daemon, STATUS_OUTBOX_APPLIED_SEQ, 5);
    pg_exec(pg, "UPDATE kv_store SET value = '11' WHERE key = 'a';"
                "INSERT INTO kv_store (key, value) VALUES ('d', '44');"
                "DELETE FROM kv_store WHERE key = 'e'");
    daemon_sync(daemon);
    pg_release(pg, reader);
    assert_string_equal(told(daemon, daemon_await_reply(daemon, request)), "a=11 b=20 d=44 ");
    daemon_end(daemon);
}

static void a_scan_has_a_deadline(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct call call = scan_of("", "", 10);
    call.timeout_ms = 100;
    assert_string_equal(told(daemon, run(daemon, &call)),
                        "TIMEOUT: Failed to scan: not complete within 100 ms ");
    session_commit(lock);
    assert_scan(daemon, "", "", 10, "");
    pg_exec(pg, "DROP TABLE kv_store");
    assert_scan(daemon, "", "", 10,
                "REJECTED: Failed to scan: relation \"kv_store\" does not exist ");
    daemon_end(daemon);
}

static void a_lost_connection_is_replaced(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct call call = scan_of("", "", 10);
    struct request *request = daemon_send(daemon, &call);
    daemon_await_blocked(daemon, "1");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT key%%'");
    daemon_await_blocked(daemon, "1");
    session_commit(lock);
    assert_string_equal(told(daemon, daemon_await_reply(daemon, request)), "");
    daemon_end(daemon);
}

// Keys that no client can ask for do not hold a page up, however many stand together.
static void a_crowd_of_long_keys_is_passed(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT repeat('m', 600) || i, '1'"
                " FROM generate_series(1, 9000) i");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('é', '2'), ('z', '3'),"
                " (repeat('ö', 3000), '4')");
    struct call call = scan_of("", "a", 1);
    struct request *request = run(daemon, &call);
    assert_int_equal(request->reply.items_count, 1);
    assert_string_equal(daemon_text(daemon, request->reply.items[0].key), "z");
    assert_string_equal(daemon_text(daemon, request->reply.next), "z");
    assert_int_equal(request->reply.skipped_count, 1000);
    request_destroy(request);
    const char *name = "";
    for (int i = 0; i < 2048; i++) { // 4096 bytes
        name = scenario_text(scenario, "%sö", name);
    }
    assert_scan(daemon, "", "z", 1, scenario_text(scenario, "é=2 skipped=%s ", name));
    assert_scan(daemon, "", "é", 1, scenario_text(scenario, "skipped=%s ", name));
    daemon_end(daemon);
}

// However large the table is behind it.
static void a_page_reads_no_more_than_its_rows(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(
        pg,
        "INSERT INTO kv_store (key, value) SELECT 'k' || i, '1' FROM generate_series(1, 20000) i");
    pg_exec(pg, "ANALYZE kv_store");
    daemon_sync(daemon);
    assert_scan(daemon, "k1234", "", 1, "k1234=1 next=k1234 ");
    assert_scan(daemon, "", "k1234", 1, "k12340=1 next=k12340 ");
    // What a backend has counted is told at its end.
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
    pg_await_value(pg, "t",
                   "SELECT idx_scan >= 2 FROM pg_stat_user_tables WHERE relname = 'kv_store'");
    assert_pg_value(pg, "t",
                    "SELECT idx_tup_fetch < 1000 AND seq_tup_read < 1000"
                    " FROM pg_stat_user_tables WHERE relname = 'kv_store'");
    daemon_end(daemon);
}

// More kinds of pages than statements that the server keeps, each several times.
static void pages_of_many_lengths(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2')");
    for (uint32_t i = 0; i < 40; i++) {
        assert_scan(daemon, "", "", 2 + i % 20, "a=1 b=2 ");
    }
    daemon_end(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(pages_follow_each_other),
        SCENARIO(every_row_comes_once),
        SCENARIO(a_page_ends_at_8_mib),
        SCENARIO(what_is_beyond_the_limits_is_named),
        SCENARIO(pending_writes_are_laid_over),
        SCENARIO(memory_writes_are_laid_over),
        SCENARIO(decided_writes_are_waited_for),
        SCENARIO(what_is_flushed_meanwhile_is_fetched_again),
        SCENARIO(a_scan_has_a_deadline),
        SCENARIO(a_lost_connection_is_replaced),
        SCENARIO(a_page_reads_no_more_than_its_rows),
        SCENARIO(a_crowd_of_long_keys_is_passed),
        SCENARIO(pages_of_many_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
