// Runs on the pg worker's thread and owns the connections for reading.
//
// A slot is a connection with what is known of it. It is offered only while it is_trusted: since
// it was last connected, it has been seen to lead to the server that the control connection talks
// to. A name may lead to two servers, and after a failover to another than a moment ago.
#include "pg/read_pool.h"

#include <stdlib.h>

#include <utlist.h>

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/agreement.h"
#include "pg/timer.h"

struct read_slot {
    struct read_pool *pool;
    struct conn *conn;
    const struct read_user *user; // of the unit in flight
    struct agreement agreement;
    bool is_trusted;
    bool is_refused; // the last attempt to connect failed
};

struct read_pool {
    struct worker *worker;
    struct event *wake_event;
    struct read_user *users; // utlist: the first is the next to be offered
    bool is_open;
    bool is_away;
    bool keeps_waiting;     // when users were last offered what is idle, none was left
    struct failure failure; // of the last attempt to connect
    size_t slots_count;
    struct read_slot slots[];
};

// ---- Turns

static size_t bulk_max(const struct read_pool *pool)
{
    return pool->slots_count > 1 ? pool->slots_count - 1 : 1;
}

static size_t bulk_count(const struct read_pool *pool)
{
    size_t count = 0;
    for (size_t i = 0; i < pool->slots_count; i++) {
        count += pool->slots[i].user != NULL && pool->slots[i].user->is_bulk;
    }
    return count;
}

// Offers the connection to one user after the other, until one takes it and goes to the end of the
// line.
static void offer(struct read_pool *pool, struct read_slot *slot)
{
    struct read_user *user;
    bool has_bulk_room = bulk_count(pool) < bulk_max(pool);
    DL_FOREACH(pool->users, user)
    {
        if ((has_bulk_room || !user->is_bulk) && user->on_idle(user->context, slot->conn)) {
            slot->user = user;
            DL_DELETE(pool->users, user);
            DL_APPEND(pool->users, user);
            return;
        }
    }
}

static bool is_free(const struct read_slot *slot)
{
    return slot->is_trusted && conn_is_idle(slot->conn);
}

static void on_wake(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct read_pool *pool = context;
    for (size_t i = 0; i < pool->slots_count; i++) {
        if (conn_is_idle(pool->slots[i].conn)) {
            pool->slots[i].user = NULL;
        }
    }
    pool->keeps_waiting = true;
    for (size_t i = 0; i < pool->slots_count && pool->is_open; i++) {
        struct read_slot *slot = &pool->slots[i];
        if (is_free(slot)) {
            offer(pool, slot);
            pool->keeps_waiting = pool->keeps_waiting && !conn_is_idle(slot->conn);
        }
    }
}

void read_pool_wake(struct read_pool *pool)
{
    event_active(pool->wake_event, EV_TIMEOUT, 1);
}

// ---- Guests

// One that is lent to the epoll, or any; NULL where none is free, where the one that is lent to it
// is at work, or where users come first.
static struct read_slot *find_for_guest(struct read_pool *pool, int epoll)
{
    struct read_slot *found = NULL;
    if (!pool->is_open || pool->keeps_waiting) {
        return NULL;
    }
    for (size_t i = 0; i < pool->slots_count; i++) {
        struct read_slot *slot = &pool->slots[i];
        if (conn_is_lent_to(slot->conn, epoll)) {
            return is_free(slot) ? slot : NULL;
        }
        found = is_free(slot) ? slot : found;
    }
    return found;
}

bool read_pool_has_room(struct read_pool *pool, int epoll)
{
    return find_for_guest(pool, epoll) != NULL;
}

struct conn *read_pool_lend(struct read_pool *pool, const struct read_user *user, int epoll)
{
    struct read_slot *slot = find_for_guest(pool, epoll);
    if (slot == NULL || !conn_lend(slot->conn, epoll)) {
        return NULL;
    }
    slot->user = user;
    return slot->conn;
}

void read_pool_read_lent(struct read_pool *pool, int epoll)
{
    for (size_t i = 0; i < pool->slots_count; i++) {
        if (conn_is_lent_to(pool->slots[i].conn, epoll)) {
            conn_read_lent(pool->slots[i].conn);
        }
    }
}

void read_pool_lent_is_idle(struct read_pool *pool)
{
    if (pool->keeps_waiting) {
        read_pool_wake(pool);
    }
}

void read_pool_take_back(struct read_pool *pool)
{
    for (size_t i = 0; i < pool->slots_count; i++) {
        conn_take_back(pool->slots[i].conn);
    }
}

// ---- The life of a connection

