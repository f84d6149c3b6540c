// Answers what the cache could not: get, mget and ttl, from PostgreSQL, many keys to a SELECT and
// one question for a key however many ask (flights.h), and tells the writer what may be cached.
//
//      request --> wait for after_seq --> flight of each key --> SELECT --> reply home
//                                                                  |------> FILLS to the writer
//
// The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct fetcher;

struct fetcher *fetcher_create(struct worker *worker);
// NULL is allowed. Every request was finished (fetcher_refuse_all).
void fetcher_destroy(struct fetcher *fetcher);

// Takes the request and finishes it exactly once:
//   UNAVAILABLE  at once, where PostgreSQL is away; during the very first attempt to connect it
//                waits instead
//   OVERLOADED   at once, where too much waits already
//   TIMEOUT      at its deadline
//   TOO_LARGE    a row is beyond the limits of pgnear
//   REJECTED     PostgreSQL refuses the SELECT
// after_seq: the SELECT is sent once this node's writes up to there are applied. fresh, max_age_ms
// and min_version: it is sent after the request came.
void fetcher_request(struct fetcher *fetcher, struct request *request);

// The same for a guest (helm.h): sends the SELECT at once, on a connection lent to `epoll`. False,
// and nothing is done, where none is idle or something is to be waited for first.
bool fetcher_request_now(struct fetcher *fetcher, struct request *request, int epoll);

// The key was changed, as far as the worker has heard: rule 4. The preload is told as well.
void fetcher_mark(struct fetcher *fetcher, struct slice key);
void fetcher_mark_all(struct fetcher *fetcher);

// The writer is done with the fills up to this number.
void fetcher_on_filled(struct fetcher *fetcher, uint64_t number);

// worker->applied_seq has moved.
void fetcher_on_applied(struct fetcher *fetcher);

// The worker became ready; it is no longer, or could not become so. With the fetcher go the read
// connections (read_pool.h).
void fetcher_on_connected(struct fetcher *fetcher);
void fetcher_on_lost(struct fetcher *fetcher, const struct failure *failure);

// The end: finishes every request with `failure`.
void fetcher_refuse_all(struct fetcher *fetcher, const struct failure *failure);
