// Runs on the pg worker's thread and owns the requests that wait for a fetch.
//
// An ask is such a request. It has one want for each of its keys; a want waits in the flight of its
// key, or, while the ask is held, for this node's earlier writes. An ask ends when its last want is
// answered, at its deadline, or with the connection: through take_request alone.
#include "pg/fetcher.h"

#include <inttypes.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/feed.h"
#include "pg/fetch.h"
#include "pg/flusher.h"
#include "pg/helm.h"
#include "pg/preloader.h"
#include "pg/read_pool.h"
#include "pg/timer.h"

// Beyond these a request is OVERLOADED; beyond the last, an mget is TOO_LARGE.
enum { ASKS_MAX = 16384, WANTS_MAX = 65536, ANSWER_BYTES_MAX = 256 << 20 };
// What the cache has is as good as an answer of PostgreSQL for as long as an answer may be on its
// way before the feed is known to be dead.
enum { CURRENT_US_MAX = 2 * CLOCK_US_PER_S };
enum { DEADLINE_STEP_US = 5 * CLOCK_US_PER_MS };

struct ask;

struct want {
    struct flight_waiter waiter; // first: a waiter is a want
    struct ask *ask;
    bool is_answered; // by the cache
};

struct ask {
    struct ask *prev;
    struct ask *next;
    struct fetcher *fetcher;
    struct request *request;
    bool is_held; // until request->after_seq is applied; its wants are in no flight
    size_t unanswered_count;
    size_t bytes; // of the answers so far
    size_t wants_count;
    struct want wants[];
};

struct fetcher {
    struct worker *worker;
    struct flights flights;
    struct fetch_desk desk;
    struct read_user user;
    struct event *deadline_timer;
    int64_t next_deadline_boot_us; // of an ask; then the timer fires
    struct ask *asks;              // utlist
    size_t asks_count;
    size_t wants_count;
};

// ---- The end of an ask

// The ask is no more; the request is the caller's to finish.
static struct request *take_request(struct ask *ask)
{
    struct fetcher *fetcher = ask->fetcher;
    struct request *request = ask->request;
    for (size_t i = 0; i < ask->wants_count; i++) {
        flights_leave(&ask->wants[i].waiter);
    }
    DL_DELETE(fetcher->asks, ask);
    fetcher->asks_count--;
    fetcher->wants_count -= ask->wants_count;
    free(ask);
    return request;
}

static void fail(struct ask *ask, const struct failure *failure)
{
    ask_fail(take_request(ask), failure);
}

static void time_out(struct ask *ask)
{
    struct failure failure = {0};
    failure_note(&failure, ERROR_TIMEOUT,
                 ask->is_held ? "this node's earlier write was not in PostgreSQL within %" PRId64
                                " ms"
                              : "PostgreSQL did not answer within %" PRId64 " ms",
                 ask->request->call.timeout_ms);
    fail(ask, &failure);
}

static void mind_deadline(struct fetcher *fetcher, int64_t deadline_boot_us, int64_t now_boot_us)
{
    if (deadline_boot_us < fetcher->next_deadline_boot_us) {
        fetcher->next_deadline_boot_us = deadline_boot_us;
        timer_arm(fetcher->deadline_timer, deadline_boot_us - now_boot_us);
    }
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct fetcher *fetcher = context;
    int64_t now_boot_us = clock_boot_us();
    int64_t next_boot_us = INT64_MAX;
    fetcher->next_deadline_boot_us = INT64_MAX;
    struct ask *ask, *following;
    DL_FOREACH_SAFE(fetcher->asks, ask, following)
    {
        int64_t deadline_boot_us = ask->request->deadline_boot_us;
        if (deadline_boot_us <= now_boot_us) {
            time_out(ask);
        } else if (deadline_boot_us < next_boot_us) {
            next_boot_us = deadline_boot_us;
        }
    }
    // Many that are due one after another are not looked through for each of them.
    int64_t soonest_boot_us = now_boot_us + DEADLINE_STEP_US;
    mind_deadline(fetcher, next_boot_us < soonest_boot_us ? soonest_boot_us : next_boot_us,
                  now_boot_us);
}

