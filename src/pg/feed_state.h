// The feed's own state, shared by feed.c, feed_heartbeat.c and feed_sync.c and by nobody else. The
// pg worker's thread.
#pragma once

#include <event2/event.h>

#include "pg/agreement.h"
#include "pg/conn.h"
#include "pg/feed.h"
#include "pg/table_shape.h"
#include "pg/worker.h"

enum { FEED_CHANNEL_BYTES = 64 };

enum feed_state { FEED_OFF, FEED_LISTENING, FEED_LIVE };

struct heartbeat {
    bool is_out;
    bool is_heard;    // the notification has come back
    bool is_answered; // the query that sent it has
    int64_t sent_boot_us;
    int64_t clock_offset_us;
    bool is_same_server;
    bool has_shape; // of the table was asked for
    struct table_shape shape;
};

struct feed {
    struct worker *worker;
    struct conn *conn;
    enum feed_state state;
    bool is_listening;                   // LISTEN is committed
    char refusal[FAILURE_MESSAGE_BYTES]; // of LISTEN, as logged, until it is
    bool has_lived; // an epoch was begun by this process: the next one follows a gap
    bool is_shut;   // by ourselves: no gap
    struct agreement agreement;
    bool queue_is_full; // PostgreSQL takes no notification
    char own_channel[FEED_CHANNEL_BYTES];
    struct heartbeat heartbeat;
    unsigned heartbeats; // sent; some ask for the table's shape
    bool knows_shape;    // an earlier heartbeat has brought it
    bool is_unannounced; // triggers of ours are gone or off
    struct table_shape shape;
    // The triggers are not mended again before, where the table is still as it was then:
    int64_t mend_boot_us;
    char mend_digest[TABLE_SHAPE_BYTES];
    int64_t proven_boot_us; // the last heartbeat that came back was sent then, or LISTEN was
    int64_t ticked_boot_us;
    struct event *tick_timer;
    struct event *proof_timer; // the feed is lost where it fires
    struct event *full_timer;
    struct event *deadline_timer;
    // Requests for sync, linked by sibling:
    struct request *asked;         // wait for the next heartbeat to be sent
    struct request *sent;          // wait for the one that is out
    int64_t next_deadline_boot_us; // none of theirs is earlier
};

// What the writer is told of the feed.
struct feed_message *feed_message_create(enum feed_event event);
// What keeps the feed from being live; NULL: nothing does.
void feed_set_error(struct feed *feed, const char *sqlstate, const char *words);
// Nothing that any connection says is to be trusted before a new beginning: the feed is lost, and
// the handshake begins anew.
void feed_give_up(struct feed *feed, const char *reason);
// The feed is lost, but its connection still listens: a heartbeat that comes back is a beginning.
void feed_mute(struct feed *feed, const char *reason);
