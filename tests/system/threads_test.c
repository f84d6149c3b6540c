// What the operator and the kernel are told of the daemon's threads (docs/operations.md).

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"
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

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        SCENARIO(server_loops_have_short_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
