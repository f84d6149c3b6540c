// The threads of the daemon, and what each is to the kernel: its name, and how soon it is to run.
#pragma once

#include <sys/types.h>

// Starts a thread of the daemon, with all signals blocked: they are main's. 0, or an errno.
int thread_start(pthread_t *thread, void *(*run)(void *context), void *context);

// The calling thread: its name in top, perf and /proc, of which 15 bytes are kept.
void thread_name(const char *name);

// The calling thread: where others want the processor too, it is to come soon after it wakes and
// to go on for a short turn, instead of late and for long. It gets no more of the processor than
// before, and needs no privilege. A wish: kernels before 6.12 do not know it, and one of the
// operator's own (a policy that is not the default) is left alone.
void thread_ask_short_turns(void);
