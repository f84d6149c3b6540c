// export and import: everything comes back as it was, what is wrong is named by its line, and an
// import that is killed, or meets a node that is full or away, goes on.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/cli.h"
#include "system/harness/deadline.h"
#include "system/harness/document.h"

static const char *write_file(struct scenario *scenario, const char *name, const char *text)
{
    const char *path = scenario_path(scenario, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void assert_said(struct cli cli, const char *words)
{
    if (strstr(cli.err, words) == NULL) {
        scenario_fail("\"%s\" is not said, but \"%s\"", words, cli.err);
    }
}

// What JSON can hold and a round trip might lose.
static const char VALUES_SQL[] =
    "INSERT INTO kv_store (key, value) VALUES"
    " ('null', 'null'), ('true', 'true'), ('zero', '0'), ('neg', '-17'), ('frac', '0.1'),"
    " ('big', '123456789012345678901234567890.000000000000000000001'), ('exp', '1e300'),"
    " ('tiny', '1e-300'), ('max', '18446744073709551615'), ('min', '-9223372036854775808'),"
    " ('empty', '\"\"'), ('text', '\"line\\nfeed \\\"quoted\\\" \\\\ \\u20ac \\ud83d\\ude00\"'),"
    " ('array', '[1, [2, []], {}]'), ('object', '{\"b\": {\"a\": [null]}, \"\": 1}'),"
    " (E'key with \"quotes\"\\nand a line', '1'), ('key \\ back', '2'), ('\xc3\xa4\xe2\x82\xac', "
    "'3'),"
    " ('key', '{\"key\": \"value\", \"value\": 1}'), ('value', '\"key\"')";

// The two tables hold the same, by SQL's own idea of it; expiry within the clocks' resolution.
static void assert_same_tables(struct pg *pg, const char *one, const char *other)
{
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM %s a FULL JOIN %s b USING (key)"
                    " WHERE a.value = b.value IS NOT TRUE"
                    " OR (a.expires_at IS NULL) <> (b.expires_at IS NULL)"
                    " OR abs(extract(epoch FROM a.expires_at - b.expires_at)) > 2",
                    one, other);
}

static void a_table_moves_by_lines_and_by_object(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *from = node_start(scenario, pg, NULL);
    pg_exec(pg, "%s", VALUES_SQL);
    pg_exec(pg, "INSERT INTO kv_store (key, value) SELECT 'n' || i, to_jsonb(i / 7.0)"
                " FROM generate_series(1, 3000) i");
    const char *lines = scenario_path(scenario, "all.jsonl");
    const char *object = scenario_path(scenario, "all.json");
    assert_cli_json(CLI(from, "export", object), 0, "{\"exported\":3019,\"left_out\":0}");
    // Expiry travels in lines.
    pg_exec(pg, "UPDATE kv_store SET expires_at = now() + interval '1 hour' WHERE key = 'true'");
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at)"
                " VALUES ('gone', '1', now() - interval '1 hour')");
    assert_cli_json(CLI(from, "export", lines), 0, "{\"exported\":3019,\"left_out\":0}");
    assert_int_equal(read_text_file(scenario, object)[0], '{');
    assert_non_null(strstr(read_text_file(scenario, lines), "\"expires_at_us\":"));

    struct node *to =
        node_start(scenario, pg, &(struct node_options){.name = "to", .table = "copy"});
    struct cli done = CLI(to, "import", lines);
    assert_cli_json(done, 0, "{\"imported\":3019,\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_string_equal(done.err, "");
    pg_exec(pg, "DELETE FROM kv_store WHERE key = 'gone'");
    assert_same_tables(pg, "kv_store", "copy");

    pg_exec(pg, "TRUNCATE copy");
    pg_exec(pg, "UPDATE kv_store SET expires_at = NULL");
    assert_cli_json(CLI(to, "import", object), 0,
                    "{\"imported\":3019,\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_same_tables(pg, "kv_store", "copy");
}

static void an_export_leaves_a_link_a_link(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    const char *link = scenario_path(scenario, "latest.json");
    const char *file = scenario_path(scenario, "file.json");
    assert_int_equal(symlink("file.json", link), 0);
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    for (int round = 0; round < 2; round++) { // the file is made, and replaced
        assert_cli_json(CLI(node, "export", link), 0, "{\"exported\":1,\"left_out\":0}");
        struct stat status;
        assert_int_equal(lstat(link, &status), 0);
        assert_true(S_ISLNK(status.st_mode));
        assert_int_equal(lstat(file, &status), 0);
        assert_true(S_ISREG(status.st_mode));
    }
}

// The object of a table with these two keys begins as a line does.
static void an_object_that_looks_like_a_line_comes_back(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    const char *object = scenario_path(scenario, "all.json");
    assert_rpc(node, "mset", "[[[\"key\", \"other\"], [\"value\", 2]]]", "{\"seq\": \"*\"}");
    assert_cli_json(CLI(node, "export", object), 0, "{\"exported\":2,\"left_out\":0}");
    assert_cli_json(CLI(node, "delete", "key", "value"), 0, "{\"seq\":\"*\"}");
    assert_cli_json(CLI(node, "import", object), 0,
                    "{\"imported\":2,\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_cli(CLI(node, "get", "key"), 0, "\"other\"\n");
    assert_cli(CLI(node, "get", "value"), 0, "2\n");
}

// `pgnear export | pgnear import -`, and what it printed of the import.
static void migrate(struct node *from, struct node *to, const char *expected)
{
    struct scenario *scenario = from->scenario;
    const char *printed = scenario_path(scenario, "migrated.json");
    const char *command = scenario_text(
        scenario, "set -o pipefail; %s --socket %s export | %s --socket %s import - > %s",
        PGNEAR_PROGRAM, from->socket_path, PGNEAR_PROGRAM, to->socket_path, printed);
    process_run(scenario, (const char *const[]){"bash", "-c", command, NULL}, NULL);
    assert_json(read_text_file(scenario, printed), expected);
}

// From a table into one text of somebody else's row, and from there into another table.
static void a_table_moves_through_a_document(struct scenario *scenario)
{
    static const char EXPECTED[] = "{\"imported\":20,\"skipped\":0,\"expired\":0,\"bad\":0}";
    struct pg *pg = pg_start(scenario, NULL);
    document_make_schema(pg);
    struct node *from = node_start(scenario, pg, NULL);
    struct node *document = document_node(scenario, pg, "document", "");
    struct node *to =
        node_start(scenario, pg, &(struct node_options){.name = "to", .table = "copy"});
    pg_exec(pg, "%s", VALUES_SQL);
    pg_exec(pg, "INSERT INTO kv_store (key, value, expires_at)"
                " VALUES ('brief', '1', now() + interval '1 hour')");
    migrate(from, document, EXPECTED);
    assert_pg_value(pg, "t",
                    "SELECT game_name::jsonb = (SELECT jsonb_object_agg(key, value) FROM kv_store)"
                    " FROM game_sessions WHERE id = " DOCUMENT_ID);
    migrate(document, to, EXPECTED);
    assert_same_tables(pg, "kv_store", "copy");
}

static void only_a_prefix_is_exported_and_scan_is_imported(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg,
            "INSERT INTO kv_store (key, value) VALUES ('a:1', '1'), ('a:2', '[2]'), ('b', '3')");
    assert_cli(CLI(node, "export", "--prefix", "a:"), 0,
               "{\"key\":\"a:1\",\"value\":1}\n{\"key\":\"a:2\",\"value\":[2]}\n");
    assert_cli(CLI(node, "export", "--prefix", "none", "--object"), 0, "{}\n");
    const char *scanned = CLI(node, "scan").out;
    pg_exec(pg, "TRUNCATE kv_store");
    assert_cli_json(cli_run(scenario, node, scanned, (const char *const[]){"import", "-", NULL}), 0,
                    "{\"imported\":3,\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_pg_value(pg, "a:1=1 a:2=[2] b=3",
                    "SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM kv_store");
}

