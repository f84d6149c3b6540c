// Reads that the cache could not answer, against a real PostgreSQL: what is answered, what is told
// to the cache, and what must not be because the row may have changed meanwhile.
#include "system/harness/deadline.h"
#include "system/harness/played_calls.h"

static void announce(struct daemon *daemon, const char *payload)
{
    pg_exec(daemon->pg,
            "SELECT pg_notify((SELECT substring(prosrc FROM 'pgnear_[0-9a-f]{16}')"
            " FROM pg_proc WHERE proname = 'kv_store_pgnear_notify'), '%s')",
            payload);
}

static const char *versioned(struct daemon *daemon, const char *json, const char *key)
{
    return scenario_text(
        daemon->scenario, "%s v%lld", json,
        (long long)pg_int(daemon->pg, "SELECT version FROM kv_store WHERE key = '%s'", key));
}

static void rows_are_answered_and_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(
        pg,
        "INSERT INTO kv_store (key, value, expires_at) VALUES"
        " ('a', '{\"n\": 12345678901234567890123}', NULL), ('old', '1', now() - '1s'::interval),"
        " ('soon', '2', now() + '1 hour'), ('ever', '3', 'infinity')");
    daemon_sync(daemon);
    assert_string_equal(daemon_get(daemon, "a"),
                        versioned(daemon, "{\"n\":12345678901234567890123}", "a"));
    assert_string_equal(daemon_get(daemon, "none"), "absent");
    assert_string_equal(daemon_get(daemon, "old"), "absent");
    assert_string_equal(daemon_get(daemon, "soon"), versioned(daemon, "2", "soon"));
    assert_string_equal(daemon_get(daemon, "ever"), versioned(daemon, "3", "ever"));
    daemon_await_fills(daemon, "a", 1);
    daemon_await_fills(daemon, "none", 1);
    daemon_await_fills(daemon, "ever", 1);
    assert_false(daemon->fills[1].present);
    assert_string_equal(daemon->fills[0].json, "{\"n\":12345678901234567890123}");
    daemon_end(daemon);
}

static void an_mget_keeps_its_order(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
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
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    assert_int_equal(request->reply.items_count, 1000);
    for (int i = 0; i < 1000; i++) {
        const struct item *item = &request->reply.items[i];
        assert_int_equal(item->present, i != 500);
        if (i != 500) {
            assert_string_equal(daemon_json(daemon, item->value),
                                scenario_text(scenario, "%d", i == 0 ? 999 : 1000 - i));
        }
    }
    request_destroy(request);
    daemon_end(daemon);
}

static void ttl_counts_by_the_row(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES"
                " ('forever', '1', NULL), ('hour', '2', now() + '1 hour')");
    const char *const keys[] = {"forever", "hour", "none"};
    for (int i = 0; i < 3; i++) {
        struct pair pair;
        struct call call = call_on_key(METHOD_TTL, &pair, keys[i]);
        struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
        assert_int_equal(request->reply.has_integer, i == 1);
        assert_true(i != 1 ||
                    (request->reply.integer > 3590000 && request->reply.integer <= 3600000));
        request_destroy(request);
    }
    daemon_end(daemon);
}

static void a_thousand_ask_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    daemon_sync(daemon);
    PGconn *lock = session_lock_table(daemon);
    struct request *requests[1000];
    for (int i = 0; i < 1000; i++) {
        requests[i] = daemon_send_get(daemon, "k");
    }
    daemon_await_blocked(daemon, "1");
    session_commit(lock);
    for (int i = 0; i < 1000; i++) {
        assert_string_equal(daemon_outcome(daemon, requests[i]), versioned(daemon, "1", "k"));
    }
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHES), 1);
    daemon_await_fills(daemon, "k", 1);
    assert_int_equal(daemon_fills_of(daemon, "k"), 1);
    daemon_end(daemon);
}

