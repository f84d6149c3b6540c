#include "pg/guest.h"

#include "base/fault.h"
#include "pg/fetcher.h"
#include "pg/read_pool.h"
#include "pg/worker.h"

static bool visit(struct worker *worker)
{
    return !FAULT_POINT(VISIT) && helm_visit(&worker->helm);
}

static bool on_ask(void *context, struct request *request, int epoll)
{
    struct worker *worker = context;
    if (!visit(worker)) {
        return false;
    }
    // What the worker was told before the caller asks comes first: that a fill is in the cache,
    // say, and that its answer, which has been invalidated since, is not to be given again.
    bool is_taken = worker->admits_guests && mailbox_is_empty(&worker->mailbox) &&
                    fetcher_request_now(worker->fetcher, request, epoll);
    helm_end_visit(&worker->helm);
    return is_taken;
}

static bool on_ready(void *context, int epoll)
{
    struct worker *worker = context;
    if (!visit(worker)) {
        atomic_store_explicit(&worker->is_handed_over, true, memory_order_release);
        mailbox_wake(&worker->mailbox);
        return false;
    }
    if (worker->admits_guests) {
        read_pool_read_lent(worker->read_pool, epoll);
    }
    helm_end_visit(&worker->helm);
    return true;
}

struct fetch_port guest_port(struct worker *worker)
{
    return (struct fetch_port){.worker = worker, .ask = on_ask, .on_ready = on_ready};
}

void guest_take_over(struct worker *worker)
{
    if (atomic_exchange_explicit(&worker->is_handed_over, false, memory_order_acquire)) {
        read_pool_take_back(worker->read_pool);
    }
}
