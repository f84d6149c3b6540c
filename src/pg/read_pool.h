// The connections for reading (`postgres.connections` of them) and the turns in which the modules
// that read use them: whoever has something to ask says so, and is offered a connection once one
// is idle. Users take turns; those that ask for much at a time (sweeps, scans) never hold the last
// connection as long as there are two, so that misses do not wait behind them.
//
// The connections are open while the worker is ready, and each is used only once it has turned out
// to lead to the server that the control connection found (rules 6 and 14).
//
// The pg worker's thread.
#pragma once

#include "pg/worker.h"

struct read_pool;

// One that wants connections; the owner's memory, from read_pool_join to read_pool_leave.
struct read_user {
    struct read_user *prev;
    struct read_user *next;
    bool is_bulk;
    void *context;
    // `conn` is idle: either send it one unit, or leave it and answer false. When the unit is done,
    // call read_pool_wake.
    bool (*on_idle)(void *context, struct conn *conn);
    // No connection can be made, and nobody is offered one until that changes. May be NULL.
    void (*on_down)(void *context, const struct failure *failure);
};

struct read_pool *read_pool_create(struct worker *worker);
// NULL is allowed. Nobody uses it any more; units in flight end as LOST.
void read_pool_destroy(struct read_pool *pool);

void read_pool_join(struct read_pool *pool, struct read_user *user);
void read_pool_leave(struct read_pool *pool, struct read_user *user);

// Somebody has something to ask, or may have: users are offered what is idle, later in this turn
// of the loop.
void read_pool_wake(struct read_pool *pool);

// For guests (helm.h), each with an epoll of its own, in which it waits for answers (conn_lend). At
// most one connection is lent to each, and none while users wait for one.
bool read_pool_has_room(struct read_pool *pool, int epoll);
// An idle connection for one unit of `user`, whose end is told by read_pool_lent_is_idle instead of
// read_pool_wake. NULL where there is none.
struct conn *read_pool_lend(struct read_pool *pool, const struct read_user *user, int epoll);
void read_pool_lent_is_idle(struct read_pool *pool);
// Something has come in the epoll.
void read_pool_read_lent(struct read_pool *pool, int epoll);

// The loop waits for all of them again.
void read_pool_take_back(struct read_pool *pool);

// The worker became ready, or is no longer: opens or closes all. Units in flight end as LOST.
void read_pool_on_connected(struct read_pool *pool);
void read_pool_on_lost(struct read_pool *pool);

// The worker is not ready, and that is not because it makes its very first attempt.
bool read_pool_is_away(const struct read_pool *pool);
// NULL, or why no connection can be made while the worker is ready.
const struct failure *read_pool_down(const struct read_pool *pool);