static void on_server_seen(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct read_slot *slot = context;
    agreement_take(&slot->agreement, slot->pool->worker, result);
    slot->is_trusted = slot->agreement.holds;
}

static void on_server_told(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct read_slot *slot = context;
    if (outcome == UNIT_LOST) {
        return;
    }
    if (outcome == UNIT_REFUSED) {
        conn_fail(slot->conn, failure->message);
        return;
    }
    if (!slot->is_trusted) {
        agreement_leave(&slot->agreement, slot->pool->worker, slot->conn);
        return;
    }
    slot->is_refused = false;
    status_set_error(slot->pool->worker->status, TROUBLE_READ, NULL, NULL);
    read_pool_wake(slot->pool);
}

static void on_connected(void *context)
{
    struct read_slot *slot = context;
    const struct query query = {
        .sql = AGREEMENT_SQL,
    };
    agreement_ask(&slot->agreement);
    const struct unit unit = {
        .queries = &query,
        .queries_count = 1,
        .context = slot,
        .on_result = on_server_seen,
        .on_done = on_server_told,
    };
    conn_send(slot->conn, &unit);
}

static void tell_down(struct read_pool *pool)
{
    struct read_user *user, *following;
    DL_FOREACH_SAFE(pool->users, user, following)
    {
        if (user->on_down != NULL) {
            user->on_down(user->context, &pool->failure);
        }
    }
}

static void on_lost(void *context, const struct failure *failure)
{
    struct read_slot *slot = context;
    struct read_pool *pool = slot->pool;
    // One that worked gets another attempt before those who wait for it are disappointed.
    slot->is_refused = !slot->is_trusted;
    slot->is_trusted = false;
    slot->user = NULL;
    pool->failure = *failure;
    if (read_pool_down(pool) != NULL) {
        status_set_error(pool->worker->status, TROUBLE_READ, failure->sqlstate, failure->message);
        tell_down(pool);
    }
    worker_on_server_lost(pool->worker, failure);
}

bool read_pool_is_away(const struct read_pool *pool)
{
    return pool->is_away;
}

const struct failure *read_pool_down(const struct read_pool *pool)
{
    for (size_t i = 0; i < pool->slots_count; i++) {
        if (!pool->slots[i].is_refused) {
            return NULL;
        }
    }
    return &pool->failure;
}

// ---- The pool

void read_pool_on_connected(struct read_pool *pool)
{
    pool->is_open = true;
    pool->is_away = false;
    for (size_t i = 0; i < pool->slots_count; i++) {
        conn_open(pool->slots[i].conn);
    }
}

void read_pool_on_lost(struct read_pool *pool)
{
    pool->is_open = false;
    pool->is_away = true;
    for (size_t i = 0; i < pool->slots_count; i++) {
        struct read_slot *slot = &pool->slots[i];
        slot->is_trusted = false;
        slot->is_refused = false;
        slot->user = NULL;
        conn_close(slot->conn);
    }
}

void read_pool_join(struct read_pool *pool, struct read_user *user)
{
    CHECK(user->on_idle != NULL);
    DL_APPEND(pool->users, user);
}

void read_pool_leave(struct read_pool *pool, struct read_user *user)
{
    for (size_t i = 0; i < pool->slots_count; i++) {
        // Its unit must not call back into memory that is about to be freed.
        if (pool->slots[i].user == user) {
            conn_close(pool->slots[i].conn);
            pool->slots[i].user = NULL;
            pool->slots[i].is_trusted = false;
            if (pool->is_open) {
                conn_open(pool->slots[i].conn);
            }
        }
    }
    DL_DELETE(pool->users, user);
}

struct read_pool *read_pool_create(struct worker *worker)
{
    size_t count = (size_t)worker->settings->postgres.connections;
    CHECK_VALUES(count > 0, "%zu connections", count);
    struct read_pool *pool = memory_zeroed(1, sizeof *pool + count * sizeof pool->slots[0]);
    pool->worker = worker;
    pool->slots_count = count;
    pool->wake_event = timer_new(worker->base, on_wake, pool);
    for (size_t i = 0; i < count; i++) {
        struct conn_options options = worker_conn_options(worker, "read");
        options.context = &pool->slots[i];
        options.on_connected = on_connected;
        options.on_lost = on_lost;
        pool->slots[i].pool = pool;
        pool->slots[i].conn = conn_create(&options);
    }
    return pool;
}

void read_pool_destroy(struct read_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    for (size_t i = 0; i < pool->slots_count; i++) {
        conn_destroy(pool->slots[i].conn);
    }
    CHECK(pool->users == NULL);
    timer_free(pool->wake_event);
    free(pool);
}
