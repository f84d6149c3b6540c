// Runs on the pg worker's thread.
//
// The hand is the last key that was dealt with: its row is with the writer, or beyond pgnear's
// limits, or was heard of. A page asks for the rows behind it; what it may hold is bounded three
// times: by the number of its rows, which follows the size of those before, by a limit for each
// row, in characters, and by PAGE_BYTES_MAX of all. A row that is larger than the limit ends its
// page and is asked for alone; the next page is a smaller one then, whose limit is larger, since
// what comes behind such a row was sent for nothing.
//
// Rows are converted as they come, while PostgreSQL makes those behind them, and go to the writer
// some at a time. What is heard meanwhile marks those that are not there yet. Where a page cannot
// be used any more, what follows the hand is asked for again.
#include "pg/preloader.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/preload_page.h"
#include "pg/preload_query.h"
#include "pg/read_pool.h"
#include "pg/retry.h"
#include "pg/table_row.h"
#include "pg/table_stats.h"
#include "pg/timer.h"

enum {
    PAGE_ROWS_MAX = 32000,
    PAGE_ROWS_FIRST = 200,
    PAGE_TEXT_WANTED = 2 << 20, // of a page, and no more than a part of the cache:
    PAGE_PART_OF_CACHE = 128,
    PAGE_BYTES_MAX = 16 << 20,
    SENT_MAX = 256 << 20, // characters, of a page, of which most may be left out
    TEXT_MIN = 8 << 10,   // characters, of a row of several: the larger, the fewer they are
    TEXT_MAX = 256 << 10,
    STEP_ROWS_FIRST = 4, // of a message to the writer; each has twice as many, up to:
    STEP_ROWS_MAX = 4000,
    STEP_BYTES_MAX = 1 << 20,
    FULL_PERCENT = 80, // eviction begins at 90
    FILLINGS_MAX = 8,  // steps, before a page is asked for: so that the figures are of now
    LOOK_AGAIN_US = 5 * CLOCK_US_PER_MS,
    TELL_EVERY_US = 10 * CLOCK_US_PER_S,
};

struct preloader {
    struct worker *worker;
    struct read_user user;
    struct event *timer; // pending: nothing is asked before it fires
    struct retry retry;
    bool is_begun;
    bool is_over;
    bool is_active; // between a sweep's end and the next gap
    bool is_asking;
    size_t filling_count; // steps with the writer
    uint8_t hand[KEY_BYTES_MAX];
    size_t hand_bytes;
    size_t rows_count; // of the next page
    size_t step_rows;  // of the next page's
    bool is_alone;     // the next page has one row, since it is large
    bool is_last;
    struct preload_page page; // in flight where is_asking
    int64_t stored_count;
    int64_t skipped_count;
    int64_t started_boot_us;
    int64_t told_boot_us;
    char last_refusal[FAILURE_MESSAGE_BYTES]; // logged already
};

static size_t text_wanted(const struct preloader *preloader)
{
    size_t part = preloader->worker->settings->cache.size_bytes / PAGE_PART_OF_CACHE;
    return part < PAGE_TEXT_WANTED ? part : PAGE_TEXT_WANTED;
}

static size_t json_bytes_max(const struct preloader *preloader, size_t rows)
{
    size_t limit = table_row_json_bytes_max(preloader->worker->settings->server.max_value_bytes);
    size_t share = SENT_MAX / rows;
    share = share > TEXT_MIN ? share : TEXT_MIN;
    share = share < TEXT_MAX ? share : TEXT_MAX;
    return rows == 1 || limit < share ? limit : share;
}

// ---- Beginning and end

static void end_preload(struct preloader *preloader, const char *reason)
{
    int64_t took_us = clock_boot_us() - preloader->started_boot_us;
    preloader->is_over = true;
    preloader->is_active = false;
    status_set(preloader->worker->status, STATUS_CACHE_PRELOADING, 0);
    LOG_INFO("preload ended", LOG_TEXT("reason", reason),
             LOG_INT("records", preloader->stored_count),
             LOG_INT("skipped", preloader->skipped_count),
             LOG_INT("took_ms", took_us / CLOCK_US_PER_MS));
    table_stats_on_quiet(preloader->worker->table_stats);
}

static bool is_full(const struct preloader *preloader)
{
    const struct worker *worker = preloader->worker;
    size_t limit = worker->settings->cache.size_bytes / 100 * FULL_PERCENT;
    return (size_t)status_get(worker->status, STATUS_CACHE_BYTES) >= limit;
}