// ---- Answers

static void set_item(struct ask *ask, size_t place, const struct answer *answer)
{
    struct request *request = ask->request;
    const struct cache_port *cache = &ask->fetcher->worker->cache;
    int64_t left_us = INT64_MAX;
    if (answer->expires_at_us != 0) {
        left_us = answer->expires_at_us - cache->now_us(cache->cache);
    }
    if (!answer->is_present || left_us <= 0) {
        return;
    }
    if (request->call.method == METHOD_TTL) {
        request->reply.has_integer = answer->expires_at_us != 0;
        request->reply.integer = clock_us_to_ms(left_us);
        return;
    }
    struct item *item = &request->reply.items[place];
    item->present = true;
    item->value = arena_copy(&request->reply.arena, answer->value);
    item->has_version = true;
    item->version = answer->version;
    ask->bytes += answer->value.len;
}

// False where that was the end of the ask.
static bool take_answer(struct want *want, const struct answer *answer)
{
    struct ask *ask = want->ask;
    if (answer->failure.error != ERROR_NONE) {
        fail(ask, &answer->failure);
        return false;
    }
    set_item(ask, (size_t)(want - ask->wants), answer);
    if (ask->wants_count > 1 && ask->bytes > ANSWER_BYTES_MAX) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_TOO_LARGE,
                     "the values are more than %d bytes: ask for fewer keys", ANSWER_BYTES_MAX);
        fail(ask, &failure);
        return false;
    }
    CHECK(ask->unanswered_count > 0);
    if (--ask->unanswered_count == 0) {
        request_finish(take_request(ask));
        return false;
    }
    return true;
}

static void on_answer(void *context, struct flight_waiter *waiter, const struct answer *answer)
{
    (void)context;
    take_answer((struct want *)waiter, answer);
}

// ---- Requests

// Options that ask for more than an answer already on its way.
static bool is_fresh(const struct request *request)
{
    const struct call *call = &request->call;
    return call->fresh || call->has_max_age || call->has_min_version || request->after_seq > 0;
}

// When a flight must have been sent for the request to join it. What was asked before this process
// stood still is not joined after it, whatever the worker happens to look at first.
static int64_t joins_since(const struct fetcher *fetcher, const struct request *request)
{
    return is_fresh(request) ? INT64_MAX : feed_vouches_since(fetcher->worker->feed);
}

// Whether the cache holds what PostgreSQL would answer. Of this node's own writes it is asked
// itself, and so it is where the feed may be dead.
static bool look_again(const struct fetcher *fetcher, struct slice key, struct answer *answer)
{
    const struct worker *worker = fetcher->worker;
    struct cached cached = {0};
    if (worker->cache.lookup(worker->reader, key, &cached) != LOOKUP_HIT || cached.pending ||
        clock_boot_us() - cached.current_boot_us > CURRENT_US_MAX) {
        return false;
    }
    *answer = (struct answer){
        .is_present = cached.present,
        .value = cached.value,
        .version = cached.version,
        .expires_at_us = cached.expires_at_us,
    };
    return true;
}

// Between a read's miss and its coming here, however long the server loop had to wait for the
// processor, somebody else's fetch of the key may have gone into the cache and been forgotten here:
// rather than that PostgreSQL is asked the same once more, the read looks into the cache as if it
// were made now.
static void answer_late(struct ask *ask)
{
    struct fetcher *fetcher = ask->fetcher;
    const struct cache_port *cache = &fetcher->worker->cache;
    if (is_fresh(ask->request) || !fetcher->worker->feed_live) {
        return;
    }
    int64_t since_boot_us = joins_since(fetcher, ask->request);
    cache->begin(fetcher->worker->reader);
    for (size_t i = 0; i < ask->wants_count && ask->bytes <= ANSWER_BYTES_MAX; i++) {
        struct slice key = ask->request->call.pairs[i].key;
        struct want *want = &ask->wants[i];
        struct answer answer;
        if (!flights_has(&fetcher->flights, key, since_boot_us) &&
            look_again(fetcher, key, &answer)) {
            set_item(ask, i, &answer);
            want->is_answered = true;
            ask->unanswered_count--;
            status_add(fetcher->worker->status, STATUS_CACHE_LATE_HITS, 1);
        }
    }
    cache->end(fetcher->worker->reader);
}

