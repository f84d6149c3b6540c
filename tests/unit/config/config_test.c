// The configuration: what is accepted, what is refused and in which words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

// As long as the path of a socket may be.
#define TEN       "/123456789"
#define LONG_PATH TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "/123456"

static char path[] = "/tmp/pgnear-config-XXXXXX";

static enum error load(const char *text, struct settings *settings, struct failure *failure)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return config_load(path, NULL, settings, failure);
}

static int make_file(void **state)
{
    (void)state;
    unsetenv("DATABASE_URL");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("[postgres]\nhost = \"db\"\n", &settings, &failure), ERROR_NONE);
    assert_string_equal(settings.server.socket, "/run/pgnear/pgnear.sock");
    assert_int_equal(settings.server.socket_mode, 0660);
    assert_int_equal(settings.server.max_value_bytes, 1 << 20);
    assert_int_equal(settings.server.drain_timeout_us, 5000000);
    assert_int_equal(settings.cache.size_bytes, 1 << 30);
    assert_int_equal(settings.cache.max_stale_us, 60000000);
    assert_true(settings.cache.negative);
    assert_int_equal(settings.writes.ack, ACK_JOURNAL);
    assert_int_equal(settings.writes.linger_us, 1000);
    assert_int_equal(settings.writes.batch_rows, 2000);
    assert_string_equal(settings.postgres.table, "kv_store");
    assert_string_equal(settings.postgres.conninfo, "host='db' port='5432'");
    assert_null(settings.postgres.listen_conninfo);
    assert_int_equal(settings.postgres.create_schema, SCHEMA_CREATE);
    assert_int_equal(settings.log_level, LOG_LEVEL_INFO);
    config_deinit(&settings);
}

static void values_are_taken(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("[server]\nsocket = \"/s\"\nsocket_mode = \"0600\"\nallow_uids = [0, 7]\n"
                          "[cache]\nsize = \"64MiB\"\nmax_stale = \"250ms\"\nnegative = false\n"
                          "[writes]\nack = \"postgres\"\noutbox_size = \"1MiB\"\n"
                          "[postgres]\nhost = \"/run\"\nport = 6432\ndatabase = \"a b\"\n"
                          "user = \"o'brien\"\npassword = 'back\\slash'\nssl = true\n"
                          "schema = \"require\"\nupdated_at_index = \"brin\"\n"
                          "listen_url = \"postgres://direct/x?sslmode=verify-full\"\n"
                          "[log]\nformat = \"json\"\n",
                          &settings, &failure),
                     ERROR_NONE);
    assert_string_equal(settings.server.socket, "/s");
    assert_int_equal(settings.server.socket_mode, 0600);
    assert_int_equal(settings.server.allow_uids_count, 2);
    assert_int_equal(settings.server.allow_uids[1], 7);
    assert_int_equal(settings.cache.max_stale_us, 250000);
    assert_false(settings.cache.negative);
    assert_int_equal(settings.writes.ack, ACK_POSTGRES);
    assert_string_equal(settings.postgres.conninfo,
                        "host='/run' port='6432' dbname='a b' user='o\\'brien' "
                        "password='back\\\\slash' sslmode='require'");
    assert_string_equal(settings.postgres.listen_conninfo,
                        "dbname='x' host='direct' sslmode='verify-full' "
                        "user='o\\'brien' password='back\\\\slash'");
    assert_int_equal(settings.postgres.create_schema, SCHEMA_REQUIRE);
    assert_int_equal(settings.postgres.updated_at_index, UPDATED_AT_BRIN);
    assert_int_equal(settings.log_format, LOG_FORMAT_JSON);
    config_deinit(&settings);
}

static void a_document_is_taken(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("[postgres]\nhost = \"db\"\n[postgres.document]\ntable = \"t\"\n"
                          "id_column = \"i\"\nid = \"7\"\ncolumn = \"c\"\n",
                          &settings, &failure),
                     ERROR_NONE);
    assert_string_equal(settings.postgres.document.table, "t");
    assert_string_equal(settings.postgres.document.id_column, "i");
    assert_string_equal(settings.postgres.document.id, "7");
    assert_string_equal(settings.postgres.document.column, "c");
    assert_string_equal(settings_table(&settings.postgres), "t");
    config_deinit(&settings);
}

