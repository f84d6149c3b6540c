// A load through several nodes of which exact accounts are kept, whatever is broken meanwhile.
// Every write carries an opts.id and is repeated until it is acknowledged, so at any pause what
// must be in PostgreSQL is known to the last value:
//
//   own     each writer's own keys: ever larger integers, and deletions; read again after each
//           acknowledgement, by turns over the socket and by libpgnear
//   pairs   two keys of a writer, set together by mset; PostgreSQL never holds two different ones
//   sums    incr by many writers of all nodes
//   doc     merge by all writers, each its own member
//   mixed   set and deleted by all writers and by SQL: everybody agrees on whatever it is
//   alien   written by SQL alone, and read through the nodes
//   filler  rows that nobody writes and that do not fit the cache: misses, fills and evictions
#pragma once

#include "system/harness/node.h"

enum { ACCOUNTS_NODES_MAX = 2 };

struct accounts;

// Makes the filler rows and starts the clients. The nodes are live; what they are configured with
// is accounts_config. They may be killed and started again at any time.
struct accounts *accounts_start(struct scenario *scenario, struct pg *pg, struct node *const *nodes,
                                int nodes_count);
// A small cache and outbox, and entries that are soon given up. `is_long`: for more than a minute.
const char *accounts_config(bool is_long);

// Waits until every client of the node has had `more` further answers.
void accounts_await_progress(struct accounts *accounts, int node, uint64_t more);

// Lets the clients come to rest, compares PostgreSQL with the accounts and all nodes with
// PostgreSQL, and lets them go on. All nodes run. Main thread.
void accounts_check(struct accounts *accounts);

// The same for the last time: the clients end.
void accounts_stop_and_check(struct accounts *accounts);
