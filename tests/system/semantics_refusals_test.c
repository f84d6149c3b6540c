// What becomes of a write that cannot be done (SPEC section 3): deadlines, writes that PostgreSQL
// refuses for good, and mistakes of the operator, each in the documented words.

#include <stdio.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/steps.h"

static struct node *start(struct scenario *scenario, struct pg **pg)
{
    *pg = pg_start(scenario, NULL);
    return node_start(scenario, *pg, NULL);
}

// The parts of an error, each as JSON; NULL: not looked at.
static void assert_error(struct node *node, const char *answer, const char *code,
                         const char *sqlstate, const char *message)
{
    struct scenario *scenario = node->scenario;
    const char *paths[] = {"error.code", "error.sqlstate", "error.message"};
    const char *wanted[] = {code, sqlstate, message};
    for (size_t i = 0; i < 3; i++) {
        const char *found = json_at(scenario, answer, paths[i]);
        if (wanted[i] != NULL && (found == NULL || !json_matches(found, wanted[i]))) {
            scenario_fail("%s of %.500s is not %s", paths[i], answer, wanted[i]);
        }
    }
}

// The flush hangs on a row that psql has locked: what was sent is in doubt, what was not was not
// done.
static void a_deadline_tells_sent_from_unsent(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('locked', '1'), ('free', '1')");
    pg_exec(pg, "BEGIN; SELECT 1 FROM kv_store WHERE key = 'locked' FOR UPDATE");
    struct rpc *client = node_open(node);
    uint32_t sent = rpc_send(client, "incr", "[\"locked\", 1, {\"timeout_ms\": 700}]");
    pg_backend(pg, "wait_event_type = 'Lock'"); // it is there and waits
    uint32_t queued = rpc_send(client, "incr", "[\"free\", 1, {\"timeout_ms\": 300}]");
    const char *answer = rpc_await(client, queued);
    assert_error(node, answer, "\"TIMEOUT\"", NULL, NULL);
    assert_json(json_at(scenario, answer, "error.retryable"), "true");
    answer = rpc_await(client, sent);
    assert_error(node, answer, "\"OUTCOME_UNKNOWN\"", NULL, NULL);
    int64_t seq = json_int_at(scenario, answer, "error.seq");
    answer = rpc_call(client, "set", "[\"new\", 1, {\"ack\": \"postgres\", \"timeout_ms\": 300}]");
    assert_error(node, answer, "\"OUTCOME_UNKNOWN\"", NULL, NULL);
    assert_error(node, rpc(node, "flush", "[{\"timeout_ms\": 300}]"), "\"TIMEOUT\"", NULL, NULL);
    // Others are not held up.
    assert_rpc(node, "set", "[\"other\", 1]", ACKED);
    assert_rpc(node, "get", "[\"other\"]", "[1, null]");
    pg_exec(pg, "COMMIT");
    assert_rpc(node, "flush", scenario_text(scenario, "[{\"seq\": %lld}]", (long long)seq), ACKED);
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'locked'");
    assert_rpc(node, "flush", "[]", ACKED);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'free'");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'new'");
    assert_rpc(node, "get", "[\"locked\"]", "[2, \"*\"]");
    assert_rpc(node, "get", "[\"free\"]", "[1, \"*\"]");
    assert_rpc(node, "incr", "[\"free\", 1]", "[2, \"*\"]");
}

// A repeat with the same id finds out what became of a write whose answer was lost.
static void an_unknown_outcome_is_found_by_its_id(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    pg_exec(pg, "BEGIN; SELECT 1 FROM kv_store WHERE key = 'k' FOR UPDATE");
    static const char *const REPEATED = "[\"k\", 1, {\"timeout_ms\": 200, \"id\": \"one\"}]";
    const char *answer = rpc(node, "incr", REPEATED);
    if (strstr(answer, "OUTCOME_UNKNOWN") == NULL && strstr(answer, "TIMEOUT") == NULL) {
        scenario_fail("an incr that hangs is answered %s", answer);
    }
    pg_exec(pg, "COMMIT");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!json_matches(answer = rpc(node, "incr", REPEATED), "[2, \"*\"]")) {
        if (json_at(scenario, answer, "error") == NULL || !deadline_again(&deadline)) {
            scenario_fail("the repeat is answered %s", answer);
        }
    }
    assert_rpc(node, "incr", REPEATED, "[2, \"*\"]");
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'k'");
}