static void bad_lines_are_named_and_the_good_ones_imported(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg, &(struct node_options){.config = "server.max_value = \"1KiB\"\n"});
    pg_exec(pg, "ALTER TABLE kv_store ADD CHECK (key <> 'refused')");
    const char *large = scenario_text(scenario, "{\"key\":\"large\",\"value\":\"%02000d\"}\n", 0);
    const char *path =
        write_file(scenario, "in.jsonl",
                   scenario_text(scenario,
                                 "{\"key\":\"a\",\"value\":1}\nnonsense\n"
                                 "{\"key\":\"b\",\"value\":\"\\u0000\"}\n%s"
                                 "{\"key\":\"c\",\"value\":3}\n"
                                 "{\"key\":\"old\",\"value\":3,\"expires_at_us\":1}\n",
                                 large));
    struct cli strict = CLI(node, "import", path, "--strict");
    assert_cli(strict, 4, "");
    assert_said(strict, "nothing was imported");
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store");
    struct cli dry = CLI(node, "import", path, "--dry-run");
    assert_cli_json(dry, 4, "{\"good\":3,\"skipped\":0,\"expired\":1,\"bad\":2}");

    struct cli done = CLI(node, "import", path);
    assert_cli_json(done, 4, "{\"imported\":2,\"skipped\":0,\"expired\":1,\"bad\":3}");
    assert_said(done, "in.jsonl:2: ");
    assert_said(done, "in.jsonl:3: value: ");
    assert_said(done, "in.jsonl:4: Failed to set key \"large\"");
    assert_pg_value(pg, "a c", "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");

    const char *refused =
        write_file(scenario, "refused.json", "\xef\xbb\xbf{\"refused\": 1, \"d\": 4}");
    struct cli letters = CLI(node, "import", refused);
    assert_cli_json(letters, 4, "{\"imported\":2,\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_said(letters, "dead letters");
    const char *cut = write_file(scenario, "cut.json", "{\"x\": 1,\n\"y\": 2,\n\"z\": ");
    struct cli broken = CLI(node, "import", cut);
    assert_cli_json(broken, 4, "{\"imported\":2,\"skipped\":0,\"expired\":0,\"bad\":1}");
    assert_said(broken, "cut.json:3: ");
    assert_pg_value(pg, "a c d x y", "SELECT string_agg(key, ' ' ORDER BY key) FROM kv_store");
}

