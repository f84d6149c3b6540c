// A listening Unix stream socket and its file.
#pragma once

#include <sys/types.h>

#include "base/error.h"

struct listener {
    int fd; // -1: closed
    char *path;
    dev_t device; // of the file that this listener made
    ino_t inode;
};

// Listens at `path`, whose file gets `mode` before the first client can reach it. The file of a
// daemon that is dead is replaced. ERROR_IN_USE where one answers, ERROR_SYSTEM with the reason
// for all else.
enum error listener_open(struct listener *listener, const char *path, mode_t mode,
                         struct failure *failure);

// Closes it and removes the file, if it is still this listener's.
void listener_close(struct listener *listener);
