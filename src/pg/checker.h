// Answers check: looks at everything the node needs from PostgreSQL and says in words what is
// wrong; and adds what the cache says of its directories. Where PostgreSQL is away, it says so and
// checks the rest. The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct checker;

struct checker *checker_create(struct worker *worker);
// NULL is allowed. Every request was finished (checker_refuse_all).
void checker_destroy(struct checker *checker);

// Takes the request and finishes it exactly once; the reply's items are {item, ok, message}.
void checker_request(struct checker *checker, struct request *request);

void checker_on_connected(struct checker *checker);
void checker_on_lost(struct checker *checker, const struct failure *failure);

// The end: finishes every request with `failure`.
void checker_refuse_all(struct checker *checker, const struct failure *failure);
