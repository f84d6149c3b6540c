// Versioning: every version of a key is kept, whoever writes it, exactly.

#include <stdatomic.h>
#include <stdlib.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/document.h"
#include "system/harness/steps.h"
#include "system/schema_scripts.h"

#define VERSIONED "postgres.versioning = true\n"
// The history as PostgreSQL has it, oldest first.
#define STORED                                                                                     \
    "SELECT string_agg(concat_ws(' ', key, op, value, CASE WHEN node IS NULL THEN 'foreign' END)," \
    " ', ' ORDER BY version) FROM kv_store_history"

static struct node *start(struct scenario *scenario, struct pg *pg, const char *name,
                          const char *config)
{
    return node_start(scenario, pg,
                      &(struct node_options){
                          .name = name, .config = scenario_text(scenario, VERSIONED "%s", config)});
}

// The values of a key in its history, newest first, "-" for a deletion.
static const char *values_of(struct node *node, const char *key)
{
    struct scenario *scenario = node->scenario;
    const char *history = rpc(node, "history", scenario_text(scenario, "[\"%s\"]", key));
    const char *values = "";
    for (int i = 0;; i++) {
        const char *op = json_at(scenario, history, scenario_text(scenario, "%d.2", i));
        if (op == NULL) {
            return values;
        }
        bool deleted = strcmp(op, "\"delete\"") == 0;
        const char *value = json_at(scenario, history, scenario_text(scenario, "%d.1", i));
        values = scenario_text(scenario, "%s%s%s", values, i > 0 ? " " : "", deleted ? "-" : value);
    }
}

static void every_write_leaves_a_version(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", "writes.linger = \"200ms\"\n");
    // One batch: none of the writes to k is coalesced.
    for (int i = 1; i <= 100; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k\", %d]", i), ACKED);
    }
    assert_rpc(node, "delete", "[\"k\"]", ACKED);
    assert_rpc(node, "set", "[\"k\", \"again\"]", ACKED);
    assert_rpc(node, "mset", "[[[\"k\", \"m\"], [\"l\", 1]]]", ACKED);
    assert_rpc(node, "incr", "[\"l\", 2]", "[3, \"*\"]");
    assert_rpc(node, "merge", "[\"o\", {\"a\": 1}]", "[{\"a\": 1}, \"*\"]");
    assert_rpc(node, "set", "[\"l\", 9, {\"if_version\": 1}]",
               "{\"error\": {\"code\": \"CONFLICT\", \"message\": \"*\", \"retryable\": false,"
               " \"version\": \"*\"}}");
    assert_rpc(node, "touch", "[\"l\", null]", "true");
    const char *values = values_of(node, "k");
    const char *expected = "\"m\" \"again\" -";
    for (int i = 100; i >= 1; i--) {
        expected = scenario_text(scenario, "%s %d", expected, i);
    }
    assert_string_equal(values, expected);
    assert_string_equal(values_of(node, "l"), "3 3 1");
    assert_string_equal(values_of(node, "o"), "{\"a\":1}");
    assert_string_equal(values_of(node, "none"), "");
    assert_pg_value(pg, node_stat(node, "outbox.last_seq"), "SELECT applied_seq FROM pgnear_node");
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM kv_store_history h, pgnear_node n"
                    " WHERE h.node IS DISTINCT FROM n.node::text");
    // The newest version is the table's.
    assert_pg_value(pg, "3",
                    "SELECT count(*) FROM kv_store t WHERE t.version ="
                    " (SELECT max(version) FROM kv_store_history h WHERE h.key = t.key)");
}

