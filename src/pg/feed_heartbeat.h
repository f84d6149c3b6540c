// The heartbeats of the feed: one goes out every 500 ms and at once where somebody asked for sync,
// one at a time, and must be back 2 s after its sending. One is back when its query is answered and
// its notification heard. The first makes the feed live. Part of the feed; the pg worker's thread.
#pragma once

#include "pg/feed_state.h"

// The worker is ready: heartbeats go out, as soon as LISTEN is committed (feed->is_listening).
void feed_heartbeat_start(struct feed *feed);
void feed_heartbeat_stop(struct feed *feed);
// The feed is lost, and with it the heartbeat that is out.
void feed_heartbeat_lose(struct feed *feed);
// LISTEN is committed: the first heartbeat has 2 s from now on.
void feed_heartbeat_listening(struct feed *feed);
// Sends one where none is out and the control connection is free.
void feed_heartbeat_send(struct feed *feed);
// A notification on this node's own channel.
void feed_heartbeat_hear(struct feed *feed, struct slice payload);
// The timers are the heartbeats' own.
void feed_heartbeat_init(struct feed *feed);
void feed_heartbeat_deinit(struct feed *feed);
