// What teams have already: servers that are reached in different ways, names that need quotes,
// tables that an ORM writes to, several tables in one database. Two nodes wherever coherence could
// matter.

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/cli.h"

// ---- Ways to a server

// A server that wants a password of "app" on TCP, and of nobody on its socket.
static struct pg *start_with_password(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, &(struct pg_options){.tcp = true});
    const char *path = scenario_text(scenario, "%s/pg_hba.conf", pg->data);
    const char *rules = read_text_file(scenario, path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "host all app 127.0.0.1/32 scram-sha-256\n%s", rules);
    assert_int_equal(fclose(file), 0);
    pg_exec(pg, "SET password_encryption = 'scram-sha-256'"); // before 14 it is md5
    pg_exec(pg, "CREATE ROLE app LOGIN PASSWORD 'secret ''\\word'");
    pg_exec(pg, "GRANT CREATE ON SCHEMA public TO app");
    pg_exec(pg, "SELECT pg_reload_conf()");
    pg_await_value(pg, "1",
                   "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'scram-sha-256'");
    return pg;
}

static const char *write_private(struct scenario *scenario, const char *name, const char *text)
{
    const char *path = scenario_path(scenario, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
    return path;
}

static void assert_reaches(struct scenario *scenario, struct pg *pg, const char *way,
                           const char *config, const char *const *environment)
{
    static int number;
    const char *table = scenario_text(scenario, "way_%d", ++number);
    struct node *node =
        node_create(scenario, NULL,
                    &(struct node_options){.name = scenario_text(scenario, "way%d", number),
                                           .table = table,
                                           .config = config,
                                           .environment = environment});
    node_spawn(node);
    node_await_ready(node);
    assert_cli_json(CLI(node, "set", "k", "1", "--ack", "postgres"), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    if (strcmp(pg_value(pg, "SELECT value FROM %s", table), "1") != 0) {
        scenario_fail("%s: the write is not there", way);
    }
    assert_false(node_log_has(node, "secret"));
    // The command line finds the same server.
    if (environment == NULL) {
        struct cli check = CLI(node, "check", "-c", node->config_path);
        if (check.status != 0) {
            scenario_fail("%s: %s", way, check.out);
        }
    }
    assert_int_equal(node_stop(node), 0);
}

static void a_server_is_reached_in_every_way(struct scenario *scenario)
{
    struct pg *pg = start_with_password(scenario);
    assert_reaches(scenario, pg, "single parameters with a password",
                   scenario_text(scenario,
                                 "postgres.host = \"127.0.0.1\"\npostgres.port = %d\n"
                                 "postgres.database = \"postgres\"\npostgres.user = \"app\"\n"
                                 "postgres.password = \"secret '\\\\word\"\n",
                                 pg->port),
                   NULL);
    assert_reaches(scenario, pg, "the directory of a socket",
                   scenario_text(scenario,
                                 "postgres.host = \"%s\"\npostgres.port = %d\n"
                                 "postgres.database = \"postgres\"\npostgres.user = \"postgres\"\n",
                                 pg->directory, pg->port),
                   NULL);
    assert_reaches(
        scenario, pg, "a URL with an escaped password",
        scenario_text(scenario,
                      "postgres.url ="
                      " \"postgresql://app:secret%%20'%%5Cword@127.0.0.1:%d/postgres\"\n",
                      pg->port),
        NULL);
    assert_reaches(
        scenario, pg, "a URL of several servers, the first of which is away",
        scenario_text(scenario,
                      "postgres.url = \"postgresql://app:secret%%20'%%5Cword@127.0.0.1:1,"
                      "127.0.0.1:%d/postgres?target_session_attrs=read-write\"\n",
                      pg->port),
        NULL);
    const char *passfile = write_private(
        scenario, "pgpass",
        scenario_text(scenario, "127.0.0.1:%d:postgres:app:secret '\\\\word\n", pg->port));
    assert_reaches(scenario, pg, "a passfile named in the URL",
                   scenario_text(scenario,
                                 "postgres.url ="
                                 " \"postgresql://app@127.0.0.1:%d/postgres?passfile=%s\"\n",
                                 pg->port, passfile),
                   NULL);
    assert_reaches(scenario, pg, "a passfile of the environment",
                   scenario_text(scenario,
                                 "postgres.host = \"127.0.0.1\"\npostgres.port = %d\n"
                                 "postgres.database = \"postgres\"\npostgres.user = \"app\"\n",
                                 pg->port),
                   (const char *const[]){scenario_text(scenario, "PGPASSFILE=%s", passfile), NULL});
    const char *services = write_private(
        scenario, "services",
        scenario_text(scenario,
                      "[mine]\nhost=127.0.0.1\nport=%d\ndbname=postgres\nuser=app\npassfile=%s\n",
                      pg->port, passfile));
    const char *const environment[] = {scenario_text(scenario, "PGSERVICEFILE=%s", services), NULL};
    assert_reaches(scenario, pg, "a service", "postgres.url = \"postgresql:///?service=mine\"\n",
                   environment);
    assert_reaches(scenario, pg, "a service as key and value", "postgres.url = \"service=mine\"\n",
                   environment);
    assert_reaches(
        scenario, pg, "DATABASE_URL", "",
        (const char *const[]){scenario_text(scenario, "DATABASE_URL=%s", pg_url(pg)), NULL});
}

static void a_wrong_password_is_said_and_not_shown(struct scenario *scenario)
{
    struct pg *pg = start_with_password(scenario);
    struct node *node = node_create(
        scenario, NULL,
        &(struct node_options){
            .config = scenario_text(
                scenario, "postgres.url = \"postgresql://app:wrongsecret@127.0.0.1:%d/postgres\"\n",
                pg->port)});
    node_spawn(node);
    node_await_log(node, "password authentication failed for user");
    assert_false(node_log_has(node, "wrongsecret"));
    struct cli check = CLI(node, "check", "-c", node->config_path);
    assert_int_equal(check.status, 4);
    assert_non_null(strstr(check.out, "password authentication failed"));
    assert_null(strstr(check.out, "wrongsecret"));
}

// ---- Names

static void assert_main_job(struct scenario *scenario, struct pg *pg, int number, const char *table)
{
    const char *config = scenario_text(scenario, "postgres.table = '''%s'''\n", table);
    struct node *one = node_start(
        scenario, pg,
        &(struct node_options){.name = scenario_text(scenario, "one%d", number), .config = config});
    struct node *other =
        node_start(scenario, pg,
                   &(struct node_options){.name = scenario_text(scenario, "other%d", number),
                                          .config = config});
    assert_cli_json(CLI(one, "set", "k", "{\"a\":1}", "--ack", "postgres"), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_cli(CLI(other, "get", "k"), 0, "{\"a\":1}\n");
    assert_cli(CLI(other, "merge", "k", "{\"b\":2}"), 0, "{\"a\":1,\"b\":2}\n");
    assert_cli(CLI(one, "sync"), 0, "true\n");
    assert_cli(CLI(one, "get", "k"), 0, "{\"a\":1,\"b\":2}\n");
    assert_cli(CLI(one, "incr", "n", "5"), 0, "5\n");
    pg_exec(pg, "UPDATE %s SET value = '7' WHERE key = 'n'", table);
    assert_cli(CLI(one, "sync"), 0, "true\n");
    assert_cli(CLI(one, "get", "n"), 0, "7\n");
    assert_cli_json(CLI(one, "delete", "k", "--ack", "postgres"), 0,
                    "{\"seq\":\"*\",\"deleted\":1,\"version\":\"*\"}");
    assert_cli(CLI(one, "export"), 0, "{\"key\":\"n\",\"value\":7}\n");
    struct cli check = CLI(one, "check");
    if (check.status != 0) {
        scenario_fail("%s: %s", table, check.out);
    }
    struct cli offline = CLI(one, "check", "-c", one->config_path);
    if (offline.status != 0) {
        scenario_fail("%s: %s", table, offline.out);
    }
    assert_int_equal(node_stop(one), 0);
    assert_int_equal(node_stop(other), 0);
}

static void names_may_need_quotes(struct scenario *scenario)
{
    static const char *const TABLES[] = {
        "\"My App\".kv",
        "\"My App\".\"Table; DROP TABLE kv_store --\"",
        "\"it''s %s\".\"a \"\"quoted\"\" name\"",
        "\"p\xc3\xa4th\".\"\xe2\x82\xac$1\"",
        "KV_Upper",
        "\"select\"",
    };
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE SCHEMA \"My App\"; CREATE SCHEMA \"it''s %%s\";"
                "CREATE SCHEMA \"p\xc3\xa4th\"");
    for (size_t i = 0; i < sizeof TABLES / sizeof TABLES[0]; i++) {
        assert_main_job(scenario, pg, (int)i, TABLES[i]);
    }
    assert_pg_value(pg, "kv_upper", "SELECT relname FROM pg_class WHERE relname = 'kv_upper'");
}

// ---- A table that somebody else writes to as well

static void an_orm_writes_its_own_rows(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    // As an ORM would have made it, with more in it than is ours.
    pg_exec(pg,
            "CREATE TABLE settings (id serial UNIQUE, key text PRIMARY KEY, value jsonb NOT NULL,"
            " owner text NOT NULL DEFAULT 'nobody', created_at timestamptz NOT NULL DEFAULT now(),"
            " updated_at timestamptz NOT NULL DEFAULT now());"
            "INSERT INTO settings (key, value, owner) VALUES ('old', '1', 'ada')");
    struct node *one =
        node_start(scenario, pg, &(struct node_options){.name = "one", .table = "settings"});
    struct node *other =
        node_start(scenario, pg, &(struct node_options){.name = "other", .table = "settings"});
    assert_cli(CLI(one, "get", "old"), 0, "1\n");
    assert_cli(CLI(other, "get", "new"), 1, "");

    // Django's and SQLAlchemy's ways: insert with RETURNING, update of a row, upsert, bulk, delete.
    pg_exec(pg, "PREPARE ins (text, jsonb) AS INSERT INTO settings (key, value, created_at,"
                " updated_at) VALUES ($1, $2, now(), now()) RETURNING id, key");
    pg_exec(pg, "EXECUTE ins ('new', '{\"by\": \"orm\"}')");
    pg_exec(pg, "BEGIN; UPDATE settings SET value = '2', updated_at = now() WHERE id = 1;"
                "SAVEPOINT s; UPDATE settings SET value = '3' WHERE id = 1; ROLLBACK TO s; COMMIT");
    pg_exec(pg, "INSERT INTO settings (key, value) VALUES ('new', '4'), ('bulk', '5')"
                " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value");
    for (int i = 0; i < 2; i++) {
        struct node *node = i == 0 ? one : other;
        assert_cli(CLI(node, "sync"), 0, "true\n");
        assert_cli(CLI(node, "get", "old"), 0, "2\n");
        assert_cli(CLI(node, "get", "new"), 0, "4\n");
        assert_cli(CLI(node, "get", "bulk"), 0, "5\n");
    }
    // Ours leave the other columns alone; new rows get their defaults.
    assert_cli_json(CLI(one, "set", "old", "\"ours\"", "--ack", "postgres"), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_cli_json(CLI(one, "set", "fresh", "true", "--ack", "postgres"), 0,
                    "{\"seq\":\"*\",\"version\":\"*\"}");
    assert_pg_value(pg, "ada 1", "SELECT owner || ' ' || id FROM settings WHERE key = 'old'");
    assert_pg_value(pg, "nobody", "SELECT owner FROM settings WHERE key = 'fresh'");
    pg_exec(pg, "DELETE FROM settings WHERE key = 'old'");
    assert_cli(CLI(other, "sync"), 0, "true\n");
    assert_cli(CLI(other, "get", "old"), 1, "");
}

// ---- Several tables in one database

static void tables_of_one_database_do_not_meet(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    pg_exec(pg, "CREATE SCHEMA app");
    static const char *const TABLES[] = {"sessions", "flags", "app.sessions"};
    struct node *nodes[3];
    for (int i = 0; i < 3; i++) {
        nodes[i] = node_start(
            scenario, pg,
            &(struct node_options){.name = scenario_text(scenario, "n%d", i), .table = TABLES[i]});
        assert_cli_json(
            CLI(nodes[i], "set", "k", scenario_text(scenario, "%d", i), "--ack", "postgres"), 0,
            "{\"seq\":\"*\",\"version\":\"*\"}");
    }
    for (int i = 0; i < 3; i++) {
        assert_cli(CLI(nodes[i], "sync"), 0, "true\n");
        assert_cli(CLI(nodes[i], "get", "k"), 0, scenario_text(scenario, "%d\n", i));
        assert_pg_value(pg, "1", "SELECT count(*) FROM %s", TABLES[i]);
    }
    // A change, a truncation and a bulk change of one are nothing to the others.
    int64_t before = node_stat_int(nodes[1], "cache.invalidations");
    pg_exec(pg, "UPDATE sessions SET value = '\"new\"'; TRUNCATE app.sessions;"
                "INSERT INTO sessions (key, value) SELECT 'b' || i, '1'"
                " FROM generate_series(1, 20000) i");
    for (int i = 0; i < 3; i++) {
        assert_cli(CLI(nodes[i], "sync"), 0, "true\n");
    }
    assert_cli(CLI(nodes[0], "get", "k"), 0, "\"new\"\n");
    assert_cli(CLI(nodes[1], "get", "k"), 0, "1\n");
    assert_cli(CLI(nodes[2], "get", "k"), 1, "");
    assert_int_equal(node_stat_int(nodes[1], "cache.invalidations"), before);

    // Taking one table's things away leaves the others at work.
    struct cli drop = CLI(nodes[0], "schema", "--drop", "-c", nodes[0]->config_path);
    assert_int_equal(node_stop(nodes[0]), 0);
    PGconn *conn = pg_connect(pg);
    PGresult *result = PQexec(conn, drop.out);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    PQfinish(conn);
    assert_cli(CLI(nodes[1], "incr", "k"), 0, "2\n");
    assert_cli(CLI(nodes[2], "incr", "k"), 0, "1\n");
    pg_exec(pg, "UPDATE flags SET value = '9'");
    assert_cli(CLI(nodes[1], "sync"), 0, "true\n");
    assert_cli(CLI(nodes[1], "get", "k"), 0, "9\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_server_is_reached_in_every_way),
        SCENARIO(a_wrong_password_is_said_and_not_shown),
        SCENARIO(names_may_need_quotes),
        SCENARIO(an_orm_writes_its_own_rows),
        SCENARIO(tables_of_one_database_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
