// A network between pgneard and PostgreSQL that breaks on demand: a Unix socket of its own whose
// bytes it forwards to the server's, by one thread. It reads of the protocol only where a COMMIT
// or a LISTEN passes, so a test must not write these words in its values.
//
//      pgneard --- proxy_url() --- proxy --- the socket of struct pg --- PostgreSQL
#pragma once

#include "system/harness/pg.h"

// What becomes of the connection that sends the next COMMIT.
enum proxy_cut {
    PROXY_CUT_NONE,
    PROXY_CUT_BEFORE,   // the COMMIT does not reach the server: the transaction aborts
    PROXY_CUT_DURING,   // it is forwarded and both ends are closed: either may come of it
    PROXY_CUT_AFTER,    // it is forwarded, the answer is awaited and swallowed: it is committed
    PROXY_CUT_LATE,     // the client's end is closed; what it sent arrives PROXY_LATE_MS later
    PROXY_CUT_STRANDED, // the client's end is closed, and the server waits for the COMMIT for ever
    PROXY_CUT_UNREAD,   // the client's end is closed, and the server's answers are never read
    PROXY_CUT_COUNT
};

enum { PROXY_LATE_MS = 300 };

struct proxy;

// Starts it; it ends with the scenario. `name` is that of its directory.
struct proxy *proxy_start(struct scenario *scenario, const struct pg *pg, const char *name);

// A libpq URL through the proxy; valid until the scenario ends.
const char *proxy_url(const struct proxy *proxy);

// Where its socket is, of the same port as those of struct pg.
const char *proxy_directory(const struct proxy *proxy);

// Closes both ends of every connection. Any thread, as all that follow.
void proxy_cut_all(struct proxy *proxy);

// While closed, every new connection is shut at once, as by a server that is down.
void proxy_set_open(struct proxy *proxy, bool open);

// Arms the cut; it fires once, at the next COMMIT.
void proxy_cut_at_commit(struct proxy *proxy, enum proxy_cut cut);
// How many armed cuts and holds have fired.
int proxy_cuts_fired(struct proxy *proxy);

// Arms a hold, which fires once as well: what the server answers to the next COMMIT stays in the
// proxy for PROXY_LATE_MS, so that what it announces arrives before.
void proxy_hold_at_commit(struct proxy *proxy);

// Makes the connections that have said LISTEN half-open, or all that there are: they stay, and what
// either end sends is swallowed. New connections work. Answers how many it froze.
int proxy_freeze_listeners(struct proxy *proxy);
int proxy_freeze_all(struct proxy *proxy);

// From now on no more than so many bytes a second reach the server, of each connection.
void proxy_set_rate(struct proxy *proxy, size_t bytes_a_second);

// For the scenario's end.
void proxy_stop_all(struct scenario *scenario);
