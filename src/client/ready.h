// Answers that are known while they are asked for, and wait for the loop: a callback is never
// called from inside the call that asked. One thread, the loop's; the memory of all zeroes is
// valid, and nothing waits.
#pragma once

#include <pgnear/async.h>

struct ready_answer;

struct ready {
    struct ready_answer *first; // heap, in the order of coming
    struct ready_answer *last;
    size_t count;
    size_t bytes;
};

// An answer to a get: `item`, which is copied, with what the node would have sent.
void ready_add(struct ready *ready, pgnear_item *item, pgnear_async_callback *callback,
               void *context);

// Takes the first answer out and calls back; there is one.
void ready_call(struct ready *ready, pgnear_async *async);
