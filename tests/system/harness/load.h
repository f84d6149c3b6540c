// A load of writes through one node whose outcome can be proved, whatever is killed meanwhile. Each
// client is a thread with a connection of its own, which it makes again whenever it breaks, and
// keeps a journal of what it sent and what was acknowledged:
//
//   COUNTER     counter:<client>:<key> = 1, 2, 3, ...; pipelined sets
//   LEDGER      ledger:<client>:<n> = n; pipelined sets, every key once
//   INCR_ID     incr of total:id by 1, repeated with its opts.id until it is answered
//   INCR_PLAIN  incr of total:plain by 1, never repeated
//
// What must hold: no counter ever goes backwards or is written twice with one value, no ledger key
// is written twice (both seen by a trigger in PostgreSQL); at every moment PostgreSQL holds a
// prefix of what the node acknowledged; at the end every acknowledged write is there, total:id is
// exact, and total:plain lies between acknowledged and acknowledged + unanswered.
#pragma once

#include "system/harness/node.h"

enum load_kind { LOAD_COUNTER, LOAD_LEDGER, LOAD_INCR_ID, LOAD_INCR_PLAIN, LOAD_KINDS_COUNT };

enum { LOAD_CLIENTS = 18, LOAD_COUNTERS_A_CLIENT = 4 };

struct load;

// Starts the clients and the reader that samples PostgreSQL. The node is live: its table exists.
// The node's own connection, node_rpc, stays the main thread's.
struct load *load_start(struct scenario *scenario, struct pg *pg, struct node *node);

// Waits until `more` further writes of the kinds in the mask (1 << kind; 0: any) are acknowledged.
void load_await_acks(struct load *load, unsigned kinds, uint64_t more);

// Lets the clients finish, flushes, and checks everything above. The node must be live, or on its
// way there.
void load_stop_and_check(struct load *load);
