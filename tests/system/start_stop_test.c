// How a node starts, stops and comes back (SPEC sections 1 and 2): exit statuses, the drain, a warm
// cache, and what directories do that are full or not the right ones.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "system/harness/compare.h"
#include "system/harness/disk.h"
#include "system/harness/node.h"
#include "system/harness/process.h"

enum { EXIT_CONFIG = 2, EXIT_IN_USE = 3, SIGNALLED = 128 };

static void a_second_daemon_is_turned_away(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *first = node_start(scenario, pg, &(struct node_options){.name = "first"});
    assert_rpc(first, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    const char *const shared[] = {
        scenario_text(scenario, "cache.dir = \"%s\"\nwrites.dir = \"%s\"\n", first->cache_dir,
                      first->outbox_dir),
        scenario_text(scenario, "cache.dir = \"%s\"\n", first->cache_dir),
        scenario_text(scenario, "writes.dir = \"%s\"\n", first->outbox_dir),
    };
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        struct node *second =
            node_create(scenario, pg,
                        &(struct node_options){.name = scenario_text(scenario, "second%zu", i),
                                               .config = shared[i]});
        node_spawn(second);
        assert_int_equal(node_await_exit(second), EXIT_IN_USE);
        assert_true(node_log_has(second, i == 1 ? "\"cache.dir: /" : "\"writes.dir: /"));
    }
    assert_rpc(first, "get", "[\"k\"]", "[1, \"*\"]");
    assert_rpc(first, "incr", "[\"k\", 1]", "[2, \"*\"]");
    assert_int_equal(node_stop(first), 0);
    // The directories are free again.
    node_start_again(first);
    assert_rpc(first, "get", "[\"k\"]", "[2, \"*\"]");
}

static void configuration_errors_name_their_place(struct scenario *scenario)
{
    static const char *const CASES[][2] = {
        {"no_such.key = 1\n", "no_such"},
        {"server.no_such_key = 1\n", "server.no_such_key"},
        {"server.threads = \"two\"\n", "server.threads"},
        {"server.threads = 0\n", "server.threads"},
        {"writes.linger = 5\n", "writes.linger"},
        {"writes.linger = \"5 parsecs\"\n", "writes.linger"},
        {"writes.ack = \"disk\"\n", "writes.ack"},
        {"postgres.table = \"a b\"\n", "postgres.table"},
        {"postgres.versioning = 1\n", "postgres.versioning"},
        {"postgres.host = \"here\"\n", "postgres"},
        {"cache.size = \"32MiB\"\n", "cache.size"},
        {"this is no TOML\n", ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *config = scenario_text(
            scenario, "postgres.url = \"postgresql://127.0.0.1:1/none\"\n%s", CASES[i][0]);
        struct node *node =
            node_create(scenario, NULL,
                        &(struct node_options){.name = scenario_text(scenario, "config%zu", i),
                                               .config = config});
        node_spawn(node);
        int status = node_await_exit(node);
        if (status != EXIT_CONFIG) {
            scenario_fail("exit status %d for %s", status, CASES[i][0]);
        }
        // FILE:LINE: key: what is wrong
        if (!node_log_has(node, scenario_text(scenario, "%s:", node->config_path)) ||
            !node_log_has(node, CASES[i][1])) {
            scenario_fail("the place of the mistake is not said for %s", CASES[i][0]);
        }
    }
    struct node *lost = node_create(scenario, NULL, NULL);
    node_spawn(lost);
    assert_int_equal(node_await_exit(lost), EXIT_CONFIG);
    static const char *const URLS[] = {"mysql://me:secret@there/x", "secret",
                                       "postgresql://me:secret@[there/x"};
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct node *node =
            node_create(scenario, NULL,
                        &(struct node_options){
                            .name = scenario_text(scenario, "url%zu", i),
                            .config = scenario_text(scenario, "postgres.url = \"%s\"\n", URLS[i])});
        node_spawn(node);
        assert_int_equal(node_await_exit(node), EXIT_CONFIG);
        assert_true(node_log_has(node, "postgres.url: must be a URL"));
        assert_false(node_log_has(node, "secret"));
    }
}

// What is started without them has the three numbers all the same: no file of the outbox becomes
// the log.
static void closed_streams_harm_no_file(struct scenario *scenario)
{
    struct node *node = node_create(scenario, pg_start(scenario, NULL), NULL);
    const char *command =
        scenario_text(scenario, "exec %s -c %s <&- >&- 2>&-", PGNEARD_PROGRAM, node->config_path);
    process_start(node->process, (const char *const[]){"sh", "-c", command, NULL},
                  &(struct process_options){0});
    node_await_ready(node);
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        char target[64] = "";
        const char *link = scenario_text(scenario, "/proc/%d/fd/%d", (int)node->process->pid, fd);
        assert_true(readlink(link, target, sizeof target - 1) > 0);
        assert_string_equal(target, "/dev/null");
    }
    assert_int_equal(node_stop(node), 0);
}

