// The id is kept on a page that the kernel empties in a child (MADV_WIPEONFORK), whatever way the
// child was made. Where there is no such page, getpid() is asked.
#include "client/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic pid_t *mark; // written once, by make_mark; NULL: none
static pthread_once_t mark_once = PTHREAD_ONCE_INIT;

static void make_mark(void)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return;
    }
    if (madvise(page, bytes, MADV_WIPEONFORK) != 0) {
        munmap(page, bytes);
        return;
    }
    mark = page;
}

pid_t process_enter(void)
{
    pthread_once(&mark_once, make_mark);
    pid_t pid = getpid();
    if (mark != NULL) {
        atomic_store_explicit(mark, pid, memory_order_relaxed);
    }
    return pid;
}

bool process_is(pid_t pid)
{
    return pid == (mark != NULL ? atomic_load_explicit(mark, memory_order_relaxed) : getpid());
}
