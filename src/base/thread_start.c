// Apart from thread.c, which has the kernel's types.
#include <pthread.h>
#include <signal.h>

#include "base/check.h"
#include "base/thread.h"

int thread_start(pthread_t *thread, void *(*run)(void *context), void *context)
{
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int code = pthread_create(thread, NULL, run, context);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return code;
}
