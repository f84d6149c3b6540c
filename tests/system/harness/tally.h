// Writers that contend for few keys and keep accounts that come out exactly, whatever is killed
// meanwhile. Each is a thread with a handle of libpgnear, does one write after the other, and
// repeats a write under its opts.id until it is answered:
//
//   hot:<n>    counters of all writers; incr by 1
//   slot:<n>   of all writers; set to [writer, number], where number counts the writer's sets of it
//   own:<w>    of one writer; set to [writer, number], and read back
//
// What must hold. Whenever the daemon is dead: PostgreSQL holds every incr that was answered, and
// none that was not sent; with `ack = "postgres"` every set that was answered, too. In the end:
// each counter is the sum of what the writers counted as answered, each slot holds the set of the
// greatest seq, and the node answers the same. At no time is a set applied twice or after a later
// one of its writer (seen by a trigger); where the table is versioned, which rules out coalescing,
// each set is applied exactly once.
#pragma once

#include "system/harness/node.h"

enum { TALLY_WRITERS = 24 };

struct tally;

struct tally_options {
    const char *ack; // of the sets
    bool versioned;  // what postgres.versioning says
};

// Starts the writers. The node is live: its table exists. Main thread, as all of these.
struct tally *tally_start(struct scenario *scenario, struct pg *pg, struct node *node,
                          const struct tally_options *options);

// Waits until that many further writes have been answered.
void tally_await(struct tally *tally, uint64_t more);

// Between node_kill and node_spawn, with PostgreSQL up: waits until every writer has noticed, so
// that what is answered stands still, and holds PostgreSQL against it.
void tally_check_dead(struct tally *tally);

// Lets the writers finish what they began, flushes, and checks everything above. The node must be
// live or on its way there. Prints the totals.
void tally_stop_and_check(struct tally *tally);