static void keys_that_exist_are_replaced_skipped_or_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    const char *path =
        write_file(scenario, "in.json", "{\"a\": 1, \"b\": 2, \"a\": 3,\n\"old\": 4}");
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('old', '0')");
    assert_cli_json(CLI(node, "import", path, "--on-conflict", "skip"), 0,
                    "{\"imported\":2,\"skipped\":2,\"expired\":0,\"bad\":0}");
    assert_pg_value(pg, "a=1 b=2 old=0",
                    "SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM kv_store");
    assert_cli_json(CLI(node, "import", path, "--on-conflict", "replace"), 0,
                    "{\"imported\":4,\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_pg_value(pg, "a=3 b=2 old=4",
                    "SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM kv_store");
    pg_exec(pg, "DELETE FROM kv_store WHERE key <> 'old'");
    assert_cli(CLI(node, "sync"), 0, "true\n");
    const char *fails = write_file(scenario, "fail.json", "{\"a\": 5,\n\"old\": 6}");
    struct cli failed = CLI(node, "import", fails, "--on-conflict", "fail");
    assert_int_equal(failed.status, 1);
    assert_said(failed, "fail.json:2: the key exists with another value");
    assert_pg_value(pg, "4", "SELECT value FROM kv_store WHERE key = 'old'");
    assert_int_equal(CLI(node, "import", fails, "--on-conflict", "maybe").status, 2);
    assert_int_equal(CLI(node, "import", scenario_path(scenario, "none")).status, 4);
}

enum { MANY = 60000 };

static const char *write_many(struct scenario *scenario, bool is_object)
{
    const char *path = scenario_path(scenario, is_object ? "many.json" : "many.jsonl");
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (int i = 1; i <= MANY; i++) {
        if (is_object) {
            fprintf(file, "%s\"k%d\": {\"n\": %d}", i == 1 ? "{\n" : ",\n", i, i);
        } else {
            fprintf(file, "{\"key\": \"k%d\", \"value\": {\"n\": %d}}\n", i, i);
        }
    }
    fputs(is_object ? "\n}\n" : "", file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void await_place(struct scenario *scenario, const char *path)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (read_text_file(scenario, path)[0] == '\0') {
        if (!deadline_again(&deadline)) {
            scenario_fail("the import keeps no place");
        }
    }
}

static void resume_after_a_kill(struct scenario *scenario, bool is_object, const char *policy)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    const char *path = write_many(scenario, is_object);
    const char *place = scenario_path(scenario, "place");
    const char *const arguments[] = {"import",        path,   "--resume", place,
                                     "--on-conflict", policy, NULL};
    struct process *importing = cli_start(node, scenario_path(scenario, "imported"), arguments);
    await_place(scenario, place);
    process_signal(importing, SIGKILL);
    assert_int_equal(process_wait(importing), 128 + SIGKILL);
    assert_string_not_equal(read_text_file(scenario, place), "");
    // A place in another input is refused.
    const char *other = write_file(scenario, "other.json", "{\"k\": 1}");
    assert_int_equal(CLI(node, "import", other, "--resume", place).status, 4);

    struct cli resumed = cli_run(scenario, node, NULL, arguments);
    assert_cli_json(resumed, 0, "{\"imported\":\"*\",\"skipped\":0,\"expired\":0,\"bad\":0}");
    assert_int_not_equal(access(place, F_OK), 0);
    assert_pg_value(pg, scenario_text(scenario, "%d", (int)MANY),
                    "SELECT count(*) FROM kv_store WHERE value = jsonb_build_object('n',"
                    " substr(key, 2)::int)");
}

