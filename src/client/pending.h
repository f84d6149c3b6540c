// The requests of a connection without waiting that are not answered yet: by msgid, in the order of
// sending, and on which keys. One thread, the loop's; the memory of all zeroes is valid, and
// nothing is pending.
#pragma once

#include <pgnear/async.h>

#include "base/hash.h"
#include "client/order.h"
#include "client/seen.h"

struct pending {
    uint32_t msgid; // the key of the table
    enum request_kind kind;
    uint64_t hash; // of its key, but for REQUEST_OTHER
    bool writes;
    bool is_noted;         // a get whose answer is held against later ones
    struct seen_told told; // of a write with a key: what the handle was told of it before
    uint64_t out_end;      // of its frame, counted from the connection's first byte
    int64_t deadline_us;
    pgnear_async_callback *callback; // NULL: nobody wants the answer
    void *context;
    UT_hash_handle hh; // in the order of sending
};

struct pending_requests {
    struct pending *first; // uthash
    struct order order;
};

// Takes over a request, which is copied; its msgid is of no other here.
void pending_add(struct pending_requests *requests, const struct pending *request);

// Takes one out, for the caller to free().
void pending_take(struct pending_requests *requests, struct pending *request);

size_t pending_count(const struct pending_requests *requests);

// NULL where none has that msgid.
struct pending *pending_find(const struct pending_requests *requests, uint32_t msgid);

// The oldest one whose deadline has passed at `now_us`; NULL where there is none, with the next
// deadline in `next_us` (INT64_MAX where nothing is pending). By CLOCK_BOOTTIME.
struct pending *pending_late(const struct pending_requests *requests, int64_t now_us,
                             int64_t *next_us);
