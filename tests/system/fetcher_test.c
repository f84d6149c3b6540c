// Reads that the cache could not answer, against a real PostgreSQL: what is answered, what is told
// to the cache, and what must not be because the row may have changed meanwhile.
#include "system/reads_bench.h"

static void announce(struct bench *bench, const char *payload)
{
    pg_exec(bench->pg,
            "SELECT pg_notify((SELECT substring(prosrc FROM 'pgnear_[0-9a-f]{16}')"
            " FROM pg_proc WHERE proname = 'kv_store_pgnear_notify'), '%s')",
            payload);
}

static const char *versioned(struct bench *bench, const char *json, const char *key)
{
    return scenario_text(
        bench->scenario, "%s v%lld", json,
        (long long)pg_int(bench->pg, "SELECT version FROM kv_store WHERE key = '%s'", key));
}

static void rows_are_answered_and_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(
        pg,
        "INSERT INTO kv_store (key, value, expires_at) VALUES"
        " ('a', '{\"n\": 12345678901234567890123}', NULL), ('old', '1', now() - '1s'::interval),"
        " ('soon', '2', now() + '1 hour'), ('ever', '3', 'infinity')");
    bench_sync(bench);
    assert_string_equal(bench_get(bench, "a"),
                        versioned(bench, "{\"n\":12345678901234567890123}", "a"));
    assert_string_equal(bench_get(bench, "none"), "absent");
    assert_string_equal(bench_get(bench, "old"), "absent");
    assert_string_equal(bench_get(bench, "soon"), versioned(bench, "2", "soon"));
    assert_string_equal(bench_get(bench, "ever"), versioned(bench, "3", "ever"));
    bench_await_fills(bench, "a", 1);
    bench_await_fills(bench, "none", 1);
    bench_await_fills(bench, "ever", 1);
    assert_false(bench->fills[1].present);
    assert_string_equal(bench->fills[0].json, "{\"n\":12345678901234567890123}");
    bench_end(bench);
}

static void an_mget_keeps_its_order(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(i)"
                " FROM generate_series(1, 1000) i");
    struct pair pairs[1000];
    for (int i = 0; i < 1000; i++) {
        // 999 of 1000 exist, one is asked for twice.
        const char *key =
            i == 500 ? "none" : scenario_text(scenario, "k%d", i == 0 ? 999 : 1000 - i);
        pairs[i] = (struct pair){.key = slice_of_string(key)};
    }
    struct call call = {.method = METHOD_MGET, .pairs_count = 1000, .pairs = pairs};
    struct request *request = bench_await_reply(bench, bench_send(bench, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    assert_int_equal(request->reply.items_count, 1000);
    for (int i = 0; i < 1000; i++) {
        const struct item *item = &request->reply.items[i];
        assert_int_equal(item->present, i != 500);
        if (i != 500) {
            assert_string_equal(bench_json(bench, item->value),
                                scenario_text(scenario, "%d", i == 0 ? 999 : 1000 - i));
        }
    }
    request_destroy(request);
    bench_end(bench);
}

static void ttl_counts_by_the_row(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES"
                " ('forever', '1', NULL), ('hour', '2', now() + '1 hour')");
    const char *const keys[] = {"forever", "hour", "none"};
    for (int i = 0; i < 3; i++) {
        struct pair pair;
        struct call call = bench_call(METHOD_TTL, &pair, keys[i]);
        struct request *request = bench_await_reply(bench, bench_send(bench, &call));
        assert_int_equal(request->reply.has_integer, i == 1);
        assert_true(i != 1 ||
                    (request->reply.integer > 3590000 && request->reply.integer <= 3600000));
        request_destroy(request);
    }
    bench_end(bench);
}

static void a_thousand_ask_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    bench_sync(bench);
    PGconn *lock = bench_lock_table(bench);
    struct request *requests[1000];
    for (int i = 0; i < 1000; i++) {
        requests[i] = bench_send_get(bench, "k");
    }
    bench_await_blocked(bench, "1");
    bench_commit(lock);
    for (int i = 0; i < 1000; i++) {
        assert_string_equal(bench_outcome(bench, requests[i]), versioned(bench, "1", "k"));
    }
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHES), 1);
    bench_await_fills(bench, "k", 1);
    assert_int_equal(bench_fills_of(bench, "k"), 1);
    bench_end(bench);
}

