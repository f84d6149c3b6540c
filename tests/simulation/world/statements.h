// Between the files of the model server that carry out statements: sql.c and flush_sql.c.
#pragma once

#include "simulation/world/server.h"

enum outcome {
    OUTCOME_DONE,
    OUTCOME_WAITS,  // for a lock; what is locked stays so
    OUTCOME_FAILED, // session->failure says how
};

// The rows go to the client where there is one; the result is taken over.
enum outcome answer_with(struct session *session, PGresult *result);
enum outcome wait_for(struct session *session, int key_or_row);
int key_number(struct slice key);

// ---- the statements of a batch; flush_sql.c

enum outcome batch_begin(struct session *session, const struct sent_query *query);
enum outcome batch_advance(struct session *session, const struct sent_query *query);
enum outcome batch_lock(struct session *session, const struct sent_query *query);
enum outcome batch_put(struct session *session, const struct sent_query *query);
enum outcome batch_delete(struct session *session, const struct sent_query *query);
enum outcome batch_returning(struct session *session, const struct sent_query *query);
enum outcome batch_triggers(struct session *session, const struct sent_query *query);
enum outcome batch_commit(struct session *session, const struct sent_query *query);
