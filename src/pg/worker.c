// The worker's thread and what it is told through its mailbox. It owns the loop, the modules and
// their connections; worker_state.c has what it knows of PostgreSQL.
#include "pg/worker.h"

#include <stdlib.h>

#include <event2/thread.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "pg/auditor.h"
#include "pg/backup.h"
#include "pg/checker.h"
#include "pg/feed.h"
#include "pg/fetcher.h"
#include "pg/flusher.h"
#include "pg/guest.h"
#include "pg/handshake.h"
#include "pg/historian.h"
#include "pg/janitor.h"
#include "pg/preloader.h"
#include "pg/read_pool.h"
#include "pg/scanner.h"
#include "pg/sweeper.h"
#include "pg/table_stats.h"
#include "pg/timer.h"

// What servers may have waiting here before they answer OVERLOADED.
enum { MAILBOX_COUNT_MAX = 65536, MAILBOX_BYTES_MAX = 64 << 20 };

// A turn of the writer costs as much as a fetch: it is worth a few fills at once.
enum { LAZY_COUNT_MAX = 64, LAZY_DELAY_US = 4000 };

// ---- The mailbox

static void dispatch_request(struct worker *worker, struct request *request)
{
    switch (request->call.method) {
    case METHOD_GET:
    case METHOD_MGET:
        if (request->call.has_at_version) {
            historian_request(worker->historian, request);
        } else {
            fetcher_request(worker->fetcher, request);
        }
        break;
    case METHOD_TTL:
        fetcher_request(worker->fetcher, request);
        break;
    case METHOD_HISTORY:
        historian_request(worker->historian, request);
        break;
    case METHOD_SCAN:
    case METHOD_ALL:
        scanner_request(worker->scanner, request);
        break;
    case METHOD_CHECK:
        checker_request(worker->checker, request);
        break;
    case METHOD_BACKUPS:
    case METHOD_CLEANUP_BACKUPS:
        backup_request(worker->backup, request);
        break;
    case METHOD_BACKUP:
    case METHOD_RESTORE:
        if (backup_is_open(worker->backup)) {
            flusher_request(worker->flusher, request);
        } else {
            backup_request(worker->backup, request);
        }
        break;
    case METHOD_SYNC:
        feed_request(worker->feed, request);
        break;
    case METHOD_SET:
    case METHOD_MSET:
    case METHOD_DELETE:
    case METHOD_INCR:
    case METHOD_MERGE:
    case METHOD_TOUCH:
    case METHOD_RETRY_DEAD_LETTER:
    case METHOD_FLUSH:
        flusher_request(worker->flusher, request);
        break;
    default:
        CHECK_VALUES(false, "%s is not for the pg worker", method_name(request->call.method));
    }
}

static void take_back_fills(struct worker *worker, struct fills_message *fills)
{
    if (fills->preloads) {
        preloader_on_filled(worker->preloader);
    } else {
        fetcher_on_filled(worker->fetcher, fills->number);
    }
    message_destroy(&fills->message);
}

static void dispatch(struct worker *worker, struct message *message)
{
    switch ((enum message_kind)message->kind) {
    case MESSAGE_REQUEST:
        dispatch_request(worker, (struct request *)message);
        break;
    case MESSAGE_FLUSHED:
    case MESSAGE_RETIRE:
        flusher_on_returned(worker->flusher, message);
        break;
    case MESSAGE_BIND:
    case MESSAGE_REWIND:
        handshake_on_returned(worker->handshake, message);
        break;
    case MESSAGE_FILLS:
        take_back_fills(worker, (struct fills_message *)message);
        break;
    default:
        CHECK_VALUES(false, "message %d is not for the pg worker", message->kind);
    }
}

static void on_drain_over(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct worker *worker = context;
    LOG_WARNING("drain ended early",
                LOG_INT("writes_left", status_get(worker->status, STATUS_OUTBOX_DEPTH)),
                LOG_INT("applied_seq", worker->applied_seq),
                LOG_INT("journaled_seq", status_get(worker->status, STATUS_OUTBOX_JOURNALED_SEQ)));
    event_base_loopbreak(worker->base);
}

static void begin_stopping(struct worker *worker, int64_t deadline_boot_us)
{
    worker->is_stopping = true;
    timer_arm(worker->drain_timer, deadline_boot_us - clock_boot_us());
}

static void on_mailbox(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct worker *worker = context;
    struct message *message = mailbox_take(&worker->mailbox);
    while (message != NULL) {
        struct message *next = message->next;
        dispatch(worker, message);
        message = next;
    }
    int64_t deadline_boot_us =
        atomic_load_explicit(&worker->stop_deadline_boot_us, memory_order_acquire);
    if (deadline_boot_us != 0 && !worker->is_stopping) {
        begin_stopping(worker, deadline_boot_us);
    }
    guest_take_over(worker);
    flusher_wake(worker->flusher);
    auditor_wake(worker->auditor);
}

