// A job is a task with the request that waits for it; a scheduled one has no request. Ended jobs
// are freed by an event of their own, since a task may not be freed from its callback.
#include "pg/backup.h"

#include <stdio.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/backup_progress.h"
#include "pg/backup_task.h"
#include "pg/fetcher.h"
#include "pg/timer.h"

// Requests beyond this many are OVERLOADED: each has a connection. One more is the schedule's.
enum { REQUESTS_MAX = 4 };

enum {
    LOOK_AGAIN_MIN_US = 100 * CLOCK_US_PER_MS,
    LOOK_AGAIN_MAX_S = 3600, // others make backups as well
    RETRY_MAX_S = 60,
};

struct backup_work {
    struct backup_work *prev;
    struct backup_work *next;
    struct backup *backup;
    struct backup_task *task;
    struct request *request; // NULL: the schedule's, or answered
    enum backup_job job;
    bool is_over;
};

struct backup {
    struct worker *worker;
    struct backup_progress *progress;
    struct backup_work *works; // utlist
    size_t requests_count;
    struct event *reaper;
    struct event *schedule_timer;
    bool is_open;
    bool is_scheduled_out; // the schedule's job is among the works
};

static void start_scheduled(struct backup *backup, enum backup_job job);

static bool is_copy(enum backup_job job)
{
    return job != BACKUP_LIST && job != BACKUP_CLEAN_UP;
}

// ---- Words

static void describe(struct worker *worker, enum backup_job job, char *text, size_t text_bytes)
{
    static const char *const WORDS[] = {
        [BACKUP_MAKE] = "back up",
        [BACKUP_MAKE_IF_DUE] = "back up",
        [BACKUP_LIST] = "list the backups of",
        [BACKUP_MERGE] = "restore",
        [BACKUP_REPLACE] = "restore",
        [BACKUP_CLEAN_UP] = "clean up the backups of",
    };
    const char *table = worker->table_name.table;
    snprintf(text, text_bytes, "Failed to %s table \"%s\"", WORDS[job],
             table[0] != '\0' ? table : worker->settings->postgres.table);
}

static enum backup_job job_of(const struct call *call)
{
    switch (call->method) {
    case METHOD_BACKUP:
        return BACKUP_MAKE;
    case METHOD_BACKUPS:
        return BACKUP_LIST;
    case METHOD_RESTORE:
        return call->replaces ? BACKUP_REPLACE : BACKUP_MERGE;
    case METHOD_CLEANUP_BACKUPS:
        return BACKUP_CLEAN_UP;
    default:
        break;
    }
    CHECK_VALUES(false, "%s is no backup", method_name(call->method));
    return BACKUP_LIST;
}

void backup_fail(struct backup *backup, struct request *request, const struct failure *failure)
{
    char words[FAILURE_MESSAGE_BYTES / 2];
    describe(backup->worker, job_of(&request->call), words, sizeof words);
    struct failure *told = &request->reply.failure;
    failure_note(told, failure->error, "%s: %s", words, failure->message);
    memcpy(told->sqlstate, failure->sqlstate, sizeof told->sqlstate);
    request_finish(request);
}

// ---- The end of a job

static void fill_reply(struct request *request, const struct backup_end *end)
{
    struct reply *reply = &request->reply;
    reply->backups_count = end->results_count;
    reply->backups = arena_alloc(&reply->arena, end->results_count * sizeof *reply->backups);
    for (size_t i = 0; i < end->results_count; i++) {
        const struct backup_result *result = &end->results[i];
        reply->backups[i] = (struct backup_item){
            .table = arena_copy(&reply->arena, slice_of_string(result->name)),
            .created_at = arena_copy(&reply->arena, slice_of_string(result->created_at)),
            .rows = result->rows,
        };
    }
}

// What this node holds clean may be older than the restore. Pending records stay and are tainted,
// as by any change of others.
static void drop_what_is_held(struct worker *worker)
{
    fetcher_mark_all(worker->fetcher);
    struct changes_message *changes = message_create(MESSAGE_CHANGES, sizeof *changes);
    changes->truncated = true;
    changes->resync = true;
    worker_post(worker, &changes->message);
}

static void answer(struct backup_work *work, const struct backup_end *end)
{
    struct worker *worker = work->backup->worker;
    struct request *request = work->request;
    work->request = NULL;
    work->backup->requests_count--;
    if (end->failure != NULL) {
        backup_fail(work->backup, request, end->failure);
        return;
    }
    fill_reply(request, end);
    if (request->call.method == METHOD_RESTORE) {
        request->is_flushed = true;
        worker_post(worker, &request->message); // goes home behind what was dropped
    } else {
        request_finish(request);
    }
}