// A read that missed before another one's answer was cached, and comes after it.
static void a_late_miss_finds_the_answer_in_the_cache(struct scenario *scenario)
{
    static const uint8_t SEVEN[] = {7};
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1'), ('other', '2')");
    bench_sync(bench);
    const struct cached good = {
        .present = true,
        .version = 5,
        .current_boot_us = INT64_MAX / 2,
        .value = slice_of(SEVEN, sizeof SEVEN),
    };
    bench_hold(bench, "k", LOOKUP_HIT, &good);
    assert_string_equal(bench_get(bench, "k"), "7 v5");
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHES), 0);
    assert_int_equal(status_get(&bench->status, STATUS_CACHE_LATE_HITS), 1);
    // One of two keys.
    struct pair pairs[] = {{.key = slice_of_string("other")}, {.key = slice_of_string("k")}};
    struct call mget = {.method = METHOD_MGET, .pairs_count = 2, .pairs = pairs};
    struct request *request = bench_await_reply(bench, bench_send(bench, &mget));
    assert_string_equal(bench_item(bench, &request->reply.items[0]),
                        versioned(bench, "2", "other"));
    assert_string_equal(bench_item(bench, &request->reply.items[1]), "7 v5");
    request_destroy(request);
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHED_KEYS), 1);
    struct cached absent = good;
    absent.present = false;
    bench_hold(bench, "k", LOOKUP_HIT, &absent);
    assert_string_equal(bench_get(bench, "k"), "absent");
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHED_KEYS), 1);
    bench_end(bench);
}

static void a_late_miss_believes_no_less_than_postgres(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    bench_sync(bench);
    struct cached good = {.current_boot_us = INT64_MAX / 2};
    struct cached pending = good, old = good;
    pending.pending = true;
    old.current_boot_us = clock_boot_us() - 2 * CLOCK_US_PER_S;
    const char *expected = versioned(bench, "1", "k");
    bench_hold(bench, "k", LOOKUP_SUSPECT, &good);
    assert_string_equal(bench_get(bench, "k"), expected);
    bench_hold(bench, "k", LOOKUP_HIT, &pending);
    assert_string_equal(bench_get(bench, "k"), expected);
    bench_hold(bench, "k", LOOKUP_HIT, &old);
    assert_string_equal(bench_get(bench, "k"), expected);
    bench_hold(bench, "k", LOOKUP_HIT, &good);
    assert_string_equal(bench_outcome(bench, bench_send_fresh(bench, "k")), expected);
    assert_int_equal(status_get(&bench->status, STATUS_CACHE_LATE_HITS), 0);
    bench_end(bench);
}

// Rule 4.
static void a_marked_fetch_is_not_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1'), ('other', '2')");
    bench_sync(bench);
    const char *const marks[] = {"[\"\",[[\"k\",1]]]", "[\"\",\"truncate\"]", "[\"\",\"sweep\"]"};
    for (int i = 0; i < 3; i++) {
        PGconn *lock = bench_lock_table(bench);
        struct request *first = bench_send_get(bench, "k");
        bench_await_blocked(bench, "1");
        int64_t heard = status_get(&bench->status, STATUS_PG_NOTIFICATIONS);
        announce(bench, marks[i]);
        // No sync: that waits for the sweep, and the sweep for the lock.
        struct deadline deadline = deadline_in(DEADLINE_MS);
        while (status_get(&bench->status, STATUS_PG_NOTIFICATIONS) == heard) {
            assert_true(deadline_again(&deadline));
        }
        // It takes no new waiters, so this one's SELECT comes later.
        int64_t fetches = status_get(&bench->status, STATUS_PG_FETCHES);
        struct request *second = bench_send_get(bench, "k");
        bench_commit(lock);
        assert_string_equal(bench_outcome(bench, first), versioned(bench, "1", "k"));
        assert_string_equal(bench_outcome(bench, second), versioned(bench, "1", "k"));
        assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHES), fetches + 1);
        bench_await_fills(bench, "k", (size_t)i + 1);
        bench_sync(bench);
        assert_int_equal(bench_fills_of(bench, "k"), i + 1);
    }
    bench_end(bench);
}

static void a_change_of_another_key_marks_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    PGconn *lock = bench_lock_table(bench);
    struct request *request = bench_send_get(bench, "k");
    bench_await_blocked(bench, "1");
    announce(bench, "[\"\",[[\"other\",1]]]");
    bench_sync(bench);
    bench_commit(lock);
    assert_string_equal(bench_outcome(bench, request), "absent");
    bench_await_fills(bench, "k", 1);
    bench_end(bench);
}

