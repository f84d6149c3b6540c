// The rules of coherence as pure functions: what is held of a key, and what happened to it, give
// what is to be held. No I/O, no clock, no threads: the writer runs them, and so can a simulation.
// How far a reader may trust what is held is in cachefile/trust.h.
//
// The numbers in the comments are those of docs/architecture.md, "Rules of coherence".
#pragma once

#include "cachefile/record.h"

enum verdict {
    VERDICT_KEEP,  // what is held stays as it is
    VERDICT_STORE, // `record` of the decision replaces what is held
    VERDICT_DROP,  // nothing is held any more
};

struct decision {
    enum verdict verdict;
    struct record record; // STORE; slices are the event's or those of what was held
};

// The feed as the writer sees it when it handles an event.
struct feed_state {
    uint64_t epoch;
    bool live; // a FEED_STARTED or FEED_REPLACED came, and no FEED_LOST since
};

// `held` is NULL in all of these where nothing is held.

// This node's write, journaled as `seq`, whose outcome does not depend on PostgreSQL.
struct local_write {
    uint64_t seq;
    bool absent; // a delete
    int64_t expires_at_us;
    struct slice value;
};
struct decision coherence_write(const struct record *held, const struct local_write *write);

// An answer of PostgreSQL to a query that was sent in `epoch` while the feed was live (7).
struct fetched {
    uint64_t epoch;
    bool present;
    int64_t version;
    int64_t expires_at_us;
    struct slice value;
};
// `negative`: absences may be held. What is held and clean is replaced whatever its version is: the
// fetcher's fills and the flush results come in the order of what they saw (pg/flights.h, 4, 5),
// and a lower version may well be the newer one (1).
struct decision coherence_fill(const struct record *held, const struct fetched *fetched,
                               struct feed_state feed, bool negative);

// A notification that the key now has `version`, made by another (2, 3).
struct decision coherence_foreign_notify(const struct record *held, int64_t version);
// The same, made by this node's own flush (2). The flush result settles a pending record; a clean
// one may be older, held while a write was under way whose result PostgreSQL decides. `deletes`:
// the change was a delete, whose version says nothing.
struct decision coherence_own_notify(const struct record *held, int64_t version, bool deletes);

// What a committed batch made of one key.
struct flush_result {
    uint64_t seq; // of the last write to the key in the batch
    bool drop;
    bool present;
    bool has_value;
    int64_t version;
    int64_t expires_at_us;
    struct slice value;
    uint64_t epoch;     // at the sending of the batch
    bool feed_was_live; // at the sending of the batch
};
// `untainted_result`: no foreign notify of the key came since the write that asked PostgreSQL for
// its result was journaled; true only where such a write is known to be under way (3).
struct decision coherence_flushed(const struct record *held, const struct flush_result *result,
                                  struct feed_state feed, bool untainted_result, bool negative);

// The write `seq` to the key will never be in PostgreSQL.
struct decision coherence_retired(const struct record *held, uint64_t seq);

// What is laid over the cache again has a later write to the key, `seq`, whose result PostgreSQL
// decided: it may have been acknowledged, so no pending write before it is believed either. Reads
// wait until both are applied.
struct decision coherence_overtaken(const struct record *held, uint64_t seq);

// The sweep of `epoch` found another version than the one held (9).
struct decision coherence_sweep_drop(const struct record *held, uint64_t epoch);

// TRUNCATE, or another server (8, 10); for one key, a change that an audit found.
struct decision coherence_drop_all(const struct record *held);

// A client's invalidate.
struct decision coherence_invalidate(const struct record *held);

// At start: `unapplied` says whether the outbox holds an entry that PostgreSQL may not have with
// the record's pending_seq.
struct decision coherence_recover(const struct record *held, bool unapplied);
