// For each operation, what each kind of trouble with PostgreSQL gives: the code and SQLSTATE over
// RPC, the words, and how the command line exits. docs/troubleshooting.md lists the same.

#include <stdio.h>
#include <string.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"

enum { ARGUMENTS = 8 };

struct operation {
    const char *method;
    const char *params;
    const char *arguments[ARGUMENTS]; // of the command line; none: it has no such command
    const char *subject;              // what the message begins with
    bool writes;
};

// The key is never in the cache: whoever reads it must ask.
static const struct operation OPERATIONS[] = {
    {"set",
     "[\"test\", 1, {\"ack\": \"postgres\"}]",
     {"set", "test", "1", "--ack", "postgres"},
     "Failed to set key \"test\": ",
     true},
    {"set",
     "[\"test\", 1, {\"if_absent\": true}]",
     {"set", "test", "1", "--if-absent"},
     "Failed to set key \"test\": ",
     true},
    {"mset",
     "[[[\"test\", 1], [\"other\", 1]], {\"ack\": \"postgres\"}]",
     {0},
     "Failed to mset 2 keys from \"test\" on: ",
     true},
    {"delete",
     "[\"test\", {\"ack\": \"postgres\"}]",
     {"delete", "test", "--ack", "postgres"},
     "Failed to delete key \"test\": ",
     true},
    {"incr", "[\"test\", 1]", {"incr", "test"}, "Failed to incr key \"test\": ", true},
    {"merge", "[\"test\", {}]", {"merge", "test", "{}"}, "Failed to merge key \"test\": ", true},
    {"touch",
     "[\"test\", null]",
     {"touch", "test", "none"},
     "Failed to touch key \"test\": ",
     true},
    {"get", "[\"test\"]", {"get", "test"}, "Failed to get key \"test\": ", false},
    {"get", "[\"test\", {\"fresh\": true}]", {0}, "Failed to get key \"test\": ", false},
    {"mget", "[[\"test\", \"other\"]]", {0}, "Failed to mget 2 keys from \"test\" on: ", false},
    {"ttl", "[\"test\"]", {"ttl", "test"}, "Failed to ttl key \"test\": ", false},
    {"scan", "[]", {"scan"}, "Failed to scan: ", false},
    {"all", "[]", {0}, "Failed to all: ", false},
};

struct trouble {
    const char *name;
    const char *make;
    const char *mend;
    const char *sqlstate;
    const char *words;      // behind the subject
    const char *write_code; // NULL: writes are not tried
    const char *read_code;
};

static const struct trouble TROUBLES[] = {
    {"the table is missing", "ALTER TABLE kv_store RENAME TO gone",
     "ALTER TABLE gone RENAME TO kv_store", "42P01", "relation \"kv_store\" does not exist",
     "REJECTED", "REJECTED"},
    {"a right is missing", "REVOKE ALL ON kv_store FROM app",
     "GRANT SELECT, INSERT, UPDATE, DELETE ON kv_store TO app", "42501",
     "permission denied for table kv_store", "REJECTED", "REJECTED"},
    {"a trigger of the user's refuses the row",
     "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
     " RAISE 'not while the moon is full'; END $$;"
     "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON kv_store"
     " FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
     "DROP TRIGGER refuse ON kv_store; DROP FUNCTION refuse", "P0001", "not while the moon is full",
     "REJECTED", NULL},
    {"the disk is full",
     "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
     " RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;"
     "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON kv_store"
     " FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
     "DROP TRIGGER refuse ON kv_store; DROP FUNCTION refuse", "53100",
     "could not extend file: No space left on device", "REJECTED", NULL},
    {"a column is missing", "ALTER TABLE kv_store RENAME COLUMN value TO payload",
     "ALTER TABLE kv_store RENAME COLUMN payload TO value", "42703", "column ", "REJECTED",
     "REJECTED"},
};

static void assert_part(struct scenario *scenario, const char *answer, const char *path,
                        const char *expected, const char *where)
{
    const char *found = json_at(scenario, answer, path);
    if (found == NULL || strstr(found, expected) == NULL) {
        scenario_fail("%s: %s is not %s but %s", where, path, expected, answer);
    }
}

// The text as it stands inside a JSON string.
static const char *in_json(struct scenario *scenario, const char *text)
{
    struct buffer out = {0};
    for (; *text != '\0'; text++) {
        buffer_printf(&out, *text == '"' ? "\\\"" : "%c", *text);
    }
    const char *escaped = scenario_text(scenario, "%.*s", SLICE_FORMAT(buffer_slice(&out)));
    buffer_deinit(&out);
    return escaped;
}

