// What the settings of the role or of the server do to a node: timeouts that are meant for people.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/steps.h"

enum { KEEPALIVE = 2 }; // the timer of /proc/net/tcp, whose ticks are hundredths of a second

static struct node *start_as_app(struct scenario *scenario, struct pg *pg, const char *url)
{
    pg_exec(pg, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    const char *config =
        scenario_text(scenario, "postgres.url = \"%s%cuser=app\"\ncache.audit_rate = 0\n", url,
                      strchr(url, '?') == NULL ? '?' : '&');
    struct node *node = node_create(scenario, pg, &(struct node_options){.config = config});
    return node;
}

// A LISTEN is idle by nature, and so are the other connections while nobody asks.
static void idle_connections_stay(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start_as_app(scenario, pg, pg_url(pg));
    if (pg_int(pg, "SELECT current_setting('server_version_num')::int") >= 140000) {
        pg_exec(pg, "ALTER ROLE app SET idle_session_timeout = '200ms'");
    }
    if (pg_int(pg, "SELECT current_setting('server_version_num')::int") >= 170000) {
        pg_exec(pg, "ALTER ROLE app SET transaction_timeout = '100ms'");
    }
    node_spawn(node);
    node_await_ready(node);
    // A batch takes longer than the role's transactions may.
    pg_exec(pg, "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " PERFORM pg_sleep(0.3); RETURN NULL; END $$;"
                "CREATE TRIGGER z_dawdle AFTER INSERT ON kv_store"
                " FOR EACH STATEMENT EXECUTE FUNCTION dawdle()");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    pg_await_value(pg, "t",
                   "SELECT count(*) >= 2 FROM pg_stat_activity WHERE usename = 'app'"
                   " AND state = 'idle' AND now() - state_change > interval '1 s'");
    assert_json(node_stat(node, "postgres.gaps"), "0");
    assert_json(node_stat(node, "postgres.reconnects"), "0");
}

// How many connections the server has at that port, and the most ticks after which it will ask one
// of them whether its client is still there; -1 where it asks one of them never.
static int count_connections(long port, long *ticks_max)
{
    int count = 0;
    char line[256];
    FILE *file = fopen("/proc/net/tcp", "r");
    assert_non_null(file);
    *ticks_max = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned local_port, state, timer, ticks;
        if (sscanf(line, " %*d: %*8x:%4x %*8x:%*4x %2x %*8x:%*8x %2x:%8x", &local_port, &state,
                   &timer, &ticks) != 4 ||
            local_port != (unsigned)port || state != 1) {
            continue;
        }
        count++;
        long next = timer == KEEPALIVE ? (long)ticks : -1;
        *ticks_max = *ticks_max < 0 || next < 0 ? -1 : next > *ticks_max ? next : *ticks_max;
    }
    fclose(file);
    return count;
}

// A client that is gone without a word is found by the server in seconds, not in the two hours that
// are usual, during which its locks would stay.
static void the_server_looks_for_its_client(struct scenario *scenario)
{
    enum { IDLE_TICKS = 5 * 100 };
    struct pg *pg = pg_start(scenario, &(struct pg_options){.tcp = true});
    struct node *node = start_as_app(scenario, pg, pg_tcp_url(pg));
    node_spawn(node);
    node_await_ready(node);
    long port = strtol(pg_value(pg, "SHOW port"), NULL, 10), ticks = -1;
    struct deadline deadline = deadline_in(DEADLINE_MS);
    // A connection on which something is under way just now has another timer.
    while (count_connections(port, &ticks) < 4 || ticks < 0 || ticks > IDLE_TICKS) {
        if (!deadline_again(&deadline)) {
            scenario_fail("keepalives come after %ld ticks", ticks);
        }
    }
}

