// The requests that wait for the flush: writes whose answer comes from PostgreSQL, by the seq of
// their entry, and calls of flush, by the seq they wait for; and the moment when the first of them
// runs out of patience. The pg worker's thread; no I/O.
#pragma once

#include "base/request.h"

struct waiter;

struct waiters {
    struct waiter *by_seq; // uthash: writes
    struct waiter *flushes;
    size_t count;
    int64_t next_deadline_boot_us; // no deadline is earlier; INT64_MAX: nobody waits
};

void waiters_init(struct waiters *waiters);
// Nobody waits any more.
void waiters_deinit(struct waiters *waiters);

// A write (request->seq is set), or a flush (its method; after_seq is set). It is the waiters'
// until it is taken.
void waiters_add(struct waiters *waiters, struct request *request);

// The writes that wait for `seq`, linked by sibling (a repeated opts.id makes several); NULL where
// there are none. They are the caller's.
struct request *waiters_take(struct waiters *waiters, uint64_t seq);
bool waiters_has(const struct waiters *waiters, uint64_t seq);

// Takes the flushes that wait for nothing beyond `applied_seq`.
struct request *waiters_take_flushes(struct waiters *waiters, uint64_t applied_seq);

// Takes the requests whose deadline has passed, and sets next_deadline_boot_us.
struct request *waiters_take_expired(struct waiters *waiters, int64_t now_boot_us);

// Takes all.
struct request *waiters_take_all(struct waiters *waiters);

// Whether somebody waits for something beyond `applied_seq`: no reason to linger.
bool waiters_want_beyond(const struct waiters *waiters, uint64_t applied_seq);