static void history_and_at_version(struct scenario *scenario)
{
    static const struct step STEPS[] = {
        {SQL, "INSERT INTO kv_store (key, value) VALUES ('k', '1')", NULL},
        {KEEP, "SELECT version FROM kv_store WHERE key = 'k'", NULL},
        {SQL, "UPDATE kv_store SET value = 'null' WHERE key = 'k'", NULL},
        {SQL, "DELETE FROM kv_store WHERE key = 'k'", NULL},
        {SQL, "INSERT INTO kv_store (key, value) VALUES ('k', '{\"a\": 3}')", NULL},
        {"history", "[\"k\"]",
         "[[\"*\", {\"a\": 3}, \"set\", \"*\"], [\"*\", null, \"delete\", \"*\"],"
         " [\"*\", null, \"set\", \"*\"], [$v, 1, \"set\", \"*\"]]"},
        {"history", "[\"k\", {\"limit\": 1}]", "[[\"*\", {\"a\": 3}, \"set\", \"*\"]]"},
        {"history", "[\"k\", {\"before\": $v}]", "[]"},
        {"get", "[\"k\", {\"at_version\": $v}]", "[1, $v]"},
        {"mget", "[[\"none\", \"k\"], {\"at_version\": $v}]", "[null, [1, $v]]"},
        {"get", "[\"k\", {\"at_version\": 1}]", "null"},
        {KEEP, "SELECT version FROM kv_store_history WHERE op = 'delete'", NULL},
        {"history", "[\"k\", {\"before\": $v}]",
         "[[\"*\", null, \"set\", \"*\"], [\"*\", 1, \"set\", \"*\"]]"},
        {"get", "[\"k\", {\"at_version\": $v}]", "null"},
        {KEEP, "SELECT version FROM kv_store WHERE key = 'k'", NULL},
        {"get", "[\"k\", {\"at_version\": $v}]", "[{\"a\": 3}, $v]"},
        // A read after a write on the way waits for it.
        {"set", "[\"k\", 5]", ACKED},
        {"history", "[\"k\", {\"limit\": 1}]", "[[\"*\", 5, \"set\", \"*\"]]"},
        // The time is PostgreSQL's.
        {SQL_VALUE,
         "SELECT count(*) FROM kv_store_history WHERE changed_at > now() - interval '1 minute'",
         "5"},
    };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", "");
    RUN_STEPS(node, pg, STEPS);
    assert_cli_json(CLI(node, "history", "k", "--limit", "1"), 0,
                    "{\"version\": \"*\", \"op\": \"set\", \"value\": 5, \"at_us\": \"*\"}");
    const char *version = pg_value(pg, "SELECT min(version) FROM kv_store_history");
    assert_cli(CLI(node, "get", "k", "--at-version", version), 0, "1\n");
    assert_int_equal(CLI(node, "get", "k", "--at-version", "7").status, 1);
    assert_cli(CLI(node, "history", "k", "--before", version), 0, "");
}

// Keys that change by UPDATE, TRUNCATE, COPY, partitions, users without rights on the history.
static void foreign_statements(struct scenario *scenario, const char *config)
{
    struct pg *pg = pg_start(scenario, NULL);
    start(scenario, pg, "node", config);
    pg_exec(pg, "CREATE ROLE app LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON kv_store"
                " TO app");
    // Before 13 TRUNCATE asks for the right on each partition as well.
    if (pg_int(pg, "SHOW server_version_num") < 130000) {
        pg_exec(pg, "DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits"
                    " WHERE inhparent = 'kv_store'::regclass LOOP"
                    " EXECUTE format('GRANT TRUNCATE ON %%s TO app', p); END LOOP; END $$");
    }
    pg_exec(pg, "SET ROLE app");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('a', '1'), ('b', '2')");
    pg_exec(pg, "UPDATE kv_store SET key = 'c', value = '3' WHERE key = 'a'");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('b', '4'), ('d', '5')"
                " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value");
    assert_pg_value(pg, "a 1, a -, b 2, b 4, c 3, d 5",
                    "RESET ROLE; SELECT string_agg(key || ' ' || coalesce(value::text, '-'), ', '"
                    " ORDER BY key, version) FROM kv_store_history");
    pg_exec(pg, "SET ROLE app; TRUNCATE kv_store");
    assert_pg_value(pg, "a - b - c - d -",
                    "RESET ROLE; SELECT string_agg(key || ' ' || coalesce(value::text, '-'), ' '"
                    " ORDER BY key) FROM (SELECT DISTINCT ON (key) * FROM kv_store_history"
                    " ORDER BY key, version DESC) newest");
    assert_pg_value(pg, "9", "SELECT count(*) FROM kv_store_history");
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store_history WHERE node IS NOT NULL");
    // Nothing of ours fails for the size of what it is about.
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES (repeat('x', 2600), '1');"
                "UPDATE kv_store SET value = '2'; DELETE FROM kv_store");
    assert_pg_value(pg, "9", "SELECT count(*) FROM kv_store_history");
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'n' || i, '1'"
                " FROM generate_series(1, 100000) i");
    pg_exec(pg, "DELETE FROM kv_store");
    assert_pg_value(pg, "200009", "SELECT count(*) FROM kv_store_history");
}

static void foreign_statements_on_a_plain_table(struct scenario *scenario)
{
    foreign_statements(scenario, "");
}

static void foreign_statements_on_a_partitioned_table(struct scenario *scenario)
{
    foreign_statements(scenario, "postgres.partitions = 3\n");
}

