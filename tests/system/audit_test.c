// The audit: what somebody changed behind the triggers' back is found, told and mended; what is
// merely on its way never is.

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/document.h"
#include "system/harness/random.h"

#define QUICK "cache.audit_rate = 10000\n"

// Runs statements of which the triggers of `table` say nothing. A trigger that is turned off would
// be noticed, so that each keeps quiet instead.
static void change_silently(struct pg *pg, const char *table, const char *statements)
{
    pg_exec(pg,
            "CREATE TEMP TABLE IF NOT EXISTS loud (definition text);"
            "DO $$ DECLARE f record; BEGIN FOR f IN SELECT DISTINCT tgfoid AS id FROM pg_trigger"
            " WHERE tgrelid = '%s'::regclass AND NOT tgisinternal LOOP"
            " INSERT INTO loud VALUES (pg_get_functiondef(f.id));"
            " EXECUTE regexp_replace(pg_get_functiondef(f.id), 'AS \\$function\\$.*',"
            " 'AS $quiet$ BEGIN RETURN coalesce(NEW, OLD); END $quiet$');"
            " END LOOP; %s; END $$",
            table, statements);
}

// As they were.
static void enable_triggers(struct pg *pg)
{
    pg_exec(pg, "DO $$ DECLARE f record; BEGIN FOR f IN SELECT definition FROM loud LOOP"
                " EXECUTE f.definition; END LOOP; DELETE FROM loud; END $$");
}

static void await_read(struct node *node, const char *params, const char *expected)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!json_matches(rpc(node, "get", params), expected)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("get %s: %s, not %s", params, rpc(node, "get", params), expected);
        }
    }
}

// Until so many more comparisons are done, of keys that are read to keep them in the cache.
static void await_audited(struct node *node, const char *keys, int64_t more)
{
    int64_t goal = node_stat_int(node, "cache.audit_compared") + more;
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (rpc(node, "mget", keys), node_stat_int(node, "cache.audit_compared") < goal) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s: %s, not %lld comparisons", keys, node_stat(node, "cache"),
                          (long long)goal);
        }
    }
}

// Each way in which a record can be wrong, and one that is right.
static void what_was_not_announced_is_found(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = QUICK});
    assert_rpc(node, "mset",
               "[[[\"changed\", 1], [\"expires\", 1], [\"gone\", 1], [\"redrawn\", 1],"
               " [\"right\", 1]]]",
               "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"appears\"]", "null");
    await_audited(node, "[[\"changed\", \"expires\", \"gone\", \"redrawn\", \"right\"]]", 12);
    assert_int_equal(node_stat_int(node, "cache.audit_stale"), 0);
    struct rpc *watcher = node_open(node);
    assert_json(rpc_call(watcher, "watch", "[\"changed\"]"), "true");

    change_silently(pg, "kv_store",
                    "UPDATE kv_store SET value = '\"secret\"' WHERE key = 'changed';"
                    "UPDATE kv_store SET expires_at = now() + '1 day' WHERE key = 'expires';"
                    "UPDATE kv_store SET value = '2', version = version + 1000,"
                    " updated_at = now() WHERE key = 'redrawn';"
                    "DELETE FROM kv_store WHERE key = 'gone';"
                    "INSERT INTO kv_store (key, value, version) VALUES ('appears', '2', 7)");
    enable_triggers(pg);
    await_read(node, "[\"changed\"]", "[\"secret\", \"*\"]");
    await_read(node, "[\"redrawn\"]", "[2, \"*\"]");
    await_read(node, "[\"gone\"]", "null");
    await_read(node, "[\"appears\"]", "[2, 7]");
    node_await_stat(node, "cache.audit_repaired", "5");
    assert_int_equal(node_stat_int(node, "cache.audit_stale"), 5);
    assert_rpc(node, "get", "[\"right\"]", "[1, \"*\"]");
    const char *ttl = rpc(node, "ttl", "[\"expires\"]");
    assert_true(strcmp(ttl, "null") != 0);
    assert_true(
        node_log_has(node, "event=\"stale record found\" key=\"changed\" differs=\"value\""));
    assert_true(node_log_has(node, "key=\"expires\" differs=\"expiry\""));
    assert_true(node_log_has(node, "key=\"redrawn\" differs=\"version\""));
    assert_true(node_log_has(node, "key=\"gone\" differs=\"the row is gone\""));
    assert_true(node_log_has(node, "key=\"appears\" differs=\"the row is there\""));
    assert_false(node_log_has(node, "secret"));
    assert_true(strstr(rpc(node, "check", "[]"), "5 of ") != NULL);
    // Whoever watches hears of it, since nobody else will tell.
    const char *event = rpc_receive_event(watcher);
    assert_true(json_matches(event, "[\"changed\", [\"changed\", \"*\", \"set\"]]") ||
                json_matches(event, "[\"resync\", []]"));
}

