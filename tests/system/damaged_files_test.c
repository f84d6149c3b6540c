// Files of a node that were changed, damaged or lost while it was down: a cache costs misses, an
// outbox stops the start with the remedy.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/harness/compare.h"
#include "system/harness/node.h"
#include "system/harness/process.h"
#include "system/harness/random.h"

enum { SIGNALLED = 128 }; // and more: ended by a signal

// Writes noise over the middle or the beginning of a file.
static void damage(const char *path, off_t offset, size_t len, struct random *random)
{
    uint8_t noise[4096];
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        scenario_fail("cannot open %s: %s", path, strerror(errno));
    }
    for (size_t at = 0; at < len; at += sizeof noise) {
        random_fill(random, noise, sizeof noise);
        size_t part = len - at < sizeof noise ? len - at : sizeof noise;
        if (pwrite(fd, noise, part, offset + (off_t)at) != (ssize_t)part) {
            scenario_fail("cannot write %s: %s", path, strerror(errno));
        }
    }
    close(fd);
}

// The one file of pages in a directory or below it, wherever the daemon keeps it.
static const char *find_pages(struct scenario *scenario, const char *directory)
{
    const char *found = scenario_path(scenario, "found");
    const char *script =
        scenario_text(scenario,
                      "find '%s' -type f -size +7k -name '*.mdb' ! -name 'lock.mdb' | "
                      "head -n 1 > '%s'",
                      directory, found);
    process_run(scenario, (const char *[]){"sh", "-c", script, NULL}, NULL);
    FILE *file = fopen(found, "re");
    char path[512] = "";
    if (file == NULL || fgets(path, sizeof path, file) == NULL) {
        scenario_fail("there are no pages below %s", directory);
    }
    fclose(file);
    path[strcspn(path, "\n")] = '\0';
    return scenario_text(scenario, "%s", path);
}

static void a_damaged_cache_costs_misses_only(struct scenario *scenario)
{
    enum { KEYS = 300, PAGE = 4096 };
    struct random random = random_of(random_seed(), 5);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value)"
                " SELECT 'k' || i, to_jsonb(repeat('x', 200)) FROM generate_series(1, 300) i");
    for (int round = 0; round < 6; round++) {
        assert_rpc(node, "sync", "[]", "true");
        assert_node_equals_table(node, pg, "k", KEYS);
        assert_rpc(node, "set", scenario_text(scenario, "[\"own%d\", 1]", round),
                   "{\"seq\": \"*\"}");
        const char *pages = find_pages(scenario, node->cache_dir);
        if (round % 2 == 0) {
            node_kill(node);
        } else {
            node_stop(node);
        }
        switch (round) {
        case 0:
            damage(pages, 0, 2 * PAGE, &random);
            break;
        case 1:
            damage(pages, 2 * PAGE, 200 * PAGE, &random);
            break;
        case 2:
            assert_int_equal(truncate(pages, PAGE), 0);
            break;
        case 3:
            assert_int_equal(truncate(pages, 0), 0);
            break;
        case 4:
            damage(pages, 2 * PAGE, 1000 * PAGE, &random);
            break;
        default:
            process_run(scenario, (const char *[]){"rm", "-r", node->cache_dir, NULL}, NULL);
            break;
        }
        node_start_again(node);
    }
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_pg_value(pg, "6", "SELECT count(*) FROM kv_store WHERE key LIKE 'own%%'");
    assert_node_equals_table(node, pg, "k", KEYS);
}

// Changes one byte behind each place where the mark stands in a file; how many they were.
static int change_behind(const char *path, const char *mark)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        scenario_fail("cannot open %s: %s", path, strerror(errno));
    }
    size_t bytes = (size_t)status.st_size;
    uint8_t *map = bytes == 0 ? NULL : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int changed = 0;
    uint8_t *at = map;
    while (at != NULL &&
           (at = memmem(at, (size_t)(map + bytes - at), mark, strlen(mark))) != NULL) {
        at += strlen(mark);
        at[1] ^= 1;
        changed++;
    }
    munmap(map, bytes);
    close(fd);
    return changed;
}

// The tree is sound; only a value says something else, a small one or one on pages of its own.
static void a_changed_value_is_never_served(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('small1', '\"mark-a-xxxxxxxx\"'),"
                " ('large1', to_jsonb('mark-b-' || repeat('x', 9000)))");
    static const char *const KEYS[] = {"small", "large"};
    static const char *const MARKS[] = {"mark-a-", "mark-b-"};
    for (size_t i = 0; i < 2; i++) {
        assert_rpc(node, "sync", "[]", "true");
        assert_node_equals_table(node, pg, KEYS[i], 1);
        node_await_stat_min(node, "cache.fills", (int64_t)i + 1);
        node_kill(node);
        if (change_behind(find_pages(scenario, node->cache_dir), MARKS[i]) == 0) {
            scenario_fail("%s is not in the cache", KEYS[i]);
        }
        node_start_again(node);
        assert_node_equals_table(node, pg, KEYS[i], 1);
    }
}

