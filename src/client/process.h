// Which process this is, asked without a system call: what a handle does in every call, since a
// handle must not be used in a child after fork(). Any thread.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

// The id of this process; makes process_is cheap from then on, also in a child after fork().
pid_t process_enter(void);

// Whether this is the process whose process_enter answered `pid`.
bool process_is(pid_t pid);
