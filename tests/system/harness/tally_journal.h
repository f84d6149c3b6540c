// What the writers of accounts know, for tally.c, which writes it, and tally_check.c, which
// holds it against PostgreSQL.
#pragma once

#include <pgnear.h>
#include <stdatomic.h>

#include "system/harness/random.h"
#include "system/harness/tally.h"

enum { TALLY_COUNTERS = 4, TALLY_SLOTS = 4, TALLY_SETS = TALLY_SLOTS + 1 };

// The sets of one writer to one key; the last of its keys is its own, the others are slots.
// Written by the writer's thread, which counts `sent` before and `acked` after.
struct account {
    atomic_llong sent;
    atomic_llong acked;
    atomic_ullong seq; // of the last that was acked
};

struct writer {
    struct tally *tally;
    int index;
    struct random random;
    pgnear *handle; // NULL: none yet
    struct account counters[TALLY_COUNTERS];
    struct account sets[TALLY_SETS];
    long long counter_last[TALLY_COUNTERS]; // what the last incr answered
    uint64_t seq_last;
    uint64_t writes;     // begun
    atomic_ullong calls; // finished, with whatever outcome
    atomic_ullong repeats;
};

struct tally {
    struct scenario *scenario;
    struct pg *pg;
    struct node *node;
    pgnear_ack ack;
    bool versioned;
    atomic_ullong acks;
    struct writer writers[TALLY_WRITERS];
    struct workers *workers;
};

// The key of a set, as text that lives as long as the scenario.
const char *tally_set_key(const struct writer *writer, int set);

// Makes the trigger that writes down every set that PostgreSQL applies.
void tally_audit(struct tally *tally);
// Holds PostgreSQL against what is answered; the writers stand still.
void tally_check_bounds(struct tally *tally);
// The same once everything is answered and flushed, exactly, and the node as well.
void tally_check_end(struct tally *tally);
