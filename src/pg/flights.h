// Which keys are being asked of PostgreSQL, and who waits for each: one question for a key however
// many ask, and rule 4 of docs/architecture.md ("Rules of coherence"):
//
//             join               take                  land
//   waiter --------> QUEUED ------------> SENT ---------------------> answer all, cache it
//                      ^                   | mark
//                      |     put back      v         land
//                      +---------------- MARKED --------------------> answer all, do not cache it
//
// A flight that was sent may read a state of the row that is no longer the latest by the time its
// answer comes. Whatever says so (a notification, a flush of ours, TRUNCATE) marks it: it answers
// the waiters it has, takes no new ones and must not be cached. Who asks for the key from then on
// gets a new flight. A queued flight needs no mark: its query will see what the mark was about.
//
// A fresh waiter wants a query that is sent after it has come, so it never joins a flight that was
// sent; it marks it instead, so that of two answers on two connections the later question wins.
// Thus each key has at most one flight that is not marked.
//
// Pure: no I/O, no clock; one thread at a time.
#pragma once

#include "base/check.h"
#include "base/slice.h"

// Giving up for want of memory is base/memory.h's policy.
#define uthash_fatal(text) CHECK_VALUES(false, "%s", text)
#include <uthash.h>

struct flight;

// One question for one key, inside an object of the caller's.
struct flight_waiter {
    struct flight_waiter *prev;
    struct flight_waiter *next;
    struct flight *flight; // NULL: waits for nothing
};

struct flight {
    UT_hash_handle hh; // in `open`, while it is not marked
    struct flight *prev;
    struct flight *next; // in the queue
    bool is_sent;
    bool is_marked;
    bool is_alone;                 // to be sent in a query of its own
    unsigned attempts;             // times it was sent
    struct flight_waiter *waiters; // utlist; may be empty once they have left
    struct slice key;
    uint8_t key_bytes[];
};

struct flights {
    struct flight *open;  // uthash: not marked, queued or sent
    struct flight *queue; // utlist
    size_t queued_count;
    size_t sent_count; // marked ones included
};

// Starts from all zeroes. Frees the flights that are queued; none may be sent or have waiters.
void flights_deinit(struct flights *flights);

// Makes `waiter` wait for the key; copies the key.
void flights_join(struct flights *flights, struct slice key, bool fresh,
                  struct flight_waiter *waiter);
// It waits no longer; nothing where it does not.
void flights_leave(struct flight_waiter *waiter);

// Takes at most `count_max` flights off the queue, as sent, into `batch`; one that is to be alone
// comes alone. Flights that nobody waits for any more are freed instead. 0 where the queue is
// empty. Every flight taken is either landed or put back.
size_t flights_take(struct flights *flights, size_t count_max, struct flight **batch);

// Rule 4. A key without a flight is fine.
void flights_mark(struct flights *flights, struct slice key);
void flights_mark_all(struct flights *flights);

// The flight's answer has come. The caller answers its waiters (taking each off with
// flight_next_waiter), caches it unless it is marked, and frees it with flight_free.
void flights_land(struct flights *flights, struct flight *flight);
// A waiter of a landed flight, taken off; NULL where there is none left.
struct flight_waiter *flight_next_waiter(struct flight *flight);
void flight_free(struct flight *flight);

// The flight got no answer and is to be sent again, before all that are queued. Where the key has
// another flight meanwhile, its waiters go over to that one and it is freed.
void flights_put_back(struct flights *flights, struct flight *flight, bool alone);
