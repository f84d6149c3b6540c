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
// Who joins says since when a flight may have been sent for its answer to be new enough: a fresh
// waiter wants a query that is sent after it has come. Where a flight was sent before that, it
// marks it instead, so that of two answers on two connections the later question wins. Thus each
// key has at most one flight that is not marked.
//
// A landed flight whose answer is on its way into the cache is kept until the cache has it, and
// answers who comes in between: they have missed the SELECT and do not see the cache's record yet.
// What would have marked it while it was sent makes it be forgotten.
//
// Pure: no I/O, no clock; one thread at a time.
#pragma once

#include "base/buffer.h"
#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"

struct flight;

// What became of one key.
struct answer {
    struct failure failure; // .error == ERROR_NONE: the rest holds; .message has no prefix
    bool is_present;        // a row, expired or not
    struct slice value;     // canonical msgpack; lives during the call
    int64_t version;
    int64_t expires_at_us;
};

// One question for one key, inside an object of the caller's.
struct flight_waiter {
    struct flight_waiter *prev;
    struct flight_waiter *next;
    struct flight *flight; // NULL: waits for nothing
};

struct flight {
    UT_hash_handle hh; // in `open`, while it is not marked
    struct flight *prev;
    struct flight *next; // in the queue, or among the kept
    struct kept *kept;   // its answer, where it has landed and is kept
    bool is_sent;
    bool is_marked;
    bool is_alone;                 // to be sent in a query of its own
    unsigned attempts;             // times it was sent
    int64_t sent_boot_us;          // the last of them
    struct flight_waiter *waiters; // utlist; may be empty once they have left
    struct slice key;
    uint8_t key_bytes[];
};

struct flights {
    struct flight *open;  // uthash: not marked, queued or sent
    struct flight *queue; // utlist
    struct flight *kept;  // utlist, by fill
    size_t queued_count;
    size_t sent_count; // marked ones included
};

// Starts from all zeroes. Frees the flights that are queued; none may be sent or have waiters.
void flights_deinit(struct flights *flights);

// Makes `waiter` wait for the key, in no flight that was sent before `since_boot_us` (INT64_MAX: in
// none that was sent); copies the key. Where the key's answer is kept, flights_kept of the waiter
// has it at once.
void flights_join(struct flights *flights, struct slice key, int64_t since_boot_us,
                  struct flight_waiter *waiter);
// Whether it would wait for a question that was asked already, or is to be.
bool flights_has(const struct flights *flights, struct slice key, int64_t since_boot_us);
// It waits no longer; nothing where it does not.
void flights_leave(struct flight_waiter *waiter);

// Takes at most `count_max` flights off the queue, as sent now, into `batch`; one that is to be
// alone comes alone. Flights that nobody waits for any more are freed instead. 0 where the queue is
// empty. Every flight taken is either landed or put back.
size_t flights_take(struct flights *flights, size_t count_max, int64_t now_boot_us,
                    struct flight **batch);

// Rule 4. A key without a flight is fine.
void flights_mark(struct flights *flights, struct slice key);
void flights_mark_all(struct flights *flights);

// The flight's answer has come. The caller answers its waiters (taking each off with
// flight_next_waiter), caches it unless it is marked, and frees it with flight_free.
void flights_land(struct flights *flights, struct flight *flight);
// A waiter of a landed flight, taken off; NULL where there is none left.
struct flight_waiter *flight_next_waiter(struct flight *flight);
void flight_free(struct flight *flight);

// Instead of flight_free, for a landed flight that is not marked and has no waiters: keeps a copy
// of the answer until flights_release of `fill`, which counts up.
void flights_keep(struct flights *flights, struct flight *flight, const struct answer *answer,
                  uint64_t fill);
// The answer of the flight that it waits for, where that is kept, else NULL; valid until the flight
// is released or forgotten.
const struct answer *flights_kept(const struct flight_waiter *waiter);
// Forgets all kept for fills up to this one.
void flights_release(struct flights *flights, uint64_t fill);

// The flight got no answer and is to be sent again, before all that are queued. Where the key has
// another flight meanwhile, its waiters go over to that one and it is freed.
void flights_put_back(struct flights *flights, struct flight *flight, bool alone);