// What the URL does not say the other keys do, each where it is theirs.
// One place, however it is written and whatever else is said; and others.
static void what_leads_to_the_same_data_is_one_place(void **state)
{
    (void)state;
    static const struct {
        const char *postgres;
        const char *place;
    } CASES[] = {
        {"url = \"postgresql://ann@a:6/b\"", "user='ann' dbname='b' host='a' port='6'"},
        {"url = \"postgresql://ann:secret@a:6/b?sslmode=require&application_name=x"
         "&connect_timeout=3&keepalives_idle=9\"",
         "user='ann' dbname='b' host='a' port='6'"},
        {"url = \"host=a port=6 dbname=b user=ann passfile=/x sslrootcert=/y\"",
         "user='ann' dbname='b' host='a' port='6'"},
        {"host = \"a\"\nport = 6\ndatabase = \"b\"\nuser = \"ann\"\npassword = \"p\"\nssl = true",
         "user='ann' dbname='b' host='a' port='6'"},
        {"url = \"postgresql://ann@a:6/b?options=-csearch_path%3Dx\"",
         "user='ann' dbname='b' host='a' port='6' options='-csearch_path=x'"},
        {"url = \"postgresql://bob@a:7/c\"", "user='bob' dbname='c' host='a' port='7'"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[400];
        struct settings settings;
        struct failure failure;
        snprintf(text, sizeof text, "[postgres]\n%s\n", CASES[i].postgres);
        assert_int_equal(load(text, &settings, &failure), ERROR_NONE);
        assert_string_equal(settings.postgres.place, CASES[i].place);
        config_deinit(&settings);
    }
}

// pgneard -c <(decrypt FILE)
static void a_pipe_is_read_as_well(void **state)
{
    (void)state;
    static const char TEXT[] = "[postgres]\nhost = \"db\"\nport = true\n";
    int ends[2];
    char name[32];
    struct settings settings;
    struct failure failure;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], TEXT, strlen(TEXT)), strlen(TEXT));
    close(ends[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    assert_int_equal(config_load(name, NULL, &settings, &failure), ERROR_CONFIG);
    assert_non_null(strstr(failure.message, ":3: postgres.port: must be an integer"));
    close(ends[0]);
}

static void what_is_too_large_is_no_configuration(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(config_load("/dev/zero", NULL, &settings, &failure), ERROR_CONFIG);
    assert_string_equal(failure.message, "/dev/zero: is larger than 1 MiB");
}

// The file that may be missing is not blamed for what it does not say.
static void no_file_and_no_server_are_told(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(config_load(NULL, NULL, &settings, &failure), ERROR_CONFIG);
    assert_non_null(
        strstr(failure.message, "no server is named: there is no " CONFIG_PATH_DEFAULT));
}

static void a_url_is_completed(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("[postgres]\nurl = \"postgresql://ann@a,b/sslmode\"\npassword = \"p'w\"\n"
                          "user = \"ann\"\nport = 6\nssl = true\nlisten_url = \"host=c\"\n"
                          "[server]\nsocket = \"" LONG_PATH "\"\n",
                          &settings, &failure),
                     ERROR_NONE);
    assert_string_equal(settings.postgres.conninfo,
                        "user='ann' dbname='sslmode' host='a,b' port=',' port='6' password='p\\'w' "
                        "sslmode='require'");
    assert_string_equal(settings.postgres.listen_conninfo,
                        "host='c' user='ann' password='p\\'w' sslmode='require'");
    config_deinit(&settings);
    assert_int_equal(load("[postgres]\nurl = \"postgresql://a/b?sslmode=verify-ca\"\nssl = true\n",
                          &settings, &failure),
                     ERROR_NONE);
    assert_string_equal(settings.postgres.conninfo, "postgresql://a/b?sslmode=verify-ca");
    config_deinit(&settings);
}

