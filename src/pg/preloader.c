// Runs on the pg worker's thread.
//
// The hand is the last key that is done with. A page asks for the rows behind it; what it may hold
// is bounded twice: by the number of its rows, which follows the size of those before, and by a
// share of PAGE_TEXT_MAX for each row. A row that is larger ends its page and is asked for alone.
#include "pg/preloader.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/pg_array.h"
#include "pg/read_pool.h"
#include "pg/retry.h"
#include "pg/table_row.h"

enum {
    PAGE_ROWS_MAX = 4000,
    PAGE_ROWS_FIRST = 200,
    PAGE_TEXT_WANTED = 1 << 20, // of a page, and no more than a part of the cache:
    PAGE_PART_OF_CACHE = 128,
    PAGE_TEXT_MAX = 32 << 20,
    MARKS_MAX = 4096,
    FULL_PERCENT = 80, // eviction begins at 90
    LOOK_AGAIN_US = 5 * CLOCK_US_PER_MS,
    TELL_EVERY_US = 10 * CLOCK_US_PER_S,
    LIMIT_TEXT_BYTES = 24,
    QUERY_PARAMS = 3
};

// What was heard of while a page is in flight.
struct marks {
    struct arena arena;
    struct slice keys[MARKS_MAX];
    size_t count;
    bool all;
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
    size_t filling_count; // pages with the writer
    uint64_t epoch;       // of the page in flight
    uint8_t hand[KEY_BYTES_MAX];
    size_t hand_bytes;
    size_t page_rows;  // of the page in flight
    size_t rows_count; // of the next page
    bool is_alone;     // the next page has one row, since it is large
    bool is_last;
    struct marks marks;
    struct buffer value; // of the row at hand
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
    size_t share = PAGE_TEXT_MAX / rows;
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

static void clear_marks(struct marks *marks)
{
    arena_deinit(&marks->arena);
    marks->count = 0;
    marks->all = false;
}

void preloader_mark(struct preloader *preloader, struct slice key)
{
    struct marks *marks = &preloader->marks;
    if (!preloader->is_asking || marks->all ||
        slice_compare(key, slice_of(preloader->hand, preloader->hand_bytes)) <= 0) {
        return;
    }
    if (marks->count == MARKS_MAX) {
        marks->all = true;
        return;
    }
    marks->keys[marks->count++] = arena_copy(&marks->arena, key);
}

void preloader_mark_all(struct preloader *preloader)
{
    preloader->marks.all = true;
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static bool is_marked(const struct marks *marks, struct slice key)
{
    return bsearch(&key, marks->keys, marks->count, sizeof marks->keys[0], compare_keys) != NULL;
}

// ---- Answers

static void move_hand(struct preloader *preloader, struct slice key)
{
    CHECK_VALUES(key.len <= sizeof preloader->hand, "%zu bytes", key.len);
    memcpy(preloader->hand, key.at, key.len);
    preloader->hand_bytes = key.len;
}

static void add_fill(struct preloader *preloader, struct fills_message *fills,
                     const struct table_row *row)
{
    size_t value_bytes_max = preloader->worker->settings->server.max_value_bytes;
    buffer_clear(&preloader->value, PAGE_TEXT_WANTED);
    if (table_row_convert(row, value_bytes_max, &preloader->value, NULL) != ERROR_NONE) {
        preloader->skipped_count++;
        return;
    }
    fills->fills[fills->fills_count++] = (struct fill){
        .key = arena_copy(&fills->arena, row->key),
        .present = true,
        .value = arena_copy(&fills->arena, buffer_slice(&preloader->value)),
        .version = row->version,
        .expires_at_us = row->expires_at_us,
    };
}

static void post_fills(struct preloader *preloader, struct fills_message *fills)
{
    struct worker *worker = preloader->worker;
    if (fills->fills_count == 0) {
        message_destroy(&fills->message);
        return;
    }
    fills->epoch = preloader->epoch;
    fills->number = 1; // it comes back
    fills->preloads = true;
    fills->message.bytes += fills->arena.bytes;
    preloader->stored_count += (int64_t)fills->fills_count;
    preloader->filling_count++;
    status_add(worker->status, STATUS_CACHE_PRELOADED, (int64_t)fills->fills_count);
    worker_post(worker, &fills->message);
}

// As many rows as make the text that is wanted, going by the page that came.
static void choose_rows_count(struct preloader *preloader, size_t rows, size_t text_bytes)
{
    size_t row_bytes = rows > 0 ? text_bytes / rows + 1 : 1;
    size_t wanted = text_wanted(preloader) / row_bytes;
    size_t most = preloader->rows_count * 4;
    wanted = wanted < most ? wanted : most;
    wanted = wanted < PAGE_ROWS_MAX ? wanted : PAGE_ROWS_MAX;
    preloader->rows_count = wanted > 1 ? wanted : 1;
}

// Takes the rows up to the first that is too large for this page.
static void take_rows(struct preloader *preloader, const PGresult *result)
{
    size_t rows = (size_t)PQntuples(result), text_bytes = 0, i = 0;
    struct fills_message *fills = message_create(MESSAGE_FILLS, sizeof *fills);
    fills->fills = arena_alloc(&fills->arena, (rows + 1) * sizeof fills->fills[0]);
    bool was_alone = preloader->page_rows == 1;
    preloader->is_alone = false;
    for (; i < rows && !preloader->is_alone; i++) {
        struct table_row row;
        table_row_read(result, (int)i, &row);
        if (!row.has_json && !was_alone) {
            preloader->is_alone = true;
            break;
        }
        text_bytes += row.json.len + row.key.len;
        if (!is_marked(&preloader->marks, row.key)) {
            add_fill(preloader, fills, &row);
        }
        move_hand(preloader, row.key);
    }
    preloader->is_last = !preloader->is_alone && rows < preloader->page_rows;
    if (!was_alone && i > 0) {
        choose_rows_count(preloader, i, text_bytes);
    }
    post_fills(preloader, fills);
}

static bool is_current(const struct preloader *preloader)
{
    const struct worker *worker = preloader->worker;
    return preloader->is_active && worker->feed_live && worker->epoch == preloader->epoch &&
           !preloader->marks.all;
}

// Everything is handed to the writer now, not when the unit is done: whatever is heard in between
// goes there behind it.
static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct preloader *preloader = context;
    struct marks *marks = &preloader->marks;
    if (is_current(preloader)) {
        qsort(marks->keys, marks->count, sizeof marks->keys[0], compare_keys);
        take_rows(preloader, result);
    }
}

static void take_refusal(struct preloader *preloader, const struct failure *failure)
{
    if (strcmp(preloader->last_refusal, failure->message) != 0) {
        LOG_WARNING("preload refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
        snprintf(preloader->last_refusal, sizeof preloader->last_refusal, "%s", failure->message);
    }
    ask_arm(preloader->timer, retry_next_us(&preloader->retry));
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct preloader *preloader = context;
    preloader->is_asking = false;
    clear_marks(&preloader->marks);
    if (preloader->is_active && outcome == UNIT_REFUSED) {
        take_refusal(preloader, failure);
    } else if (preloader->is_active && outcome == UNIT_OK) {
        retry_reset(&preloader->retry);
        tell_progress(preloader);
        if (preloader->is_last) {
            end_preload(preloader, "the whole table was read");
        }
    }
    read_pool_wake(preloader->worker->read_pool);
}

// ---- Questions

static void ask(struct preloader *preloader, struct conn *conn)
{
    struct buffer sql = {0};
    char bytes_max[LIMIT_TEXT_BYTES], rows_max[LIMIT_TEXT_BYTES];
    size_t rows = preloader->is_alone ? 1 : preloader->rows_count;
    preloader->page_rows = rows;
    preloader->epoch = preloader->worker->epoch;
    preloader->is_asking = true;
    clear_marks(&preloader->marks);
    buffer_printf(&sql,
                  "SELECT key, CASE WHEN octet_length(json) <= $2 THEN json END, version::int8,"
                  " expires_at::timestamptz FROM (SELECT key, value::text AS json, version,"
                  " expires_at FROM %s WHERE key > $1 COLLATE \"C\" AND octet_length(key) <= %d"
                  " ORDER BY key COLLATE \"C\" LIMIT $3) page ORDER BY key COLLATE \"C\"",
                  preloader->worker->table, KEY_BYTES_MAX);
    buffer_append(&sql, "", 1);
    snprintf(bytes_max, sizeof bytes_max, "%zu", json_bytes_max(preloader, rows));
    snprintf(rows_max, sizeof rows_max, "%zu", rows);
    const char *values[QUERY_PARAMS] = {(const char *)preloader->hand, bytes_max, rows_max};
    const struct query query = {
        .sql = (const char *)buffer_slice(&sql).at,
        .params_count = QUERY_PARAMS,
        .types = (const Oid[]){PG_OID_TEXT, PG_OID_INT8, PG_OID_INT8},
        .values = values,
        .lengths = (const int[]){(int)preloader->hand_bytes, 0, 0},
        .formats = (const int[]){1, 0, 0},
        .result_format = 1,
    };
    const struct unit unit = {
        .queries = &query,
        .queries_count = 1,
        .context = preloader,
        .on_result = on_result,
        .on_done = on_done,
    };
    conn_send(conn, &unit);
    buffer_deinit(&sql);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct preloader *preloader = context;
    const struct worker *worker = preloader->worker;
    if (!preloader->is_active || preloader->is_asking || worker->is_stopping || !worker->is_swept ||
        evtimer_pending(preloader->timer, NULL)) {
        return false;
    }
    // As any read, it waits until what a failover lost is applied again.
    if (worker_is_reapplying(worker)) {
        return false; // woken by fetcher_on_applied
    }
    // One page with the writer while the next is asked for, so that the figures are of now.
    if (preloader->filling_count > 1 || mailbox_is_full(worker->writer)) {
        ask_arm(preloader->timer, LOOK_AGAIN_US);
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
    read_pool_wake(preloader->worker->read_pool);
}

void preloader_on_filled(struct preloader *preloader)
{
    CHECK(preloader->filling_count > 0);
    preloader->filling_count--;
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
    preloader->timer = evtimer_new(worker->base, on_timer, preloader);
    CHECK(preloader->timer != NULL);
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
    event_free(preloader->timer);
    clear_marks(&preloader->marks);
    buffer_deinit(&preloader->value);
    free(preloader);
}
