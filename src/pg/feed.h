// The notification feed: LISTEN on a connection of its own, and the heartbeats that prove it.
//
// A heartbeat is a NOTIFY that goes out on the control connection, on a channel of this node's own,
// and must come back on LISTEN. One is in flight at a time, the next 500 ms after the last went out
// or at once where somebody asked for sync: since PostgreSQL delivers notifications in the order of
// their commits, one that comes back proves that everything committed before it was sent has been
// heard. The feed is lost where none that was sent within the last 2 s has come back.
//
//   OFF --feed_start--> LISTENING --first heartbeat--> LIVE --lost--> LISTENING ...
//
// The pg worker's thread.
#pragma once

#include "base/request.h"

struct feed;
struct worker;

struct feed *feed_create(struct worker *worker);
// Every request has been answered with feed_shut. NULL is allowed.
void feed_destroy(struct feed *feed);

// The worker is ready.
void feed_start(struct feed *feed);
// It no longer is.
void feed_stop(struct feed *feed, const char *reason);

// SYNC: answered by the writer once everything heard before a heartbeat that was sent after this
// call is in the cache, and what a gap left unheard is swept.
void feed_request(struct feed *feed, struct request *request);
// The sweep of the present epoch has come to its end.
void feed_on_swept(struct feed *feed);

// What was asked of PostgreSQL since then, and nothing that was heard speaks against, is an answer
// still: 0 where all that was committed a second ago is known to have been heard. It is not where
// this process, or PostgreSQL, has stood still.
int64_t feed_vouches_since(const struct feed *feed);

// What is held may differ from PostgreSQL in ways that were not announced: begins a new epoch.
void feed_begin_epoch(struct feed *feed);

void feed_shut(struct feed *feed);
