// What a server loop does of the pg worker's work by itself, as a guest (helm.h): it sends the
// SELECT of a lone miss and takes the answer, which spares it the way over another thread and back.
// It is the pg worker's own code that runs, on the pg worker's own state, between two of its
// callbacks; so none of the rules of coherence knows of it. Where the worker is busy, or has been
// told what it has not looked at yet, nothing waits for it: the question goes to its mailbox,
// behind the rest, or what has come is left to its loop.
#pragma once

#include "base/ports.h"

struct worker;

struct fetch_port guest_port(struct worker *worker);

// The worker's own thread: waits again for what guests have left to it.
void guest_take_over(struct worker *worker);
