// Moves writes of `memory` into the outbox while the writer goes on: one commit of the outbox at a
// time, on a thread of its own, since a commit waits for the disk twice and those whose writes are
// acknowledged by the log or from memory need not.
//
// An order belongs to the mover from mover_order until mover_take_back has returned true, and with
// it the outbox's transaction, its state and its databases; the writer thread touches none of them
// meanwhile but to read what is committed. The log is the writer's throughout.
#pragma once

#include <pthread.h>

#include "base/mailbox.h"
#include "cache/outbox.h"
#include "cache/store.h"

enum mover_state { MOVER_IDLE, MOVER_ORDERED, MOVER_DONE };

struct mover {
    // Constant after mover_init:
    struct outbox *outbox;
    struct mailbox *mailbox; // woken when an order is done
    struct cache_clock clock;
    pthread_t thread;
    // The writer's:
    bool takes_orders;
    bool has_thread;
    // Shared, under mutex:
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum mover_state state;
    bool stopping;
    // The mover's while ORDERED, else the writer's:
    struct outbox_move move;
    enum error error;
    int64_t took_us;
};

// Takes no orders yet.
void mover_init(struct mover *mover, struct outbox *outbox, struct mailbox *mailbox,
                struct cache_clock clock);
// Frees it. Without a thread an order that was not carried out is lost, as in a crash.
void mover_deinit(struct mover *mover);

// ERROR_SYSTEM where there is no thread to be had.
enum error mover_start(struct mover *mover);
// In place of a thread, for tests and simulations: orders wait for mover_step, or until somebody
// waits for them.
void mover_start_by_hand(struct mover *mover);
// Carries out what is ordered, and takes no more orders.
void mover_stop(struct mover *mover);

// Whether an order is there that was not taken back.
bool mover_is_busy(struct mover *mover);
// Only where it takes orders and has none: takes what `move` holds, and leaves empty rows there.
void mover_order(struct mover *mover, struct outbox_move *move);
// Whether there was an order and it is carried out, by then: `mover->error` and `took_us` say how,
// the rows are the caller's. Waits for it where `waits`.
bool mover_take_back(struct mover *mover, bool waits);

// Without a thread: carries out what is ordered. False where nothing is.
bool mover_step(struct mover *mover);