static void a_read_has_a_deadline(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k', '1')");
    pg_exec(pg, "BEGIN; LOCK TABLE kv_store IN ACCESS EXCLUSIVE MODE");
    assert_rpc_error(node, "get", "[\"k\", {\"timeout_ms\": 200}]", "TIMEOUT");
    assert_rpc_error(node, "scan", "[{\"timeout_ms\": 200}]", "TIMEOUT");
    assert_rpc(node, "ping", "[]", "\"pong\"");
    pg_exec(pg, "COMMIT");
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
}

static const char *const ADD_CONSTRAINT =
    "ALTER TABLE kv_store ADD CONSTRAINT no_poison CHECK (value <> '\"poison\"' AND value <> '3')";

static void a_poisoned_write_is_parked_alone(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    assert_rpc(node, "set", "[\"p\", \"before\"]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    pg_exec(pg, "%s", ADD_CONSTRAINT);
    // One batch: psql holds it up until all have come.
    pg_exec(pg, "BEGIN; LOCK TABLE kv_store IN SHARE MODE");
    for (int i = 0; i < 40; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\", %d]", i, i * 10), ACKED);
        if (i == 20) {
            assert_rpc(node, "set", "[\"p\", \"poison\"]", ACKED);
            assert_rpc(node, "mset", "[[[\"m1\", 1], [\"m2\", \"poison\"], [\"m3\", 1]]]", ACKED);
        }
    }
    assert_rpc(node, "set", "[\"q\", \"poison\"]", ACKED);
    assert_rpc(node, "set", "[\"q\", \"cured\"]", ACKED);
    assert_rpc(node, "get", "[\"p\"]", "[\"poison\", null]");
    pg_exec(pg, "COMMIT");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_pg_value(pg, "40", "SELECT count(*) FROM kv_store WHERE key LIKE 'k%%'");
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store WHERE key LIKE 'm%%'");
    assert_pg_value(pg, "\"before\"", "SELECT value FROM kv_store WHERE key = 'p'");
    assert_pg_value(pg, "\"cured\"", "SELECT value FROM kv_store WHERE key = 'q'");
    assert_rpc(node, "mget", "[[\"p\", \"q\", \"m1\", \"m2\"]]",
               "[[\"before\", \"*\"], [\"cured\", \"*\"], null, null]");
    // The q that was poisoned may have been coalesced away.
    int64_t parked = node_stat_int(node, "outbox.dead_letters");
    if (parked < 2 || parked > 3) {
        scenario_fail("%lld dead letters", (long long)parked);
    }
    node_await_stat(node, "outbox.depth", "0");
    // They are kept, and the node goes on.
    node_kill(node);
    node_start_again(node);
    assert_int_equal(node_stat_int(node, "outbox.dead_letters"), parked);
    assert_rpc(node, "set", "[\"p\", \"after\", {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
}

