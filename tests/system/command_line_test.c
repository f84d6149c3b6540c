// The command `pgnear` as a user meets it: what it prints and how it exits.

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"

static void assert_says(struct cli cli, const char *words)
{
    if (strncmp(cli.err, "pgnear: ", 8) != 0 || strstr(cli.err, words) == NULL) {
        scenario_fail("\"%s\" is not said, but \"%s\"", words, cli.err);
    }
}

static void usage_needs_no_daemon(struct scenario *scenario)
{
    static const char *const wrong[][8] = {
        {NULL},
        {"nonsense", NULL},
        {"get", NULL},
        {"get", "a", "b", NULL},
        {"get", "--nonsense", NULL},
        {"get", "k", "--ttl=1s", NULL},
        {"set", "k", NULL},
        {"set", "k", "1", "--string=x", NULL},
        {"set", "k", "1", "--ttl=10", NULL},
        {"set", "k", "1", "--ack=never", NULL},
        {"set", "k", "1", "--if-version=x", NULL},
        {"touch", "k", "soon", NULL},
        {"touch", "k", NULL},
        {"touch", "k", "10s", "--expires-at", "2030-01-31T12:00:00Z", NULL},
        {"touch", "k", "--expires-at", "2030-01-31", NULL},
        {"set", "k", "1", "--expires-at", "tomorrow", NULL},
        {"set", "k", "1", "--expires-at", "2030-01-31T12:00:00Z", "--ttl", "1s", NULL},
        {"set", "k", "1", "--expires-at", "2030-02-30T12:00:00Z", NULL},
        {"set", "k", "1", "--id", "", NULL},
        {"incr", "k", "--id=", NULL},
        {"incr", "k", "one", NULL},
        {"incr", "k", "0x10", NULL},
        {"incr", "k", "\"1\"", NULL},
        {"incr", "k", "-", NULL},
        {"help", "nonsense", NULL},
        {"help", "get", "set", NULL},
        {"scan", "--limit=0", NULL},
        {"top", "more", NULL},
        {"stats", "--json", "--prometheus", NULL},
        {"ping", "--socket", "", NULL},
        {"schema", "-c", "/nonexistent.toml", NULL},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct cli cli = cli_run(scenario, NULL, NULL, wrong[i]);
        assert_cli(cli, 2, "");
        assert_says(cli, "");
    }
    const char *const dash[] = {"set", "k", "-x", NULL};
    assert_says(cli_run(scenario, NULL, NULL, dash), "behind -- nothing is taken for an option");
    const char *const bare[] = {"set", "k", "hello", NULL};
    assert_says(cli_run(scenario, NULL, NULL, bare), "or behind --string");
    struct cli help = cli_run(scenario, NULL, NULL, (const char *const[]){"--help", NULL});
    assert_int_equal(help.status, 0);
    assert_non_null(strstr(help.out, "usage: pgnear"));
    assert_non_null(strstr(help.out, "cleanup-backups: drop backups"));
}

static void help_of_a_command_is_of_that_alone(struct scenario *scenario)
{
    static const char *const WORDS[][3] = {{"touch", "--help", NULL}, {"help", "touch", NULL}};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        struct cli help = cli_run(scenario, NULL, NULL, WORDS[i]);
        assert_int_equal(help.status, 0);
        assert_non_null(strstr(help.out, "usage: pgnear [OPTION...] touch KEY TIME|none"));
        assert_non_null(strstr(help.out, "--expires-at"));
        assert_non_null(strstr(help.out, "--socket"));
        assert_null(strstr(help.out, "--if-absent"));
        assert_null(strstr(help.out, "cleanup-backups"));
    }
    struct cli help = cli_run(scenario, NULL, NULL, (const char *const[]){"help", NULL});
    assert_int_equal(help.status, 0);
    assert_non_null(strstr(help.out, "cleanup-backups: drop backups"));
}

// Not into a file that was opened in its place.
static void what_cannot_be_printed_is_status_4(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    static const char *const WAYS[] = {">&-", ">/dev/full", "<&- >&- 2>&-"};
    assert_cli_json(CLI(node, "set", "k", "1"), 0, "{\"seq\":\"*\"}");
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        const char *command = scenario_text(scenario, "%s --socket %s get k %s; test $? = 4",
                                            PGNEAR_PROGRAM, node->socket_path, WAYS[i]);
        process_run(scenario, (const char *const[]){"sh", "-c", command, NULL}, NULL);
    }
}

static void no_daemon_is_status_3(struct scenario *scenario)
{
    const char *const arguments[] = {"--socket", scenario_path(scenario, "none"), "ping", NULL};
    struct cli cli = cli_run(scenario, NULL, NULL, arguments);
    assert_cli(cli, 3, "");
    assert_says(cli, scenario_path(scenario, "none"));
    assert_says(cli, "Is it running? --socket or $PGNEAR_SOCKET");
}