static void a_fresh_read_asks_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_create(scenario, pg);
    bench->settings.postgres.connections = 2;
    bench_start(bench);
    bench_await(bench, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    bench_sync(bench);
    PGconn *lock = bench_lock_table(bench);
    struct request *plain = bench_send_get(bench, "k");
    bench_await_blocked(bench, "1");
    struct request *fresh = bench_send_fresh(bench, "k");
    bench_await_blocked(bench, "2");
    struct request *joined = bench_send_get(bench, "k");
    bench_sync(bench);
    bench_commit(lock);
    bench_outcome(bench, plain);
    bench_outcome(bench, joined);
    assert_string_equal(bench_outcome(bench, fresh), versioned(bench, "1", "k"));
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHES), 2);
    bench_await_fills(bench, "k", 1);
    bench_sync(bench);
    assert_int_equal(bench_fills_of(bench, "k"), 1);
    bench_end(bench);
}

// Rule 7.
static void an_answer_of_another_epoch_is_not_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    PGconn *lock = bench_lock_table(bench);
    struct request *request = bench_send_get(bench, "k");
    bench_await_blocked(bench, "1");
    int64_t epoch = status_get(&bench->status, STATUS_CACHE_EPOCH);
    pg_exec(pg,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%%'");
    bench_await(bench, STATUS_CACHE_EPOCH, epoch + 1);
    bench_commit(lock);
    assert_string_equal(bench_outcome(bench, request), "absent");
    bench_sync(bench);
    assert_int_equal(bench_fills_of(bench, "k"), 0);
    assert_string_equal(bench_get(bench, "k"), "absent");
    bench_await_fills(bench, "k", 1);
    bench_end(bench);
}

static void rows_beyond_the_limits_are_told(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_create(scenario, pg);
    bench->settings.server.max_value_bytes = 10000;
    bench_start(bench);
    bench_await(bench, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('large', to_jsonb(repeat('x', 20000))),"
                " ('huge', to_jsonb(repeat('y', 5000000))), ('fine', to_jsonb(repeat('z', 9000))),"
                " ('deep', (repeat('[', 200) || repeat(']', 200))::jsonb)");
    bench_sync(bench);
    const char *const keys[] = {"large", "huge", "deep"};
    for (int i = 0; i < 3; i++) {
        const char *outcome = bench_get(bench, keys[i]);
        const char *start =
            scenario_text(scenario, "TOO_LARGE: Failed to get key \"%s\": ", keys[i]);
        if (strncmp(outcome, start, strlen(start)) != 0) {
            scenario_fail("%s", outcome);
        }
        assert_int_equal(bench_fills_of(bench, keys[i]), 0);
    }
    // Larger than a share of an answer to many keys.
    struct pair pairs[256] = {0};
    for (int i = 0; i < 256; i++) {
        pairs[i].key = slice_of_string(i == 0 ? "fine" : scenario_text(scenario, "none%d", i));
    }
    struct call call = {.method = METHOD_MGET, .pairs_count = 256, .pairs = pairs};
    struct request *request = bench_await_reply(bench, bench_send(bench, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    assert_true(request->reply.items[0].present);
    request_destroy(request);
    bench_end(bench);
}

static void a_row_beyond_its_share_is_asked_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'big' || i, to_jsonb(repeat('x', 500000))"
                " FROM generate_series(1, 4) i");
    struct pair pairs[256] = {0};
    for (int i = 0; i < 256; i++) {
        pairs[i].key =
            slice_of_string(scenario_text(scenario, "%s%d", i < 4 ? "big" : "none", i + 1));
    }
    struct call call = {.method = METHOD_MGET, .pairs_count = 256, .pairs = pairs};
    struct request *request = bench_await_reply(bench, bench_send(bench, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(request->reply.items[i].present, i < 4);
        assert_true(i >= 4 || request->reply.items[i].value.len > 500000);
    }
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHES), 5);
    request_destroy(request);
    bench_end(bench);
}

static void a_read_waits_for_the_nodes_write(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    PGconn *lock = pg_connect(pg);
    bench_run(lock, "BEGIN; SELECT FROM pgnear_node FOR UPDATE");
    uint64_t seq = bench_journal(bench, METHOD_SET, "k", "7");
    bench_journaled(bench);
    struct pair pair;
    struct call call = bench_call(METHOD_GET, &pair, "k");
    call.fresh = true;
    struct request *request = bench_make(bench, &call);
    request->after_seq = seq;
    mailbox_push(worker_mailbox(bench->worker), &request->message);
    assert_string_equal(bench_get(bench, "unrelated"), "absent");
    assert_false(bench_is_home(bench, request));
    bench_commit(lock);
    const char *outcome = bench_outcome(bench, request);
    assert_string_equal(outcome, versioned(bench, "7", "k"));
    bench_end(bench);
}