static void log_end(const struct backup_work *work, const struct backup_end *end)
{
    static const char *const EVENTS[] = {
        [BACKUP_MAKE] = "backup made",        [BACKUP_MAKE_IF_DUE] = "backup made",
        [BACKUP_LIST] = "backups listed",     [BACKUP_MERGE] = "backup restored",
        [BACKUP_REPLACE] = "backup restored", [BACKUP_CLEAN_UP] = "backup dropped",
    };
    struct worker *worker = work->backup->worker;
    if (end->failure != NULL) {
        char words[FAILURE_MESSAGE_BYTES / 2];
        describe(worker, work->job, words, sizeof words);
        LOG_ERROR("backup job failed", LOG_TEXT("what", words),
                  LOG_TEXT("sqlstate", end->failure->sqlstate),
                  LOG_TEXT("error", end->failure->message),
                  LOG_INT("took_ms", end->took_us / 1000));
        return;
    }
    for (size_t i = 0; i < end->results_count && work->job != BACKUP_LIST; i++) {
        const struct backup_result *result = &end->results[i];
        if (result->wait_us == 0) {
            LOG_INFO(EVENTS[work->job], LOG_TEXT("backup", result->name),
                     LOG_INT("rows", result->rows), LOG_INT("took_ms", end->took_us / 1000));
        }
    }
}

static void count_backups(struct backup *backup, enum backup_job job, const struct backup_end *end)
{
    struct status *status = backup->worker->status;
    bool is_known = status_get(status, STATUS_TABLE_BACKUPS) >= 0;
    bool made = job == BACKUP_MAKE || job == BACKUP_MAKE_IF_DUE;
    if (end->failure != NULL) {
        status_add(status, STATUS_PG_BACKUP_FAILURES, job != BACKUP_LIST);
    } else if (made && end->results_count == 1 && end->results[0].wait_us == 0) {
        status_add(status, STATUS_PG_BACKUPS_MADE, 1);
        status_add(status, STATUS_TABLE_BACKUPS, is_known);
    } else if (job == BACKUP_CLEAN_UP && is_known) {
        status_add(status, STATUS_TABLE_BACKUPS, -(int64_t)end->results_count);
    } else if (job == BACKUP_LIST) {
        status_set(status, STATUS_TABLE_BACKUPS, (int64_t)end->results_count);
    }
}

// ---- The schedule

static int64_t every_us(const struct backup *backup)
{
    return backup->worker->settings->backup.every_us;
}

static void look_again(struct backup *backup, int64_t delay_us)
{
    const int64_t max_us = LOOK_AGAIN_MAX_S * (int64_t)CLOCK_US_PER_S;
    delay_us = delay_us < max_us ? delay_us : max_us;
    if (backup->is_open) {
        timer_arm(backup->schedule_timer,
                  delay_us > LOOK_AGAIN_MIN_US ? delay_us : LOOK_AGAIN_MIN_US);
    }
}

static void go_on(struct backup *backup, enum backup_job job, const struct backup_end *end)
{
    const int64_t retry_us = RETRY_MAX_S * (int64_t)CLOCK_US_PER_S;
    backup->is_scheduled_out = false;
    if (!backup->is_open) {
        return;
    }
    if (end->failure != NULL) {
        look_again(backup, every_us(backup) < retry_us ? every_us(backup) : retry_us);
    } else if (job == BACKUP_MAKE_IF_DUE && end->results_count == 1 &&
               end->results[0].wait_us > 0) {
        look_again(backup, end->results[0].wait_us);
    } else if (job == BACKUP_MAKE_IF_DUE) {
        start_scheduled(backup, BACKUP_CLEAN_UP);
    } else {
        look_again(backup, 0);
    }
}

static void on_schedule(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct backup *backup = context;
    if (worker_is_reapplying(backup->worker)) {
        look_again(backup, LOOK_AGAIN_MIN_US);
    } else if (!backup->is_scheduled_out) {
        start_scheduled(backup, BACKUP_MAKE_IF_DUE);
    }
}

// ---- Jobs

static void on_end(void *context, struct backup_task *task, const struct backup_end *end)
{
    (void)task;
    struct backup_work *work = context;
    struct backup *backup = work->backup;
    bool is_restore = work->job == BACKUP_MERGE || work->job == BACKUP_REPLACE;
    work->is_over = true;
    if (is_copy(work->job)) {
        backup_progress_end(backup->progress);
    }
    log_end(work, end);
    count_backups(backup, work->job, end);
    if (is_restore && (end->failure == NULL || end->failure->error == ERROR_OUTCOME_UNKNOWN)) {
        drop_what_is_held(backup->worker);
    }
    if (work->request != NULL) {
        answer(work, end);
    } else {
        go_on(backup, work->job, end);
    }
    event_active(backup->reaper, EV_TIMEOUT, 1);
}