// A read that missed before another one's answer was cached, and comes after it.
static void a_late_miss_finds_the_answer_in_the_cache(struct scenario *scenario)
{
    static const uint8_t SEVEN[] = {7};
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1'), ('other', '2')");
    daemon_sync(daemon);
    const struct cached good = {
        .present = true,
        .version = 5,
        .current_boot_us = INT64_MAX / 2,
        .value = slice_of(SEVEN, sizeof SEVEN),
    };
    daemon_hold(daemon, "k", LOOKUP_HIT, &good);
    assert_string_equal(daemon_get(daemon, "k"), "7 v5");
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHES), 0);
    assert_int_equal(status_get(&daemon->status, STATUS_CACHE_LATE_HITS), 1);
    // One of two keys.
    struct pair pairs[] = {{.key = slice_of_string("other")}, {.key = slice_of_string("k")}};
    struct call mget = {.method = METHOD_MGET, .pairs_count = 2, .pairs = pairs};
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &mget));
    assert_string_equal(daemon_item(daemon, &request->reply.items[0]),
                        versioned(daemon, "2", "other"));
    assert_string_equal(daemon_item(daemon, &request->reply.items[1]), "7 v5");
    request_destroy(request);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHED_KEYS), 1);
    struct cached absent = good;
    absent.present = false;
    daemon_hold(daemon, "k", LOOKUP_HIT, &absent);
    assert_string_equal(daemon_get(daemon, "k"), "absent");
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHED_KEYS), 1);
    daemon_end(daemon);
}

static void a_late_miss_believes_no_less_than_postgres(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    daemon_sync(daemon);
    struct cached good = {.current_boot_us = INT64_MAX / 2};
    struct cached pending = good, old = good;
    pending.pending = true;
    old.current_boot_us = clock_boot_us() - 2 * CLOCK_US_PER_S;
    const char *expected = versioned(daemon, "1", "k");
    daemon_hold(daemon, "k", LOOKUP_SUSPECT, &good);
    assert_string_equal(daemon_get(daemon, "k"), expected);
    daemon_hold(daemon, "k", LOOKUP_HIT, &pending);
    assert_string_equal(daemon_get(daemon, "k"), expected);
    daemon_hold(daemon, "k", LOOKUP_HIT, &old);
    assert_string_equal(daemon_get(daemon, "k"), expected);
    daemon_hold(daemon, "k", LOOKUP_HIT, &good);
    assert_string_equal(daemon_outcome(daemon, daemon_send_fresh(daemon, "k")), expected);
    assert_int_equal(status_get(&daemon->status, STATUS_CACHE_LATE_HITS), 0);
    daemon_end(daemon);
}

// Rule 4.
static void a_marked_fetch_is_not_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1'), ('other', '2')");
    daemon_sync(daemon);
    const char *const marks[] = {"[\"\",[[\"k\",1]]]", "[\"\",\"truncate\"]", "[\"\",\"sweep\"]"};
    for (int i = 0; i < 3; i++) {
        PGconn *lock = session_lock_table(daemon);
        struct request *first = daemon_send_get(daemon, "k");
        daemon_await_blocked(daemon, "1");
        int64_t heard = status_get(&daemon->status, STATUS_PG_NOTIFICATIONS);
        announce(daemon, marks[i]);
        // No sync: that waits for the sweep, and the sweep for the lock.
        struct deadline deadline = deadline_in(DEADLINE_MS);
        while (status_get(&daemon->status, STATUS_PG_NOTIFICATIONS) == heard) {
            assert_true(deadline_again(&deadline));
        }
        // It takes no new waiters, so this one's SELECT comes later.
        int64_t fetches = status_get(&daemon->status, STATUS_PG_FETCHES);
        struct request *second = daemon_send_get(daemon, "k");
        session_commit(lock);
        assert_string_equal(daemon_outcome(daemon, first), versioned(daemon, "1", "k"));
        assert_string_equal(daemon_outcome(daemon, second), versioned(daemon, "1", "k"));
        assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHES), fetches + 1);
        daemon_await_fills(daemon, "k", (size_t)i + 1);
        daemon_sync(daemon);
        assert_int_equal(daemon_fills_of(daemon, "k"), i + 1);
    }
    daemon_end(daemon);
}

