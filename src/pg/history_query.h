// The queries of the historian: one key's versions, newest first, or what keys held at one version.
// Part of the historian; the pg worker's thread.
#pragma once

#include "pg/worker.h"

// Sends the query for a call of history, or of get or mget with at_version, on the idle `conn`;
// `unit` has the callbacks.
void history_query_send(struct worker *worker, const struct call *call, struct conn *conn,
                        struct unit unit);

// Fills the request's reply with the rows. `failure` is set where one of them is beyond
// `value_bytes_max`.
void history_query_read(const PGresult *result, size_t value_bytes_max, struct request *request,
                        struct failure *failure);
