// The requests for sync: who asks waits for the next heartbeat to be sent (feed->asked), then for
// that one to come back (feed->sent), then goes through the writer's mailbox behind all that was
// heard before. Part of the feed; the pg worker's thread.
#pragma once

#include "pg/feed_state.h"

// A heartbeat goes out: who has asked waits for this one.
void feed_sync_send(struct feed *feed);
// The heartbeat is back. The requests go through the writer's mailbox behind all that was heard: a
// barrier. What an earlier gap left unheard is in the cache only when the sweep is done: until
// then, they wait for another heartbeat.
void feed_sync_pass_barrier(struct feed *feed);
// A heartbeat was lost with its connection: who waited for it waits for the next.
void feed_sync_ask_again(struct feed *feed);
// The end: nobody waits any more.
void feed_sync_refuse_all(struct feed *feed);
void feed_sync_init(struct feed *feed);
void feed_sync_deinit(struct feed *feed);
