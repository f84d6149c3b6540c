// The node in PostgreSQL's eyes. Whenever the control connection is made, a sequence of questions
// on it decides whether the worker may begin (rule 14):
//
//   what server is this?      12 or later, the primary, its identity
//   where is the table?       the schema, created or required
//   whose outbox is this?     BIND, or the binding is compared
//   how far did we get?       the node's row: SETTLE what was applied unheard, REWIND what was lost
//   claim                     the row carries this daemon's incarnation from here on
//
// What it finds wrong is logged once, shown as the last error, and asked again after the
// connection's backoff. The pg worker's thread.
#pragma once

#include "base/messages.h"

struct conn;
struct handshake;
struct worker;

struct handshake *handshake_create(struct worker *worker);
void handshake_destroy(struct handshake *handshake); // NULL is allowed

void handshake_start(struct handshake *handshake);
void handshake_stop(struct handshake *handshake);

// The control connection, for others to use while the worker is ready.
struct conn *handshake_conn(struct handshake *handshake);

// Gives the control connection up, so that the whole sequence is run again.
void handshake_restart(struct handshake *handshake, const char *reason);

// A server said that it has crashed: versions that it drew may be drawn again, although it is the
// same server by its identity.
void handshake_on_crash(struct handshake *handshake);

// The flusher has become quiet (flusher_is_quiet).
void handshake_on_settled(struct handshake *handshake);
// BIND or REWIND has come back from the writer.
void handshake_on_returned(struct handshake *handshake, struct message *message);
