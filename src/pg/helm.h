// Who holds the helm is the pg worker: may look at and change all that the worker owns, its loop's
// events included. The worker's own thread holds it while a callback of its loop runs and leaves it
// between them; another thread may take it in between, for a moment, as a guest, where nobody holds
// it or waits for it. A guest never waits for the helm.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct helm {
    pthread_mutex_t mutex;
    _Atomic bool is_wanted; // the worker's own thread waits for it
};

void helm_init(struct helm *helm);
void helm_deinit(struct helm *helm);

// The worker's own thread: waits for a guest to be done.
void helm_take(struct helm *helm);
void helm_leave(struct helm *helm);

// Any other thread: false where the worker has it.
bool helm_visit(struct helm *helm);
void helm_end_visit(struct helm *helm);
// Whether the calling thread is a guest.
bool helm_is_visited(void);

// The calling thread is the worker's own from now on: callbacks of the events that it makes
// (timer.h) hold the helm. NULL: they need none.
void helm_join(struct helm *helm);
struct helm *helm_of_thread(void);
