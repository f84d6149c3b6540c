// Keys that expire: never served afterwards, by anybody, and removed by one node at a time.

#include <time.h>

#include "system/harness/deadline.h"
#include "system/harness/steps.h"

#define NEVER "expiry.reap_every = \"0s\"\n"
#define OFTEN "expiry.reap_every = \"20ms\"\n"

static struct node *start(struct scenario *scenario, struct pg *pg, const char *name,
                          const char *config)
{
    return node_start(scenario, pg, &(struct node_options){.name = name, .config = config});
}

// What each way of reading answers of the keys k1 and k2.
static const struct step ALL_THERE[] = {
    {"mget", "[[\"k1\", \"k2\"]]", "[[1, \"*\"], [2, \"*\"]]"},
    {"scan", "[]", "{\"items\": [[\"k1\", 1, \"*\"], [\"k2\", 2, \"*\"]], \"next\": null}"},
};
static const struct step NONE_THERE[] = {
    {"get", "[\"k1\"]", "null"},
    {"get", "[\"k1\", {\"fresh\": true}]", "null"},
    {"mget", "[[\"k1\", \"k2\"]]", "[null, null]"},
    {"ttl", "[\"k2\"]", "null"},
    {"scan", "[]", "{\"items\": [], \"next\": null}"},
    {"all", "[{\"prefix\": \"k\"}]", "{\"items\": [], \"next\": null}"},
    {"touch", "[\"k1\", 60000]", "false"},
};

static void what_has_expired_is_not_served(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *one = start(scenario, pg, "one", NEVER);
    struct node *two = start(scenario, pg, "two", NEVER);
    assert_rpc(one, "mset",
               "[[[\"k1\", 1], [\"k2\", 2]], {\"ttl_ms\": 3000, \"ack\": \"postgres\"}]", ACKED);
    RUN_STEPS(one, pg, ALL_THERE);
    RUN_STEPS(two, pg, ALL_THERE); // and caches them
    pg_await_value(pg, "2", "SELECT count(*) FROM kv_store WHERE expires_at <= now()");
    RUN_STEPS(one, pg, NONE_THERE);
    RUN_STEPS(two, pg, NONE_THERE);
    // They are there all the same.
    assert_pg_value(pg, "2", "SELECT count(*) FROM kv_store");
    assert_rpc(two, "set", "[\"k1\", 5, {\"if_absent\": true}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_rpc(two, "incr", "[\"k2\", 1]", "[1, \"*\"]");
    // A pending write expires before it is flushed.
    pg_stop(pg, PG_STOP_FAST);
    assert_rpc(one, "set", "[\"p\", 1, {\"ttl_ms\": 50}]", ACKED);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strcmp(rpc(one, "get", "[\"p\"]"), "null") != 0) {
        assert_true(deadline_again(&deadline));
    }
    pg_start_again(pg);
    node_await_ready(one);
    assert_rpc(one, "flush", "[]", ACKED);
    assert_pg_value(pg, NULL, "SELECT value FROM kv_store WHERE key = 'p'");
}

static void expired_rows_are_removed_and_announced(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *one = start(scenario, pg, "one", OFTEN);
    struct node *two = start(scenario, pg, "two", NEVER);
    struct rpc *watcher = node_open(two);
    rpc_call(watcher, "watch", "[\"k\"]");
    assert_rpc(one, "set", "[\"k\", 1, {\"ttl_ms\": 1500, \"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_rpc(one, "set", "[\"stays\", 1]", ACKED);
    assert_rpc(two, "get", "[\"k\"]", "[1, \"*\"]");
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"k\", \"*\", \"set\"]]");
    assert_json(rpc_receive_event(watcher), "[\"changed\", [\"k\", \"*\", \"delete\"]]");
    pg_await_value(pg, "stays", "SELECT string_agg(key, ' ') FROM kv_store");
    assert_rpc(two, "get", "[\"k\"]", "null");
    node_await_stat(one, "postgres.reaped", "1");
    assert_json(node_stat(two, "postgres.reaped"), "0");
}