static void a_killed_import_of_lines_goes_on(struct scenario *scenario)
{
    resume_after_a_kill(scenario, false, "replace");
}

static void a_killed_import_of_an_object_goes_on(struct scenario *scenario)
{
    resume_after_a_kill(scenario, true, "replace");
}

// Its own pairs, written but not noted when it was killed, are not taken for somebody else's.
static void a_killed_import_that_minds_conflicts_goes_on(struct scenario *scenario)
{
    resume_after_a_kill(scenario, false, "fail");
}

// A small outbox is full at once while PostgreSQL is away, and the node is killed besides.
static void a_full_outbox_and_a_dead_node_are_waited_for(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "writes.outbox_size = \"1MiB\"\n"});
    const char *path = write_many(scenario, false);
    const char *output = scenario_path(scenario, "imported");
    pg_stop(pg, PG_STOP_FAST);
    struct process *importing =
        cli_start(node, output, (const char *const[]){"import", path, NULL});
    node_await_stat_min(node, "server.errors", 1);
    node_kill(node);
    pg_start_again(pg);
    node_start_again(node);
    assert_int_equal(process_wait(importing), 0);
    assert_json(
        read_text_file(scenario, output),
        scenario_text(scenario, "{\"imported\":%d,\"skipped\":0,\"expired\":0,\"bad\":0}", MANY));
    assert_pg_value(pg, scenario_text(scenario, "%d", (int)MANY), "SELECT count(*) FROM kv_store");
}

// Writes on a condition leave nothing behind that would fill the outbox.
static void a_small_outbox_takes_any_number_of_conditions(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "writes.outbox_size = \"1MiB\"\n"});
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('k7', '\"theirs\"')");
    assert_cli_json(CLI(node, "import", write_many(scenario, false), "--on-conflict", "skip"), 0,
                    scenario_text(scenario,
                                  "{\"imported\":%d,\"skipped\":1,\"expired\":0,\"bad\":0}",
                                  MANY - 1));
    assert_pg_value(pg, "\"theirs\"", "SELECT value FROM kv_store WHERE key = 'k7'");
    assert_pg_value(pg, scenario_text(scenario, "%d", (int)MANY), "SELECT count(*) FROM kv_store");
}

// Only a terminal is shown how far it is; script(1) makes one.
static void a_terminal_shows_progress(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    const char *path = write_file(scenario, "in.json", "{\"a\": 1, \"b\": 2}");
    const char *typescript = scenario_path(scenario, "typescript");
    const char *command =
        scenario_text(scenario, "%s --socket %s import %s && %s --socket %s export %s",
                      PGNEAR_PROGRAM, node->socket_path, path, PGNEAR_PROGRAM, node->socket_path,
                      scenario_path(scenario, "out.json"));
    process_run(scenario, (const char *const[]){"script", "-qec", command, typescript, NULL}, NULL);
    const char *shown = read_text_file(scenario, typescript);
    assert_non_null(strstr(shown, "import [########################] 100 %"));
    assert_non_null(strstr(shown, "2 pairs"));
    assert_non_null(strstr(shown, "export"));
    assert_string_equal(CLI(node, "import", path).err, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_table_moves_by_lines_and_by_object),
        SCENARIO(an_export_leaves_a_link_a_link),
        SCENARIO(an_object_that_looks_like_a_line_comes_back),
        SCENARIO(a_table_moves_through_a_document),
        SCENARIO(only_a_prefix_is_exported_and_scan_is_imported),
        SCENARIO(bad_lines_are_named_and_the_good_ones_imported),
        SCENARIO(keys_that_exist_are_replaced_skipped_or_refused),
        SCENARIO(a_killed_import_of_lines_goes_on),
        SCENARIO(a_killed_import_of_an_object_goes_on),
        SCENARIO(a_killed_import_that_minds_conflicts_goes_on),
        SCENARIO(a_full_outbox_and_a_dead_node_are_waited_for),
        SCENARIO(a_small_outbox_takes_any_number_of_conditions),
        SCENARIO(a_terminal_shows_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
