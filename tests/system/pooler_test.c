// Through PgBouncer in transaction mode no notification is heard: check says so and names the cure,
// and with postgres.listen_url set to the server itself the main job is done. Skipped where
// PgBouncer is not installed.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"

#define PGBOUNCER "/usr/sbin/pgbouncer"

enum { POOLER_PORT = 6432 };

struct pooler {
    struct process *process;
    const char *config_path;
    const char *socket_path;
    const char *url; // through it
};

static void start_again(struct pooler *pooler)
{
    process_start(pooler->process, (const char *const[]){PGBOUNCER, pooler->config_path, NULL},
                  &(struct process_options){.unprivileged = true});
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (access(pooler->socket_path, F_OK) != 0) {
        if (!deadline_again(&deadline)) {
            scenario_fail("pgbouncer does not start");
        }
    }
}

static void kill_pooler(struct pooler *pooler)
{
    process_signal(pooler->process, SIGKILL);
    process_wait(pooler->process);
    unlink(pooler->socket_path);
}

// Starts one before the server.
static struct pooler make_pooler(struct scenario *scenario, const struct pg *pg)
{
    uid_t uid;
    gid_t gid;
    process_user(&uid, &gid);
    const char *directory = scenario_path(scenario, "pooler");
    const char *path = scenario_text(scenario, "%s/pgbouncer.ini", directory);
    if (mkdir(directory, 0755) != 0 || chown(directory, uid, gid) != 0) {
        scenario_fail("cannot make %s", directory);
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(
        file,
        "[databases]\npostgres = host=%s port=%d dbname=postgres user=postgres\n"
        "[pgbouncer]\nlisten_addr =\nlisten_port = %d\nunix_socket_dir = %s\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 20\nserver_round_robin = 1\n"
        "ignore_startup_parameters = extra_float_digits,options\n",
        pg->directory, pg->port, POOLER_PORT, directory);
    assert_int_equal(fclose(file), 0);
    struct pooler pooler = {
        .process = process_create(scenario, "pgbouncer"),
        .config_path = path,
        .socket_path = scenario_text(scenario, "%s/.s.PGSQL.%d", directory, POOLER_PORT),
        .url = scenario_text(scenario, "postgresql://postgres@/postgres?host=%s&port=%d", directory,
                             POOLER_PORT),
    };
    start_again(&pooler);
    return pooler;
}

static const char *start_pooler(struct scenario *scenario, const struct pg *pg)
{
    return make_pooler(scenario, pg).url;
}

static const char *config_around(struct scenario *scenario, const struct pooler *pooler,
                                 const struct pg *pg)
{
    return scenario_text(scenario, "postgres.url = \"%s\"\npostgres.listen_url = \"%s\"\n",
                         pooler->url, pg_url(pg));
}

static void assert_check_says(struct node *node, int status, const char *item, const char *words)
{
    struct cli check = CLI(node, "check");
    const char *line = strstr(check.out, item);
    const char *found = line == NULL ? NULL : strstr(line, words);
    const char *end = line == NULL ? NULL : strchr(line, '\n');
    if (check.status != status || found == NULL || found > end) {
        scenario_fail("status %d; \"%s\" is not said in \"%s\" of %s", check.status, words, item,
                      check.out);
    }
}

static void check_names_the_pooler(struct scenario *scenario)
{
    if (access(PGBOUNCER, X_OK) != 0) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    const char *url = start_pooler(scenario, pg);
    struct node *deaf = node_create(
        scenario, NULL,
        &(struct node_options){.name = "deaf",
                               .config = scenario_text(scenario, "postgres.url = \"%s\"\n", url)});
    node_spawn(deaf);
    node_await_log(deaf, "event=\"started\"");
    node_await_stat(deaf, "postgres.flushing", "1");
    assert_check_says(deaf, 4, "notify", "postgres.listen_url");
    struct cli offline = CLI(deaf, "check", "-c", deaf->config_path);
    assert_int_equal(offline.status, 4);
    assert_non_null(strstr(offline.out, "is there a transaction pooler in between?"));
    assert_int_equal(node_stop(deaf), 0);
}

static void the_main_job_is_done_around_it(struct scenario *scenario)
{
    if (access(PGBOUNCER, X_OK) != 0) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    const char *config =
        scenario_text(scenario, "postgres.url = \"%s\"\npostgres.listen_url = \"%s\"\n",
                      start_pooler(scenario, pg), pg_url(pg));
    struct node *one =
        node_start(scenario, NULL, &(struct node_options){.name = "one", .config = config});
    struct node *other =
        node_start(scenario, NULL, &(struct node_options){.name = "other", .config = config});
    assert_check_says(one, 0, "pooler", "a pooler is in between; notifications are heard");
    assert_cli(CLI(one, "incr", "n"), 0, "1\n");
    assert_cli(CLI(other, "incr", "n"), 0, "2\n");
    pg_exec(pg, "UPDATE kv_store SET value = '7'");
    assert_cli(CLI(one, "sync"), 0, "true\n");
    assert_cli(CLI(one, "get", "n"), 0, "7\n");
    assert_cli(CLI(other, "sync"), 0, "true\n");
    assert_cli(CLI(other, "get", "n"), 0, "7\n");
}

// Each read may be answered by another server connection, of which only some know what was
// prepared, and two nodes prepare the same.
static void reads_find_their_way_through_it(struct scenario *scenario)
{
    enum { KEYS = 50, NODES = 2 };
    if (access(PGBOUNCER, X_OK) != 0) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    const char *config =
        scenario_text(scenario, "postgres.url = \"%s\"\npostgres.listen_url = \"%s\"\n",
                      start_pooler(scenario, pg), pg_url(pg));
    struct node *nodes[NODES];
    for (int i = 0; i < NODES; i++) {
        const char *name = scenario_text(scenario, "n%d", i);
        nodes[i] =
            node_start(scenario, NULL, &(struct node_options){.name = name, .config = config});
    }
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) SELECT 'k' || i, to_jsonb(i)"
            " FROM generate_series(1, %d) i",
            KEYS);
    for (int i = 1; i <= KEYS; i++) {
        const char *version =
            pg_value(pg, "SELECT version::text FROM kv_store WHERE key = 'k%d'", i);
        for (int node = 0; node < NODES; node++) {
            assert_rpc(nodes[node], "get", scenario_text(scenario, "[\"k%d\"]", i),
                       scenario_text(scenario, "[%d,%s]", i, version));
        }
    }
}