static void begin(struct preloader *preloader)
{
    preloader->is_begun = true;
    preloader->started_boot_us = clock_boot_us();
    preloader->told_boot_us = preloader->started_boot_us;
    preloader->rows_count = PAGE_ROWS_FIRST;
    preloader->step_rows = STEP_ROWS_FIRST;
    status_set(preloader->worker->status, STATUS_CACHE_PRELOADING, 1);
    LOG_INFO("preload started",
             LOG_INT("held", status_get(preloader->worker->status, STATUS_CACHE_ENTRIES)));
}

static void tell_progress(struct preloader *preloader)
{
    int64_t now_boot_us = clock_boot_us();
    if (now_boot_us - preloader->told_boot_us >= TELL_EVERY_US) {
        preloader->told_boot_us = now_boot_us;
        LOG_INFO(
            "preload goes on", LOG_INT("records", preloader->stored_count),
            LOG_INT("table_rows", status_get(preloader->worker->status, STATUS_PG_TABLE_ROWS)));
    }
}

// ---- Marks

void preloader_mark(struct preloader *preloader, struct slice key)
{
    if (preloader->is_asking &&
        slice_compare(key, slice_of(preloader->hand, preloader->hand_bytes)) > 0) {
        marks_add(&preloader->page.marks, key);
    }
}

void preloader_mark_all(struct preloader *preloader)
{
    preloader->page.marks.all = true;
}

// ---- Answers

static void move_hand(struct preloader *preloader, struct slice key)
{
    CHECK_VALUES(key.len <= sizeof preloader->hand, "%zu bytes", key.len);
    memcpy(preloader->hand, key.at, key.len);
    preloader->hand_bytes = key.len;
}

static void post_fills(struct preloader *preloader, struct fills_message *fills)
{
    struct worker *worker = preloader->worker;
    fills->number = 1; // it comes back
    fills->preloads = true;
    fills->message.bytes += fills->arena.bytes;
    preloader->stored_count += (int64_t)fills->fills_count;
    preloader->filling_count++;
    status_add(worker->status, STATUS_CACHE_PRELOADED, (int64_t)fills->fills_count);
    worker_post(worker, &fills->message);
}

static bool is_current(const struct preloader *preloader, const struct preload_page *page)
{
    const struct worker *worker = preloader->worker;
    return preloader->is_active && worker->feed_live && worker->epoch == page->epoch &&
           !page->marks.all && !page->is_void;
}

// What was taken goes to the writer. A page that is not current takes nothing more.
static void post_step(struct preloader *preloader)
{
    struct preload_page *page = &preloader->page;
    struct fills_message *fills = preload_page_fills(page);
    if (!is_current(preloader, page)) {
        page->is_void = true;
        if (fills != NULL) {
            message_destroy(&fills->message);
        }
        return;
    }
    preloader->skipped_count += (int64_t)page->skipped;
    page->skipped = 0;
    if (page->last_bytes > 0) {
        move_hand(preloader, slice_of(page->last, page->last_bytes));
    }
    if (fills != NULL) {
        post_fills(preloader, fills);
    }
}

// As many rows as make the text that is wanted, going by the page that came. Where that was left
// before its end, not many more than it had: the rest of it was made for nothing.
static void choose_rows_count(struct preloader *preloader, const struct preload_page *page)
{
    size_t row_bytes = page->rows_count > 0 ? page->text_bytes / page->rows_count + 1 : 1;
    size_t wanted = text_wanted(preloader) / row_bytes;
    size_t most = preloader->rows_count * 4;
    if (page->is_cut || page->is_full) {
        most = page->rows_count * 2 > PAGE_ROWS_FIRST ? page->rows_count * 2 : PAGE_ROWS_FIRST;
    }
    wanted = wanted < most ? wanted : most;
    wanted = wanted < PAGE_ROWS_MAX ? wanted : PAGE_ROWS_MAX;
    preloader->rows_count = wanted > 1 ? wanted : 1;
}

// Who waits for the end reads hits from then on: the writer has applied all of it.
static void end_where_all_is_filled(struct preloader *preloader)
{
    if (preloader->is_active && preloader->is_last && !preloader->is_asking &&
        preloader->filling_count == 0) {
        end_preload(preloader, "the whole table was read");
    }
}

static void take_refusal(struct preloader *preloader, const struct failure *failure)
{
    if (ask_refusal_is_new(preloader->last_refusal, failure)) {
        LOG_WARNING("preload refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
    }
    if (!preloader->is_alone && preloader->rows_count > 1 &&
        ask_refusal(failure).error == ERROR_TIMEOUT) {
        preloader->rows_count /= 2; // so many may be made in time
        return;
    }
    timer_arm(preloader->timer, retry_next_us(&preloader->retry));
}

// The page that was asked for has come.
static void take_page(struct preloader *preloader)
{
    struct preload_page *page = &preloader->page;
    post_step(preloader);
    if (page->is_void) {
        return; // what follows the hand is asked for again
    }
    if (!preload_page_is_whole(page)) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_INTERNAL, "what COPY sent is not rows of the table");
        take_refusal(preloader, &failure);
        return;
    }
    bool was_alone = preloader->is_alone;
    preloader->is_alone = page->is_cut;
    preloader->is_last = preload_page_is_last(page);
    if (!was_alone && (page->rows_count > 0 || page->is_cut)) {
        choose_rows_count(preloader, page);
    }
    retry_reset(&preloader->retry);
    tell_progress(preloader);
}

