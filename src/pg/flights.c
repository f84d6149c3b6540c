// The table of flights. The pg worker's thread runs it, on behalf of the fetcher; a simulation may
// as well. It owns the flights, never the waiters.
//
// Invariants: a flight is in the queue iff it is neither sent nor kept; it is in `open` iff it is
// not marked; only sent flights are marked; one that is kept is not sent any more.
#include "pg/flights.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

#include <utlist.h>

struct kept {
    struct answer answer;
    struct buffer value; // what the answer points to
    uint64_t fill;
};

static struct flight *find_open(const struct flights *flights, struct slice key)
{
    struct flight *flight;
    HASH_FIND(hh, flights->open, key.at, key.len, flight);
    return flight;
}

static void open_flight(struct flights *flights, struct flight *flight)
{
    HASH_ADD_KEYPTR(hh, flights->open, flight->key.at, flight->key.len, flight);
}

static void enqueue(struct flights *flights, struct flight *flight, bool first)
{
    if (first) {
        DL_PREPEND(flights->queue, flight);
    } else {
        DL_APPEND(flights->queue, flight);
    }
    flights->queued_count++;
}

static void dequeue(struct flights *flights, struct flight *flight)
{
    CHECK(flights->queued_count > 0);
    DL_DELETE(flights->queue, flight);
    flights->queued_count--;
}

static struct flight *start_flight(struct flights *flights, struct slice key)
{
    struct flight *flight = memory_zeroed(1, sizeof *flight + key.len);
    memcpy(flight->key_bytes, key.at, key.len);
    flight->key = slice_of(flight->key_bytes, key.len);
    open_flight(flights, flight);
    enqueue(flights, flight, false);
    return flight;
}

static void mark(struct flights *flights, struct flight *flight)
{
    CHECK(flight->is_sent && !flight->is_marked);
    HASH_DELETE(hh, flights->open, flight);
    flight->is_marked = true;
}

static void forget_kept(struct flights *flights, struct flight *flight)
{
    CHECK(flight->kept != NULL && flight->waiters == NULL);
    DL_DELETE(flights->kept, flight);
    HASH_DELETE(hh, flights->open, flight);
    flight_free(flight);
}

// What it has asked, or was answered, is not to be believed any more.
static void spoil(struct flights *flights, struct flight *flight)
{
    if (flight->is_sent) {
        mark(flights, flight);
    } else if (flight->kept != NULL) {
        forget_kept(flights, flight);
    }
}

static void attach(struct flight *flight, struct flight_waiter *waiter)
{
    waiter->flight = flight;
    DL_APPEND(flight->waiters, waiter);
}

void flights_deinit(struct flights *flights)
{
    CHECK_VALUES(flights->sent_count == 0, "%zu sent", flights->sent_count);
    struct flight *flight, *following;
    DL_FOREACH_SAFE(flights->queue, flight, following)
    {
        CHECK(flight->waiters == NULL);
        dequeue(flights, flight);
        HASH_DELETE(hh, flights->open, flight);
        flight_free(flight);
    }
    flights_release(flights, UINT64_MAX);
    CHECK(flights->open == NULL);
}

static bool is_joinable(const struct flight *flight, int64_t since_boot_us)
{
    bool was_sent = flight->is_sent || flight->kept != NULL;
    return !was_sent || flight->sent_boot_us >= since_boot_us;
}

void flights_join(struct flights *flights, struct slice key, int64_t since_boot_us,
                  struct flight_waiter *waiter)
{
    CHECK(waiter->flight == NULL);
    struct flight *flight = find_open(flights, key);
    if (flight != NULL && !is_joinable(flight, since_boot_us)) {
        spoil(flights, flight);
        flight = NULL;
    }
    attach(flight != NULL ? flight : start_flight(flights, key), waiter);
}

bool flights_has(const struct flights *flights, struct slice key, int64_t since_boot_us)
{
    const struct flight *flight = find_open(flights, key);
    return flight != NULL && is_joinable(flight, since_boot_us);
}

