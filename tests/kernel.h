// What the kernel that the tests run on can do.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/utsname.h>

#include <cmocka.h>

// Whether threads may ask for turns of their own length (sched(7), since Linux 6.12).
static inline bool kernel_knows_turns(void)
{
    struct utsname kernel;
    int major, minor;
    assert_int_equal(uname(&kernel), 0);
    assert_int_equal(sscanf(kernel.release, "%d.%d", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 12);
}