// A deletion has one version: in the event and in the history.
static void events_and_history_agree(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", "");
    struct rpc *watcher = node_open(node);
    rpc_call(watcher, "watch", "[\"\"]");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    pg_exec(pg, "UPDATE kv_store SET key = 'l'");
    pg_exec(pg, "DELETE FROM kv_store");
    for (int i = 0; i < 4; i++) {
        const char *event = rpc_receive_event(watcher);
        assert_pg_value(pg, "1",
                        "SELECT count(*) FROM kv_store_history WHERE key = '%.1s' AND version = %s"
                        " AND to_json(op)::text = '%s'",
                        json_at(scenario, event, "1.0") + 1, json_at(scenario, event, "1.1"),
                        json_at(scenario, event, "1.2"));
    }
    assert_pg_value(pg, "4", "SELECT count(*) FROM kv_store_history");
}

// A restore is a change like any other: it makes new versions, and those before it stay.
static void a_restore_is_in_the_history(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "a", ""), *other = start(scenario, pg, "b", "");
    assert_rpc(node, "mset", "[[[\"k\", 1], [\"gone\", 2]]]", "{\"seq\":\"*\"}");
    const char *backup = json_at(scenario, rpc(node, "backup", "[]"), "table");
    assert_rpc(node, "set", "[\"k\", 10]", "{\"seq\":\"*\"}");
    assert_rpc(node, "delete", "[\"gone\"]", "{\"seq\":\"*\"}");
    assert_rpc(node, "set", "[\"new\", 3]", "{\"seq\":\"*\"}");
    assert_rpc(node, "flush", "[]", "{\"seq\":\"*\"}");
    const char *restore = scenario_text(scenario, "[%s, {\"mode\": \"replace\"}]", backup);
    assert_rpc(other, "restore", restore, "{\"rows\":2}");
    assert_rpc(node, "sync", "[]", "true");
    struct node *const nodes[] = {node, other};
    for (int i = 0; i < 2; i++) {
        assert_string_equal(values_of(nodes[i], "k"), "1 10 1");
        assert_string_equal(values_of(nodes[i], "gone"), "2 - 2");
        assert_string_equal(values_of(nodes[i], "new"), "- 3");
        assert_rpc(nodes[i], "mget", "[[\"k\", \"gone\", \"new\"]]",
                   "[[1, \"*\"], [2, \"*\"], null]");
    }
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM (SELECT version FROM kv_store_history GROUP BY version"
                    " HAVING count(*) > 1) twice");
}