static void environment_names_the_server(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("", &settings, &failure), ERROR_CONFIG);
    assert_non_null(strstr(failure.message, "DATABASE_URL"));
    setenv("DATABASE_URL", "postgresql://h/d", 1);
    assert_int_equal(load("[postgres]\nssl = true\n", &settings, &failure), ERROR_NONE);
    assert_string_equal(settings.postgres.conninfo, "dbname='d' host='h' sslmode='require'");
    config_deinit(&settings);
    assert_int_equal(load("[postgres]\nhost = \"mine\"\n", &settings, &failure), ERROR_NONE);
    assert_string_equal(settings.postgres.conninfo, "host='mine' port='5432'");
    config_deinit(&settings);
    unsetenv("DATABASE_URL");
}

static const struct {
    const char *text;
    const char *message; // after "FILE"
} REFUSED[] = {
    {"[server\n", ":1: "},
    {"\n[server]\nsocket = 5\n", ":3: server.socket: must be an absolute path"},
    {"[server]\nsocket = \"run/x\"\n", ":2: server.socket: must be an absolute path"},
    {"[server]\nsocket_mode = \"0999\"\n", ":2: server.socket_mode: must be permissions"},
    {"[server]\nsocket_mode = \"1777\"\n", ":2: server.socket_mode: must be from 0000 to 0777"},
    {"[server]\nthreads = 0\n", ":2: server.threads: must be from 1 to 64"},
    {"[server]\nthreads = \"two\"\n", ":2: server.threads: must be an integer"},
    {"[server]\nallow_uids = [\"root\"]\n", ":2: server.allow_uids: must be an array"},
    {"[server]\nallow_uids = [-1]\n", ":2: server.allow_uids: -1 is not a user id"},
    {"[server]\nmax_value = \"2GiB\"\n", ":2: server.max_value: must be from 1KiB to 64MiB"},
    {"[server]\nidle_timeout = 5\n", ":2: server.idle_timeout: must be a duration"},
    {"[server]\nidle_timeout = \"5\"\n", ":2: server.idle_timeout: must be a duration"},
    {"[server]\nidle_timeout = \"99999999999999999999s\"\n", ":2: server.idle_timeout: must be"},
    {"[server]\ncolour = \"red\"\n", ":2: server.colour: unknown key"},
    {"[colours]\n", ":1: colours: unknown key"},
    {"server = 5\n", ":1: server: must be a section"},
    {"[cache]\nnegative = \"yes\"\n", ":2: cache.negative: must be true or false"},
    {"[cache]\npreload = 1\n", ":2: cache.preload: must be true or false"},
    {"[cache]\naudit_rate = 10001\n", ":2: cache.audit_rate: must be from 0 to 10000"},
    {"[cache]\nsize = \"64MB\"\n", ":2: cache.size: must be a size"},
    {"[cache]\nsize = \"128MiB\"\n", ":2: cache.size: must exceed writes.outbox_size"},
    {"[cache]\ndir = \"/a/b\"\n[writes]\ndir = \"/a/b/\"\n", ":4: writes.dir: must lie outside"},
    {"[cache]\ndir = \"/a/b/\"\n[writes]\ndir = \"/a/b/c\"\n", ":4: writes.dir: must lie outside"},
    {"[cache]\ndir = \"/\"\n", ":2: writes.dir: must lie outside"},
    {"[writes]\nack = \"disk\"\n", ":2: writes.ack: must be one of memory|journal|postgres"},
    {"[writes]\nlinger = \"1h\"\n", ":2: writes.linger: must be from 0s to 10s"},
    {"[expiry]\nreap_every = \"2d\"\n", ":2: expiry.reap_every: must be from 0s to 1d"},
    {"[expiry]\njitter = \"10\"\n", ":2: expiry.jitter: must be a percentage such as \"10%\""},
    {"[expiry]\njitter = \"101%\"\n", ":2: expiry.jitter: must be from 0% to 100%"},
    {"[postgres]\nhistory_keep = \"1ms\"\n",
     ":2: postgres.history_keep: must be from 1s to 36500d"},
    {"[postgres]\nversioning = \"on\"\n", ":2: postgres.versioning: must be true or false"},
    {"[backup]\nevery = \"0s\"\n", ":2: backup.every: must be from 1s to"},
    {"[backup]\nevery = 24\n", ":2: backup.every: must be a duration"},
    {"[backup]\nkeep = \"\"\n", ":2: backup.keep: must be a duration"},
    {"[postgres.document]\ntable = \"t\"\n", ":2: postgres.document.id_column: missing"},
    {"[postgres.document]\ntable = \"t\"\nid_column = \"i\"\nid = \"\"\ncolumn = \"c\"\n",
     ":5: postgres.document.id: missing"},
    {"[postgres.document]\ntable = \"t\"\nid_column = \"i\"\nid = 7\ncolumn = \"c\"\n",
     ":4: postgres.document.id: must be a string"},
    {"[postgres]\ntable = \"kv\"\n[postgres.document]\ntable = \"t\"\nid_column = \"i\"\n"
     "id = \"7\"\ncolumn = \"c\"\n",
     ":2: postgres.table: give either table or [postgres.document]"},
    {"[postgres]\nurl = \"postgres://a\"\nhost = \"b\"\n", ":2: postgres.url: give either"},
    {"[postgres]\nhost = \"b\"\nport = 70000\n", ":3: postgres.port: must be from 1 to 65535"},
    {"[postgres]\nurl = \"postgres://u@a\"\nuser = \"v\"\n",
     ":3: postgres.user: postgres.url says otherwise"},
    {"[postgres]\nport = 6\nurl = \"host=a port=5\"\n", ":2: postgres.port: postgres.url says"},
    {"[postgres]\nurl = \"postgres://a/b?sslmode=disable\"\nssl = true\n",
     ":3: postgres.ssl: postgres.url says otherwise"},
    {"[server]\nsocket = \"" LONG_PATH "x\"\n", ":2: server.socket: must have at most 107 bytes"},
    {"[server]\nread_only_socket = \"" LONG_PATH "x\"\n",
     ":2: server.read_only_socket: must have at most 107 bytes"},
    {"\"server.threads\" = 2\n", ":1: \"server.threads\": unknown key"},
    {"[server]\n\"th\\nreads\" = 2\n", ":2: server.\"th?reads\": unknown key"},
    // What is no TOML: the key where one stands there, never the text of a secret.
    {"[server]\nthreads = 99999999999999999999\n", ":2: server.threads: '99999999999999999999'"},
    {"[log]\nlevel = info\n",
     ":2: log.level: expected value-terminator, saw 'o' (a text stands in double quotes)"},
    {"[log]\nlevel = debug\n", ":2: log.level: could not determine value type (a text stands"},
    {"[server]\nthreads = 1\nthreads = 2\n", ":3: server.threads: cannot redefine existing"},
    {"[postgres]\n  password=99999999999999999999\n",
     ":2: postgres.password: is not TOML (a text stands in double quotes)"},
    {"[postgres]\nurl = postgres://u:secret@h\n", ":2: postgres.url: is not TOML"},
    {"postgres.password = secret\n", ":1: postgres.password: is not TOML"},
    {"[server]\nthreads = 1\n[server]\n", ":3: "},
    {"[http]\nlisten = 1\n", ":1: http: reserved"},
    {"[redis]\n", ":1: redis: reserved"},
    {"[postgres]\npassword = \"a\\u0000b\"\n", ":2: postgres.password: holds a NUL"},
};