// What PostgreSQL has set for the connection on which a batch comes, said by a trigger in it.
static void the_server_does_not_write_for_ever(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, &(struct pg_options){.tcp = true});
    const char *config = scenario_text(scenario,
                                       "postgres.url = \"%s\"\npostgres.connect_timeout = \"3s\"\n"
                                       "postgres.statement_timeout = \"4s\"\n",
                                       pg_tcp_url(pg));
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    pg_exec(pg, "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " NEW.value = to_jsonb(current_setting('tcp_user_timeout')); RETURN NEW; END $$;"
                "CREATE TRIGGER a_note BEFORE INSERT ON kv_store"
                " FOR EACH ROW EXECUTE FUNCTION note()");
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_pg_value(pg, "\"7000\"", "SELECT value FROM kv_store WHERE key = 'k'");
}

// The control connection is there and the others are not: the node says which work that stops, and
// why, and goes on once they may come.
static void what_lacks_a_connection_is_told(struct scenario *scenario)
{
    static const char REFUSED[] = "too many connections for role";
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start_as_app(scenario, pg, pg_url(pg));
    node_spawn(node);
    node_await_ready(node);
    pg_exec(pg, "ALTER ROLE app CONNECTION LIMIT 1");
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    node_await_hello(node, REFUSED);
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    static const char *const TOLD[] = {
        "\"notify\",\"ok\":false,\"message\":\"connection to server",
        "\"flush\",\"ok\":false,\"message\":\"1 writes wait: connection to server"};
    const char *check;
    while (strstr(check = rpc(node, "check", "[]"), TOLD[0]) == NULL ||
           strstr(check, TOLD[1]) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("check does not say so: %s", check);
        }
    }
    assert_non_null(strstr(rpc(node, "get", "[\"absent\", {\"timeout_ms\": 20000}]"), REFUSED));
    assert_non_null(strstr(rpc(node, "incr", "[\"n\", 1]"), REFUSED));
    pg_exec(pg, "ALTER ROLE app CONNECTION LIMIT -1");
    node_await_ready(node);
    node_await_hello(node, "\"last_error\":null");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", "{\"seq\": \"*\"}");
}

// Somebody's migration holds the table: nothing is wrong with the node, but its writes wait.
static void a_lock_that_is_waited_for_is_told(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "postgres.statement_timeout = \"300ms\"\n"});
    pg_exec(pg, "BEGIN; LOCK TABLE kv_store IN EXCLUSIVE MODE");
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    node_await_hello(node, "canceling statement due to statement timeout");
    pg_exec(pg, "COMMIT");
    node_await_hello(node, "\"last_error\":null");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 20000}]", "{\"seq\": \"*\"}");
    assert_json(node_stat(node, "outbox.dead_letters"), "0");
}

// A deletion that a policy passes over is none, and not read as one.
static void row_security_is_minded(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start_as_app(scenario, pg, pg_url(pg));
    node_spawn(node);
    node_await_ready(node);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('free', '1'), ('kept', '1');"
                "ALTER TABLE kv_store ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                "CREATE POLICY all_see ON kv_store FOR SELECT USING (true);"
                "CREATE POLICY all_insert ON kv_store FOR INSERT WITH CHECK (true);"
                "CREATE POLICY all_update ON kv_store FOR UPDATE USING (true);"
                "CREATE POLICY some_delete ON kv_store FOR DELETE USING (key <> 'kept')");
    static const struct step steps[] = {
        {"set", "[\"k\", 1, {\"ack\": \"postgres\"}]", "{\"seq\": \"*\", \"version\": \"*\"}"},
        {"delete", "[[\"free\", \"kept\"]]", ACKED},
        {"flush", "[]", ACKED},
        {"mget", "[[\"free\", \"kept\"]]", "[null, [1, \"*\"]]"},
        {"delete", "[\"kept\", {\"ack\": \"postgres\"}]",
         "{\"seq\": \"*\", \"deleted\": 0, \"version\": null}"},
        {"get", "[\"kept\"]", "[1, \"*\"]"},
    };
    RUN_STEPS(node, pg, steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(idle_connections_stay),
        SCENARIO(the_server_looks_for_its_client),
        SCENARIO(the_server_does_not_write_for_ever),
        SCENARIO(what_lacks_a_connection_is_told),
        SCENARIO(a_lock_that_is_waited_for_is_told),
        SCENARIO(row_security_is_minded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