static void start(struct ask *ask)
{
    struct fetcher *fetcher = ask->fetcher;
    int64_t since_boot_us = joins_since(fetcher, ask->request);
    size_t count = ask->wants_count;
    ask->is_held = false;
    for (size_t i = 0; i < count; i++) {
        if (!ask->wants[i].is_answered) {
            flights_join(&fetcher->flights, ask->request->call.pairs[i].key, since_boot_us,
                         &ask->wants[i].waiter);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct want *want = &ask->wants[i];
        const struct answer *kept = flights_kept(&want->waiter);
        if (kept == NULL) {
            continue;
        }
        flights_leave(&want->waiter);
        if (!take_answer(want, kept)) {
            break;
        }
    }
}

static struct ask *make_ask(struct fetcher *fetcher, struct request *request)
{
    size_t count = request->call.pairs_count;
    struct ask *ask = memory_zeroed(1, sizeof *ask + count * sizeof ask->wants[0]);
    ask->fetcher = fetcher;
    ask->request = request;
    ask->wants_count = count;
    ask->unanswered_count = count;
    struct item *items = reply_items(&request->reply, count);
    for (size_t i = 0; i < count; i++) {
        ask->wants[i].ask = ask;
        items[i].key = request->call.pairs[i].key;
    }
    DL_APPEND(fetcher->asks, ask);
    fetcher->asks_count++;
    fetcher->wants_count += count;
    return ask;
}

// Finishes a request that cannot be taken. False where it can.
static bool is_turned_away(struct fetcher *fetcher, struct request *request)
{
    bool is_full = fetcher->asks_count >= ASKS_MAX ||
                   fetcher->wants_count + request->call.pairs_count > WANTS_MAX;
    if (ask_is_turned_away(fetcher->worker, request)) {
        return true;
    }
    if (is_full) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_OVERLOADED, "too many reads wait for PostgreSQL");
        ask_fail(request, &failure);
    }
    return is_full;
}

// Whether PostgreSQL does not hold yet what the answer must show: this node's writes to the keys,
// and after a failover all that it had acknowledged, of which not every one is pending in the
// cache.
static bool must_wait(const struct fetcher *fetcher, const struct request *request)
{
    const struct worker *worker = fetcher->worker;
    return request->after_seq > worker->applied_seq || worker_is_reapplying(worker);
}

// False where it is finished already, or is held.
static bool take_in(struct fetcher *fetcher, struct request *request)
{
    CHECK_VALUES(method_class(request->call.method) == METHOD_READ, "%s",
                 method_name(request->call.method));
    if (is_turned_away(fetcher, request)) {
        return false;
    }
    struct ask *ask = make_ask(fetcher, request);
    mind_deadline(fetcher, request->deadline_boot_us, clock_boot_us());
    bool waits = must_wait(fetcher, request);
    if (!waits) {
        answer_late(ask);
    }
    if (ask->unanswered_count == 0) {
        request_finish(take_request(ask));
    } else if (waits) {
        ask->is_held = true;
        flusher_want(fetcher->worker->flusher, request->after_seq);
    } else {
        start(ask);
        return true;
    }
    return false;
}

void fetcher_request(struct fetcher *fetcher, struct request *request)
{
    if (take_in(fetcher, request)) {
        read_pool_wake(fetcher->worker->read_pool);
    }
}

bool fetcher_request_now(struct fetcher *fetcher, struct request *request, int epoll)
{
    struct read_pool *pool = fetcher->worker->read_pool;
    if (fetcher->flights.queued_count > 0 || must_wait(fetcher, request) ||
        !read_pool_has_room(pool, epoll)) {
        return false;
    }
    if (take_in(fetcher, request) && fetcher->flights.queued_count > 0) {
        struct conn *conn = read_pool_lend(pool, &fetcher->user, epoll);
        bool is_sent = conn != NULL && fetch_send(&fetcher->desk, conn);
        if (!is_sent) {
            if (conn != NULL) {
                conn_take_back(conn);
            }
            read_pool_wake(pool);
        }
    }
    return true;
}