static void a_caller_that_waits_is_told(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    assert_rpc(node, "set", "[\"k\", 2]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    pg_exec(pg, "%s", ADD_CONSTRAINT);
    static const char *const REQUESTS[][2] = {
        {"set", "[\"k\", \"poison\", {\"ack\": \"postgres\"}]"},
        {"set", "[\"new\", \"poison\", {\"if_absent\": true}]"},
        {"incr", "[\"k\", 1]"},
        {"merge", "[\"k\", \"poison\"]"},
        {"mset", "[[[\"a\", 1], [\"k\", \"poison\"]], {\"ack\": \"postgres\"}]"},
    };
    for (size_t i = 0; i < sizeof REQUESTS / sizeof REQUESTS[0]; i++) {
        const char *answer = rpc(node, REQUESTS[i][0], REQUESTS[i][1]);
        assert_error(node, answer, "\"REJECTED\"", "\"23514\"", NULL);
        assert_json(json_at(scenario, answer, "error.retryable"), "false");
        if (strstr(answer, "no_poison") == NULL || strstr(answer, REQUESTS[i][0]) == NULL) {
            scenario_fail("%s does not name the operation and PostgreSQL's reason", answer);
        }
        assert_rpc(node, "get", "[\"k\"]", "[2, \"*\"]");
    }
    const char *answer = rpc(node, "set", "[\"k\", \"poison\", {\"ack\": \"postgres\"}]");
    assert_error(node, answer, NULL, NULL,
                 "\"Failed to set key \\\"k\\\": new row for relation \\\"kv_store\\\" violates "
                 "check constraint \\\"no_poison\\\"\"");
    assert_rpc(node, "mget", "[[\"new\", \"a\"]]", "[null, null]");
    // Withdrawn, not parked.
    assert_rpc(node, "flush", "[]", ACKED);
    node_await_stat(node, "outbox.dead_letters", "0");
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'k'");
}

// A trigger of the user's that raises, and one that changes what is written.
// A merge that would make a value beyond server.max_value does nothing, and is refused alone.
static void a_merge_that_grows_too_large_does_nothing(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "server.max_value = \"4KiB\"\n"});
    const char *half = scenario_text(scenario, "%02000d", 0);
    assert_rpc(node, "set", scenario_text(scenario, "[\"k\", {\"a\": \"%s\"}]", half), ACKED);
    // {"a": str16, "b": str16} in 4096 bytes: 1 + 2 + 3 + 2000 + 2 + 3 + 2085
    const char *whole = scenario_text(scenario, "{\"a\": \"%s\", \"b\": \"%02085d\"}", half, 0);
    assert_rpc(node, "merge", scenario_text(scenario, "[\"k\", {\"b\": \"%02085d\"}]", 0),
               scenario_text(scenario, "[%s, \"*\"]", whole));
    struct rpc *client = node_open(node);
    uint32_t before = rpc_send(client, "incr", "[\"n\", 1]");
    uint32_t refused = rpc_send(client, "merge", "[\"k\", {\"c\": 1}, {\"id\": \"once\"}]");
    uint32_t behind = rpc_send(client, "incr", "[\"n\", 1]");
    assert_json(rpc_await(client, before), "[1, \"*\"]");
    assert_error(
        node, rpc_await(client, refused), "\"TOO_LARGE\"", NULL,
        "\"Failed to merge key \\\"k\\\": the value would take 4099 bytes, and may take 4096"
        " (server.max_value)\"");
    assert_json(rpc_await(client, behind), "[2, \"*\"]");
    assert_rpc(node, "get", "[\"k\"]", scenario_text(scenario, "[%s, \"*\"]", whole));
    assert_rpc(node, "get", "[\"k\", {\"fresh\": true}]",
               scenario_text(scenario, "[%s, \"*\"]", whole));
    assert_rpc(node, "dead_letters", "[]", "[]");
    // A repeat is told the same, though it would fit now.
    assert_rpc(node, "set", "[\"k\", {}]", ACKED);
    assert_rpc_error(node, "merge", "[\"k\", {\"c\": 1}, {\"id\": \"once\"}]", "TOO_LARGE");
    assert_rpc(node, "get", "[\"k\"]", "[{}, \"*\"]");
}

static void triggers_of_the_user_have_their_say(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.key = 'banned' THEN RAISE EXCEPTION 'not this one'; END IF;"
                " IF NEW.key = 'changed' THEN NEW.value = '\"by the trigger\"'; END IF;"
                " IF NEW.key = 'dropped' THEN RETURN NULL; END IF;"
                " RETURN NEW; END $$;"
                "CREATE TRIGGER a_judge BEFORE INSERT OR UPDATE ON kv_store"
                " FOR EACH ROW EXECUTE FUNCTION judge()");
    assert_error(node, rpc(node, "set", "[\"banned\", 1, {\"ack\": \"postgres\"}]"), "\"REJECTED\"",
                 "\"P0001\"", "\"Failed to set key \\\"banned\\\": not this one\"");
    assert_rpc(node, "set", "[\"banned\", 1]", ACKED);
    assert_rpc(node, "set", "[\"changed\", 1]", ACKED);
    assert_rpc(node, "set", "[\"dropped\", 1]", ACKED);
    assert_rpc(node, "set", "[\"fine\", 1]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    assert_rpc(node, "mget", "[[\"banned\", \"changed\", \"dropped\", \"fine\"]]",
               "[null, [\"by the trigger\", \"*\"], null, [1, \"*\"]]");
    node_await_stat(node, "outbox.dead_letters", "1");
}

// Whatever the write was to be told, the row that is there is what is read.
static void what_a_trigger_passes_over_is_not_read_as_done(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "INSERT INTO kv_store (key, value)"
                " SELECT k, '1' FROM unnest('{a,b,c,d}'::text[]) k;"
                "CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RETURN NULL; END';"
                "CREATE TRIGGER a_pass_over BEFORE INSERT OR UPDATE OR DELETE ON kv_store"
                " FOR EACH ROW EXECUTE FUNCTION pass_over()");
    static const struct step steps[] = {
        // From the second batch on the node knows of the trigger.
        {"set", "[\"a\", 2]", ACKED},
        {"flush", "[]", ACKED},
        {"set", "[\"a\", 3, {\"ack\": \"postgres\"}]", "{\"seq\": \"*\", \"version\": null}"},
        {"set", "[\"new\", 3, {\"ack\": \"postgres\"}]", "{\"seq\": \"*\", \"version\": null}"},
        {"delete", "[\"b\"]", ACKED},
        {"delete", "[\"c\", {\"ack\": \"postgres\"}]",
         "{\"seq\": \"*\", \"deleted\": 0, \"version\": null}"},
        {"incr", "[\"d\", 1]", "!REJECTED"},
        {"merge", "[\"d\", {}]", "!REJECTED"},
        {"touch", "[\"d\", 1000]", "false"},
        {"flush", "[]", ACKED},
        {"mget", "[[\"a\", \"new\", \"b\", \"c\", \"d\"]]",
         "[[1, \"*\"], null, [1, \"*\"], [1, \"*\"], [1, \"*\"]]"},
    };
    RUN_STEPS(node, pg, steps);
}

