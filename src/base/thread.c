// The C library's sched.h and the kernel's types do not go together: this file has the latter.
#include "base/thread.h"

#include <stdint.h>

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

// The least that the kernel takes (sched(7), SCHED_OTHER of the EEVDF scheduler).
static const uint64_t SHORT_TURN_NS = 100000;

void thread_name(const char *name)
{
    CHECK_VALUES(prctl(PR_SET_NAME, name) == 0, "%s", name);
}

void thread_ask_short_turns(void)
{
    struct sched_attr attr = {.size = sizeof attr};
    if (syscall(SYS_sched_getattr, 0, &attr, (unsigned)sizeof attr, 0U) != 0 ||
        attr.sched_policy != SCHED_NORMAL) {
        return;
    }
    attr.sched_runtime = SHORT_TURN_NS;
    (void)syscall(SYS_sched_setattr, 0, &attr, 0U);
}