static void values_go_in_and_come_out(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    assert_cli(CLI(node, "ping"), 0, "\"pong\"\n");
    assert_cli(CLI(node, "get", "k"), 1, "");
    assert_cli_json(CLI(node, "set", "k", "{\"b\": 1.50, \"a\": [true, null]}"), 0,
                    "{\"seq\":\"*\"}");
    assert_cli(CLI(node, "get", "k"), 0, "{\"a\":[true,null],\"b\":1.5}\n");
    assert_cli(CLI(node, "get", "k", "--pretty"), 0,
               "{\n  \"a\": [\n    true,\n    null\n  ],\n  \"b\": 1.5\n}\n");
    assert_cli_json(CLI(node, "set", "k", "--string", "12"), 0, "{\"seq\":\"*\"}");
    assert_cli(CLI(node, "get", "k"), 0, "\"12\"\n");
    assert_cli_json(
        cli_run(scenario, node, " [1, 2]\n", (const char *const[]){"set", "k", "-", NULL}), 0,
        "{\"seq\":\"*\"}");
    assert_cli(CLI(node, "get", "k"), 0, "[1,2]\n");
    assert_cli_json(CLI(node, "set", "k", "-5"), 0, "{\"seq\":\"*\"}");
    assert_cli(CLI(node, "incr", "k", "-3"), 0, "-8\n");
    assert_cli(CLI(node, "incr", "k"), 0, "-7\n");
    assert_cli_json(CLI(node, "delete", "k", "never-there"), 0, "{\"seq\":\"*\"}");
    assert_cli(CLI(node, "get", "k"), 1, "");
    assert_cli(CLI(node, "merge", "m", "{\"a\":1,\"b\":null}"), 0, "{\"a\":1}\n");
    struct cli refused = CLI(node, "set", "k", "{\"a\":}");
    assert_cli(refused, 4, "");
    assert_says(refused, "byte");
}

static void conditions_that_fail_are_status_1(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    struct cli made = CLI(node, "set", "k", "1", "--if-absent");
    assert_cli_json(made, 0, "{\"seq\":\"*\",\"version\":\"*\"}");
    struct cli exists = CLI(node, "set", "k", "2", "--if-absent");
    assert_cli(exists, 1, "");
    assert_says(exists, scenario_text(scenario, "the key exists, and its version is %s",
                                      json_at(scenario, made.out, "version")));
    assert_cli(CLI(node, "dead-letters", "retry", "7"), 1, "");
    assert_cli(CLI(node, "dead-letters", "discard", "7"), 1, "");
    assert_cli(CLI(node, "delete", "k", "--if-version", "0"), 1, "");
    const char *version = json_at(scenario, made.out, "version");
    assert_cli_json(CLI(node, "set", "k", "2", "--if-version", version), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_cli_json(CLI(node, "delete", "k", "--ack=postgres"), 0,
                    "{\"seq\":\"*\",\"deleted\":1,\"version\":\"*\"}");
}

static void assert_expires_at(struct node *node, struct pg *pg, const char *expected)
{
    assert_int_equal(CLI(node, "flush").status, 0);
    assert_pg_value(pg, expected, "SELECT expires_at AT TIME ZONE 'UTC' FROM kv_store");
}

static void keys_expire(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_cli(CLI(node, "touch", "k", "10s"), 1, "");
    assert_cli_json(CLI(node, "set", "k", "1", "--ttl", "1h", "--ack=postgres"), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    int64_t ttl_ms = json_int_at(scenario, CLI(node, "ttl", "k").out, "");
    assert_in_range(ttl_ms, 3000000, 3600000);
    assert_cli(CLI(node, "touch", "k", "none"), 0, "true\n");
    assert_cli(CLI(node, "touch", "k", "--expires-at", "2100-01-31T13:30:00+01:30"), 0, "true\n");
    assert_expires_at(node, pg, "2100-01-31 12:00:00");
    assert_cli_json(CLI(node, "set", "k", "1", "--expires-at", "2101-01-31T12:00:00Z"), 0,
                    "{\"seq\":\"*\"}");
    assert_expires_at(node, pg, "2101-01-31 12:00:00");
    assert_cli_json(CLI(node, "set", "k", "1"), 0, "{\"seq\":\"*\"}");
    assert_cli(CLI(node, "ttl", "k"), 0, "null\n");
}

static void scan_follows_its_pages(struct scenario *scenario)
{
    enum { KEYS = 2500 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) "
            "SELECT 'k:' || lpad(i::text, 5, '0'), to_jsonb(i) FROM generate_series(1, %d) i",
            KEYS);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('other', '0')");
    const char *line = CLI(node, "scan", "--prefix", "k:").out;
    int count = 0;
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        count++;
        const char *item = scenario_text(scenario, "%.*s", (int)(end - line), line);
        assert_json(item,
                    scenario_text(scenario, "{\"key\":\"k:%05d\",\"value\":%d,\"version\":\"*\"}",
                                  count, count));
    }
    assert_int_equal(count, KEYS);
    assert_cli_json(CLI(node, "scan", "--limit", "1"), 0,
                    "{\"key\":\"k:00001\",\"value\":1,\"version\":\"*\"}");
}