static void versioning_is_turned_on_and_off(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_rpc_error(node, "history", "[\"k\"]", "BAD_REQUEST");
    assert_rpc_error(node, "get", "[\"k\", {\"at_version\": 1}]", "BAD_REQUEST");
    assert_pg_value(pg, NULL, "SELECT to_regclass('kv_store_history')");
    node_stop(node);
    // On: what stands there is its key's first version.
    node_configure(node, pg, &(struct node_options){.config = VERSIONED});
    node_start_again(node);
    assert_string_equal(values_of(node, "k"), "1");
    assert_rpc(node, "set", "[\"k\", 2, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_string_equal(values_of(node, "k"), "2");
    assert_null(strstr(rpc(node, "check", "[]"), "\"ok\":false"));
    node_stop(node);
    // Off: nothing is added, nothing is lost.
    node_configure(node, pg, NULL);
    node_start_again(node);
    assert_rpc(node, "set", "[\"k\", 3, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_pg_value(pg, "k set 2", STORED);
    node_stop(node);
    node_configure(node, pg, &(struct node_options){.config = VERSIONED});
    node_start_again(node);
    assert_string_equal(values_of(node, "k"), "3 2");
    node_stop(node);
    // The script that takes everything away leaves it: it is data.
    struct schema_options options = options_of("kv_store");
    options.versioning = true;
    assert_complaints(pg, &options, NULL);
    drop_schema(pg, &options);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('l', '1')");
    assert_pg_value(pg, "k set 2", STORED);
}

// schema = "require" wants the history, and the functions that keep it.
static void a_required_schema_keeps_history(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct schema_options options = options_of("kv_store");
    create_schema(pg, &options);
    struct node *node =
        node_create(scenario, pg,
                    &(struct node_options){.config = VERSIONED "postgres.schema = \"require\"\n"});
    node_spawn(node);
    node_await_log(node, "run what `pgnear schema` prints");
    options.versioning = true;
    assert_complaints(pg, &options,
                      "history: \"public\".\"kv_store_history\" does not exist\n"
                      "functions: \"public\".\"kv_store_pgnear_notify\"() keeps no history");
    struct cli script = cli_run(scenario, node, NULL,
                                (const char *const[]){"schema", "-c", node->config_path, NULL});
    assert_int_equal(script.status, 0);
    assert_non_null(strstr(script.out, "kv_store_history"));
    pg_exec(pg, "%s", script.out);
    assert_complaints(pg, &options, NULL);
    node_await_ready(node);
    assert_rpc(node, "set", "[\"k\", 1]", ACKED);
    assert_string_equal(values_of(node, "k"), "1");
}

static void old_history_is_removed(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start(scenario, pg, "node", "postgres.history_keep = \"1h\"\n");
    node_stop(node);
    pg_exec(pg, "INSERT INTO kv_store_history (key, version, value, op, changed_at)"
                " SELECT 'old', i, '1', 'set', now() - interval '2 hours'"
                " FROM generate_series(1, 2500) i");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('new', '1')");
    node_configure(node, pg,
                   &(struct node_options){.config = VERSIONED "postgres.history_keep = \"10s\"\n"});
    node_start_again(node);
    pg_await_value(pg, "0", "SELECT count(*) FROM kv_store_history WHERE key = 'old'");
    assert_rpc(node, "history", "[\"new\"]", "[[\"*\", 1, \"set\", \"*\"]]");
    node_await_stat_min(node, "postgres.history_removed", 2500);
}

// In the layout "document", expiry and history live in the companion, and the document follows.
static void a_pair_of_a_document_has_a_history(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *node =
        document_node(scenario, pg, "node", VERSIONED "expiry.reap_every = \"20ms\"\n");
    static const struct step STEPS[] = {
        {"set", "[\"stays\", 1]", ACKED},
        {"set", "[\"k\", 2, {\"ttl_ms\": 200, \"ack\": \"postgres\"}]", "\"*\""},
        {AWAIT, "get [\"k\"]", "null"},
        {AWAIT, "history [\"k\"]",
         "[[\"*\", null, \"delete\", \"*\"], [\"*\", 2, \"set\", \"*\"]]"},
        {SQL_VALUE, "SELECT game_name::jsonb FROM game_sessions WHERE id = " DOCUMENT_ID,
         "{\"stays\": 1}"},
        {SQL, "UPDATE game_sessions SET game_name = '{\"stays\": 3}' WHERE id = " DOCUMENT_ID,
         NULL},
        {"history", "[\"stays\"]", "[[\"*\", 3, \"set\", \"*\"], [\"*\", 1, \"set\", \"*\"]]"},
    };
    RUN_STEPS(node, pg, STEPS);
}

// ---- Compare and set

enum { CLIENTS = 8, ROUNDS = 40 };

struct contest {
    struct node *nodes[2];
    atomic_int successes;
};

// Reads the counter through its node and writes it back increased, if nobody else has.
static void increment(void *context, int index)
{
    struct contest *contest = context;
    struct node *node = contest->nodes[index % 2];
    struct scenario *scenario = node->scenario;
    struct rpc *rpc = node_open(node);
    for (int round = 0; round < ROUNDS; round++) {
        // Half of them trust the cache, which may be behind: their condition fails then.
        const char *found =
            rpc_call(rpc, "get", index < CLIENTS / 2 ? "[\"n\"]" : "[\"n\", {\"fresh\": true}]");
        const char *version = json_at(scenario, found, "1");
        if (version == NULL || strcmp(version, "null") == 0) {
            continue;
        }
        const char *answer =
            rpc_call(rpc, "set",
                     scenario_text(scenario, "[\"n\", %lld, {\"if_version\": %s}]",
                                   (long long)json_int_at(scenario, found, "0") + 1, version));
        const char *code = json_at(scenario, answer, "error.code");
        if (code == NULL) {
            atomic_fetch_add(&contest->successes, 1);
        } else if (strcmp(code, "\"CONFLICT\"") != 0) {
            scenario_fail("%s", answer);
        }
    }
    rpc_close(rpc);
}

static void compare_and_set_loses_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct contest contest = {
        .nodes = {start(scenario, pg, "one", ""), start(scenario, pg, "two", "")}};
    assert_rpc(contest.nodes[0], "set", "[\"n\", 0, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    workers_run(scenario, CLIENTS, increment, &contest);
    int successes = atomic_load(&contest.successes);
    assert_true(successes > 0);
    const char *total = scenario_text(scenario, "%d", successes);
    assert_pg_value(pg, total, "SELECT value FROM kv_store WHERE key = 'n'");
    // Every value once, in the order of the versions.
    assert_pg_value(pg, total,
                    "SELECT count(*) FROM (SELECT value::text::int AS n, row_number() OVER"
                    " (ORDER BY version) - 1 AS place FROM kv_store_history WHERE key = 'n') rows"
                    " WHERE n = place AND n > 0");
    assert_pg_value(pg, scenario_text(scenario, "%d", successes + 1),
                    "SELECT count(*) FROM kv_store_history");
}

// ---- kill -9

enum { WRITERS = 4, WRITER_KEYS = 3 };

struct writers {
    struct node *node;
    atomic_int acked[WRITERS];      // the newest number
    struct buffer numbers[WRITERS]; // all of them as text; the worker's until it is joined
};

// Sets its keys in turn to 1, 2, 3, ... and goes on over a broken connection.
static void write_numbers(void *context, int index)
{
    struct writers *writers = context;
    struct node *node = writers->node;
    struct rpc *rpc = NULL;
    for (int n = 1; !worker_is_stopping(); n++) {
        while (rpc == NULL && !worker_is_stopping()) {
            rpc = rpc_try_open(node->scenario, node->socket_path);
        }
        if (rpc == NULL) {
            return;
        }
        const char *answer = rpc_try_call(
            rpc, "set",
            scenario_text(node->scenario, "[\"w%d:%d\", %d]", index, n % WRITER_KEYS, n));
        if (answer == NULL) {
            rpc_close(rpc);
            rpc = NULL;
        } else if (json_at(node->scenario, answer, "seq") != NULL) {
            buffer_printf(&writers->numbers[index], "%s%d",
                          buffer_len(&writers->numbers[index]) == 0 ? "" : ",", n);
            atomic_store(&writers->acked[index], n);
        }
    }
    rpc_close(rpc);
}

static void await_more(struct writers *writers)
{
    int before[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        before[i] = atomic_load(&writers->acked[i]);
    }
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (int i = 0; i < WRITERS; i++) {
        while (atomic_load(&writers->acked[i]) < before[i] + 30) {
            if (!deadline_again(&deadline)) {
                scenario_fail("writer %d does not get on", i);
            }
        }
    }
}

static void history_is_exact_whatever_is_killed(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, &(struct pg_options){.durable = true});
    struct node *node = start(scenario, pg, "node", "");
    struct writers *writers = scenario_alloc(scenario, sizeof *writers);
    writers->node = node;
    struct workers *running = workers_start(scenario, WRITERS, write_numbers, writers);
    for (int round = 0; round < 4; round++) {
        await_more(writers);
        node_kill(node);
        node_spawn(node);
        node_await_ready(node);
    }
    await_more(writers);
    workers_stop(running);
    workers_join(running);
    assert_rpc(node, "flush", "[]", ACKED);
    // No number twice, and each key's in order of its versions.
    assert_pg_value(pg, NULL,
                    "SELECT string_agg(key || ' ' || value::text, ', ') FROM (SELECT *,"
                    " lag(value::text::int) OVER (PARTITION BY key ORDER BY version) AS before"
                    " FROM kv_store_history) h WHERE value::text::int <= before");
    for (int i = 0; i < WRITERS; i++) {
        struct slice numbers = buffer_slice(&writers->numbers[i]);
        assert_pg_value(pg, NULL,
                        "SELECT string_agg(n::text, ', ') FROM unnest('{%.*s}'::int[]) n WHERE NOT"
                        " EXISTS (SELECT FROM kv_store_history h WHERE h.key = 'w%d:' || n %% %d"
                        " AND h.value = to_jsonb(n))",
                        SLICE_FORMAT(numbers), i, WRITER_KEYS);
        buffer_deinit(&writers->numbers[i]);
    }
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM kv_store t WHERE t.version <>"
                    " (SELECT max(version) FROM kv_store_history h WHERE h.key = t.key)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(every_write_leaves_a_version),
        SCENARIO(history_and_at_version),
        SCENARIO(foreign_statements_on_a_plain_table),
        SCENARIO(foreign_statements_on_a_partitioned_table),
        SCENARIO(events_and_history_agree),
        SCENARIO(a_restore_is_in_the_history),
        SCENARIO(versioning_is_turned_on_and_off),
        SCENARIO(a_required_schema_keeps_history),
        SCENARIO(old_history_is_removed),
        SCENARIO(a_pair_of_a_document_has_a_history),
        SCENARIO(compare_and_set_loses_nothing),
        SCENARIO(history_is_exact_whatever_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
