// The flusher's own state, shared by the files that make up the flusher (flusher.c, flush_*.c) and
// by nobody else. The pg worker's thread.
//
// Two members matter. `phase`: what the one batch is doing; a step is taken from FLUSHER_IDLE only,
// but for a batch that is sent early, while the one before it is FLUSHER_SETTLING. And `sent_seq`:
// entries up to there may be in PostgreSQL although we have no answer, so a waiting caller can no
// longer be told that nothing was done; it falls back to applied_seq when a refusal or a claim says
// so.
#pragma once

#include "pg/agreement.h"
#include "pg/batch_unit.h"
#include "pg/conn.h"
#include "pg/flush_pace.h"
#include "pg/flusher.h"
#include "pg/node_row.h"
#include "pg/parking.h"
#include "pg/reapplied.h"
#include "pg/retry.h"
#include "pg/waiters.h"
#include "pg/worker.h"
#include "json/json.h"

enum phase {
    FLUSHER_IDLE,
    FLUSHER_CLAIMING, // the node's row is being read
    FLUSHER_SENT,     // a batch is in PostgreSQL's hands
    FLUSHER_PARKING,  // what the keys of a refused entry hold is being asked
    FLUSHER_SETTLING, // a batch is committed, FLUSHED is with the writer
};

// The batch after the one that is out, made while PostgreSQL and the writer are busy with that one,
// so that they need not wait for it. Nothing has been sent of it: it is forgotten wherever what it
// was made of may have changed.
struct batch_ahead {
    bool is_made; // the rest holds
    struct batch batch;
    struct batch_unit unit;
    uint64_t from_seq;
    int64_t oldest_us;  // when its first entry was accepted
    int64_t expires_us; // when the first of its sets does; INT64_MAX: none does
};

// A batch from its sending on.
struct sent_batch {
    struct batch batch;
    struct batch_unit unit;
    size_t answered_count; // queries of the unit that were not refused
    uint64_t epoch;        // of its sending
    bool feed_was_live;
    bool met_triggers;
};

// The batch after the one that is FLUSHER_SETTLING, where it is with PostgreSQL already. What has
// become of it is looked at once FLUSHED is back.
struct early_batch {
    bool is_out; // the rest holds
    struct sent_batch sent;
    bool is_answered; // and this is the answer; never UNIT_LOST, which forgets it
    enum unit_outcome outcome;
    struct failure failure;
};

struct flusher {
    struct worker *worker;
    struct conn *conn;
    enum phase phase;
    struct agreement agreement;
    bool is_claimed; // in this life of the connection
    bool is_stopped; // an operator's error
    bool is_held_up; // a batch is to be tried again: a lock is waited for, the outbox is not read,
                     // ...
    uint64_t sent_seq;
    uint64_t empty_seq; // the outbox holds nothing after applied_seq up to here
    struct reapplied reapplied;
    size_t retires_out; // with the writer
    struct waiters waiters;
    uint64_t wanted_seq; // a read waits until the writes up to here are applied
    struct flush_pace pace;
    struct failure last_failure; // of the connection
    bool has_connected;
    bool is_connected;      // in this life of the connection
    struct sent_batch sent; // until FLUSHED is back
    struct early_batch early;
    struct batch_ahead ahead;
    // Of FLUSHER_PARKING:
    struct parking parking;
    struct failure refusal;
    // Looking for a poisoned entry: one is among the next `hunted` entries. 0: not looking.
    size_t hunted;
    // Timers:
    struct event *linger_timer;
    struct event *retry_timer;
    struct event *deadline_timer;
    bool has_lingered;
    struct retry retry;
    int64_t retry_boot_us; // when retry_timer fires
    // Once the names are known:
    struct batch_sql sql;
    struct buffer claim_sql;
    struct buffer free_sql;
    struct node_row row;
    bool has_sql;
};

// All writes up to here are in PostgreSQL, or there are none of that number.
uint64_t flusher_done_seq(const struct flusher *flusher);
uint64_t flusher_journaled_seq(const struct flusher *flusher);
struct json_limits flusher_json_limits(const struct flusher *flusher);

// is_claimed or is_stopped has changed: what the status says of flushing follows.
void flusher_set_flushable(struct flusher *flusher);

// Whether the flush need not give way to the clients now; looks again a moment later where it has
// to.
bool flusher_may_go_on(struct flusher *flusher);

// No step is taken before the pause is over; each is longer than the last until something works.
void flusher_pause_before_retry(struct flusher *flusher);
// Makes a pause that is on shorter.
void flusher_pause_at_most(struct flusher *flusher, int64_t delay_us);