static void wrong_values_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        struct settings settings;
        struct failure failure = {0};
        assert_int_equal(load(REFUSED[i].text, &settings, &failure), ERROR_CONFIG);
        assert_memory_equal(failure.message, path, strlen(path));
        const char *said = failure.message + strlen(path);
        if (strncmp(said, REFUSED[i].message, strlen(REFUSED[i].message)) != 0) {
            fail_msg("%s\nsaid   %s\nnot    %s", REFUSED[i].text, said, REFUSED[i].message);
        }
    }
}

static enum error no_conninfo(const char *text, struct failure *failure)
{
    return failure_set(failure, ERROR_CONFIG, "is no %s", text);
}

static void texts_are_checked_by_who_knows_them(void **state)
{
    (void)state;
    static const struct config_checks CHECKS = {.conninfo = no_conninfo};
    static const struct config_checks OPTIONAL = {.server_is_optional = true};
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("[postgres]\nurl = \"x\"\n", &settings, &failure), ERROR_NONE);
    config_deinit(&settings);
    assert_int_equal(config_load(path, &CHECKS, &settings, &failure), ERROR_CONFIG);
    assert_string_equal(failure.message + strlen(path), ":2: postgres.url: is no x");
    assert_int_equal(load("", &settings, &failure), ERROR_CONFIG);
    assert_int_equal(config_load(path, &OPTIONAL, &settings, &failure), ERROR_NONE);
    assert_null(settings.postgres.conninfo);
    config_deinit(&settings);
    setenv("DATABASE_URL", "y", 1);
    assert_int_equal(config_load(path, &CHECKS, &settings, &failure), ERROR_CONFIG);
    unsetenv("DATABASE_URL");
    assert_string_equal(failure.message + strlen(path), ": DATABASE_URL: is no y");
}

