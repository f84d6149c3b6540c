// Whether the threads that clients wait for get a processor when they want one. Each of them joins;
// any thread may ask how long each has waited so far. It is the kernel's own account
// (/proc/PID/task/TID/schedstat); where there is none, nobody ever waits.
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTENTION_THREADS_MAX = 16 }; // those beyond are not looked at

struct contention {
    _Atomic int count;
    _Atomic int tids[CONTENTION_THREADS_MAX];
};

// The calling thread is one of those from now on. Zeroed is empty.
void contention_join(struct contention *contention);

// For how long each of them has been ready without running since it began, in microseconds; 0 for
// one that is gone. Returns how many there are. Any thread; a few system calls for each.
size_t contention_read(const struct contention *contention,
                       int64_t waited_us[CONTENTION_THREADS_MAX]);
