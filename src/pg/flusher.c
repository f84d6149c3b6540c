// The flusher's life, its connection and its timers, and when a step is taken: claim, linger or
// send. What a step does is in flush_claim.c and flush_batch.c, what comes of a batch in
// flush_report.c and flush_refusal.c, who waits in flush_requests.c; the state is theirs together
// (flusher_state.h).
#include "pg/flusher.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/flush_batch.h"
#include "pg/flush_claim.h"
#include "pg/flush_requests.h"
#include "pg/flusher_state.h"
#include "pg/timer.h"

// A batch of 2000 rows of 100 bytes is 260 KB, of which a socket takes 219 by default.
enum { SENT_BYTES_MAX = 512 << 10 };

struct json_limits flusher_json_limits(const struct flusher *flusher)
{
    return (struct json_limits){
        .value_bytes_max = flusher->worker->settings->server.max_value_bytes,
    };
}

uint64_t flusher_journaled_seq(const struct flusher *flusher)
{
    return (uint64_t)status_get(flusher->worker->status, STATUS_OUTBOX_JOURNALED_SEQ);
}

uint64_t flusher_done_seq(const struct flusher *flusher)
{
    uint64_t applied_seq = flusher->worker->applied_seq;
    return flusher->empty_seq > applied_seq ? flusher->empty_seq : applied_seq;
}

void flusher_set_flushable(struct flusher *flusher)
{
    bool flushable = flusher->is_claimed && !flusher->is_stopped;
    // Who finds that nothing is flushable looks for the reason next.
    status_set(flusher->worker->status, STATUS_PG_REFUSED, flusher->is_stopped);
    status_set(flusher->worker->status, STATUS_PG_FLUSHABLE, flushable);
}

static void pause_for(struct flusher *flusher, int64_t delay_us)
{
    flusher->retry_boot_us = clock_boot_us() + delay_us;
    timer_arm(flusher->retry_timer, delay_us);
}

void flusher_pause_before_retry(struct flusher *flusher)
{
    pause_for(flusher, retry_next_us(&flusher->retry));
}

void flusher_pause_at_most(struct flusher *flusher, int64_t delay_us)
{
    if (timer_is_armed(flusher->retry_timer) &&
        flusher->retry_boot_us > clock_boot_us() + delay_us) {
        pause_for(flusher, delay_us);
    }
}

// ---- Steps

// Somebody waits for the next batch, or nothing is to wait at all.
static bool is_awaited_now(const struct flusher *flusher)
{
    const struct worker *worker = flusher->worker;
    return worker->is_stopping || worker->settings->writes.linger_us == 0 ||
           flusher->wanted_seq > flusher_done_seq(flusher) ||
           waiters_want_beyond(&flusher->waiters, worker->applied_seq) ||
           status_get(worker->status, STATUS_PG_STATE) != NODE_LIVE || worker_is_reapplying(worker);
}

// Looks again a moment later where it does.
static bool gives_way(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    struct status *status = worker->status;
    struct flush_pace *pace = &flusher->pace;
    int64_t now_boot_us = clock_boot_us();
    // Bytes before seq: no more than those of the writes up to it.
    struct flush_backlog backlog = {
        .accepted_bytes = status_get(status, STATUS_OUTBOX_ACCEPTED_BYTES),
        .outbox_bytes = (int64_t)worker->settings->writes.outbox_bytes,
        .applied_seq = worker->applied_seq,
        .journaled_seq = flusher_journaled_seq(flusher),
    };
    backlog.last_seq = (uint64_t)status_get(status, STATUS_OUTBOX_LAST_SEQ);
    if (flush_pace_is_due(pace, now_boot_us)) {
        int64_t waited_us[CONTENTION_THREADS_MAX];
        size_t count = contention_read(&status->serving, waited_us);
        flush_pace_look(pace, waited_us, count, backlog.last_seq, now_boot_us);
    }
    bool gave_way = pace->since_boot_us != 0;
    if (!flush_pace_yields(pace, &backlog, now_boot_us)) {
        return false;
    }
    if (!timer_is_armed(flusher->linger_timer)) {
        flush_batch_note_oldest(flusher);
        timer_arm(flusher->linger_timer, FLUSH_PACE_LOOK_US);
    }
    status_add(status, STATUS_PG_FLUSH_YIELDS, !gave_way);
    return true;
}

bool flusher_may_go_on(struct flusher *flusher)
{
    return is_awaited_now(flusher) || !gives_way(flusher);
}

void flusher_want(struct flusher *flusher, uint64_t seq)
{
    if (seq > flusher->wanted_seq) {
        flusher->wanted_seq = seq;
        flusher_wake(flusher);
    }
}

void flusher_wake(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    bool may_step = worker->ready && flusher->phase == FLUSHER_IDLE && flusher->retires_out == 0 &&
                    conn_is_idle(flusher->conn) && !timer_is_armed(flusher->retry_timer);
    if (!may_step) {
        worker_check_drained(worker);
        return;
    }
    if (!flusher->is_claimed) {
        flush_claim(flusher);
        return;
    }
    uint64_t journaled = flusher_journaled_seq(flusher);
    if (journaled <= flusher_done_seq(flusher)) {
        flush_pace_rest(&flusher->pace);
        status_set(worker->status, STATUS_OUTBOX_OLDEST_US, 0);
        worker_check_drained(worker);
        return;
    }
    bool is_awaited = is_awaited_now(flusher);
    if (!is_awaited && gives_way(flusher)) {
        return;
    }
    bool hurry = is_awaited || flusher->has_lingered ||
                 journaled - worker->applied_seq >= (uint64_t)worker->settings->writes.batch_rows;
    if (hurry) {
        flush_batch_send(flusher);
    } else if (!timer_is_armed(flusher->linger_timer)) {
        timer_arm(flusher->linger_timer, worker->settings->writes.linger_us);
    }
}

