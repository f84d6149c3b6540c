// What PostgreSQL holds of a refused entry's keys at the moment when it becomes a dead letter, so
// that trying it again later can tell whether they have changed since: a version or absence for
// each, as guards (base/entry.h). Part of the flusher; the pg worker's thread.
#pragma once

#include "base/messages.h"
#include "pg/batch.h"
#include "pg/conn.h"

struct parking {
    struct buffer guards;
};

// Asks for the versions of the entry's keys on the idle `conn`; `unit` has the callbacks.
void parking_send(struct parking *parking, const char *table, const struct batch_entry *entry,
                  struct conn *conn, struct unit unit);
// The rows of that query.
void parking_take_rows(struct parking *parking, const PGresult *result);
// Puts what was learned into the message.
void parking_take_state(const struct parking *parking, struct retire_message *message);
void parking_deinit(struct parking *parking);

// The same where the batch itself has told: the condition of the entry's only write failed.
void parking_state_of_conflict(const struct batch_entry *entry, struct retire_message *message);

// The CONFLICT that an error of pgnear_conflict is to who tries a dead letter again.
struct failure parking_conflict(const struct failure *failure);