static const char *ask(PGconn *conn, struct scenario *scenario, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        scenario_fail("%s: %s", sql, PQresultErrorMessage(result));
    }
    const char *value = scenario_text(scenario, "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
    return value;
}

// The sessions that the pooler lends are those of other applications a moment later.
static void nothing_is_left_behind_in_a_session(struct scenario *scenario)
{
    enum { SESSIONS = 12 };
    if (access(PGBOUNCER, X_OK) != 0) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    struct pooler pooler = make_pooler(scenario, pg);
    const char *config = config_around(scenario, &pooler, pg);
    struct node *node = node_start(scenario, NULL, &(struct node_options){.config = config});
    assert_cli(CLI(node, "incr", "n"), 0, "1\n");
    assert_int_equal(CLI(node, "set", "k", "1", "--ack", "postgres").status, 0);
    assert_int_equal(CLI(node, "backup").status, 0);
    assert_int_equal(node_stop(node), 0);
    const char *idle = pg_value(pg, "SELECT count(*)::text FROM pg_stat_activity"
                                    " WHERE application_name = 'pgnear'");
    fprintf(stderr, "%s sessions that a node has used\n", idle);
    PGconn *conns[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        conns[i] = PQconnectdb(pooler.url);
        // A session of its own for each, while its transaction lasts.
        PQclear(PQexec(conns[i], "BEGIN"));
        assert_string_equal(ask(conns[i], scenario, "SHOW statement_timeout"), "0");
        assert_string_equal(ask(conns[i], scenario, "SHOW client_min_messages"), "notice");
        assert_string_equal(ask(conns[i], scenario, "SHOW lock_timeout"), "0");
        assert_string_equal(
            ask(conns[i], scenario, "SELECT coalesce(current_setting('pgnear.origin', true), '')"),
            "");
        assert_string_equal(ask(conns[i], scenario, "SELECT count(*) FROM pg_listening_channels()"),
                            "0");
    }
    for (int i = 0; i < SESSIONS; i++) {
        PQfinish(conns[i]);
    }
}

// Each time in the middle of work, and away for a while. Whoever writes repeats with an id.
static void a_killed_pooler_is_survived(struct scenario *scenario)
{
    enum { INCRS = 60, KILLS = 3 };
    if (access(PGBOUNCER, X_OK) != 0) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    struct pooler pooler = make_pooler(scenario, pg);
    const char *config = config_around(scenario, &pooler, pg);
    struct node *node = node_start(scenario, NULL, &(struct node_options){.config = config});
    struct rpc *client = node_open(node);
    for (int i = 1; i <= INCRS; i++) {
        const char *incr =
            scenario_text(scenario, "[\"n\", 1, {\"id\": \"i%d\", \"timeout_ms\": 2000}]", i);
        uint32_t sent = rpc_send(client, "incr", incr);
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\", %d]", i, i), "{\"seq\": \"*\"}");
        if (i % (INCRS / KILLS) == 0) {
            kill_pooler(&pooler);
            node_await_state(node, "disconnected");
            assert_rpc(node, "set", "[\"away\", 1]", "{\"seq\": \"*\"}");
            start_again(&pooler);
        }
        struct deadline deadline = deadline_in(DEADLINE_MS);
        const char *answer = rpc_await(client, sent);
        while (!json_matches(answer, scenario_text(scenario, "[%d, \"*\"]", i))) {
            if (!deadline_again(&deadline)) {
                scenario_fail("incr %d is answered %s", i, answer);
            }
            answer = rpc_call(client, "incr", incr);
        }
    }
    node_await_state(node, "live");
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, scenario_text(scenario, "%d", INCRS),
                    "SELECT value FROM kv_store WHERE key = 'n'");
    assert_pg_value(pg, scenario_text(scenario, "%d", INCRS),
                    "SELECT count(*) FROM kv_store WHERE key LIKE 'k%%'"
                    " AND value = to_jsonb(substr(key, 2)::int)");
    pg_exec(pg, "UPDATE kv_store SET value = '7' WHERE key = 'away'");
    assert_rpc(node, "sync", "[]", "true");
    assert_rpc(node, "get", "[\"away\"]", "[7, \"*\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(check_names_the_pooler),
        SCENARIO(the_main_job_is_done_around_it),
        SCENARIO(nothing_is_left_behind_in_a_session),
        SCENARIO(a_killed_pooler_is_survived),
        SCENARIO(reads_find_their_way_through_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
