// Shows how far a backup or a restore has come while the command waits for it: a thread with a
// connection of its own asks the node for its figures. Only on a terminal.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cli/command.h"
#include "cli/progress.h"

struct copying {
    pthread_t thread;
    bool is_watched; // there is a thread
    // Written by the owner before the thread starts:
    const char *socket_path;
    const char *backup;       // NULL: the table is what is copied
    struct progress progress; // and then of the thread, until it has ended
    atomic_bool is_over;      // written by the owner, read by the thread
};

// `backup`: what is copied, NULL for the table. From the thread that calls the node; `copying`
// stays where it is until copying_end.
void copying_begin(struct copying *copying, const struct invocation *invocation,
                   const char *backup);
// Takes the bar off the terminal.
void copying_end(struct copying *copying);