static void a_change_of_another_key_marks_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct request *request = daemon_send_get(daemon, "k");
    daemon_await_blocked(daemon, "1");
    announce(daemon, "[\"\",[[\"other\",1]]]");
    daemon_sync(daemon);
    session_commit(lock);
    assert_string_equal(daemon_outcome(daemon, request), "absent");
    daemon_await_fills(daemon, "k", 1);
    daemon_end(daemon);
}

static void a_fresh_read_asks_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.postgres.connections = 2;
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    daemon_sync(daemon);
    PGconn *lock = session_lock_table(daemon);
    struct request *plain = daemon_send_get(daemon, "k");
    daemon_await_blocked(daemon, "1");
    struct request *fresh = daemon_send_fresh(daemon, "k");
    daemon_await_blocked(daemon, "2");
    struct request *joined = daemon_send_get(daemon, "k");
    daemon_sync(daemon);
    session_commit(lock);
    daemon_outcome(daemon, plain);
    daemon_outcome(daemon, joined);
    assert_string_equal(daemon_outcome(daemon, fresh), versioned(daemon, "1", "k"));
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHES), 2);
    daemon_await_fills(daemon, "k", 1);
    daemon_sync(daemon);
    assert_int_equal(daemon_fills_of(daemon, "k"), 1);
    daemon_end(daemon);
}

// Rule 7.
static void an_answer_of_another_epoch_is_not_cached(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct request *request = daemon_send_get(daemon, "k");
    daemon_await_blocked(daemon, "1");
    int64_t epoch = status_get(&daemon->status, STATUS_CACHE_EPOCH);
    pg_exec(pg,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%%'");
    daemon_await(daemon, STATUS_CACHE_EPOCH, epoch + 1);
    session_commit(lock);
    assert_string_equal(daemon_outcome(daemon, request), "absent");
    daemon_sync(daemon);
    assert_int_equal(daemon_fills_of(daemon, "k"), 0);
    assert_string_equal(daemon_get(daemon, "k"), "absent");
    daemon_await_fills(daemon, "k", 1);
    daemon_end(daemon);
}

static void rows_beyond_the_limits_are_told(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.server.max_value_bytes = 10000;
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('large', to_jsonb(repeat('x', 20000))),"
                " ('huge', to_jsonb(repeat('y', 5000000))), ('fine', to_jsonb(repeat('z', 9000))),"
                " ('deep', (repeat('[', 200) || repeat(']', 200))::jsonb)");
    daemon_sync(daemon);
    const char *const keys[] = {"large", "huge", "deep"};
    for (int i = 0; i < 3; i++) {
        const char *outcome = daemon_get(daemon, keys[i]);
        const char *start =
            scenario_text(scenario, "TOO_LARGE: Failed to get key \"%s\": ", keys[i]);
        if (strncmp(outcome, start, strlen(start)) != 0) {
            scenario_fail("%s", outcome);
        }
        assert_int_equal(daemon_fills_of(daemon, keys[i]), 0);
    }
    // Larger than a share of an answer to many keys.
    struct pair pairs[256] = {0};
    for (int i = 0; i < 256; i++) {
        pairs[i].key = slice_of_string(i == 0 ? "fine" : scenario_text(scenario, "none%d", i));
    }
    struct call call = {.method = METHOD_MGET, .pairs_count = 256, .pairs = pairs};
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    assert_true(request->reply.items[0].present);
    request_destroy(request);
    daemon_end(daemon);
}

static void a_row_beyond_its_share_is_asked_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'big' || i, to_jsonb(repeat('x', 500000))"
                " FROM generate_series(1, 4) i");
    struct pair pairs[256] = {0};
    for (int i = 0; i < 256; i++) {
        pairs[i].key =
            slice_of_string(scenario_text(scenario, "%s%d", i < 4 ? "big" : "none", i + 1));
    }
    struct call call = {.method = METHOD_MGET, .pairs_count = 256, .pairs = pairs};
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(request->reply.items[i].present, i < 4);
        assert_true(i >= 4 || request->reply.items[i].value.len > 500000);
    }
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHES), 5);
    request_destroy(request);
    daemon_end(daemon);
}

