#include "pg/waiters.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

struct waiter {
    UT_hash_handle hh; // of a write
    uint64_t seq;
    struct waiter *next;      // of a flush
    struct request *requests; // linked by sibling
};

void waiters_init(struct waiters *waiters)
{
    *waiters = (struct waiters){.next_deadline_boot_us = INT64_MAX};
}

void waiters_deinit(struct waiters *waiters)
{
    CHECK_VALUES(waiters->count == 0, "%zu wait", waiters->count);
}

static struct waiter *find(const struct waiters *waiters, uint64_t seq)
{
    struct waiter *found;
    HASH_FIND(hh, waiters->by_seq, &seq, sizeof seq, found);
    return found;
}

static struct waiter *find_or_make(struct waiters *waiters, uint64_t seq)
{
    struct waiter *waiter = find(waiters, seq);
    if (waiter == NULL) {
        waiter = memory_zeroed(1, sizeof *waiter);
        waiter->seq = seq;
        HASH_ADD(hh, waiters->by_seq, seq, sizeof waiter->seq, waiter);
    }
    return waiter;
}

void waiters_add(struct waiters *waiters, struct request *request)
{
    struct waiter *waiter;
    if (method_flushes(request->call.method)) {
        waiter = memory_zeroed(1, sizeof *waiter);
        waiter->seq = request->after_seq;
        waiter->next = waiters->flushes;
        waiters->flushes = waiter;
    } else {
        CHECK(request->seq > 0);
        waiter = find_or_make(waiters, request->seq);
    }
    request->sibling = waiter->requests;
    waiter->requests = request;
    waiters->count++;
    if (request->deadline_boot_us < waiters->next_deadline_boot_us) {
        waiters->next_deadline_boot_us = request->deadline_boot_us;
    }
}

// Puts the requests of `from` in front of `list`.
static struct request *prepend(struct waiters *waiters, struct request *from, struct request *list)
{
    while (from != NULL) {
        struct request *sibling = from->sibling;
        from->sibling = list;
        list = from;
        from = sibling;
        waiters->count--;
    }
    return list;
}

static void forget(struct waiters *waiters, struct waiter *waiter)
{
    HASH_DELETE(hh, waiters->by_seq, waiter);
    free(waiter);
}

struct request *waiters_take(struct waiters *waiters, uint64_t seq)
{
    struct waiter *waiter = find(waiters, seq);
    if (waiter == NULL) {
        return NULL;
    }
    struct request *taken = prepend(waiters, waiter->requests, NULL);
    forget(waiters, waiter);
    return taken;
}

bool waiters_has(const struct waiters *waiters, uint64_t seq)
{
    return find(waiters, seq) != NULL;
}

struct request *waiters_take_flushes(struct waiters *waiters, uint64_t applied_seq)
{
    struct request *taken = NULL;
    struct waiter **link = &waiters->flushes;
    while (*link != NULL) {
        struct waiter *waiter = *link;
        if (waiter->seq > applied_seq) {
            link = &waiter->next;
            continue;
        }
        taken = prepend(waiters, waiter->requests, taken);
        *link = waiter->next;
        free(waiter);
    }
    return taken;
}

// Takes what has expired out of one waiter's list, and notes the earliest deadline of the rest.
static struct request *expire(struct waiters *waiters, struct waiter *waiter, int64_t now_boot_us,
                              struct request *taken)
{
    struct request **link = &waiter->requests;
    while (*link != NULL) {
        struct request *request = *link;
        if (request->deadline_boot_us <= now_boot_us) {
            *link = request->sibling;
            request->sibling = taken;
            taken = request;
            waiters->count--;
            continue;
        }
        if (request->deadline_boot_us < waiters->next_deadline_boot_us) {
            waiters->next_deadline_boot_us = request->deadline_boot_us;
        }
        link = &request->sibling;
    }
    return taken;
}

struct request *waiters_take_expired(struct waiters *waiters, int64_t now_boot_us)
{
    struct request *taken = NULL;
    waiters->next_deadline_boot_us = INT64_MAX;
    struct waiter *waiter, *following;
    HASH_ITER(hh, waiters->by_seq, waiter, following)
    {
        taken = expire(waiters, waiter, now_boot_us, taken);
        if (waiter->requests == NULL) {
            forget(waiters, waiter);
        }
    }
    struct waiter **link = &waiters->flushes;
    while (*link != NULL) {
        waiter = *link;
        taken = expire(waiters, waiter, now_boot_us, taken);
        if (waiter->requests == NULL) {
            *link = waiter->next;
            free(waiter);
        } else {
            link = &waiter->next;
        }
    }
    return taken;
}

struct request *waiters_take_all(struct waiters *waiters)
{
    return waiters_take_expired(waiters, INT64_MAX);
}

bool waiters_want_beyond(const struct waiters *waiters, uint64_t applied_seq)
{
    if (waiters->by_seq != NULL) {
        return true;
    }
    for (const struct waiter *waiter = waiters->flushes; waiter != NULL; waiter = waiter->next) {
        if (waiter->seq > applied_seq) {
            return true;
        }
    }
    return false;
}