static void removal_goes_by_bounded_batches(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", NEVER);
    node_stop(node);
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) SELECT 'x' || i, '1', now()"
                " FROM generate_series(1, 2500) i");
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES ('held', '1', now()),"
                " ('later', '1', now() + interval '1 hour'), ('never', '1', NULL)");
    pg_exec(pg, "CREATE TABLE batches (rows int);"
                "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO batches SELECT count(*) FROM gone; RETURN NULL; END';"
                "CREATE TRIGGER note AFTER DELETE ON kv_store REFERENCING OLD TABLE AS gone"
                " FOR EACH STATEMENT EXECUTE FUNCTION note()");
    // A row that somebody works on is left for later, and nobody is waited for.
    PGconn *other = pg_connect(pg);
    PQclear(PQexec(other, "BEGIN; SELECT FROM kv_store WHERE key = 'held' FOR UPDATE"));
    node_configure(node, pg, &(struct node_options){.name = "node", .config = OFTEN});
    node_start_again(node);
    pg_await_value(pg, "held later never",
                   "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
    assert_pg_value(pg, "1000", "SELECT max(rows) FROM batches");
    PQclear(PQexec(other, "UPDATE kv_store SET expires_at = NULL WHERE key = 'held'; COMMIT"));
    PQfinish(other);
    // It is looked at again under the lock.
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES ('mark', '1', now())");
    pg_await_value(pg, NULL, "SELECT key FROM kv_store WHERE key = 'mark'");
    assert_pg_value(pg, "held later never",
                    "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
}

// What `check` says of expiry.
static void assert_expiry_item(struct node *node, bool ok, const char *words)
{
    struct scenario *scenario = node->scenario;
    const char *items = rpc(node, "check", "[]");
    const char *name;
    for (int i = 0;
         (name = json_at(scenario, items, scenario_text(scenario, "%d.item", i))) != NULL; i++) {
        if (strcmp(name, "\"expiry\"") == 0) {
            const char *text = json_at(scenario, items, scenario_text(scenario, "%d.message", i));
            assert_json(json_at(scenario, items, scenario_text(scenario, "%d.ok", i)),
                        ok ? "true" : "false");
            if (strstr(text, words) == NULL) {
                scenario_fail("%s has no \"%s\"", text, words);
            }
            return;
        }
    }
    scenario_fail("%s say nothing of expiry", items);
}

// By a foreign key, one that is looked at no earlier than at the COMMIT, and a trigger.
static void a_row_that_may_not_be_deleted_keeps_no_other(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", NEVER);
    node_stop(node);
    pg_exec(pg,
            "INSERT INTO kv_store (key, value, expires_at) SELECT k, '1', now() - '1 h'::interval"
            " FROM unnest('{held, late}'::text[]) k");
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) SELECT 'x' || i, '1', now()"
                " FROM generate_series(1, 1500) i");
    pg_exec(pg,
            "CREATE TABLE holds (key text REFERENCES kv_store); INSERT INTO holds VALUES ('held');"
            "CREATE TABLE lates (key text REFERENCES kv_store DEFERRABLE INITIALLY DEFERRED);"
            "INSERT INTO lates VALUES ('late');"
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN IF OLD.key = ''x700'' THEN RAISE ''x700 is dear to us''; END IF;"
            " RETURN OLD; END';"
            "CREATE TRIGGER keep BEFORE DELETE ON kv_store FOR EACH ROW"
            " EXECUTE FUNCTION keep()");
    node_configure(node, pg, &(struct node_options){.name = "node", .config = OFTEN});
    node_start_again(node);
    pg_await_value(pg, "held late x700", "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
    node_await_stat(node, "postgres.unreaped", "3");
    node_await_stat(node, "postgres.reaped", "1499");
    assert_expiry_item(node, false,
                       "refuses to delete: 3, the first of them (23503)"
                       " \\\"held\\\": update or delete on table");
    // What expires now waits for none of them, and the log has told of them.
    for (int i = 0; i < 3; i++) {
        pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES ('mark', '1', now())");
        pg_await_value(pg, NULL, "SELECT key FROM kv_store WHERE key = 'mark'");
    }
    assert_int_equal(node_log_count(node, "expired rows refused"), 1);
    pg_exec(pg, "DROP TRIGGER keep ON kv_store; DROP TABLE holds, lates");
    pg_await_value(pg, "0", "SELECT count(*) FROM kv_store");
    node_await_log(node, "expired rows refused no more");
    assert_json(node_stat(node, "postgres.unreaped"), "0");
    assert_expiry_item(node, true, "1505 expired rows");
}

static void more_rows_than_a_batch_may_not_be_deleted(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", OFTEN);
    pg_exec(
        pg,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF OLD.key LIKE ''x%%'' THEN RAISE ''kept''; END IF; RETURN OLD; END';"
        "CREATE TRIGGER keep BEFORE DELETE ON kv_store FOR EACH ROW"
        " EXECUTE FUNCTION keep();"
        "INSERT INTO kv_store (key, value, expires_at)"
        " SELECT k || i, '1', now() FROM generate_series(1, 2500) i, unnest('{x,y}'::text[]) k");
    pg_await_value(pg, "2500", "SELECT count(*) FROM kv_store");
    node_await_stat(node, "postgres.unreaped", "2500");
    assert_pg_value(pg, "x", "SELECT DISTINCT left(key, 1) FROM kv_store");
    node_await_stat(node, "postgres.reaped", "2500");
    assert_int_equal(node_log_count(node, "expired rows refused"), 1);
}