// They are written while the flush is under way, but not by it: each needs a version of its own.
static void what_a_trigger_writes_is_a_change_of_its_own(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "CREATE FUNCTION mirror() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.key = 'seen' THEN"
                "  INSERT INTO kv_store (key, value) VALUES ('mirror', NEW.value)"
                "  ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value;"
                "  DELETE FROM kv_store WHERE key = 'gone';"
                " ELSIF NEW.key = 'twice' AND pg_trigger_depth() = 1 THEN"
                "  UPDATE kv_store SET value = '\"again\"' WHERE key = 'twice';"
                " END IF; RETURN NULL; END $$;"
                "CREATE TRIGGER mirror AFTER INSERT OR UPDATE ON kv_store"
                " FOR EACH ROW EXECUTE FUNCTION mirror()");
    for (int i = 0; i < 5; i++) {
        assert_rpc(node, "set", "[\"gone\", 1]", ACKED);
        assert_rpc(node, "flush", "[]", ACKED);
        (void)rpc(node, "mget", "[[\"gone\", \"mirror\", \"twice\"]]");
        pg_exec(pg, "CREATE TABLE before AS SELECT * FROM kv_store WHERE key <> 'gone'");
        assert_rpc(node, "set", scenario_text(scenario, "[\"seen\", %d]", i), ACKED);
        assert_rpc(node, "set", "[\"twice\", 0]", ACKED);
        assert_rpc(node, "flush", "[]", ACKED);
        assert_rpc(node, "sync", "[]", "true");
        assert_rpc(
            node, "mget", "[[\"seen\", \"mirror\", \"gone\", \"twice\"]]",
            scenario_text(scenario, "[[%d, \"*\"], [%d, \"*\"], null, [\"again\", \"*\"]]", i, i));
        assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store JOIN before USING (key, version)");
        pg_exec(pg, "DROP TABLE before");
    }
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

static void a_missing_table_stops_the_flushing(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    assert_rpc(node, "set", "[\"before\", 1]", ACKED);
    assert_rpc(node, "flush", "[]", ACKED);
    pg_exec(pg, "ALTER TABLE kv_store RENAME TO gone");
    const char *answer = rpc(node, "set", "[\"test\", 1, {\"ack\": \"postgres\"}]");
    assert_error(node, answer, "\"REJECTED\"", "\"42P01\"",
                 "\"Failed to set key \\\"test\\\": relation \\\"kv_store\\\" does not exist\"");
    answer = rpc(node, "get", "[\"unknown\"]");
    assert_error(node, answer, NULL, "\"42P01\"",
                 "\"Failed to get key \\\"unknown\\\": relation \\\"kv_store\\\" does not exist\"");
    // Nothing is parked; what need not wait goes on.
    assert_rpc(node, "set", "[\"queued\", 1]", ACKED);
    assert_rpc(node, "get", "[\"queued\"]", "[1, null]");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strstr(rpc(node, "hello", "[\"test\"]"), "does not exist") == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("last_error does not tell");
        }
    }
    if (strstr(rpc(node, "check", "[]"), "\"ok\":false") == NULL) {
        scenario_fail("check finds nothing wrong");
    }
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
    pg_exec(pg, "ALTER TABLE gone RENAME TO kv_store");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_pg_value(pg, "before queued", "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
    deadline = deadline_in(DEADLINE_MS);
    while (json_matches(json_at(scenario, rpc(node, "hello", "[\"x\"]"), "last_error"), "null") ==
           false) {
        if (!deadline_again(&deadline)) {
            scenario_fail("last_error stays for ever");
        }
    }
}

