// Which requests of one connection may run now (SPEC section 1, promise 1): a request waits for the
// earlier undecided ones on the same key whenever one of both reads and the other writes. Writes
// among themselves keep their order through the writer's mailbox, so they wait only for an earlier
// write on the key that was not sent there yet. A scan waits for all earlier writes.
//
// One thread's. Knows no sockets and no requests: an entry stands for one.
#pragma once

#include <sys/queue.h>

#include "base/request.h"

enum order_class {
    ORDER_FREE,        // waits for nobody
    ORDER_READ,        // of its keys
    ORDER_WRITE,       // of its keys
    ORDER_AFTER_WRITES // waits for every earlier write
};

enum order_class order_class_of(const struct call *call);

struct order_entry;

// Where an entry stands on one stripe (order.c).
struct order_place {
    struct order_place *next; // in the stripe's queue
    struct order_entry *entry;
    uint16_t stripe;
    bool unsent; // holds the stripe while its entry waits elsewhere
};

// One undecided request; embedded in the owner's object, which frees its memory.
struct order_entry {
    enum order_class class;
    uint64_t ticket;     // counts up in order of arrival
    uint32_t blocked;    // what it still waits for; 0: it runs
    size_t places_count; // one a stripe
    struct order_place *places;
    struct order_place only_place; // of an entry of one key
    TAILQ_ENTRY(order_entry) in_writes;
    TAILQ_ENTRY(order_entry) in_queue; // of those that wait for writes, or that may run now
};

TAILQ_HEAD(order_queue, order_entry);

struct order_stripe;
struct order_line;

struct order {
    struct order_stripe *stripes; // NULL until the first entry
    struct order_line *lines;     // of who waits at a stripe; NULL until the first one does
    uint64_t tickets;
    size_t entries_count;
    struct order_queue writes; // all undecided ones, oldest first
    struct order_queue after_writes;
    struct order_queue unblocked; // may run, but have not yet let through those behind them
    struct order_queue ready;
};

void order_init(struct order *order);
// Forgets the entries; their owners free them.
void order_deinit(struct order *order);

// Whether a call that came now would have to wait.
bool order_must_wait(const struct order *order, const struct call *call);

// The entry takes its place behind all before it. True: it may run now. False: it comes out of
// order_next_ready when it may.
bool order_enter(struct order *order, struct order_entry *entry, const struct call *call);

// A running entry is decided; its places are freed.
void order_leave(struct order *order, struct order_entry *entry);

// The next entry that had to wait and may run now, in order of arrival on each key; NULL where
// there is none.
struct order_entry *order_next_ready(struct order *order);

// Frees what the entry holds of its own; for entries that are never to leave.
void order_entry_deinit(struct order_entry *entry);