static void what_waits_for_a_restart_is_named(void **state)
{
    (void)state;
    static const char RUNNING[] = "[postgres]\nhost = \"h\"\npassword = \"secret\"\n";
    static const char FRESH[] =
        "[server]\nsocket_mode = \"0600\"\nallow_uids = [1]\nthreads = 2\n"
        "[cache]\nsize = \"2GiB\"\nmax_stale = \"1s\"\nnegative = false\n"
        "[writes]\ndir = \"/w\"\nretain = \"1s\"\n[log]\nlevel = \"debug\"\n"
        "[postgres]\nhost = \"h\"\npassword = \"another\"\nlisten_url = \"host=l\"\n";
    struct settings running, fresh;
    struct failure failure;
    struct buffer names = {0};
    assert_int_equal(load(RUNNING, &running, &failure), ERROR_NONE);
    config_list_unread(&running, &running, &names);
    assert_int_equal(buffer_len(&names), 0);
    assert_int_equal(load(FRESH, &fresh, &failure), ERROR_NONE);
    config_list_unread(&running, &fresh, &names);
    assert_string_equal(buffer_text(&names),
                        "server.socket_mode, server.threads, cache.size, cache.negative, "
                        "writes.dir, writes.retain, postgres.url (or host, port, database, user, "
                        "password, ssl), postgres.listen_url");
    buffer_deinit(&names);
    config_deinit(&running);
    config_deinit(&fresh);
}

// A neighbour whose name begins alike is outside.
static void directories_may_be_neighbours(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(load("[cache]\ndir = \"/a/b\"\n[writes]\ndir = \"/a/bc\"\n"
                          "[postgres]\nhost = \"h\"\n",
                          &settings, &failure),
                     ERROR_NONE);
    config_deinit(&settings);
}

static void missing_file_is_named(void **state)
{
    (void)state;
    struct settings settings;
    struct failure failure;
    assert_int_equal(config_load("/nonexistent/x.toml", NULL, &settings, &failure), ERROR_CONFIG);
    assert_string_equal(failure.message, "/nonexistent/x.toml: No such file or directory");
    assert_int_equal(config_load("/tmp", NULL, &settings, &failure), ERROR_CONFIG);
    assert_string_equal(failure.message, "/tmp: is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(values_are_taken),
        cmocka_unit_test(a_document_is_taken),
        cmocka_unit_test(what_leads_to_the_same_data_is_one_place),
        cmocka_unit_test(a_pipe_is_read_as_well),
        cmocka_unit_test(what_is_too_large_is_no_configuration),
        cmocka_unit_test(no_file_and_no_server_are_told),
        cmocka_unit_test(a_url_is_completed),
        cmocka_unit_test(environment_names_the_server),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(texts_are_checked_by_who_knows_them),
        cmocka_unit_test(what_waits_for_a_restart_is_named),
        cmocka_unit_test(directories_may_be_neighbours),
        cmocka_unit_test(missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
