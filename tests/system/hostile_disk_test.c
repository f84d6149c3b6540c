// A disk that others fill up while the node is at work: of the outbox, of the cache. Writes are
// refused at once and taken again once there is room; what was acknowledged is applied exactly
// once; and nobody who reads the cache, from within the daemon or beside it, meets a page that the
// disk has no room for. That a node which fills the disk by itself refuses writes, and does not
// start where the cache has no room, is in start_stop_test.c.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/direct.h"
#include "system/harness/disk.h"
#include "system/harness/load.h"

enum { ANY_KIND = 0 };

struct disk {
    const char *directory;
    int fd;
};

static bool mount_disk(struct scenario *scenario, const char *size, struct disk *disk)
{
    disk->directory = disk_mount(scenario, "disk", size);
    if (disk->directory == NULL) {
        return false;
    }
    disk->fd = open(disk->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(disk->fd >= 0);
    return true;
}

// Whether a write of 2 kB was refused for want of room.
static bool overloads(struct node *node)
{
    char filling[2000];
    memset(filling, 'x', sizeof filling - 1);
    filling[sizeof filling - 1] = '\0';
    const char *params = scenario_text(node->scenario, "[\"filling\", \"%s\"]", filling);
    return strstr(rpc(node, "set", params), "\"OVERLOADED\"") != NULL;
}

static void await_overload(struct node *node)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!overloads(node)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("a full disk is not told");
        }
    }
}

// Nobody waits for the disk to find that out: the quickest of some refusals tells it also where
// the machine is busy. Between them the flush may make room.
static void assert_refused_at_once(struct node *node)
{
    enum { REFUSALS = 5, AT_ONCE_US = 50000 };
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t least_us = INT64_MAX;
    for (int refusals = 0; refusals < REFUSALS;) {
        int64_t asked_us = clock_boot_us();
        if (overloads(node)) {
            int64_t took_us = clock_boot_us() - asked_us;
            least_us = took_us < least_us ? took_us : least_us;
            refusals++;
        } else if (!deadline_again(&deadline)) {
            scenario_fail("a full disk is told %d times", refusals);
        }
    }
    assert_true(least_us < AT_ONCE_US);
}

static void the_outbox_waits_for_room(struct scenario *scenario)
{
    struct disk disk = {.fd = -1};
    if (!mount_disk(scenario, "48M", &disk)) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    const char *config = scenario_text(scenario, "writes.dir = \"%s/outbox\"\n", disk.directory);
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\": \"*\"}");
    struct load *load = load_start(scenario, pg, node);
    int64_t begun_us = clock_boot_us();
    for (int round = 0; round < 2; round++) {
        load_await_acks(load, ANY_KIND, 500);
        int filler = disk_fill(disk.fd);
        await_overload(node);
        node_await_log(node, "event=\"outbox cannot grow\"");
        assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
        assert_refused_at_once(node);
        if (round == 1) {
            // What was on its way to the disk when it filled up.
            node_kill(node);
            node_start_again(node);
            await_overload(node);
            assert_rpc(node, "get", "[\"k\"]", "[1, \"*\"]");
        }
        disk_make_room(filler);
        load_await_acks(load, ANY_KIND, 500);
    }
    // Once in 10 s at the most, by each of the two daemons.
    int64_t tens = (clock_boot_us() - begun_us) / INT64_C(10000000);
    assert_in_range(node_log_count(node, "event=\"outbox cannot grow\""), 2, 2 + tens);
    load_stop_and_check(load);
    close(disk.fd);
    disk_detach(disk.directory);
}

// As many readers as the lock file's slots reach several pages far, each of which is first touched
// now. In a child: SIGBUS ends it.
static _Noreturn void read_by_many(const struct node *node)
{
    enum { READERS = 300, KEYS = 50 };
    static pgnear *handles[READERS];
    for (int i = 0; i < READERS; i++) {
        handles[i] = direct_open(node);
        for (int key = 0; key < KEYS; key++) {
            char name[16];
            snprintf(name, sizeof name, "k%d", key);
            if (direct_get_int(handles[i], name) != key) {
                _exit(2);
            }
        }
    }
    for (int i = 0; i < READERS; i++) {
        pgnear_close(handles[i]);
    }
    _exit(0);
}

static void assert_many_can_read(const struct node *node)
{
    pid_t child = fork();
    if (child == 0) {
        read_by_many(node);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        scenario_fail("readers of a full disk end with wait status %d", status);
    }
}

static void the_cache_needs_no_more_room(struct scenario *scenario)
{
    enum { KEYS = 50, FILLINGS = 800 };
    struct disk disk = {.fd = -1};
    if (!mount_disk(scenario, "96M", &disk)) {
        skip();
    }
    struct pg *pg = pg_start(scenario, NULL);
    const char *config = scenario_text(scenario,
                                       "cache.dir = \"%s/cache\"\ncache.size = \"32MiB\"\n"
                                       "writes.outbox_size = \"16MiB\"\n",
                                       disk.directory);
    struct node *node = node_start(scenario, pg, &(struct node_options){.config = config});
    node->cache_dir = scenario_text(scenario, "%s/cache", disk.directory);
    int filler = disk_fill(disk.fd);
    for (int i = 0; i < KEYS; i++) {
        assert_rpc(node, "set", scenario_text(scenario, "[\"k%d\", %d]", i, i), "{\"seq\": \"*\"}");
    }
    assert_many_can_read(node);
    // Several times what it holds: every page of the map is written.
    char *filling = scenario_alloc(scenario, 100001);
    memset(filling, 'x', 100000);
    for (int i = 0; i < FILLINGS; i++) {
        const char *params = scenario_text(scenario, "[\"filling%d\", \"%s\"]", i, filling);
        struct deadline deadline = deadline_in(DEADLINE_MS);
        while (strstr(rpc(node, "set", params), "OVERLOADED") != NULL) {
            assert_true(deadline_again(&deadline));
        }
    }
    assert_rpc(node, "flush", "[{\"timeout_ms\": 30000}]", "{\"seq\": \"*\"}");
    assert_true(node_stat_int(node, "cache.evictions") > 0);
    // And it starts with what it has.
    node_kill(node);
    node_start_again(node);
    assert_many_can_read(node);
    assert_int_equal(node_stop(node), 0);
    assert_pg_value(pg, scenario_text(scenario, "%d", KEYS + FILLINGS),
                    "SELECT count(*) FROM kv_store");
    disk_make_room(filler);
    close(disk.fd);
    disk_detach(disk.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(the_outbox_waits_for_room),
        SCENARIO(the_cache_needs_no_more_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
