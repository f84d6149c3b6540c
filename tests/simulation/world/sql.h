// What the model server does with a statement that pgnear sends: a table of the statements, each
// known by words that stand in no other, and their effects. A statement that is not in it ends the
// run, so that the model cannot fall behind the daemon unseen.
#pragma once

#include "simulation/world/server.h"

// Before the first statement: what the functions in PostgreSQL do is read from their own text.
void sql_start(void);

// Whether the session has something to do now: it may still find that it has to wait for a lock.
bool session_is_busy(const struct session *session);
// One statement, or the end of the unit.
void session_step(struct session *session);

// A value as JSON text, and back.
enum { VALUE_BYTES = 4096 };
size_t value_json(int key, int64_t token, char text[VALUE_BYTES]);
int64_t value_token(struct slice json);
// How long the values are that carry more than their token; set once.
extern size_t value_padding_bytes;
