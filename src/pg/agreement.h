// Whether a connection leads to the server that the control connection talks to: all of a node's
// must (rule 6). A name or a list of servers may lead to two, and after a failover to another than
// a moment ago.
//
// A connection that strays is given up, and begins its next attempt behind the server that it
// found; where it finds another primary again, the control connection may be the one that was left
// behind, on a server that still answers it, so everything begins anew. A standby is never a reason
// for that. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct agreement {
    bool holds;
    bool is_primary;
    unsigned strays; // in a row
};

// What the connection is asked after each connect; one row.
extern const char AGREEMENT_SQL[];

// Before it is asked, and its answer.
void agreement_ask(struct agreement *agreement);
void agreement_take(struct agreement *agreement, const struct worker *worker,
                    const PGresult *result);

// The answer, or none, means that the connection strays.
void agreement_leave(struct agreement *agreement, struct worker *worker, struct conn *conn);