void flights_leave(struct flight_waiter *waiter)
{
    if (waiter->flight != NULL) {
        DL_DELETE(waiter->flight->waiters, waiter); // NOLINT(clang-analyzer-core.NullDereference)
        waiter->flight = NULL;
    }
}

static void forget(struct flights *flights, struct flight *flight)
{
    dequeue(flights, flight);
    HASH_DELETE(hh, flights->open, flight); // NOLINT(clang-analyzer-core.NullDereference)
    flight_free(flight);
}

size_t flights_take(struct flights *flights, size_t count_max, int64_t now_boot_us,
                    struct flight **batch)
{
    size_t count = 0;
    struct flight *flight, *following;
    DL_FOREACH_SAFE(flights->queue, flight, following)
    {
        if (count == count_max || (flight->is_alone && count > 0)) {
            break;
        }
        if (flight->waiters == NULL) {
            forget(flights, flight);
            continue;
        }
        dequeue(flights, flight);
        flight->is_sent = true;
        flight->attempts++;
        flight->sent_boot_us = now_boot_us;
        flights->sent_count++;
        batch[count++] = flight;
        if (flight->is_alone) {
            break;
        }
    }
    return count;
}

void flights_mark(struct flights *flights, struct slice key)
{
    struct flight *flight = find_open(flights, key);
    if (flight != NULL) {
        spoil(flights, flight);
    }
}

void flights_mark_all(struct flights *flights)
{
    struct flight *flight, *following;
    HASH_ITER(hh, flights->open, flight, following)
    {
        spoil(flights, flight);
    }
}

static void end_sending(struct flights *flights, struct flight *flight)
{
    CHECK(flight->is_sent && flights->sent_count > 0);
    flights->sent_count--;
    flight->is_sent = false;
}

void flights_land(struct flights *flights, struct flight *flight)
{
    end_sending(flights, flight);
    if (!flight->is_marked) {
        HASH_DELETE(hh, flights->open, flight);
    }
}

struct flight_waiter *flight_next_waiter(struct flight *flight)
{
    struct flight_waiter *waiter = flight->waiters;
    if (waiter != NULL) {
        flights_leave(waiter);
    }
    return waiter;
}

void flight_free(struct flight *flight)
{
    CHECK(flight->waiters == NULL);
    if (flight->kept != NULL) {
        buffer_deinit(&flight->kept->value);
        free(flight->kept);
    }
    free(flight);
}

void flights_keep(struct flights *flights, struct flight *flight, const struct answer *answer,
                  uint64_t fill)
{
    CHECK(!flight->is_marked && !flight->is_sent && flight->kept == NULL);
    struct kept *kept = memory_zeroed(1, sizeof *kept);
    kept->answer = *answer;
    kept->fill = fill;
    buffer_append_slice(&kept->value, answer->value);
    kept->answer.value = buffer_slice(&kept->value);
    flight->kept = kept;
    open_flight(flights, flight);
    DL_APPEND(flights->kept, flight);
}

const struct answer *flights_kept(const struct flight_waiter *waiter)
{
    bool is_kept = waiter->flight != NULL && waiter->flight->kept != NULL;
    return is_kept ? &waiter->flight->kept->answer : NULL;
}

void flights_release(struct flights *flights, uint64_t fill)
{
    while (flights->kept != NULL && flights->kept->kept->fill <= fill) {
        forget_kept(flights, flights->kept);
    }
}

void flights_put_back(struct flights *flights, struct flight *flight, bool alone)
{
    end_sending(flights, flight);
    if (flight->is_marked) {
        flight->is_marked = false;
        struct flight *successor = find_open(flights, flight->key);
        if (successor != NULL && successor->kept != NULL) {
            forget_kept(flights, successor);
            successor = NULL;
        }
        if (successor != NULL) {
            struct flight_waiter *waiter;
            while ((waiter = flight_next_waiter(flight)) != NULL) {
                attach(successor, waiter);
            }
            flight_free(flight);
            return;
        }
        open_flight(flights, flight);
    }
    flight->is_alone = alone;
    enqueue(flights, flight, true);
}