// Not one goes, and for no row's sake.
static void a_removal_that_fails_as_a_whole_is_told_of(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", OFTEN);
    pg_exec(pg, "ALTER FUNCTION kv_store_pgnear_reap RENAME TO elsewhere");
    node_await_log(node, "expired rows not removed");
    assert_expiry_item(node, false, "no expired row is removed: function");
}

// The node that removes dies in the middle of it; the other goes on.
static void another_node_takes_over(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *one = start(scenario, pg, "one", OFTEN);
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) VALUES ('a', '1', now())");
    node_await_stat(one, "postgres.reaped", "1");
    // Its transaction stands in the middle, with the turn in its hands.
    PGconn *other = pg_connect(pg);
    PQclear(PQexec(other, "BEGIN; LOCK TABLE kv_store IN EXCLUSIVE MODE"));
    PQclear(
        PQexec(other, "INSERT INTO kv_store (key, value, expires_at) VALUES ('b', '1', now())"));
    pg_await_value(pg, "1",
                   "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                   " AND classid = 1885826675");
    struct node *two = start(scenario, pg, "two", OFTEN);
    node_kill(one);
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    pg_await_value(pg, "0", "SELECT count(*) FROM kv_store");
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at) SELECT 'c' || i, '1', now()"
                " FROM generate_series(1, 1500) i");
    pg_await_value(pg, "0", "SELECT count(*) FROM kv_store");
    node_await_stat_min(two, "postgres.reaped", 1500);
}

static void jitter_spreads_what_is_set_together(struct scenario *scenario)
{
    enum { KEYS = 200 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", NEVER "expiry.jitter = \"50%\"\n");
    struct rpc *rpc = node_rpc(node);
    for (int i = 0; i < KEYS; i++) {
        rpc_send(rpc, "set", scenario_text(scenario, "[\"k%d\", 1, {\"ttl_ms\": 1000000}]", i));
    }
    for (int i = 0; i < KEYS; i++) {
        rpc_receive(rpc, NULL);
    }
    assert_rpc(node, "set", "[\"exact\", 1]", ACKED);
    assert_rpc(node, "touch", "[\"exact\", 1000000]", "true");
    // Never later than asked for, not earlier than by half, and everywhere in between.
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM kv_store WHERE key LIKE 'k%%' AND"
                    " (expires_at > now() + interval '1000 s'"
                    " OR expires_at < now() + interval '400 s')");
    assert_pg_value(
        pg, "5",
        "SELECT count(DISTINCT width_bucket(extract(epoch FROM expires_at - created_at),"
        " 499, 1001, 5)) FROM kv_store WHERE key LIKE 'k%%'");
    assert_pg_value(pg, "t",
                    "SELECT expires_at > now() + interval '900 s' FROM kv_store"
                    " WHERE key = 'exact'");
}

static void an_absolute_expiry(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", NEVER "expiry.jitter = \"50%\"\n");
    static const struct step STEPS[] = {
        {"set", "[\"k\", 1, {\"expires_at_us\": 4102444800000000}]", ACKED},
        {"mset", "[[[\"m\", 1]], {\"expires_at_us\": 4102444800000001}]", ACKED},
        {"set", "[\"past\", 1, {\"expires_at_us\": 1}]", ACKED},
        {"get", "[\"past\"]", "null"},
        {"get", "[\"k\"]", "[1, \"*\"]"},
        {"flush", "[]", ACKED},
        {SQL_VALUE,
         "SELECT string_agg((extract(epoch FROM expires_at) * 1000000)::bigint::text,"
         " ' ' ORDER BY key) FROM kv_store",
         "4102444800000000 4102444800000001"},
        {"touch", "[\"k\", null, {\"expires_at_us\": 4102444800000002}]", "true"},
        {SQL_VALUE,
         "SELECT (extract(epoch FROM expires_at) * 1000000)::bigint FROM kv_store"
         " WHERE key = 'k'",
         "4102444800000002"},
        {"touch", "[\"k\", null]", "true"},
        {SQL_VALUE, "SELECT expires_at FROM kv_store WHERE key = 'k'", NULL},
    };
    RUN_STEPS(node, pg, STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(what_has_expired_is_not_served),
        SCENARIO(expired_rows_are_removed_and_announced),
        SCENARIO(removal_goes_by_bounded_batches),
        SCENARIO(a_row_that_may_not_be_deleted_keeps_no_other),
        SCENARIO(more_rows_than_a_batch_may_not_be_deleted),
        SCENARIO(a_removal_that_fails_as_a_whole_is_told_of),
        SCENARIO(another_node_takes_over),
        SCENARIO(jitter_spreads_what_is_set_together),
        SCENARIO(an_absolute_expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