// ---- For the modules

bool worker_is_reapplying(const struct worker *worker)
{
    return !flusher_has_reached(worker->flusher, worker->reapply_seq);
}

void worker_check_drained(struct worker *worker)
{
    if (worker->is_stopping && flusher_is_drained(worker->flusher)) {
        event_base_loopbreak(worker->base);
    }
}

static void on_lazy(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct worker *worker = context;
    worker->lazy_count = 0;
    mailbox_nudge(worker->writer);
}

void worker_post(struct worker *worker, struct message *message)
{
    mailbox_push(worker->writer, message);
}

void worker_post_lazily(struct worker *worker, struct message *message)
{
    mailbox_push_quietly(worker->writer, message);
    if (++worker->lazy_count >= LAZY_COUNT_MAX) {
        worker->lazy_count = 0;
        mailbox_nudge(worker->writer);
    } else if (!timer_is_armed(worker->lazy_timer)) {
        timer_arm(worker->lazy_timer, LAZY_DELAY_US);
    }
}

struct conn_options worker_conn_options(struct worker *worker, const char *name)
{
    const struct postgres_settings *settings = &worker->settings->postgres;
    return (struct conn_options){
        .base = worker->base,
        .name = name,
        .conninfo = settings->conninfo,
        .connect_timeout_us = settings->connect_timeout_us,
        .statement_timeout_us = settings->statement_timeout_us,
        .implied = &worker->implied_name,
    };
}

// ---- Life

enum error worker_create(const struct worker_options *options, struct worker **out)
{
    struct worker *worker = memory_zeroed(1, sizeof *worker);
    *worker = (struct worker){
        .settings = options->settings,
        .status = options->status,
        .cache = options->cache,
        .outbox = options->outbox,
        .stop = options->stop,
        .writer = options->writer,
        .identity = options->identity,
        .applied_seq = options->identity.applied_seq,
        .reapply_seq = options->identity.reapply_seq,
        .epoch = (uint64_t)status_get(options->status, STATUS_CACHE_EPOCH),
    };
    helm_init(&worker->helm);
    enum error error = mailbox_init(&worker->mailbox, MAILBOX_COUNT_MAX, MAILBOX_BYTES_MAX);
    if (error != ERROR_NONE) {
        goto free_worker;
    }
    error = worker->cache.reader_open(worker->cache.cache, &worker->reader);
    if (error != ERROR_NONE) {
        goto deinit_mailbox;
    }
    // A guest may arm a timer of the loop's while the loop sleeps.
    CHECK(evthread_use_pthreads() == 0);
    worker->base = event_base_new();
    if (worker->base == NULL) {
        error = ERROR_SYSTEM;
        goto close_reader;
    }
    status_set(worker->status, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)worker->applied_seq);
    atomic_store(&worker->audit_rate, options->settings->cache.audit_rate);
    failure_note(&worker->last_failure, ERROR_UNAVAILABLE, "not connected yet");
    *out = worker;
    return ERROR_NONE;

close_reader:
    worker->cache.reader_close(worker->reader);
deinit_mailbox:
    mailbox_deinit(&worker->mailbox);
free_worker:
    helm_deinit(&worker->helm);
    free(worker);
    return error;
}

static void create_modules(struct worker *worker)
{
    worker->mailbox_event = timer_new_event(worker->base, mailbox_fd(&worker->mailbox),
                                            EV_READ | EV_PERSIST, on_mailbox, worker);
    worker->drain_timer = timer_new(worker->base, on_drain_over, worker);
    worker->lazy_timer = timer_new(worker->base, on_lazy, worker);
    CHECK(event_add(worker->mailbox_event, NULL) == 0);
    worker->handshake = handshake_create(worker);
    worker->feed = feed_create(worker);
    worker->flusher = flusher_create(worker);
    worker->read_pool = read_pool_create(worker);
    worker->fetcher = fetcher_create(worker);
    worker->sweeper = sweeper_create(worker);
    worker->scanner = scanner_create(worker);
    worker->checker = checker_create(worker);
    worker->table_stats = table_stats_create(worker);
    worker->backup = backup_create(worker);
    worker->historian = historian_create(worker);
    worker->janitor = janitor_create(worker);
    worker->auditor = auditor_create(worker);
    worker->preloader = preloader_create(worker);
}

