// Between a client's connection (conn.c) and its session at the server: what has been sent and has
// not been taken yet, in the order of sending.
#pragma once

#include "simulation/world/server.h"

// ---- the server's side

void wire_accepted(struct conn *conn);
// The rows of query `index`; the result becomes the wire's.
void wire_result(struct conn *conn, size_t index, PGresult *result);
// The unit has ended; `failure` NULL: every query succeeded.
void wire_done(struct conn *conn, const struct failure *failure);
void wire_notify(struct conn *conn, const char *channel, const char *payload);
void wire_closed(struct conn *conn, const char *sqlstate, const char *words);

void wire_free_unit(struct sent_unit *unit);

// ---- the scheduler's side

// Connections that exist, in the order of their making; NULL where one was freed.
size_t wire_conns(struct conn ***conns);
// Whether something can be taken now.
bool wire_has_packet(const struct conn *conn);
// Takes one packet, as the loop would when the socket is readable.
void wire_take(struct conn *conn);
bool wire_is_connected(const struct conn *conn);
const char *wire_name(const struct conn *conn);
struct event_base *wire_base(const struct conn *conn);

// The client's end breaks: it is told at once, the server goes on with what had arrived.
void wire_cut(struct conn *conn);
// The server ends the session, and says so.
void wire_kill(struct conn *conn);
// Nothing goes through any more in either direction, and nobody is told.
void wire_stick(struct conn *conn);
bool wire_is_stuck(const struct conn *conn);