// What was acknowledged a moment before SIGTERM is in PostgreSQL when the daemon has ended.
static void a_stop_drains_the_outbox(struct scenario *scenario)
{
    enum { WRITES = 3000 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node =
        node_start(scenario, pg,
                   &(struct node_options){
                       .config = "server.drain_timeout = \"30s\"\nwrites.linger = \"1s\"\n"});
    struct rpc *client = node_open(node);
    for (int i = 1; i <= WRITES; i++) {
        rpc_send(client, "set", scenario_text(scenario, "[\"k%d\", %d]", i, i));
    }
    for (int i = 1; i <= WRITES; i++) {
        rpc_receive(client, NULL);
    }
    rpc_send(client, "set", "[\"last\", 1, {\"ack\": \"memory\"}]");
    assert_json(rpc_receive(client, NULL), "{\"seq\": \"*\"}");
    assert_int_equal(node_stop(node), 0);
    assert_pg_value(pg, scenario_text(scenario, "%d", WRITES + 1), "SELECT count(*) FROM kv_store");
    if (access(node->socket_path, F_OK) == 0) {
        scenario_fail("the socket is left behind");
    }
    node_start_again(node);
    assert_node_equals_table(node, pg, "k", 100);
}

static void what_a_stop_leaves_is_told_and_flushed_later(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(
        scenario, pg, &(struct node_options){.config = "server.drain_timeout = \"50ms\"\n"});
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    assert_rpc(node, "set", "[\"k\", 2]", "{\"seq\": \"*\"}");
    assert_int_equal(node_stop(node), 0);
    assert_true(node_log_has(node, "event=\"drain ended early\" writes_left=2 "));
    pg_start_again(pg);
    node_start_again(node);
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'k'");
}

static void requests_in_flight_are_answered_at_a_stop(struct scenario *scenario)
{
    enum { REQUESTS = 500 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    struct rpc *client = node_open(node);
    for (int i = 1; i <= REQUESTS; i++) {
        rpc_send(client, "incr", "[\"n\", 1, {\"timeout_ms\": 20000}]");
    }
    // The first answer: the others are in flight.
    assert_json(rpc_receive(client, NULL), "[\"*\", \"*\"]");
    process_signal(node->process, SIGINT);
    int answered = 1;
    uint32_t msgid;
    const char *answer;
    while ((answer = rpc_try_receive(client, &msgid)) != NULL) {
        answered += json_matches(answer, "[\"*\", \"*\"]") ? 1 : 0;
    }
    assert_int_equal(node_await_exit(node), 0);
    // All that PostgreSQL holds was answered: nobody is left in doubt.
    assert_pg_value(pg, scenario_text(scenario, "%d", answered),
                    "SELECT value FROM kv_store WHERE key = 'n'");
}

static void a_restart_is_warm(struct scenario *scenario)
{
    enum { KEYS = 300 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value)"
                " SELECT 'k' || i, to_jsonb(i) FROM generate_series(1, 300) i");
    assert_rpc(node, "sync", "[]", "true");
    for (int round = 0; round < 2; round++) {
        assert_node_equals_table(node, pg, "k", KEYS);
        node_await_stat_min(node, "cache.entries", KEYS - round);
        if (round == 0) {
            node_kill(node);
        } else {
            assert_int_equal(node_stop(node), 0);
        }
        if (round == 1) {
            // As after a change of the password: it is the same data.
            const struct node_options options = {
                .config = scenario_text(scenario,
                                        "postgres.url = \"%s&connect_timeout=3&sslmode=prefer\"\n",
                                        pg_url(pg))};
            node_configure(node, pg, &options);
        }
        // What changed meanwhile must not be served from before.
        pg_exec(pg,
                "UPDATE kv_store SET value = '\"new\"' WHERE key IN ('k3', 'k7');"
                "DELETE FROM kv_store WHERE key = 'k%d'",
                10 + round);
        node_start_again(node);
        assert_rpc(node, "sync", "[]", "true");
        node_await_stat_min(node, "postgres.swept", KEYS - 10);
        int64_t misses = node_stat_int(node, "cache.misses");
        assert_node_equals_table(node, pg, "k", KEYS);
        int64_t asked = node_stat_int(node, "cache.misses") - misses;
        if (asked > 10) {
            scenario_fail("%lld of %d keys were asked for again", (long long)asked, KEYS);
        }
    }
}

static void another_database_is_refused_while_writes_wait(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "CREATE DATABASE second");
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    node_kill(node);
    pg_start_again(pg);
    struct node_options second = {
        .config = scenario_text(scenario,
                                "postgres.url = \"postgresql://postgres@/second?host=%s\"\n"
                                "server.drain_timeout = \"600s\"\n", // there is nothing to wait for
                                pg->directory)};
    node_configure(node, pg, &second);
    node_spawn(node);
    assert_int_equal(node_await_exit(node), EXIT_FAILURE);
    assert_true(node_log_has(node, "outbox belongs elsewhere"));
    node_configure(node, pg, NULL);
    node_start_again(node);
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    // Nothing waits now.
    assert_int_equal(node_stop(node), 0);
    node_configure(node, pg, &second);
    node_start_again(node);
    assert_rpc(node, "get", "[\"k\"]", "null");
}

