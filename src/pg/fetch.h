// One SELECT for the keys of a batch of flights: sends it, reads the rows, lands the flights and
// says what may be cached. Part of the fetcher; the pg worker's thread.
#pragma once

#include "pg/flights.h"
#include "pg/prepared.h"
#include "pg/worker.h"

struct fetch_desk {
    struct worker *worker;
    struct flights *flights;
    // Made by fetch_prepare:
    struct buffer sql;     // of many keys
    struct buffer key_sql; // of one key, which is kept at the server under `key_name`
    char key_name[PREPARED_NAME_BYTES];
    bool keeps_statements; // until a server did not know its own: a pooler is in between
    void *context;
    // A waiter of a flight that has landed has its answer.
    void (*on_answer)(void *context, struct flight_waiter *waiter, const struct answer *answer);
    // The connection is idle, or lost.
    void (*on_done)(void *context);
    uint64_t fills_count;                     // messages with fills so far
    char last_refusal[FAILURE_MESSAGE_BYTES]; // logged already
};

// Makes the SQL for worker->table.
void fetch_prepare(struct fetch_desk *desk);
void fetch_desk_deinit(struct fetch_desk *desk);

// Takes queued flights and sends their SELECT on the idle `conn`. False where none is queued. Each
// flight is landed or put back by the time of on_done; the desk outlives it.
bool fetch_send(struct fetch_desk *desk, struct conn *conn);