static void a_deadline_ends_the_wait(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    PGconn *lock = bench_lock_table(bench);
    struct pair pair;
    struct call call = bench_call(METHOD_GET, &pair, "k");
    call.timeout_ms = 100;
    assert_string_equal(
        bench_outcome(bench, bench_send(bench, &call)),
        "TIMEOUT: Failed to get key \"k\": PostgreSQL did not answer within 100 ms");
    bench_commit(lock);
    assert_string_equal(bench_get(bench, "k"), "absent");
    bench_end(bench);
}

static void postgres_words_are_passed_on(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "DROP TABLE kv_store");
    struct request *request = bench_send_get(bench, "test");
    bench_await_reply(bench, request);
    assert_int_equal(request->reply.failure.error, ERROR_REJECTED);
    assert_string_equal(request->reply.failure.sqlstate, "42P01");
    assert_string_equal(request->reply.failure.message,
                        "Failed to get key \"test\": relation \"kv_store\" does not exist");
    request_destroy(request);
    bench_end(bench);
}

static void a_lost_connection_is_replaced(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    PGconn *lock = bench_lock_table(bench);
    struct request *request = bench_send_get(bench, "k");
    bench_await_blocked(bench, "1");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT key%%'");
    bench_await_blocked(bench, "1");
    bench_commit(lock);
    assert_string_equal(bench_outcome(bench, request), "absent");
    assert_int_equal(status_get(&bench->status, STATUS_PG_FETCHES), 2);
    bench_end(bench);
}

// The result of a statement that the server keeps must not change its type: PostgreSQL refuses it
// then, for as long as the session lives.
static void a_kept_statement_is_done_without_once_it_fails(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(i)"
                " FROM generate_series(1, 40) i");
    bench_sync(bench);
    for (int i = 1; i <= 40; i++) {
        if (i == 20) {
            pg_exec(pg, "ALTER TABLE kv_store ALTER COLUMN key TYPE varchar COLLATE \"C\"");
        }
        const char *key = scenario_text(scenario, "k%d", i);
        const char *json = scenario_text(scenario, "%d", i);
        assert_string_equal(bench_get(bench, key), versioned(bench, json, key));
    }
    // Each of the two connections found out by itself, at most.
    assert_in_range(status_get(&bench->status, STATUS_PG_FETCHES), 41, 42);
    bench_end(bench);
}

static void while_postgres_is_away_reads_are_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_of(scenario, pg);
    PGconn *lock = bench_lock_table(bench);
    struct request *waiting = bench_send_get(bench, "k");
    bench_await_blocked(bench, "1");
    PQfinish(lock);
    pg_stop(pg, PG_STOP_CRASH);
    bench_outcome(bench, waiting);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&bench->status, STATUS_PG_STATE) != NODE_DISCONNECTED) {
        assert_true(deadline_again(&deadline));
    }
    const char *outcome = bench_get(bench, "k");
    if (strncmp(outcome, "UNAVAILABLE: Failed to get key \"k\": no connection", 49) != 0) {
        scenario_fail("%s", outcome);
    }
    pg_start_again(pg);
    bench_await(bench, STATUS_PG_STATE, NODE_LIVE);
    assert_string_equal(bench_get(bench, "k"), "absent");
    bench_end(bench);
}

static void the_first_attempt_is_waited_for(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct bench *bench = bench_create(scenario, pg);
    bench_start(bench);
    assert_string_equal(bench_get(bench, "k"), "absent");
    bench_end(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(rows_are_answered_and_cached),
        SCENARIO(an_mget_keeps_its_order),
        SCENARIO(ttl_counts_by_the_row),
        SCENARIO(a_thousand_ask_once),
        SCENARIO(a_late_miss_finds_the_answer_in_the_cache),
        SCENARIO(a_late_miss_believes_no_less_than_postgres),
        SCENARIO(a_marked_fetch_is_not_cached),
        SCENARIO(a_change_of_another_key_marks_nothing),
        SCENARIO(a_fresh_read_asks_again),
        SCENARIO(an_answer_of_another_epoch_is_not_cached),
        SCENARIO(rows_beyond_the_limits_are_told),
        SCENARIO(a_row_beyond_its_share_is_asked_alone),
        SCENARIO(a_read_waits_for_the_nodes_write),
        SCENARIO(a_deadline_ends_the_wait),
        SCENARIO(postgres_words_are_passed_on),
        SCENARIO(a_lost_connection_is_replaced),
        SCENARIO(a_kept_statement_is_done_without_once_it_fails),
        SCENARIO(while_postgres_is_away_reads_are_refused),
        SCENARIO(the_first_attempt_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
