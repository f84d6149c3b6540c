// Keys are hashed onto a fixed number of stripes, and each stripe has a line:
//
//      held by  R R R     in line  W W . R . W
//
// Entries of one class hold a stripe together; the first of the other class, and all behind it,
// wait until the stripe is free. So nothing starves, and two keys on one stripe cost a delay, never
// a wrong order. Every wait is for an older ticket, so there is no deadlock.
//
// An entry of several keys may hold one stripe and still wait at another. A write that does so has
// not been sent to the writer, so no later write may hold the stripe beside it: `unsent` counts it.

#include "server/order.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

enum { STRIPES = 512, ENTRIES_MAX = (1 << 14) - 1 };

// Four bytes, so that those of many connections stay in the processor's cache.
struct order_stripe {
    uint16_t holders;
    uint16_t unsent : 14;
    uint16_t waited_for : 1; // its line is not empty
    uint16_t by_writes : 1;  // who holds it writes
};

// Those who wait at a stripe, first to last.
struct order_line {
    struct order_place *first;
    struct order_place *last;
};

enum order_class order_class_of(const struct call *call)
{
    switch (call->method) {
    case METHOD_GET:
    case METHOD_MGET:
    case METHOD_TTL:
    case METHOD_HISTORY:
        return ORDER_READ;
    case METHOD_SET:
    case METHOD_MSET:
    case METHOD_DELETE:
    case METHOD_INCR:
    case METHOD_MERGE:
    case METHOD_TOUCH:
    case METHOD_INVALIDATE:
    case METHOD_RETRY_DEAD_LETTER:
    case METHOD_DISCARD_DEAD_LETTER:
        return ORDER_WRITE;
    case METHOD_SCAN:
    case METHOD_ALL:
    case METHOD_FLUSH:
    case METHOD_DEAD_LETTERS:
    case METHOD_BACKUP:
    case METHOD_RESTORE:
        return ORDER_AFTER_WRITES;
    default:
        return ORDER_FREE;
    }
}

void order_init(struct order *order)
{
    *order = (struct order){0};
    TAILQ_INIT(&order->writes);
    TAILQ_INIT(&order->after_writes);
    TAILQ_INIT(&order->unblocked);
    TAILQ_INIT(&order->ready);
}

void order_deinit(struct order *order)
{
    free(order->stripes);
    free(order->lines);
    order_init(order);
}

// Eight bytes at a time, multiplied by the golden ratio; a collision only delays.
static uint16_t stripe_of(struct slice key)
{
    static const uint64_t GOLDEN = 0x9e3779b97f4a7c15u;
    uint64_t hash = key.len;
    uint64_t word;
    for (; key.len >= sizeof word; key = slice_of(key.at + sizeof word, key.len - sizeof word)) {
        memcpy(&word, key.at, sizeof word);
        hash = (hash ^ word) * GOLDEN;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, key.at, key.len);
    hash = (hash ^ word) * GOLDEN;
    return (uint16_t)(hash >> 32) % STRIPES;
}

static bool can_hold(const struct order_stripe *stripe, enum order_class class)
{
    return stripe->holders == 0 || (stripe->by_writes == (class == ORDER_WRITE) &&
                                    (class == ORDER_READ || stripe->unsent == 0));
}

bool order_must_wait(const struct order *order, const struct call *call)
{
    enum order_class class = order_class_of(call);
    if (order->entries_count == 0 || class == ORDER_FREE) {
        return false;
    }
    if (class == ORDER_AFTER_WRITES) {
        return !TAILQ_EMPTY(&order->writes);
    }
    for (size_t i = 0; i < call->pairs_count; i++) {
        const struct order_stripe *stripe = &order->stripes[stripe_of(call->pairs[i].key)];
        if (stripe->waited_for || !can_hold(stripe, class)) {
            return true;
        }
    }
    return false;
}

static void hold(struct order_stripe *stripe, enum order_class class)
{
    stripe->by_writes = class == ORDER_WRITE;
    stripe->holders++;
}

static void wait_at(struct order *order, struct order_place *place)
{
    if (order->lines == NULL) {
        order->lines = memory_zeroed(STRIPES, sizeof *order->lines);
    }
    struct order_line *line = &order->lines[place->stripe];
    if (line->first == NULL) {
        line->first = place;
    } else {
        line->last->next = place;
    }
    line->last = place;
    order->stripes[place->stripe].waited_for = true;
    place->entry->blocked++;
}

static void mark_unsent(struct order_stripe *stripe, struct order_place *place)
{
    place->unsent = true;
    stripe->unsent++;
}

static void clear_unsent(struct order *order, struct order_entry *entry)
{
    for (size_t i = 0; i < entry->places_count; i++) {
        if (entry->places[i].unsent) {
            entry->places[i].unsent = false;
            order->stripes[entry->places[i].stripe].unsent--;
        }
    }
}