static void await_line(struct scenario *scenario, const char *path, const char *words)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (strstr(read_text_file(scenario, path), words) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s does not come, only \"%s\"", words, read_text_file(scenario, path));
        }
    }
}

static void watch_prints_what_happens(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    const char *path = scenario_path(scenario, "watched");
    struct process *watching = cli_start(node, path, (const char *const[]){"watch", "p:", NULL});
    node_await_stat(node, "server.watchers", "1");
    assert_cli_json(CLI(node, "set", "p:own", "1"), 0, "{\"seq\":\"*\"}");
    await_line(scenario, path, "\"p:own\"");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('unseen', '1'), ('p:foreign', '1')");
    await_line(scenario, path, "\"p:foreign\"");
    pg_exec(pg, "DELETE FROM kv_store");
    await_line(scenario, path, "\"delete\"");
    node_kill(node);
    node_start_again(node);
    await_line(scenario, path, "{\"event\":\"resync\"}\n");
    assert_null(strstr(read_text_file(scenario, path), "unseen"));
    // One whose reader is gone ends by itself, though nothing happens that it could print.
    const char *pipe_path = scenario_path(scenario, "pipe");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    int reader = open(pipe_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    struct process *piped = cli_start(node, pipe_path, (const char *const[]){"watch", "p:", NULL});
    node_await_stat(node, "server.watchers", "2");
    close(reader);
    assert_int_equal(process_wait(piped), 0);
    process_signal(watching, SIGINT);
    assert_int_equal(process_wait(watching), 0);
}

static void flush_sync_invalidate_and_stats(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_cli_json(CLI(node, "set", "k", "1"), 0, "{\"seq\":\"*\"}");
    assert_cli_json(CLI(node, "flush"), 0, "{\"seq\":\"*\"}");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    pg_exec(pg, "UPDATE kv_store SET value = '2'");
    assert_cli(CLI(node, "sync"), 0, "true\n");
    assert_cli(CLI(node, "get", "k"), 0, "2\n");
    assert_cli(CLI(node, "invalidate", "k"), 0, "1\n");
    assert_cli(CLI(node, "invalidate", "k"), 0, "0\n");
    assert_non_null(json_at(scenario, CLI(node, "stats", "--json").out, "cache.hits"));
    struct cli table = CLI(node, "stats");
    assert_int_equal(table.status, 0);
    assert_non_null(strstr(table.out, "\n  hits "));
}

static void schema_and_check_need_no_daemon(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_create(scenario, pg, &(struct node_options){.table = "app.kv"});
    pg_exec(pg, "CREATE SCHEMA app");
    struct cli unmade = CLI(node, "check", "-c", node->config_path);
    assert_int_equal(unmade.status, 4);
    assert_non_null(strstr(unmade.out, "FAIL"));

    struct cli schema = CLI(node, "schema", "-c", node->config_path);
    assert_int_equal(schema.status, 0);
    PGconn *conn = pg_connect(pg);
    PGresult *result = PQexec(conn, schema.out);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    struct cli made = CLI(node, "check", "-c", node->config_path);
    assert_null(strstr(made.out, "FAIL"));
    assert_int_equal(made.status, 0);

    pg_exec(pg, "INSERT INTO app.kv (key, value) VALUES ('k', '1')");
    struct cli drop = CLI(node, "schema", "--drop", "-c", node->config_path);
    result = PQexec(conn, drop.out);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    PQfinish(conn);
    assert_pg_value(pg, "1", "SELECT value FROM app.kv");
    assert_pg_value(pg, "0", "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'app.kv'::regclass");
}

static void schema_needs_no_server(struct scenario *scenario)
{
    struct cli schema = cli_run(scenario, NULL, NULL, (const char *const[]){"schema", NULL});
    assert_int_equal(schema.status, 0);
    assert_non_null(strstr(schema.out, "CREATE TABLE \"public\".\"kv_store\""));
    assert_says(schema, "the schema of table kv_store is not known");
}

static void check_asks_the_daemon(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    struct cli good = CLI(node, "check");
    assert_int_equal(good.status, 0);
    assert_null(strstr(good.out, "FAIL"));
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER pgnear_update");
    struct cli bad = CLI(node, "check");
    assert_int_equal(bad.status, 4);
    assert_non_null(strstr(bad.out, "pgnear_update"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(usage_needs_no_daemon),
        SCENARIO(help_of_a_command_is_of_that_alone),
        SCENARIO(what_cannot_be_printed_is_status_4),
        SCENARIO(no_daemon_is_status_3),
        SCENARIO(values_go_in_and_come_out),
        SCENARIO(conditions_that_fail_are_status_1),
        SCENARIO(keys_expire),
        SCENARIO(scan_follows_its_pages),
        SCENARIO(watch_prints_what_happens),
        SCENARIO(flush_sync_invalidate_and_stats),
        SCENARIO(schema_and_check_need_no_daemon),
        SCENARIO(schema_needs_no_server),
        SCENARIO(check_asks_the_daemon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