static void a_tmpfs_is_refused_for_the_outbox(struct scenario *scenario)
{
    enum { TMPFS = 0x01021994 };
    struct statfs status;
    if (statfs("/dev/shm", &status) != 0 || status.f_type != TMPFS) {
        fprintf(stderr, "skipped: /dev/shm is no tmpfs\n");
        return;
    }
    const char *directory = scenario_text(scenario, "/dev/shm/pgnear-test-%d", (int)getpid());
    struct node *node =
        node_create(scenario, pg_start(scenario, NULL),
                    &(struct node_options){
                        .config = scenario_text(scenario, "writes.dir = \"%s\"\n", directory)});
    node_spawn(node);
    int status_of_exit = node_await_exit(node);
    rmdir(directory);
    if (status_of_exit == 0 || status_of_exit >= SIGNALLED || !node_log_has(node, "tmpfs")) {
        scenario_fail("an outbox on a tmpfs ends the start with %d", status_of_exit);
    }
}

static void a_full_disk_overloads_writes_only(struct scenario *scenario)
{
    const char *disk = disk_mount(scenario, "small", "8M");
    if (disk == NULL) {
        return;
    }
    struct pg *pg = pg_start(scenario, NULL);
    const char *config = scenario_text(scenario, "writes.dir = \"%s/outbox\"\n", disk);
    struct node *node = node_create(scenario, pg, &(struct node_options){.config = config});
    node_spawn(node);
    node_await_ready(node);
    disk_detach(disk);
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    char filling[2000];
    memset(filling, 'x', sizeof filling - 1);
    filling[sizeof filling - 1] = '\0';
    int acked = 0;
    const char *answer = "";
    for (int number = 1; number < 10000; number++) {
        int64_t asked_us = clock_boot_us();
        answer = rpc(node, "set", scenario_text(scenario, "[\"k%d\", \"%s\"]", number, filling));
        if (clock_boot_us() - asked_us > CLOCK_US_PER_S * 2) {
            scenario_fail("a write took %lld us", (long long)(clock_boot_us() - asked_us));
        }
        if (!json_matches(answer, "{\"seq\": \"*\"}")) {
            break;
        }
        acked++;
    }
    const char *code = json_at(scenario, answer, "error.code");
    if (code == NULL || !json_matches(code, "\"OVERLOADED\"")) {
        scenario_fail("a full disk answers %.300s after %d writes", answer, acked);
    }
    fprintf(stderr, "%d writes of 2 KB on 8 MiB\n", acked);
    assert_rpc(node, "get", "[\"k1\"]", "[\"*\", null]");
    pg_start_again(pg);
    node_await_ready(node);
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, scenario_text(scenario, "%d", acked), "SELECT count(*) FROM kv_store");
    assert_rpc(node, "set", "[\"later\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
}

// A sparse map on a full disk would be SIGBUS at some later write.
static void a_disk_too_small_for_the_cache_stops_the_start(struct scenario *scenario)
{
    const char *disk = disk_mount(scenario, "small", "8M");
    if (disk == NULL) {
        return;
    }
    const char *config = scenario_text(scenario, "cache.dir = \"%s/cache\"\n", disk);
    struct node *node =
        node_create(scenario, pg_start(scenario, NULL), &(struct node_options){.config = config});
    struct statfs before, after;
    statfs(disk, &before);
    node_spawn(node);
    int status = node_await_exit(node);
    statfs(disk, &after);
    disk_detach(disk);
    if (status == 0 || status >= SIGNALLED || !node_log_has(node, "cannot reserve cache.size")) {
        scenario_fail("a disk that is too small ends the start with %d", status);
    }
    if (after.f_bavail < before.f_bavail / 2) {
        scenario_fail("%ld of %ld free blocks are left to the others", (long)after.f_bavail,
                      (long)before.f_bavail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_second_daemon_is_turned_away),
        SCENARIO(configuration_errors_name_their_place),
        SCENARIO(closed_streams_harm_no_file),
        SCENARIO(a_stop_drains_the_outbox),
        SCENARIO(what_a_stop_leaves_is_told_and_flushed_later),
        SCENARIO(requests_in_flight_are_answered_at_a_stop),
        SCENARIO(a_restart_is_warm),
        SCENARIO(another_database_is_refused_while_writes_wait),
        SCENARIO(a_tmpfs_is_refused_for_the_outbox),
        SCENARIO(a_full_disk_overloads_writes_only),
        SCENARIO(a_disk_too_small_for_the_cache_stops_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
