#include "base/contention.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void contention_join(struct contention *contention)
{
    int index = atomic_fetch_add(&contention->count, 1);
    if (index < CONTENTION_THREADS_MAX) {
        atomic_store(&contention->tids[index], (int)gettid());
    }
}

// The second number of the file: nanoseconds spent waiting on a run queue (the kernel's
// Documentation/scheduler/sched-stats.rst).
static int64_t waited_us_of(int tid)
{
    char path[64];
    char text[96];
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0) {
        return 0;
    }
    text[bytes] = '\0';
    unsigned long long ran_ns, waited_ns;
    return sscanf(text, "%llu %llu", &ran_ns, &waited_ns) == 2 ? (int64_t)(waited_ns / 1000) : 0;
}

size_t contention_read(const struct contention *contention,
                       int64_t waited_us[CONTENTION_THREADS_MAX])
{
    int joined = atomic_load(&contention->count);
    size_t count = joined < CONTENTION_THREADS_MAX ? (size_t)joined : CONTENTION_THREADS_MAX;
    for (size_t i = 0; i < count; i++) {
        int tid = atomic_load(&contention->tids[i]);
        waited_us[i] = tid == 0 ? 0 : waited_us_of(tid);
    }
    return count;
}
