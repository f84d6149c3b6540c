#include "cache/mover.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"

void mover_init(struct mover *mover, struct outbox *outbox, struct mailbox *mailbox,
                struct cache_clock clock)
{
    *mover = (struct mover){.outbox = outbox, .mailbox = mailbox, .clock = clock};
    CHECK(pthread_mutex_init(&mover->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&mover->changed, NULL) == 0);
}

void mover_deinit(struct mover *mover)
{
    CHECK(!mover->has_thread);
    rows_deinit(&mover->move.rows);
    pthread_cond_destroy(&mover->changed);
    pthread_mutex_destroy(&mover->mutex);
}

static void carry_out(struct mover *mover)
{
    const struct cache_clock *clock = &mover->clock;
    int64_t begun_us = clock->boot_us(clock->context);
    mover->error = outbox_move(mover->outbox, &mover->move);
    mover->took_us = clock->boot_us(clock->context) - begun_us;
}

static void *run(void *context)
{
    struct mover *mover = context;
    thread_name("mover");
    pthread_mutex_lock(&mover->mutex);
    for (;;) {
        while (mover->state != MOVER_ORDERED && !mover->stopping) {
            pthread_cond_wait(&mover->changed, &mover->mutex);
        }
        if (mover->state != MOVER_ORDERED) {
            break;
        }
        pthread_mutex_unlock(&mover->mutex);
        carry_out(mover);
        pthread_mutex_lock(&mover->mutex);
        mover->state = MOVER_DONE;
        pthread_cond_broadcast(&mover->changed);
        mailbox_wake(mover->mailbox);
    }
    pthread_mutex_unlock(&mover->mutex);
    return NULL;
}

enum error mover_start(struct mover *mover)
{
    CHECK(!mover->takes_orders);
    int code = thread_start(&mover->thread, run, mover);
    if (code != 0) {
        LOG_ERROR("mover not started", LOG_INT("errno", code));
        return ERROR_SYSTEM;
    }
    mover->has_thread = true;
    mover->takes_orders = true;
    return ERROR_NONE;
}

void mover_start_by_hand(struct mover *mover)
{
    mover->takes_orders = true;
}

void mover_stop(struct mover *mover)
{
    mover->takes_orders = false;
    if (!mover->has_thread) {
        mover_step(mover);
        return;
    }
    pthread_mutex_lock(&mover->mutex);
    mover->stopping = true;
    pthread_cond_broadcast(&mover->changed);
    pthread_mutex_unlock(&mover->mutex);
    CHECK(pthread_join(mover->thread, NULL) == 0);
    mover->has_thread = false;
}

static enum mover_state state_of(struct mover *mover)
{
    pthread_mutex_lock(&mover->mutex);
    enum mover_state state = mover->state;
    pthread_mutex_unlock(&mover->mutex);
    return state;
}

bool mover_is_busy(struct mover *mover)
{
    return state_of(mover) != MOVER_IDLE;
}

void mover_order(struct mover *mover, struct outbox_move *move)
{
    CHECK(mover->takes_orders && !mover_is_busy(mover));
    struct rows spare = mover->move.rows;
    CHECK(spare.count == 0);
    mover->move = *move;
    move->rows = spare;
    pthread_mutex_lock(&mover->mutex);
    mover->state = MOVER_ORDERED;
    pthread_cond_broadcast(&mover->changed);
    pthread_mutex_unlock(&mover->mutex);
}

bool mover_take_back(struct mover *mover, bool waits)
{
    if (waits && !mover->has_thread) {
        mover_step(mover);
    }
    pthread_mutex_lock(&mover->mutex);
    while (waits && mover->state == MOVER_ORDERED) {
        pthread_cond_wait(&mover->changed, &mover->mutex);
    }
    bool is_done = mover->state == MOVER_DONE;
    mover->state = is_done ? MOVER_IDLE : mover->state;
    pthread_mutex_unlock(&mover->mutex);
    return is_done;
}

bool mover_step(struct mover *mover)
{
    CHECK(!mover->has_thread);
    if (mover->state != MOVER_ORDERED) {
        return false;
    }
    carry_out(mover);
    mover->state = MOVER_DONE;
    mailbox_wake(mover->mailbox);
    return true;
}
