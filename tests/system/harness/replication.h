// Streaming replication between two servers of a test, asynchronous as PostgreSQL's is by default:
// what was committed on the primary after the stream was cut is surely lost where the standby is
// promoted.
//
//      struct pg *primary = pg_start(scenario, NULL);
//      struct pg *standby = pg_start(scenario, &(struct pg_options){.name = "b",
//                                                                 .standby_of = primary});
//      pg_cut_stream(standby);    writes from here on are lost with the primary
//      pg_kill(primary);
//      pg_promote(standby);
#pragma once

#include "system/harness/pg.h"

// For pg_start: the data of a standby that streams from the primary.
void pg_copy_primary(struct pg *standby, struct pg *primary);

// Waits until the standby shows all that was committed on the primary before the call.
void pg_await_shipped(struct pg *primary, struct pg *standby);

// Ends the stream for good. On return the standby shows all that it was sent, and no more will
// come.
void pg_cut_stream(struct pg *standby);

// SIGKILL to every process of the server: no word to a client, no last byte to a standby.
void pg_kill(struct pg *pg);

// The standby takes writes on return.
void pg_promote(struct pg *standby);

// Starts a server that was stopped in order, and whose end `primary` has seen, as its standby.
void pg_follow(struct pg *pg, struct pg *primary);

// A libpq URL that wants the one which takes writes, of the server whose socket is in the directory
// (pg->directory, or that of a proxy before it) and the other.
const char *pg_pair_url(const char *directory, const struct pg *other);
