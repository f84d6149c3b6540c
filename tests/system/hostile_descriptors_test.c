// No file descriptors left. Clients are turned away before the last ones are gone, so that the node
// still finds its way back to PostgreSQL; and where they are gone after all, it waits without
// burning the processor, serves whom it has, and takes new clients once there is room.

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "system/harness/deadline.h"
#include "system/harness/node.h"

enum { CLIENTS_MAX = 256, LIMIT = 80, CLIENTS_MIN = 16 };

struct crowd {
    struct rpc *clients[CLIENTS_MAX];
    int count;
};

// Of the daemon: how many are open, and how many it may have.
static int count_descriptors(const struct node *node)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)node->process->pid);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    int count = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

static void limit_descriptors(const struct node *node, int limit)
{
    struct rlimit limits;
    assert_int_equal(prlimit(node->process->pid, RLIMIT_NOFILE, NULL, &limits), 0);
    limits.rlim_cur = (rlim_t)limit;
    assert_int_equal(prlimit(node->process->pid, RLIMIT_NOFILE, &limits, NULL), 0);
}

static bool is_served(struct rpc *client)
{
    const char *answer = rpc_try_call(client, "ping", "[]");
    return answer != NULL && strcmp(answer, "\"pong\"") == 0;
}

// Connects until the node turns somebody away.
static void fill(struct node *node, struct crowd *crowd)
{
    for (crowd->count = 0; crowd->count < CLIENTS_MAX; crowd->count++) {
        struct rpc *client = node_open(node);
        if (!is_served(client)) {
            rpc_close(client);
            return;
        }
        crowd->clients[crowd->count] = client;
    }
    scenario_fail("there is no end after %d clients", crowd->count);
}

static void assert_all_served(const struct crowd *crowd)
{
    for (int i = 0; i < crowd->count; i++) {
        assert_true(is_served(crowd->clients[i]));
    }
}

// One client leaves, and another finds its place.
static void replace_one(struct node *node, struct crowd *crowd)
{
    rpc_close(crowd->clients[0]);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!is_served(crowd->clients[0] = node_open(node))) {
        rpc_close(crowd->clients[0]);
        if (!deadline_again(&deadline)) {
            scenario_fail("a client's place stays empty after it left");
        }
    }
}

static void a_crowd_leaves_room_for_postgresql(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    limit_descriptors(node, LIMIT);
    struct crowd crowd;
    fill(node, &crowd);
    fprintf(stderr, "%d clients with %d descriptors\n", crowd.count, LIMIT);
    assert_true(crowd.count >= CLIENTS_MIN);
    node_await_log(node, "event=\"client refused\" reason=\"the descriptors are used up\"");
    assert_true(node_stat_int(node, "server.refused") >= 1);

    // All of the node's connections are gone at once, and newcomers are at the door.
    pg_stop(pg, PG_STOP_CRASH);
    node_await_state(node, "disconnected");
    for (int i = 0; i < LIMIT; i++) {
        struct rpc *client = node_open(node);
        assert_false(is_served(client));
        rpc_close(client);
    }
    assert_json(rpc_call(crowd.clients[1], "set", "[\"k\", 1]"), "{\"seq\": \"*\"}");
    pg_start_again(pg);
    node_await_state(node, "live");
    assert_all_served(&crowd);
    assert_json(rpc_call(crowd.clients[1], "flush", "[]"), "{\"seq\": \"*\"}");
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    replace_one(node, &crowd);
    assert_true(count_descriptors(node) < LIMIT);
    assert_false(node_log_has(node, "Too many open files"));
}

static int64_t processor_us(const struct node *node)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)node->process->pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char line[1024];
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    // utime and stime are the 12th and 13th field behind the name.
    char *at = strrchr(line, ')');
    assert_non_null(at);
    for (int field = 0; field < 12; field++) {
        at = strchr(at + 1, ' ');
        assert_non_null(at);
    }
    char *rest;
    long ticks = strtol(at, &rest, 10);
    ticks += strtol(rest, NULL, 10);
    return (int64_t)ticks * CLOCK_US_PER_S / sysconf(_SC_CLK_TCK);
}

static void no_descriptor_burns_no_processor(struct scenario *scenario)
{
    enum { WATCHED_US = 2 * CLOCK_US_PER_S, BURNT_US_MAX = WATCHED_US / 4 };
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    struct rpc *old = node_rpc(node);
    limit_descriptors(node, STDERR_FILENO + 1);
    // In the backlog: connected, and not accepted.
    struct rpc *waiting = node_open(node);
    rpc_send(waiting, "ping", "[]");
    node_await_log(node, "event=\"accept failed\" error=\"Too many open files\"");
    int64_t burnt_us = processor_us(node), began_us = clock_boot_us();
    struct pollfd entry = {.fd = rpc_fd(waiting), .events = POLLIN};
    assert_int_equal(poll(&entry, 1, WATCHED_US / CLOCK_US_PER_MS), 0);
    burnt_us = processor_us(node) - burnt_us;
    int64_t took_us = clock_boot_us() - began_us;
    fprintf(stderr, "%lld ms of the processor in %lld ms\n", (long long)burnt_us / 1000,
            (long long)took_us / 1000);
    assert_true(burnt_us < BURNT_US_MAX * (took_us / WATCHED_US));
    assert_json(rpc_call(old, "set", "[\"k\", 1, {\"ack\": \"postgres\"}]"),
                "{\"seq\": \"*\", \"version\": \"*\"}");
    assert_json(rpc_call(old, "get", "[\"k\"]"), "[1, \"*\"]");
    limit_descriptors(node, LIMIT);
    assert_json(rpc_receive(waiting, NULL), "\"pong\"");
    node_await_log(node, "event=\"accepting again\"");
    struct rpc *late = node_open(node);
    assert_true(is_served(late));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_crowd_leaves_room_for_postgresql),
        SCENARIO(no_descriptor_burns_no_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