static void on_copied(void *context, struct slice bytes)
{
    struct preloader *preloader = context;
    struct preload_page *page = &preloader->page;
    while (preload_page_take(page, &bytes)) {
        post_step(preloader);
        size_t step_rows = preloader->step_rows * 2;
        preloader->step_rows = step_rows < STEP_ROWS_MAX ? step_rows : STEP_ROWS_MAX;
        page->limits.step_rows = preloader->step_rows;
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct preloader *preloader = context;
    if (outcome == UNIT_OK) {
        take_page(preloader);
    } else if (preloader->is_active && outcome == UNIT_REFUSED) {
        take_refusal(preloader, failure);
    }
    preloader->is_asking = false;
    preload_page_drop(&preloader->page);
    end_where_all_is_filled(preloader);
    read_pool_wake(preloader->worker->read_pool);
}

// ---- Questions

static void ask(struct preloader *preloader, struct conn *conn)
{
    const struct worker *worker = preloader->worker;
    size_t rows = preloader->is_alone ? 1 : preloader->rows_count;
    size_t text_max = json_bytes_max(preloader, rows);
    const struct preload_limits limits = {
        .rows_asked = rows,
        .text_max = preload_query_text_max(text_max),
        .bytes_max = PAGE_BYTES_MAX,
        .value_bytes_max = worker->settings->server.max_value_bytes,
        .step_rows = preloader->step_rows,
        .step_bytes = STEP_BYTES_MAX,
    };
    preloader->is_asking = true;
    preload_page_ask(&preloader->page, &limits, worker->epoch);
    const struct unit unit = {
        .context = preloader,
        .on_copied = on_copied,
        .on_done = on_done,
    };
    preload_query_send(conn, &unit, worker->table, slice_of(preloader->hand, preloader->hand_bytes),
                       rows, text_max);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct preloader *preloader = context;
    const struct worker *worker = preloader->worker;
    if (!preloader->is_active || preloader->is_asking || preloader->is_last ||
        worker->is_stopping || !worker->is_swept || evtimer_pending(preloader->timer, NULL)) {
        return false;
    }
    // As any read, it waits until what a failover lost is applied again.
    if (worker_is_reapplying(worker)) {
        return false; // woken by fetcher_on_applied
    }
    if (preloader->filling_count >= FILLINGS_MAX) {
        return false; // woken by preloader_on_filled
    }
    if (mailbox_is_full(worker->writer)) {
        timer_arm(preloader->timer, LOOK_AGAIN_US);
        return false;
    }
    if (is_full(preloader)) {
        end_preload(preloader, "the cache is full");
        return false;
    }
    ask(preloader, conn);
    return true;
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct preloader *preloader = context;
    read_pool_wake(preloader->worker->read_pool);
}

// ---- Its life

void preloader_on_swept(struct preloader *preloader)
{
    if (!preloader->worker->settings->cache.preload || preloader->is_over) {
        return;
    }
    if (!preloader->is_begun) {
        begin(preloader);
    }
    preloader->is_active = true;
    preloader->is_last = false; // looked at once more: rows may have come behind the hand
    read_pool_wake(preloader->worker->read_pool);
}

void preloader_on_filled(struct preloader *preloader)
{
    CHECK(preloader->filling_count > 0);
    preloader->filling_count--;
    end_where_all_is_filled(preloader);
    read_pool_wake(preloader->worker->read_pool);
}

void preloader_on_lost(struct preloader *preloader, const struct failure *failure)
{
    (void)failure;
    preloader->is_active = false;
    CHECK(evtimer_del(preloader->timer) == 0);
}

struct preloader *preloader_create(struct worker *worker)
{
    struct preloader *preloader = memory_zeroed(1, sizeof *preloader);
    preloader->worker = worker;
    preloader->timer = timer_new(worker->base, on_timer, preloader);
    preloader->user = (struct read_user){.is_bulk = true, .context = preloader, .on_idle = on_idle};
    read_pool_join(worker->read_pool, &preloader->user);
    return preloader;
}

void preloader_destroy(struct preloader *preloader)
{
    if (preloader == NULL) {
        return;
    }
    preloader->is_active = false;
    read_pool_leave(preloader->worker->read_pool, &preloader->user);
    timer_free(preloader->timer);
    preload_page_deinit(&preloader->page);
    free(preloader);
}