static void what_was_not_announced_is_found_in_a_document(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node = document_node(scenario, pg, "node", QUICK);
    assert_rpc(node, "mset", "[[[\"k\", 1], [\"other\", {\"a\": [1.50, 2]}]]]", "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    await_audited(node, "[[\"k\", \"other\"]]", 4);
    const char *part = pg_value(pg, "SELECT inhrelid::regclass FROM pg_inherits"
                                    " WHERE inhparent = 'pgnear_document'::regclass");
    change_silently(pg, part,
                    scenario_text(scenario, "UPDATE %s SET value = '2' WHERE key = 'k'", part));
    enable_triggers(pg);
    await_read(node, "[\"k\"]", "[2, \"*\"]");
    node_await_stat(node, "cache.audit_repaired", "1");
    await_audited(node, "[[\"k\", \"other\"]]", 4);
    assert_int_equal(node_stat_int(node, "cache.audit_stale"), 1);
}

// ---- no false alarms

enum { KEYS = 8, NODES = 2, COMPARED_AT_LEAST = 100 };

struct traffic {
    struct scenario *scenario;
    struct pg *pg;
    struct node *nodes[NODES];
};

static const char *random_write(struct traffic *traffic, struct random *random, int key)
{
    unsigned value = (unsigned)random_below(random, 100000);
    switch (random_below(random, 4)) {
    case 0:
        return scenario_text(traffic->scenario, "DELETE FROM kv_store WHERE key = 'k%d'", key);
    case 1:
        return scenario_text(traffic->scenario,
                             "INSERT INTO kv_store (key, value, expires_at) VALUES ('k%d', '%u',"
                             " now() + '200 ms') ON CONFLICT (key) DO UPDATE SET value ="
                             " EXCLUDED.value, expires_at = EXCLUDED.expires_at",
                             key, value);
    default:
        return scenario_text(traffic->scenario,
                             "INSERT INTO kv_store (key, value) VALUES ('k%d', '{\"n\": %u.50}')"
                             " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                             key, value);
    }
}

static void write_sql(void *context, int index)
{
    struct traffic *traffic = context;
    struct random random = random_of(random_seed(), (uint64_t)index);
    PGconn *conn = pg_connect(traffic->pg);
    while (!worker_is_stopping()) {
        const char *sql = random_write(traffic, &random, (int)random_below(&random, KEYS));
        PGresult *result = PQexec(conn, sql);
        // Two nodes that insert and delete the same keys may deadlock, and this may be the victim.
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        bool is_victim = sqlstate != NULL && strcmp(sqlstate, "40P01") == 0;
        if (PQresultStatus(result) != PGRES_COMMAND_OK && !is_victim) {
            scenario_fail("%s: %s", sql, PQerrorMessage(conn));
        }
        PQclear(result);
    }
    PQfinish(conn);
}

static void use_node(void *context, int index)
{
    struct traffic *traffic = context;
    struct random random = random_of(random_seed(), 100 + (uint64_t)index);
    struct rpc *rpc = node_open(traffic->nodes[index % NODES]);
    while (!worker_is_stopping()) {
        int key = (int)random_below(&random, KEYS);
        static const char *const FORMS[] = {"[\"k%d\"]", "[\"k%d\", {\"fresh\": true}]",
                                            "[\"k%d\", [1.50, \"é\", {\"b\": 1, \"a\": 2}]]",
                                            "[\"k%d\", 1e2, {\"ttl_ms\": 300}]", "[\"k%d\"]"};
        static const char *const METHODS[] = {"get", "get", "set", "set", "delete"};
        size_t choice = random_below(&random, 20);
        choice = choice < 5 ? choice : 0;
        char params[96];
        snprintf(params, sizeof params, FORMS[choice], key);
        rpc_call(rpc, METHODS[choice], params);
    }
    rpc_close(rpc);
}

static void what_is_on_its_way_is_no_finding(struct scenario *scenario)
{
    struct traffic *traffic = scenario_alloc(scenario, sizeof *traffic);
    *traffic = (struct traffic){.scenario = scenario, .pg = pg_start(scenario, NULL)};
    static const char *const NAMES[NODES] = {"a", "b"};
    for (int i = 0; i < NODES; i++) {
        traffic->nodes[i] = node_start(scenario, traffic->pg,
                                       &(struct node_options){.name = NAMES[i], .config = QUICK});
    }
    struct workers *writers = workers_start(scenario, 2, write_sql, traffic);
    struct workers *clients = workers_start(scenario, 4, use_node, traffic);
    for (int i = 0; i < NODES; i++) {
        node_await_stat_min(traffic->nodes[i], "cache.audit_compared",
                            test_rounds(COMPARED_AT_LEAST));
    }
    workers_stop(writers);
    workers_stop(clients);
    workers_join(writers);
    workers_join(clients);
    for (int i = 0; i < NODES; i++) {
        await_audited(traffic->nodes[i], "[[\"k0\", \"k1\", \"k2\", \"k3\"]]", 2 * KEYS);
        fprintf(stderr, "%s: %lld compared, %lld on their way\n", NAMES[i],
                (long long)node_stat_int(traffic->nodes[i], "cache.audit_compared"),
                (long long)node_stat_int(traffic->nodes[i], "cache.audit_passing"));
        assert_int_equal(node_stat_int(traffic->nodes[i], "cache.audit_stale"), 0);
        assert_false(node_log_has(traffic->nodes[i], "stale record found"));
    }
}

// ---- the rate

static void reread(struct node *node, struct pg *pg, const char *config)
{
    const struct node_options options = {.config = config};
    node_configure(node, pg, &options);
    process_signal(node->process, SIGHUP);
}

// Time as the node itself counts it: heartbeats, two a second.
static void await_heartbeats(struct node *node, int64_t more)
{
    int64_t before = node_stat_int(node, "postgres.lag.count");
    node_await_stat_min(node, "postgres.lag.count", before + more);
}

static void the_rate_is_reread_and_0_is_off(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "cache.audit_rate = 0\n"});
    assert_rpc(node, "mset", "[[[\"a\", 1], [\"b\", 2]]]", "{\"seq\": \"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    await_heartbeats(node, 5);
    assert_int_equal(node_stat_int(node, "cache.audit_compared"), 0);
    assert_true(strstr(rpc(node, "check", "[]"), "off: cache.audit_rate is 0") != NULL);

    reread(node, pg, "cache.audit_rate = 1\n");
    await_audited(node, "[[\"a\", \"b\"]]", 3);
    reread(node, pg, "cache.audit_rate = 0\n");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strstr(rpc(node, "check", "[]"), "off: cache.audit_rate is 0") == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("the rate is not re-read: %s", rpc(node, "check", "[]"));
        }
    }
    await_heartbeats(node, 2); // what was asked before is answered
    int64_t compared = node_stat_int(node, "cache.audit_compared");
    await_heartbeats(node, 5);
    assert_int_equal(node_stat_int(node, "cache.audit_compared"), compared);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(what_was_not_announced_is_found),
        SCENARIO(what_was_not_announced_is_found_in_a_document),
        SCENARIO(what_is_on_its_way_is_no_finding),
        SCENARIO(the_rate_is_reread_and_0_is_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