static void shut_modules(struct worker *worker)
{
    handshake_stop(worker->handshake);
    feed_shut(worker->feed);
    flusher_shut(worker->flusher);
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "the daemon is stopping");
    worker->ready = false;
    worker->last_failure = failure;
    fetcher_on_lost(worker->fetcher, &failure);
    sweeper_on_lost(worker->sweeper, &failure);
    scanner_on_lost(worker->scanner, &failure);
    checker_on_lost(worker->checker, &failure);
    table_stats_on_lost(worker->table_stats, &failure);
    historian_on_lost(worker->historian, &failure);
    janitor_on_lost(worker->janitor, &failure);
    auditor_on_lost(worker->auditor, &failure);
    preloader_on_lost(worker->preloader, &failure);
    fetcher_refuse_all(worker->fetcher, &failure);
    scanner_refuse_all(worker->scanner, &failure);
    checker_refuse_all(worker->checker, &failure);
    backup_refuse_all(worker->backup, &failure);
    historian_refuse_all(worker->historian, &failure);
}

static void destroy_modules(struct worker *worker)
{
    backup_destroy(worker->backup);
    preloader_destroy(worker->preloader);
    auditor_destroy(worker->auditor);
    janitor_destroy(worker->janitor);
    historian_destroy(worker->historian);
    table_stats_destroy(worker->table_stats);
    checker_destroy(worker->checker);
    scanner_destroy(worker->scanner);
    sweeper_destroy(worker->sweeper);
    fetcher_destroy(worker->fetcher);
    read_pool_destroy(worker->read_pool);
    flusher_destroy(worker->flusher);
    feed_destroy(worker->feed);
    handshake_destroy(worker->handshake);
    mailbox_nudge(worker->writer);
    timer_free(worker->lazy_timer);
    timer_free(worker->drain_timer);
    timer_free(worker->mailbox_event);
}

void worker_begin(struct worker *worker)
{
    create_modules(worker);
    handshake_start(worker->handshake);
    flusher_wake(worker->flusher);
    worker->admits_guests = true;
}

void worker_end(struct worker *worker)
{
    worker->admits_guests = false;
    shut_modules(worker);
    destroy_modules(worker);
}

static void *run(void *context)
{
    struct worker *worker = context;
    thread_name("pg");
    helm_join(&worker->helm);
    helm_take(&worker->helm);
    worker_begin(worker);
    helm_leave(&worker->helm);
    CHECK(event_base_dispatch(worker->base) >= 0);
    helm_take(&worker->helm);
    worker_end(worker);
    helm_leave(&worker->helm);
    return NULL;
}

enum error worker_start(struct worker *worker)
{
    CHECK(!worker->is_started);
    if (thread_start(&worker->thread, run, worker) != 0) {
        return ERROR_SYSTEM;
    }
    worker->is_started = true;
    return ERROR_NONE;
}

void worker_set_audit_rate(struct worker *worker, int rate)
{
    atomic_store_explicit(&worker->audit_rate, rate, memory_order_relaxed);
    mailbox_wake(&worker->mailbox);
}

int worker_audit_rate(struct worker *worker)
{
    return atomic_load_explicit(&worker->audit_rate, memory_order_relaxed);
}

struct mailbox *worker_mailbox(struct worker *worker)
{
    return &worker->mailbox;
}

void worker_stop(struct worker *worker, int64_t deadline_boot_us)
{
    if (!worker->is_started) {
        return;
    }
    // 0 means go on.
    int64_t deadline = deadline_boot_us == 0 ? 1 : deadline_boot_us;
    atomic_store_explicit(&worker->stop_deadline_boot_us, deadline, memory_order_release);
    mailbox_wake(&worker->mailbox);
    CHECK(pthread_join(worker->thread, NULL) == 0);
    worker->is_started = false;
}

// What came after the thread had ended. The writer has sent the requests of its own messages home.
static void discard(struct worker *worker, struct message *message)
{
    switch ((enum message_kind)message->kind) {
    case MESSAGE_REQUEST:
        worker_refuse(worker, (struct request *)message);
        return;
    case MESSAGE_FLUSHED:
        ((struct flushed_message *)message)->requests = NULL;
        break;
    case MESSAGE_RETIRE:
        ((struct retire_message *)message)->requests = NULL;
        break;
    default:
        break;
    }
    message_destroy(message);
}

void worker_destroy(struct worker *worker)
{
    CHECK(!worker->is_started);
    struct message *message = mailbox_take(&worker->mailbox);
    while (message != NULL) {
        struct message *next = message->next;
        discard(worker, message);
        message = next;
    }
    event_base_free(worker->base);
    worker->cache.reader_close(worker->reader);
    mailbox_deinit(&worker->mailbox);
    helm_deinit(&worker->helm);
    free(worker);
}