static void revoked_rights_stop_the_flushing(struct scenario *scenario)
{
    struct pg *pg;
    struct node *owner = start(scenario, &pg);
    assert_int_equal(node_stop(owner), 0);
    pg_exec(pg, "CREATE ROLE app LOGIN;"
                "GRANT ALL ON ALL TABLES IN SCHEMA public TO app;"
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app");
    const char *config = scenario_text(scenario,
                                       "postgres.url = \"postgresql://app@/postgres?host=%s\"\n"
                                       "postgres.schema = \"require\"\n",
                                       pg->directory);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.name = "app", .config = config});
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    pg_exec(pg, "REVOKE INSERT, UPDATE ON kv_store FROM app");
    assert_error(node, rpc(node, "set", "[\"k\", 2, {\"ack\": \"postgres\"}]"), "\"REJECTED\"",
                 "\"42501\"",
                 "\"Failed to set key \\\"k\\\": permission denied for table kv_store\"");
    assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
    assert_rpc(node, "set", "[\"queued\", 1]", ACKED);
    pg_exec(pg, "GRANT INSERT, UPDATE ON kv_store TO app");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_pg_value(pg, "k queued", "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

// What PostgreSQL says of its disk is no fault of the write that met it.
static void a_full_disk_of_postgresql_parks_nothing(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "CREATE FUNCTION fill_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100';"
                " END $$;"
                "CREATE TRIGGER fill_up BEFORE INSERT ON kv_store EXECUTE FUNCTION fill_up()");
    assert_error(node, rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]"), "\"REJECTED\"",
                 "\"53100\"",
                 "\"Failed to set key \\\"k\\\": could not extend file: No space left on device\"");
    assert_rpc(node, "set", "[\"queued\", 1]", ACKED);
    assert_rpc(node, "get", "[\"queued\"]", "[1, null]");
    pg_exec(pg, "DROP TRIGGER fill_up ON kv_store");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_pg_value(pg, "queued", "SELECT string_agg(key, ' ') FROM kv_store");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

// A database that became read only is the operator's as well.
static void a_read_only_database_parks_nothing(struct scenario *scenario)
{
    struct pg *pg;
    struct node *node = start(scenario, &pg);
    pg_exec(pg, "ALTER SYSTEM SET default_transaction_read_only = on");
    pg_exec(pg, "SELECT pg_reload_conf()");
    pg_await_value(pg, "on", "SHOW default_transaction_read_only");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strstr(rpc(node, "hello", "[\"test\"]"), "read-only transaction") == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("last_error does not tell: %s", rpc(node, "hello", "[\"test\"]"));
        }
    }
    assert_rpc(node, "set", "[\"queued\", 1]", ACKED);
    assert_rpc(node, "get", "[\"queued\"]", "[1, null]");
    pg_exec(pg, "SET default_transaction_read_only = off");
    pg_exec(pg, "ALTER SYSTEM RESET default_transaction_read_only");
    pg_exec(pg, "SELECT pg_reload_conf()");
    node_await_ready(node);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", ACKED);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'queued'");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_deadline_tells_sent_from_unsent),
        SCENARIO(an_unknown_outcome_is_found_by_its_id),
        SCENARIO(a_read_has_a_deadline),
        SCENARIO(a_poisoned_write_is_parked_alone),
        SCENARIO(a_caller_that_waits_is_told),
        SCENARIO(a_merge_that_grows_too_large_does_nothing),
        SCENARIO(triggers_of_the_user_have_their_say),
        SCENARIO(what_a_trigger_passes_over_is_not_read_as_done),
        SCENARIO(what_a_trigger_writes_is_a_change_of_its_own),
        SCENARIO(a_missing_table_stops_the_flushing),
        SCENARIO(revoked_rights_stop_the_flushing),
        SCENARIO(a_full_disk_of_postgresql_parks_nothing),
        SCENARIO(a_read_only_database_parks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
