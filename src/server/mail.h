// What a loop's mailbox brings: requests that come home, changes to announce, new sockets, and
// calls that other threads want run on the loop's.
#pragma once

#include "server/loop.h"

// Any thread: a connected socket to serve. The loop owns it from here on.
void mail_socket(struct loop *loop, int fd, bool read_only);

// Another thread: runs `call` on the loop's thread and returns once it has run; where there is no
// such thread, on the caller's.
void mail_call(struct loop *loop, void (*call)(struct loop *loop, void *context), void *context);

// The loop's thread: takes and handles all that is there.
void mail_handle(struct loop *loop);

// When the thread has ended: frees what is there.
void mail_discard(struct loop *loop);
