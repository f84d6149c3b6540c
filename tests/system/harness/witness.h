// A client that writes keys of its own, with every kind of write, and knows exactly what they hold
// whatever breaks between it and its node; it reads them all the time. It also counts on counters
// and sets keys that others write as well, and knows what it added and set.
#pragma once

#include <stdatomic.h>

#include "system/harness/random.h"
#include "system/harness/scenario.h"

enum { WITNESS_NUMBERS = 3, WITNESS_MEMBERS = 3, WITNESS_COUNTERS = 2 };
enum { WITNESS_COMMON_KEYS = 3, WITNESS_COMMON_WRITES_MAX = 4096, WITNESS_ABSENT = -1 };

struct common_write {
    int key;
    long long seq;
};

struct witness {
    struct scenario *scenario;
    struct node *node;
    int index;
    atomic_ullong *acknowledged; // counts its writes
    struct random random;
    struct rpc *rpc;
    int writes;
    // What the keys of its own hold:
    long long numbers[WITNESS_NUMBERS];  // own:<index>:n<i>; WITNESS_ABSENT
    long long members[WITNESS_MEMBERS];  // of the object own:<index>:object0; WITNESS_ABSENT
    long long pair;                      // own:<index>:p0 and p1, written together; WITNESS_ABSENT
    long long counted[WITNESS_COUNTERS]; // what it added to count:<i>
    // common:<key> = "<index>-<place in this list>"
    struct common_write common[WITNESS_COMMON_WRITES_MAX];
    int common_count;
};

// Writes its object, so that there is something of it from the start.
void witness_init(struct witness *witness, struct scenario *scenario, struct node *node, int index,
                  atomic_ullong *acknowledged);

// One write or one read, chosen by its seed. Fails the test where an answer is not what it must be,
// or none comes. One thread at a time.
void witness_act(struct witness *witness);

// What its keys hold as JSON: a number, "null" where it is absent; its object.
const char *witness_number(struct witness *witness, long long number);
const char *witness_object(struct witness *witness);
