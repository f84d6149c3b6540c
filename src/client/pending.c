// A request has one place in the hash and one in the order: they are taken and left together.

#include "client/pending.h"

#include "base/check.h"

void pending_add(struct pending_requests *requests, const struct pending *request)
{
    CHECK(pending_find(requests, request->msgid) == NULL);
    struct pending *own = memory_zeroed(1, sizeof *own);
    *own = *request;
    HASH_ADD(hh, requests->first, msgid, sizeof own->msgid, own);
    order_begin(&requests->order, own->kind, own->hash);
}

void pending_take(struct pending_requests *requests, struct pending *request)
{
    HASH_DEL(requests->first, request);
    order_end(&requests->order, request->kind, request->hash);
}

size_t pending_count(const struct pending_requests *requests)
{
    return HASH_COUNT(requests->first);
}

struct pending *pending_find(const struct pending_requests *requests, uint32_t msgid)
{
    struct pending *found;
    HASH_FIND(hh, requests->first, &msgid, sizeof msgid, found);
    return found;
}

struct pending *pending_late(const struct pending_requests *requests, int64_t now_us,
                             int64_t *next_us)
{
    *next_us = INT64_MAX;
    for (struct pending *request = requests->first; request != NULL; request = request->hh.next) {
        if (request->deadline_us <= now_us) {
            return request;
        }
        *next_us = request->deadline_us < *next_us ? request->deadline_us : *next_us;
    }
    return NULL;
}
