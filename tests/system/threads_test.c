// What the operator and the kernel are told of the daemon's threads (docs/operations.md), and what
// clients are promised whichever of them serves them.

#include <dirent.h>
#include <endian.h>
#include <pgnear.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"
#include "system/harness/direct.h"
#include "system/harness/node.h"
#include "system/harness/process.h"
#include "system/harness/random.h"

enum { COMM_BYTES = 16, SHORT_TURN_NS = 100000 };

// The kernel's struct sched_attr (sched_setattr(2)), which its header defines together with a twin
// of the C library's sched_param.
struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

struct threads {
    int count;            // of that name
    uint64_t turn_ns_max; // that the kernel gives one of them
};

static void look_at(struct threads *threads, const char *directory, const char *task,
                    const char *name)
{
    char path[512], comm[COMM_BYTES + 1] = "";
    snprintf(path, sizeof path, "%s/%s/comm", directory, task);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return; // "." and ".."
    }
    bool is_it = fgets(comm, sizeof comm, file) != NULL;
    fclose(file);
    comm[strcspn(comm, "\n")] = '\0';
    if (!is_it || strcmp(comm, name) != 0) {
        return;
    }
    struct attr attr = {.size = sizeof attr};
    long tid = strtol(task, NULL, 10);
    assert_int_equal(syscall(SYS_sched_getattr, tid, &attr, (unsigned)sizeof attr, 0U), 0);
    threads->count++;
    threads->turn_ns_max =
        attr.runtime_ns > threads->turn_ns_max ? attr.runtime_ns : threads->turn_ns_max;
}

static struct threads threads_of(const struct node *node, const char *name)
{
    struct threads threads = {0};
    char directory[64];
    snprintf(directory, sizeof directory, "/proc/%d/task", (int)node->process->pid);
    DIR *tasks = opendir(directory);
    assert_non_null(tasks);
    struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        look_at(&threads, directory, task->d_name, name);
    }
    closedir(tasks);
    return threads;
}

// Whoever waits for a read is not to wait for the turns of a whole backend of PostgreSQL.
static void server_loops_have_short_turns(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL),
                                   &(struct node_options){.config = "server.threads = 2\n"});
    struct threads servers = threads_of(node, "server");
    struct threads writers = threads_of(node, "writer");
    struct threads workers = threads_of(node, "pg");
    assert_int_equal(servers.count, 2);
    assert_int_equal(writers.count, 1);
    assert_int_equal(workers.count, 1);
    if (kernel_knows_turns()) {
        assert_int_equal(servers.turn_ns_max, SHORT_TURN_NS);
        assert_true(writers.turn_ns_max > SHORT_TURN_NS);
        assert_true(workers.turn_ns_max > SHORT_TURN_NS);
    }
}

// ---- the order of a connection's requests, with several loops

enum { CLIENTS = 12, ROUNDS = 150, SETS_A_ROUND = 8 };

struct client {
    const struct node *node;
    struct client *next; // another client, most likely of another loop
    pthread_t thread;
    char key[16];
    atomic_int acked; // what it has written surely
    const char *failure;
};

// [set k n, get k, set k n + 1, get k, ...] in one write: each get has what stands before it.
static bool ask_in_one_go(struct client *client, pgnear_batch *batch, int first)
{
    const pgnear_reply *replies;
    size_t count;
    uint8_t value[SETS_A_ROUND][3];
    for (int i = 0; i < SETS_A_ROUND; i++) {
        uint16_t number = htobe16((uint16_t)(first + i));
        value[i][0] = 0xcd;
        memcpy(&value[i][1], &number, sizeof number);
        if (pgnear_batch_set(batch, pgnear_text(client->key), (pgnear_bytes){value[i], 3}, NULL,
                             NULL) != PGNEAR_OK ||
            pgnear_batch_get(batch, pgnear_text(client->key), NULL, NULL) != PGNEAR_OK) {
            return false;
        }
    }
    if (pgnear_batch_run(batch, NULL, &replies, &count, NULL) != PGNEAR_OK) {
        return false;
    }
    for (int i = 0; i < SETS_A_ROUND; i++) {
        const pgnear_reply *got = &replies[2 * i + 1];
        if (replies[2 * i].code != PGNEAR_OK || got->code != PGNEAR_OK ||
            direct_int(&got->item) != first + i) {
            return false;
        }
    }
    return true;
}

// Whoever asks after an acknowledgement sees it, whichever loop serves him.
static bool sees_neighbour(const struct client *client, pgnear *handle)
{
    pgnear_item item;
    int acked = atomic_load(&client->next->acked);
    return pgnear_get(handle, pgnear_text(client->next->key), NULL, &item, NULL) == PGNEAR_OK &&
           (acked == 0 || direct_int(&item) >= acked);
}

static void *work(void *context)
{
    struct client *client = context;
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.socket_only = true;
    pgnear *handle;
    if (pgnear_open(client->node->socket_path, &options, &handle, NULL) != PGNEAR_OK) {
        client->failure = "cannot connect";
        return NULL;
    }
    pgnear_batch *batch = pgnear_batch_create(handle);
    for (int round = 0; round < ROUNDS && client->failure == NULL; round++) {
        int first = 256 + round * SETS_A_ROUND;
        if (!ask_in_one_go(client, batch, first)) {
            client->failure = "a get does not see the set before it";
        }
        atomic_store(&client->acked, first + SETS_A_ROUND - 1);
        if (client->failure == NULL && !sees_neighbour(client, handle)) {
            client->failure = "a get does not see what was acknowledged to another";
        }
    }
    pgnear_batch_destroy(batch);
    pgnear_close(handle);
    return NULL;
}

static void requests_keep_their_order_on_every_loop(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL),
                                   &(struct node_options){.config = "server.threads = 4\n"});
    struct client clients[CLIENTS] = {0};
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].node = node;
        clients[i].next = &clients[(i + 1) % CLIENTS];
        // Several clients, and the keys of others between theirs, on each loop.
        snprintf(clients[i].key, sizeof clients[i].key, "k%d", i);
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_create(&clients[i].thread, NULL, work, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i].failure != NULL) {
            scenario_fail("client %d: %s", i, clients[i].failure);
        }
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(server_loops_have_short_turns),
        SCENARIO(requests_keep_their_order_on_every_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
