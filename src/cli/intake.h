// The writing half of an import: pairs are collected, sent to the node in one batch, and each is
// followed to its end: written, skipped, or refused for good. What the node cannot take now
// (OVERLOADED, PostgreSQL away, the daemon gone) is sent again until patience ends, so a full
// outbox slows an import down and nothing more. A batch never holds a key twice and the next one is
// not sent before it, so of a key that stands twice the later pair wins, whatever had to be
// repeated. One thread.
#pragma once

#include <pgnear.h>

#include "base/arena.h"
#include "cli/pairs.h"
#include "cli/patience.h"

// FAIL: a key that exists with the same value is no conflict, since it may be this import's own,
// written before its answer was lost or before it was killed.
enum conflict_policy { CONFLICT_REPLACE, CONFLICT_SKIP, CONFLICT_FAIL };

enum { INTAKE_PAIRS_MAX = 1000, INTAKE_BYTES_MAX = 4 * 1024 * 1024 };

struct intake_pair; // private

struct intake {
    // Of the caller:
    pgnear *node; // owned by the caller, NULL: nothing is written, all is well (--dry-run)
    enum conflict_policy policy;
    pgnear_ack ack;
    // Called for each pair that is refused. False ends the delivery.
    bool (*on_refused)(void *context, uint64_t line, const char *why);
    void *context;
    // Own:
    struct patience patience;
    pgnear_batch *batch;
    struct arena bytes; // of the pairs
    struct intake_pair *pairs;
    struct intake_pair *by_key; // uthash
    size_t count;
    int64_t imported;
    int64_t skipped;
    uint64_t conflict_line; // CONFLICT_FAIL: where one was met
    pgnear_error error;     // why intake_deliver gave up
};

enum intake_result {
    INTAKE_OK,
    INTAKE_CONFLICT, // CONFLICT_FAIL, and a key exists: conflict_line
    INTAKE_REFUSED,  // on_refused said so
    INTAKE_GONE,     // patience has ended: error
};

void intake_init(struct intake *intake, pgnear *node, int64_t patience_ms);
void intake_deinit(struct intake *intake);

// Whether the pair can be added before the next intake_deliver.
bool intake_has_room(const struct intake *intake, const struct pairs_pair *pair);

// Adds a copy of the pair. `ttl_ms` 0: it does not expire.
void intake_add(struct intake *intake, const struct pairs_pair *pair, int64_t ttl_ms);

// Writes what was added and empties the intake. Where the result is not INTAKE_OK, some of it may
// not be written.
enum intake_result intake_deliver(struct intake *intake);