static void on_linger(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct flusher *flusher = context;
    flusher->has_lingered = true;
    flusher_wake(flusher);
}

static void on_retry(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct flusher *flusher = context;
    flusher->has_lingered = true;
    flusher_wake(flusher);
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    flush_requests_expire(context);
}

bool flusher_is_quiet(const struct flusher *flusher)
{
    return flusher->phase != FLUSHER_SETTLING && flusher->retires_out == 0;
}

bool flusher_is_drained(const struct flusher *flusher)
{
    // What was acknowledged from memory is journaled within a moment, and counts already.
    uint64_t accepted = (uint64_t)status_get(flusher->worker->status, STATUS_OUTBOX_LAST_SEQ);
    return flusher->phase == FLUSHER_IDLE && flusher->retires_out == 0 &&
           flusher_done_seq(flusher) >= accepted;
}

bool flusher_has_reached(const struct flusher *flusher, uint64_t seq)
{
    return flusher_done_seq(flusher) >= seq;
}

// ---- The connection

static void on_connected(void *context)
{
    struct flusher *flusher = context;
    if (flusher->has_connected) {
        status_add(flusher->worker->status, STATUS_PG_RECONNECTS, 1);
    }
    flusher->has_connected = true;
    flusher->is_connected = true;
    flusher_wake(flusher);
}

static void on_lost(void *context, const struct failure *failure)
{
    struct flusher *flusher = context;
    flush_batch_forget_ahead(flusher);
    flusher->is_claimed = false;
    flusher->last_failure = *failure;
    if (!flusher->is_connected) {
        status_set_error(flusher->worker->status, TROUBLE_FLUSH, failure->sqlstate,
                         failure->message);
    }
    flusher->is_connected = false;
    flusher_set_flushable(flusher);
    worker_on_server_lost(flusher->worker, failure);
}

void flusher_on_ready(struct flusher *flusher)
{
    struct worker *worker = flusher->worker;
    if (flusher->has_sql) {
        batch_sql_deinit(&flusher->sql);
        buffer_deinit(&flusher->claim_sql);
        buffer_deinit(&flusher->free_sql);
    }
    batch_sql_init(&flusher->sql, &worker->names, worker->settings->server.max_value_bytes);
    node_row_sql(&worker->names, &flusher->claim_sql);
    node_row_free_sql(&worker->names, &flusher->free_sql);
    flusher->has_sql = true;
    timer_disarm(flusher->retry_timer);
    conn_open(flusher->conn);
}

void flusher_on_unready(struct flusher *flusher)
{
    conn_close(flusher->conn);
    flush_batch_forget_ahead(flusher);
    flusher->is_claimed = false;
    flusher->is_stopped = false;
    flusher->is_connected = false;
    flusher_set_flushable(flusher);
}

// ---- Life

struct flusher *flusher_create(struct worker *worker)
{
    struct flusher *flusher = memory_zeroed(1, sizeof *flusher);
    flusher->worker = worker;
    // An earlier life of the daemon may have sent whatever this one found in the outbox.
    flusher->sent_seq = flusher_journaled_seq(flusher);
    // And a life before that one may have been told so by a server that is no more.
    reapplied_begin(&flusher->reapplied, 0, worker->identity.reapply_seq);
    waiters_init(&flusher->waiters);
    struct conn_options options = worker_conn_options(worker, "flush");
    options.context = flusher;
    options.busy_us = options.statement_timeout_us;
    options.sent_bytes_max = SENT_BYTES_MAX;
    options.on_connected = on_connected;
    options.on_lost = on_lost;
    flusher->conn = conn_create(&options);
    flusher->linger_timer = timer_new(worker->base, on_linger, flusher);
    flusher->retry_timer = timer_new(worker->base, on_retry, flusher);
    flusher->deadline_timer = timer_new(worker->base, on_deadline, flusher);
    return flusher;
}

void flusher_shut(struct flusher *flusher)
{
    conn_close(flusher->conn);
    flusher->is_claimed = false;
    flusher_set_flushable(flusher);
    flush_requests_fail_all(flusher);
}

void flusher_destroy(struct flusher *flusher)
{
    if (flusher == NULL) {
        return;
    }
    conn_destroy(flusher->conn);
    waiters_deinit(&flusher->waiters);
    batch_deinit(&flusher->sent.batch);
    batch_deinit(&flusher->early.sent.batch);
    flush_batch_forget_ahead(flusher);
    reapplied_deinit(&flusher->reapplied);
    if (flusher->has_sql) {
        batch_sql_deinit(&flusher->sql);
    }
    buffer_deinit(&flusher->claim_sql);
    buffer_deinit(&flusher->free_sql);
    node_row_deinit(&flusher->row);
    timer_free(flusher->linger_timer);
    timer_free(flusher->retry_timer);
    timer_free(flusher->deadline_timer);
    free(flusher);
}