static struct backup_work *start(struct backup *backup, const struct backup_order *order,
                                 struct request *request)
{
    struct backup_work *work = memory_zeroed(1, sizeof *work);
    work->backup = backup;
    work->request = request;
    work->job = order->job;
    DL_APPEND(backup->works, work);
    struct backup_task_options options = {
        .worker = backup->worker,
        .order = *order,
        .context = work,
        .on_end = on_end,
    };
    if (is_copy(order->job)) {
        snprintf(options.order.progress, sizeof options.order.progress, "%s",
                 backup_progress_name(backup->progress));
        backup_progress_begin(backup->progress);
    }
    if (order->job != BACKUP_LIST && order->job != BACKUP_MAKE_IF_DUE) {
        LOG_INFO("backup job started",
                 LOG_TEXT("method", request == NULL ? "scheduled clean-up"
                                                    : method_name(request->call.method)),
                 LOG_TEXT("table", backup->worker->table), LOG_TEXT("backup", order->backup));
    }
    work->task = backup_task_start(&options);
    return work;
}

static void start_scheduled(struct backup *backup, enum backup_job job)
{
    const struct backup_settings *settings = &backup->worker->settings->backup;
    const struct backup_order order = {
        .job = job,
        .age_us = job == BACKUP_CLEAN_UP ? settings->keep_us : settings->every_us,
    };
    backup->is_scheduled_out = true;
    start(backup, &order, NULL);
}

static void free_work(struct backup *backup, struct backup_work *work)
{
    DL_DELETE(backup->works, work);
    backup_task_destroy(work->task);
    free(work);
}

static void on_reap(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct backup *backup = context;
    struct backup_work *work, *following;
    DL_FOREACH_SAFE(backup->works, work, following)
    {
        if (work->is_over) {
            free_work(backup, work);
        }
    }
}

// Whole milliseconds that are left to a request that said how long it would wait; 0: no limit.
static int64_t timeout_ms_of(const struct request *request)
{
    if (!request->call.has_timeout) {
        return 0;
    }
    int64_t left_ms = (request->deadline_boot_us - clock_boot_us()) / CLOCK_US_PER_MS;
    return left_ms > 0 ? left_ms : 1;
}

bool backup_is_open(const struct backup *backup)
{
    return backup->is_open;
}

void backup_request(struct backup *backup, struct request *request)
{
    struct worker *worker = backup->worker;
    struct failure failure = {0};
    if (!backup->is_open) {
        failure = worker->last_failure;
        bool is_refused = failure.sqlstate[0] == '4';
        failure = is_refused ? ask_refusal(&failure) : ask_no_connection(&failure);
        backup_fail(backup, request, &failure);
    } else if (backup->requests_count >= REQUESTS_MAX) {
        failure_note(&failure, ERROR_OVERLOADED, "%d such requests are being done",
                     (int)REQUESTS_MAX);
        backup_fail(backup, request, &failure);
    } else {
        struct backup_order order = {
            .job = job_of(&request->call),
            .age_us = request->call.days * 86400 * CLOCK_US_PER_S,
            .timeout_ms = timeout_ms_of(request),
        };
        snprintf(order.backup, sizeof order.backup, "%.*s", SLICE_FORMAT(request->call.table));
        backup->requests_count++;
        start(backup, &order, request);
    }
}

// ---- Its life

void backup_on_connected(struct backup *backup)
{
    backup->is_open = true;
    if (every_us(backup) > 0) {
        look_again(backup, 0);
    }
}

void backup_on_lost(struct backup *backup, const struct failure *failure)
{
    backup->is_open = false;
    CHECK(evtimer_del(backup->schedule_timer) == 0);
    struct failure told = ask_no_connection(failure);
    struct backup_work *work;
    // Nothing is taken out of the list, or put into it, while it is not open.
    DL_FOREACH(backup->works, work)
    {
        backup_task_abandon(work->task, &told);
    }
}

void backup_refuse_all(struct backup *backup, const struct failure *failure)
{
    backup_on_lost(backup, failure);
    CHECK_VALUES(backup->requests_count == 0, "%zu requests", backup->requests_count);
}

struct backup *backup_create(struct worker *worker)
{
    struct backup *backup = memory_zeroed(1, sizeof *backup);
    backup->worker = worker;
    backup->progress = backup_progress_create(worker);
    backup->reaper = timer_new(worker->base, on_reap, backup);
    backup->schedule_timer = timer_new(worker->base, on_schedule, backup);
    return backup;
}

void backup_destroy(struct backup *backup)
{
    if (backup == NULL) {
        return;
    }
    struct backup_work *work, *following;
    DL_FOREACH_SAFE(backup->works, work, following)
    {
        free_work(backup, work);
    }
    timer_free(backup->reaper);
    timer_free(backup->schedule_timer);
    backup_progress_destroy(backup->progress);
    free(backup);
}