static void a_read_waits_for_the_nodes_write(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = pg_connect(pg);
    session_run(lock, "BEGIN; SELECT FROM pgnear_node FOR UPDATE");
    uint64_t seq = daemon_journal(daemon, METHOD_SET, "k", "7");
    daemon_publish(daemon);
    struct pair pair;
    struct call call = call_on_key(METHOD_GET, &pair, "k");
    call.fresh = true;
    struct request *request = daemon_request(daemon, &call);
    request->after_seq = seq;
    mailbox_push(worker_mailbox(daemon->worker), &request->message);
    assert_string_equal(daemon_get(daemon, "unrelated"), "absent");
    assert_false(daemon_is_home(daemon, request));
    session_commit(lock);
    const char *outcome = daemon_outcome(daemon, request);
    assert_string_equal(outcome, versioned(daemon, "7", "k"));
    daemon_end(daemon);
}

static void a_deadline_ends_the_wait(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct pair pair;
    struct call call = call_on_key(METHOD_GET, &pair, "k");
    call.timeout_ms = 100;
    assert_string_equal(
        daemon_outcome(daemon, daemon_send(daemon, &call)),
        "TIMEOUT: Failed to get key \"k\": PostgreSQL did not answer within 100 ms");
    session_commit(lock);
    assert_string_equal(daemon_get(daemon, "k"), "absent");
    daemon_end(daemon);
}

static void postgres_words_are_passed_on(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "DROP TABLE kv_store");
    struct request *request = daemon_send_get(daemon, "test");
    daemon_await_reply(daemon, request);
    assert_int_equal(request->reply.failure.error, ERROR_REJECTED);
    assert_string_equal(request->reply.failure.sqlstate, "42P01");
    assert_string_equal(request->reply.failure.message,
                        "Failed to get key \"test\": relation \"kv_store\" does not exist");
    request_destroy(request);
    daemon_end(daemon);
}

static void a_lost_connection_is_replaced(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct request *request = daemon_send_get(daemon, "k");
    daemon_await_blocked(daemon, "1");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT key%%'");
    daemon_await_blocked(daemon, "1");
    session_commit(lock);
    assert_string_equal(daemon_outcome(daemon, request), "absent");
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FETCHES), 2);
    daemon_end(daemon);
}

// The result of a statement that the server keeps must not change its type: PostgreSQL refuses it
// then, for as long as the session lives.
static void a_kept_statement_is_done_without_once_it_fails(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(i)"
                " FROM generate_series(1, 40) i");
    daemon_sync(daemon);
    for (int i = 1; i <= 40; i++) {
        if (i == 20) {
            pg_exec(pg, "ALTER TABLE kv_store ALTER COLUMN key TYPE varchar COLLATE \"C\"");
        }
        const char *key = scenario_text(scenario, "k%d", i);
        const char *json = scenario_text(scenario, "%d", i);
        assert_string_equal(daemon_get(daemon, key), versioned(daemon, json, key));
    }
    // Each of the two connections found out by itself, at most.
    assert_in_range(status_get(&daemon->status, STATUS_PG_FETCHES), 41, 42);
    daemon_end(daemon);
}

static void while_postgres_is_away_reads_are_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_of(scenario, pg);
    PGconn *lock = session_lock_table(daemon);
    struct request *waiting = daemon_send_get(daemon, "k");
    daemon_await_blocked(daemon, "1");
    PQfinish(lock);
    pg_stop(pg, PG_STOP_CRASH);
    daemon_outcome(daemon, waiting);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&daemon->status, STATUS_PG_STATE) != NODE_DISCONNECTED) {
        assert_true(deadline_again(&deadline));
    }
    const char *outcome = daemon_get(daemon, "k");
    if (strncmp(outcome, "UNAVAILABLE: Failed to get key \"k\": no connection", 49) != 0) {
        scenario_fail("%s", outcome);
    }
    pg_start_again(pg);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    assert_string_equal(daemon_get(daemon, "k"), "absent");
    daemon_end(daemon);
}

static void the_first_attempt_is_waited_for(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon_start(daemon, 0);
    assert_string_equal(daemon_get(daemon, "k"), "absent");
    daemon_end(daemon);
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
