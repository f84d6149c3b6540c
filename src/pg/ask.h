// What the modules that answer requests from PostgreSQL have in common: turning a request away,
// failing it with words, and its deadline. The pg worker's thread.
#pragma once

#include "pg/worker.h"

// Finishes the request with UNAVAILABLE or REJECTED where PostgreSQL cannot be asked now and did
// not just begin to be. False where it can.
bool ask_is_turned_away(struct worker *worker, struct request *request);

// Finishes the request with the failure; the request's own words come before its message.
void ask_fail(struct request *request, const struct failure *failure);

// The same with "no connection to PostgreSQL" for a cause.
struct failure ask_no_connection(const struct failure *cause);

// Whether the refusal's words are others than `told`, which they become: one that comes again and
// again is logged once.
bool ask_refusal_is_new(char told[FAILURE_MESSAGE_BYTES], const struct failure *refusal);

// What a refused query means to the request: TIMEOUT for statement_timeout, UNAVAILABLE for what
// passes, REJECTED for the rest.
struct failure ask_refusal(const struct failure *refusal);