static void assert_operation_fails(struct node *node, const struct operation *operation,
                                   const char *sqlstate, const char *words, const char *code,
                                   int exit_status, const char *trouble)
{
    struct scenario *scenario = node->scenario;
    const char *where =
        scenario_text(scenario, "%s, %s %s", trouble, operation->method, operation->params);
    const char *answer = rpc(node, operation->method, operation->params);
    assert_part(scenario, answer, "error.code", code, where);
    assert_part(scenario, answer, "error.message",
                in_json(scenario, scenario_text(scenario, "%s%s", operation->subject, words)),
                where);
    if (sqlstate != NULL) {
        assert_part(scenario, answer, "error.sqlstate", sqlstate, where);
    }
    if (operation->arguments[0] != NULL) {
        struct cli cli = cli_run(scenario, node, NULL, operation->arguments);
        const char *said = scenario_text(scenario, "pgnear: %s%s", operation->subject, words);
        if (cli.status != exit_status || strncmp(cli.err, said, strlen(said)) != 0) {
            scenario_fail("%s: the command exits with %d and says %s", where, cli.status, cli.err);
        }
    }
}

static struct node *start_as_app(struct scenario *scenario, struct pg *pg)
{
    pg_exec(pg, "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    struct node *maker = node_start(scenario, pg, &(struct node_options){.name = "maker"});
    assert_int_equal(node_stop(maker), 0);
    pg_exec(pg, "GRANT ALL ON ALL TABLES IN SCHEMA public TO app;"
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app");
    return node_start(
        scenario, pg,
        &(struct node_options){.config = scenario_text(scenario,
                                                       "postgres.schema = \"require\"\n"
                                                       "postgres.url = \"%s&user=app\"\n",
                                                       pg_url(pg))});
}

static void each_operation_names_each_trouble(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = start_as_app(scenario, pg);
    for (size_t i = 0; i < sizeof TROUBLES / sizeof TROUBLES[0]; i++) {
        const struct trouble *trouble = &TROUBLES[i];
        pg_exec(pg, "%s", trouble->make);
        for (size_t j = 0; j < sizeof OPERATIONS / sizeof OPERATIONS[0]; j++) {
            const struct operation *operation = &OPERATIONS[j];
            const char *code = operation->writes ? trouble->write_code : trouble->read_code;
            if (code != NULL) {
                assert_operation_fails(node, operation, trouble->sqlstate, trouble->words, code, 4,
                                       trouble->name);
            }
        }
        pg_exec(pg, "%s", trouble->mend);
        assert_rpc(node, "set", "[\"mended\", 1, {\"ack\": \"postgres\"}]",
                   "{\"seq\": \"*\", \"version\": \"*\"}");
        assert_json(node_stat(node, "outbox.dead_letters"), "0");
    }
}

// Without a connection nothing that needs one is begun; the words say so.
static void a_server_that_is_away_is_named(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof OPERATIONS[0]; i++) {
        const struct operation *operation = &OPERATIONS[i];
        bool is_journaled = operation->writes && strstr(operation->params, "\"ack\"") != NULL;
        if (!is_journaled) {
            assert_operation_fails(node, operation, NULL, "no connection to PostgreSQL",
                                   "UNAVAILABLE", 4, "the server is away");
        }
    }
    // A write that decides nothing is taken; its wait for PostgreSQL ends with its deadline.
    const char *answer =
        rpc(node, "set", "[\"test\", 1, {\"ack\": \"postgres\", \"timeout_ms\": 100}]");
    assert_part(scenario, answer, "error.code", "OUTCOME_UNKNOWN", "set");
    struct cli cli = CLI(node, "set", "test", "1", "--ack", "postgres", "--timeout", "100ms");
    assert_int_equal(cli.status, 5);
    assert_cli_json(CLI(node, "set", "test", "1"), 0, "{\"seq\":\"*\"}");
}

// What the command line exits with where no PostgreSQL has a part in it.
static void each_exit_status_has_its_cause(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_int_equal(CLI(node, "get", "absent").status, 1);
    assert_int_equal(CLI(node, "set", "k", "1", "--if-version", "1").status, 1);
    assert_int_equal(CLI(node, "get").status, 2);
    assert_int_equal(CLI(node, "--socket", "/nonexistent", "ping").status, 3);
    struct cli refused = CLI(node, "set", "k", "\"\\u0000\"");
    assert_int_equal(refused.status, 4);
    assert_non_null(strstr(refused.err, "\\u0000 cannot be in a string"));
    struct cli key = CLI(node, "set", "", "1");
    assert_int_equal(key.status, 4);
    assert_non_null(strstr(key.err, "Failed to set key \"\": "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(each_operation_names_each_trouble),
        SCENARIO(a_server_that_is_away_is_named),
        SCENARIO(each_exit_status_has_its_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