void fetcher_on_applied(struct fetcher *fetcher)
{
    struct ask *ask, *following;
    DL_FOREACH_SAFE(fetcher->asks, ask, following)
    {
        if (ask->is_held && !must_wait(fetcher, ask->request)) {
            start(ask);
        }
    }
    // A scan may wait for the same.
    read_pool_wake(fetcher->worker->read_pool);
}

void fetcher_mark(struct fetcher *fetcher, struct slice key)
{
    flights_mark(&fetcher->flights, key);
    preloader_mark(fetcher->worker->preloader, key);
}

void fetcher_mark_all(struct fetcher *fetcher)
{
    flights_mark_all(&fetcher->flights);
    preloader_mark_all(fetcher->worker->preloader);
}

void fetcher_on_filled(struct fetcher *fetcher, uint64_t number)
{
    flights_release(&fetcher->flights, number);
}

// ---- The connections

static bool on_idle(void *context, struct conn *conn)
{
    struct fetcher *fetcher = context;
    // Who came before the first connection could not know of a failover.
    return !worker_is_reapplying(fetcher->worker) && fetch_send(&fetcher->desk, conn);
}

static void on_fetched(void *context)
{
    struct fetcher *fetcher = context;
    struct read_pool *pool = fetcher->worker->read_pool;
    if (helm_is_visited() && fetcher->flights.queued_count == 0) {
        read_pool_lent_is_idle(pool);
    } else {
        read_pool_wake(pool);
    }
}

static void on_down(void *context, const struct failure *failure)
{
    struct failure refusal = ask_no_connection(failure);
    fetcher_refuse_all(context, &refusal);
}

void fetcher_on_connected(struct fetcher *fetcher)
{
    fetch_prepare(&fetcher->desk);
    read_pool_on_connected(fetcher->worker->read_pool);
}

void fetcher_on_lost(struct fetcher *fetcher, const struct failure *failure)
{
    (void)failure; // worker_refuse knows it
    read_pool_on_lost(fetcher->worker->read_pool);
    struct ask *ask, *following;
    DL_FOREACH_SAFE(fetcher->asks, ask, following)
    {
        worker_refuse(fetcher->worker, take_request(ask));
    }
}

void fetcher_refuse_all(struct fetcher *fetcher, const struct failure *failure)
{
    struct ask *ask, *following;
    DL_FOREACH_SAFE(fetcher->asks, ask, following)
    {
        fail(ask, failure);
    }
}

// ---- Its life

struct fetcher *fetcher_create(struct worker *worker)
{
    struct fetcher *fetcher = memory_zeroed(1, sizeof *fetcher);
    fetcher->worker = worker;
    fetcher->desk = (struct fetch_desk){
        .worker = worker,
        .flights = &fetcher->flights,
        .context = fetcher,
        .on_answer = on_answer,
        .on_done = on_fetched,
    };
    fetcher->user = (struct read_user){
        .context = fetcher,
        .on_idle = on_idle,
        .on_down = on_down,
    };
    fetcher->next_deadline_boot_us = INT64_MAX;
    fetcher->deadline_timer = timer_new(worker->base, on_deadline, fetcher);
    read_pool_join(worker->read_pool, &fetcher->user);
    return fetcher;
}

void fetcher_destroy(struct fetcher *fetcher)
{
    if (fetcher == NULL) {
        return;
    }
    CHECK_VALUES(fetcher->asks_count == 0, "%zu requests", fetcher->asks_count);
    read_pool_leave(fetcher->worker->read_pool, &fetcher->user);
    timer_free(fetcher->deadline_timer);
    flights_deinit(&fetcher->flights);
    fetch_desk_deinit(&fetcher->desk);
    free(fetcher);
}
