// Accepts clients and gives each to the loop that has the fewest. Lives on one loop's thread.
#pragma once

#include "server/admission.h"
#include "server/listener.h"
#include "server/loop.h"

enum { LISTENERS_MAX = 2 };

struct acceptor_options {
    const struct server_settings *settings; // outlives the acceptor
    struct admission *admission;
    struct loop *const *loops; // the first is its own
    size_t loops_count;
};

struct acceptor;

// Listens and registers with the first loop, which has not started or whose thread this is.
// ERROR_IN_USE, ERROR_SYSTEM, with the reason; then no socket file is left behind.
enum error acceptor_open(const struct acceptor_options *options, struct acceptor **acceptor,
                         struct failure *failure);

// On the first loop's thread, or when that does not run. Removes the socket files.
void acceptor_close(struct acceptor *acceptor);