// A place on each stripe that one of the keys falls on, once: an entry must not wait for itself.
static void take_places(struct order_entry *entry, const struct call *call)
{
    if (call->pairs_count == 1) {
        entry->only_place =
            (struct order_place){.entry = entry, .stripe = stripe_of(call->pairs[0].key)};
        entry->places = &entry->only_place;
        entry->places_count = 1;
        return;
    }
    uint64_t seen[STRIPES / 64] = {0};
    size_t places_max = call->pairs_count < STRIPES ? call->pairs_count : STRIPES;
    entry->places = memory_zeroed(places_max, sizeof *entry->places);
    for (size_t i = 0; i < call->pairs_count; i++) {
        uint16_t stripe = stripe_of(call->pairs[i].key);
        uint64_t bit = 1ull << stripe % 64;
        if ((seen[stripe / 64] & bit) == 0) {
            seen[stripe / 64] |= bit;
            entry->places[entry->places_count++] =
                (struct order_place){.entry = entry, .stripe = stripe};
        }
    }
}

static void enter_stripes(struct order *order, struct order_entry *entry)
{
    for (size_t i = 0; i < entry->places_count; i++) {
        struct order_place *place = &entry->places[i];
        struct order_stripe *stripe = &order->stripes[place->stripe];
        if (!stripe->waited_for && can_hold(stripe, entry->class)) {
            hold(stripe, entry->class);
            mark_unsent(stripe, place);
        } else {
            wait_at(order, place);
        }
    }
    if (entry->blocked == 0) {
        clear_unsent(order, entry);
    }
}

bool order_enter(struct order *order, struct order_entry *entry, const struct call *call)
{
    if (order->stripes == NULL) {
        order->stripes = memory_zeroed(STRIPES, sizeof *order->stripes);
    }
    CHECK(order->entries_count < ENTRIES_MAX);
    *entry = (struct order_entry){.class = order_class_of(call), .ticket = order->tickets++};
    order->entries_count++;
    if (entry->class == ORDER_READ || entry->class == ORDER_WRITE) {
        take_places(entry, call);
        enter_stripes(order, entry);
    }
    if (entry->class == ORDER_WRITE) {
        TAILQ_INSERT_TAIL(&order->writes, entry, in_writes);
    }
    if (entry->class == ORDER_AFTER_WRITES && !TAILQ_EMPTY(&order->writes)) {
        TAILQ_INSERT_TAIL(&order->after_writes, entry, in_queue);
        entry->blocked++;
    }
    return entry->blocked == 0;
}

// Gives a stripe to those who can hold it now, from the front of its line.
static void admit(struct order *order, uint16_t number)
{
    struct order_stripe *stripe = &order->stripes[number];
    if (!stripe->waited_for) {
        return;
    }
    struct order_line *line = &order->lines[number];
    struct order_place *place = line->first;
    while (place != NULL && can_hold(stripe, place->entry->class)) {
        line->first = place->next;
        place->next = NULL;
        hold(stripe, place->entry->class);
        if (--place->entry->blocked == 0) {
            TAILQ_INSERT_TAIL(&order->unblocked, place->entry, in_queue);
        }
        // Even where it may run now: settle lets those behind it through, after it.
        mark_unsent(stripe, place);
        place = line->first;
    }
    stripe->waited_for = place != NULL;
}

// Moves the unblocked to the ready, and lets through whoever waited for just that. A loop over a
// queue, since one may let the next through.
static void settle(struct order *order)
{
    struct order_entry *entry;
    while ((entry = TAILQ_FIRST(&order->unblocked)) != NULL) {
        TAILQ_REMOVE(&order->unblocked, entry, in_queue);
        TAILQ_INSERT_TAIL(&order->ready, entry, in_queue);
        clear_unsent(order, entry);
        for (size_t i = 0; i < entry->places_count; i++) {
            admit(order, entry->places[i].stripe);
        }
    }
}

static void leave_writes(struct order *order, struct order_entry *entry)
{
    TAILQ_REMOVE(&order->writes, entry, in_writes);
    const struct order_entry *oldest = TAILQ_FIRST(&order->writes);
    struct order_entry *waiting;
    while ((waiting = TAILQ_FIRST(&order->after_writes)) != NULL &&
           (oldest == NULL || waiting->ticket < oldest->ticket)) {
        TAILQ_REMOVE(&order->after_writes, waiting, in_queue);
        waiting->blocked--;
        TAILQ_INSERT_TAIL(&order->unblocked, waiting, in_queue);
    }
}

void order_leave(struct order *order, struct order_entry *entry)
{
    CHECK_VALUES(entry->blocked == 0, "%u", entry->blocked);
    CHECK(order->entries_count > 0);
    order->entries_count--;
    for (size_t i = 0; i < entry->places_count; i++) {
        struct order_stripe *stripe = &order->stripes[entry->places[i].stripe];
        CHECK(stripe->holders > 0 && stripe->by_writes == (entry->class == ORDER_WRITE));
        stripe->holders--;
        admit(order, entry->places[i].stripe);
    }
    if (entry->class == ORDER_WRITE) {
        leave_writes(order, entry);
    }
    settle(order);
    order_entry_deinit(entry);
}

struct order_entry *order_next_ready(struct order *order)
{
    struct order_entry *entry = TAILQ_FIRST(&order->ready);
    if (entry != NULL) {
        TAILQ_REMOVE(&order->ready, entry, in_queue);
    }
    return entry;
}

void order_entry_deinit(struct order_entry *entry)
{
    if (entry->places != &entry->only_place) {
        free(entry->places);
    }
    entry->places = NULL;
    entry->places_count = 0;
}
