// Through PgBouncer in transaction mode no notification is heard: check says so and names the cure,
// and with postgres.listen_url set to the server itself the main job is done. Skipped where
// PgBouncer is not installed.

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"

#define PGBOUNCER "/usr/sbin/pgbouncer"

enum { POOLER_PORT = 6432 };

// Starts one before the server; the URL that leads through it.
static const char *start_pooler(struct scenario *scenario, const struct pg *pg)
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
    process_start(process_create(scenario, "pgbouncer"),
                  (const char *const[]){PGBOUNCER, path, NULL},
                  &(struct process_options){.unprivileged = true});
    const char *socket = scenario_text(scenario, "%s/.s.PGSQL.%d", directory, POOLER_PORT);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (access(socket, F_OK) != 0) {
        if (!deadline_again(&deadline)) {
            scenario_fail("pgbouncer does not start");
        }
    }
    return scenario_text(scenario, "postgresql://postgres@/postgres?host=%s&port=%d", directory,
                         POOLER_PORT);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(check_names_the_pooler),
        SCENARIO(the_main_job_is_done_around_it),
        SCENARIO(reads_find_their_way_through_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