// An acknowledged write that somebody changed must not reach PostgreSQL.
static void a_changed_write_stops_the_start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    for (int i = 0; i < 20; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\", \"mark-%02d-xxxx\"]", i, i),
                   "{\"seq\": \"*\"}");
    }
    // With an id it goes to the outbox at once, and what is in the log before it.
    assert_rpc(node, "set", "[\"last\", 1, {\"id\": \"last\"}]", "{\"seq\": \"*\"}");
    node_kill(node);
    if (change_behind(find_pages(scenario, node->outbox_dir), "mark-09-") == 0) {
        scenario_fail("the write is not in the outbox");
    }
    node_spawn(node);
    int status = node_await_exit(node);
    if (status == 0 || status >= SIGNALLED || !node_log_has(node, "is damaged")) {
        scenario_fail("a changed write ends the start with %d", status);
    }
}

static void a_damaged_outbox_stops_the_start(struct scenario *scenario)
{
    struct random random = random_of(random_seed(), 6);
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    for (int i = 0; i < 100; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\", 1]", i), "{\"seq\": \"*\"}");
    }
    node_kill(node);
    damage(find_pages(scenario, node->outbox_dir), 0, 2 * 4096, &random);
    node_spawn(node);
    int status = node_await_exit(node);
    if (status == 0 || status >= SIGNALLED) {
        scenario_fail("a damaged outbox ends the start with %d", status);
    }
    // The remedy names the directory that is to be moved away.
    if (!node_log_has(node, node->outbox_dir)) {
        scenario_fail("the message does not name the outbox");
    }
    process_run(scenario,
                (const char *[]){"mv", node->outbox_dir,
                                 scenario_text(scenario, "%s.damaged", node->outbox_dir), NULL},
                NULL);
    pg_start_again(pg);
    node_start_again(node);
    assert_rpc(node, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
}

static void a_missing_log_stops_the_start(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    const char *log = scenario_text(scenario, "%s/outbox.log", node->outbox_dir);
    const char *lost = scenario_text(scenario, "%s/outbox.log.lost", node->outbox_dir);
    const char *kept = scenario_text(scenario, "%s/kept", node->outbox_dir);
    pg_stop(pg, PG_STOP_FAST);
    node_await_state(node, "disconnected");
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    assert_true(node_stat_int(node, "outbox.log_groups") > 0);
    node_kill(node);
    assert_int_equal(rename(log, kept), 0);
    node_spawn(node);
    assert_int_equal(node_await_exit(node), 1);
    // The remedy names the file to be made where the log is lost.
    assert_true(node_log_has(node, lost));
    assert_int_equal(rename(kept, log), 0);
    pg_start_again(pg);
    node_start_again(node);
    assert_rpc(node, "flush", "[]", "{\"seq\": \"*\"}");
    assert_rpc(node, "get", "[\"k\", {\"fresh\": true}]", "[1, \"*\"]");
    // An orderly stop leaves nothing in it.
    assert_int_equal(node_stop(node), 0);
    assert_int_equal(unlink(log), 0);
    node_start_again(node);
    assert_rpc(node, "set", "[\"k\", 2, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
}

// It works on, and nothing of it would be there after a crash.
static void an_outbox_deleted_under_a_daemon_is_told(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_rpc(node, "set", "[\"a\", 1]", "{\"seq\": 1}");
    process_run(scenario, (const char *[]){"rm", "-r", node->outbox_dir, NULL}, NULL);
    node_await_log(node, "outbox deleted or moved away");
    node_await_log(node, "log of the outbox deleted or moved away");
    const char *checks = rpc(node, "check", "[]");
    if (strstr(checks, "outbox.mdb was deleted or moved away while the daemon runs") == NULL) {
        scenario_fail("the check says %s", checks);
    }
    assert_rpc(node, "set", "[\"b\", 2]", "{\"seq\": 2}");
    assert_rpc(node, "flush", "[]", "{\"seq\": 2}");
    assert_pg_value(pg, "2", "SELECT count(*) FROM kv_store");
    assert_int_equal(node_stop(node), 0);
    assert_int_equal(node_log_count(node, "event=\"outbox deleted or moved away"), 1);
    node_start_again(node);
    assert_rpc(node, "set", "[\"a\", 3, {\"ack\": \"postgres\"}]",
               "{\"seq\": \"*\", \"version\": \"*\"}");
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(a_damaged_cache_costs_misses_only),
        SCENARIO(a_changed_value_is_never_served),
        SCENARIO(a_changed_write_stops_the_start),
        SCENARIO(a_damaged_outbox_stops_the_start),
        SCENARIO(a_missing_log_stops_the_start),
        SCENARIO(an_outbox_deleted_under_a_daemon_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
