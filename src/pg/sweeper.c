// Runs on the pg worker's thread.
//
// A page is what one look into the cache found: records of older epochs with the versions they
// were stored with. LISTEN was committed before the sweep began, so a change of one of these keys
// is either seen by the page's query or announced later, and the announcement travels to the writer
// in the same order as the page's result. A record that is replaced while its page is in flight is
// of the present epoch, and the writer lets it be.
//
// Two ways to ask for a page: by its keys, or, where the cache holds most of the table, by its
// range of keys, which PostgreSQL answers several times as fast.
#include "pg/sweeper.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/pg_array.h"
#include "pg/read_pool.h"
#include "pg/retry.h"
#include "pg/table_stats.h"
#include "pg/timer.h"

enum {
    PAGE_RECORDS_MAX = 2000,
    RANGE_ROWS_MAX = 4 * PAGE_RECORDS_MAX, // of one answer
    DENSE_ROWS_PER_ENTRY = 2,              // a range is worth it up to here
    LOOK_AGAIN_US = 5 * CLOCK_US_PER_MS,   // at the writer's progress
};

enum { PG_OID_TEXT_ARRAY = 1009 };

struct suspect {
    struct slice key;
    int64_t version;
    bool is_absent;
    bool is_confirmed; // as it was stored
};

struct page {
    struct arena arena;
    size_t count;
    size_t next; // the first that is not decided
    bool is_last;
    struct suspect suspects[PAGE_RECORDS_MAX];
};

struct sweeper {
    struct worker *worker;
    struct read_user user;
    struct event *timer; // pending: nothing is asked before it fires
    struct retry retry;
    bool is_active;
    uint64_t epoch;
    bool is_asking;        // a query is in flight
    uint64_t asking_epoch; // for
    bool by_range;         // the query in flight
    int rows_count;        // of its answer
    struct slice last_row; // of its answer, in the page's arena
    bool has_page;
    struct page page;
    uint8_t hand[KEY_BYTES_MAX];
    size_t hand_bytes;
    int64_t swept_count;
    int64_t drops_count;
    int64_t started_boot_us;
};

// ---- The page

static void drop_page(struct sweeper *sweeper)
{
    arena_deinit(&sweeper->page.arena);
    sweeper->has_page = false;
}

static bool add_suspect(void *context, const struct swept_record *record)
{
    struct page *page = context;
    page->suspects[page->count++] = (struct suspect){
        .key = arena_copy(&page->arena, record->key),
        .version = record->version,
        .is_absent = record->absent,
    };
    return page->count < PAGE_RECORDS_MAX;
}

static enum error load_page(struct sweeper *sweeper)
{
    struct worker *worker = sweeper->worker;
    struct page *page = &sweeper->page;
    drop_page(sweeper);
    page->count = 0;
    page->next = 0;
    worker->cache.begin(worker->reader);
    enum error error =
        worker->cache.visit_suspects(worker->reader, slice_of(sweeper->hand, sweeper->hand_bytes),
                                     PAGE_RECORDS_MAX, add_suspect, page);
    worker->cache.end(worker->reader);
    page->is_last = page->count < PAGE_RECORDS_MAX;
    sweeper->has_page = error == ERROR_NONE;
    return error;
}

static void move_hand(struct sweeper *sweeper, struct slice key)
{
    CHECK_VALUES(key.len <= sizeof sweeper->hand, "%zu bytes", key.len);
    memcpy(sweeper->hand, key.at, key.len);
    sweeper->hand_bytes = key.len;
}

// ---- What the writer is told

// The suspects before `end` are decided.
static void post_swept(struct sweeper *sweeper, size_t end)
{
    struct page *page = &sweeper->page;
    (void)FAULT_POINT(SWEEP_PAGE);
    struct swept_message *swept = message_create(MESSAGE_SWEPT, sizeof *swept);
    size_t count = end - page->next;
    swept->epoch = sweeper->epoch;
    swept->drops = arena_alloc(&swept->arena, count * sizeof *swept->drops);
    for (size_t i = page->next; i < end; i++) {
        if (!page->suspects[i].is_confirmed) {
            swept->drops[swept->drops_count++] = arena_copy(&swept->arena, page->suspects[i].key);
        }
    }
    swept->hand = arena_copy(&swept->arena, slice_of(sweeper->hand, sweeper->hand_bytes));
    swept->done = page->is_last && end == page->count;
    swept->message.bytes += swept->arena.bytes;
    page->next = end;
    sweeper->swept_count += (int64_t)count;
    sweeper->drops_count += (int64_t)swept->drops_count;
    status_add(sweeper->worker->status, STATUS_PG_SWEPT, (int64_t)count);
    status_add(sweeper->worker->status, STATUS_PG_SWEEP_DROPS, (int64_t)swept->drops_count);
    worker_post(sweeper->worker, &swept->message);
}

static void end_sweep(struct sweeper *sweeper)
{
    int64_t took_us = clock_boot_us() - sweeper->started_boot_us;
    LOG_INFO("sweep ended", LOG_INT("epoch", sweeper->epoch),
             LOG_INT("records", sweeper->swept_count), LOG_INT("drops", sweeper->drops_count),
             LOG_INT("took_ms", took_us / CLOCK_US_PER_MS));
    drop_page(sweeper);
    sweeper->is_active = false;
    worker_on_swept(sweeper->worker);
}

// Goes on after the suspects before `end` have been decided.
static void advance(struct sweeper *sweeper, size_t end)
{
    struct page *page = &sweeper->page;
    post_swept(sweeper, end);
    if (page->next < page->count) {
        return;
    }
    if (page->is_last) {
        end_sweep(sweeper);
    } else {
        drop_page(sweeper);
    }
}

// ---- Answers

static int compare_suspects(const void *key, const void *element)
{
    return slice_compare(*(const struct slice *)key, ((const struct suspect *)element)->key);
}

static void take_row(struct sweeper *sweeper, struct slice key, int64_t version)
{
    struct page *page = &sweeper->page;
    struct suspect *suspect = bsearch(&key, page->suspects + page->next, page->count - page->next,
                                      sizeof page->suspects[0], compare_suspects);
    if (suspect != NULL) {
        suspect->is_confirmed = !suspect->is_absent && suspect->version == version;
    }
}

// A query of a sweep that has been stopped or started anew says nothing.
static bool is_wanted(const struct sweeper *sweeper)
{
    return sweeper->is_active && sweeper->asking_epoch == sweeper->epoch && sweeper->has_page;
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct sweeper *sweeper = context;
    if (!is_wanted(sweeper)) {
        return;
    }
    struct page *page = &sweeper->page;
    for (size_t i = page->next; i < page->count; i++) {
        page->suspects[i].is_confirmed = page->suspects[i].is_absent;
    }
    sweeper->rows_count = PQntuples(result);
    sweeper->last_row = slice_of("", 0);
    for (int i = 0; i < sweeper->rows_count; i++) {
        struct slice key = slice_of(PQgetvalue(result, i, 0), (size_t)PQgetlength(result, i, 0));
        int64_t version = PQgetisnull(result, i, 1) ? 0 : pg_read_int8(PQgetvalue(result, i, 1));
        take_row(sweeper, key, version);
        if (i == RANGE_ROWS_MAX - 1) {
            sweeper->last_row = arena_copy(&page->arena, key);
        }
    }
}

// How far an answer decides the page: an answer by range that was cut off says nothing of what
// comes after its last row.
static size_t decided_end(struct sweeper *sweeper)
{
    struct page *page = &sweeper->page;
    bool is_cut = sweeper->by_range && sweeper->rows_count == RANGE_ROWS_MAX;
    if (!is_cut) {
        move_hand(sweeper, page->suspects[page->count - 1].key);
        return page->count;
    }
    move_hand(sweeper, sweeper->last_row);
    size_t end = page->next;
    while (end < page->count && slice_compare(page->suspects[end].key, sweeper->last_row) <= 0) {
        end++;
    }
    return end;
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct sweeper *sweeper = context;
    sweeper->is_asking = false;
    if (is_wanted(sweeper)) {
        if (outcome == UNIT_OK) {
            retry_reset(&sweeper->retry);
            advance(sweeper, decided_end(sweeper));
        } else {
            if (outcome == UNIT_REFUSED) {
                LOG_WARNING("sweep refused", LOG_TEXT("sqlstate", failure->sqlstate),
                            LOG_TEXT("error", failure->message));
            }
            timer_arm(sweeper->timer, retry_next_us(&sweeper->retry));
        }
    }
    read_pool_wake(sweeper->worker->read_pool);
}

// ---- Questions

static void ask(struct sweeper *sweeper, struct conn *conn, const struct query *query)
{
    const struct unit unit = {
        .queries = query,
        .queries_count = 1,
        .context = sweeper,
        .on_result = on_result,
        .on_done = on_done,
    };
    sweeper->is_asking = true;
    sweeper->asking_epoch = sweeper->epoch;
    conn_send(conn, &unit);
}

static void ask_by_keys(struct sweeper *sweeper, struct conn *conn)
{
    const struct page *page = &sweeper->page;
    struct buffer sql = {0}, keys = {0};
    struct pg_array array;
    pg_array_begin(&array, &keys, PG_OID_TEXT);
    for (size_t i = page->next; i < page->count; i++) {
        pg_array_text(&array, page->suspects[i].key);
    }
    pg_array_end(&array);
    buffer_printf(&sql, "SELECT key, version::int8 FROM %s WHERE key = ANY ($1)",
                  sweeper->worker->table);
    const char *values[] = {(const char *)buffer_slice(&keys).at};
    const struct query query = {
        .sql = buffer_text(&sql),
        .params_count = 1,
        .types = (const Oid[]){PG_OID_TEXT_ARRAY},
        .values = values,
        .lengths = (const int[]){(int)buffer_len(&keys)},
        .formats = (const int[]){1},
        .result_format = 1,
    };
    ask(sweeper, conn, &query);
    buffer_deinit(&keys);
    buffer_deinit(&sql);
}

static void ask_by_range(struct sweeper *sweeper, struct conn *conn)
{
    const struct page *page = &sweeper->page;
    struct slice first = page->suspects[page->next].key;
    struct slice last = page->suspects[page->count - 1].key;
    struct buffer sql = {0};
    buffer_printf(&sql,
                  "SELECT key, version::int8 FROM %s WHERE key >= $1 COLLATE \"C\""
                  " AND key <= $2 COLLATE \"C\" AND octet_length(key) <= %d"
                  " ORDER BY key COLLATE \"C\" LIMIT %d",
                  sweeper->worker->table, KEY_BYTES_MAX, RANGE_ROWS_MAX);
    const char *values[] = {(const char *)first.at, (const char *)last.at};
    const struct query query = {
        .sql = buffer_text(&sql),
        .params_count = 2,
        .types = (const Oid[]){PG_OID_TEXT, PG_OID_TEXT},
        .values = values,
        .lengths = (const int[]){(int)first.len, (int)last.len},
        .formats = (const int[]){1, 1},
        .result_format = 1,
    };
    ask(sweeper, conn, &query);
    buffer_deinit(&sql);
}

static bool holds_most_of_table(const struct worker *worker)
{
    int64_t rows = table_stats_rows(worker->table_stats);
    int64_t entries = status_get(worker->status, STATUS_CACHE_ENTRIES);
    return rows >= 0 && rows <= entries * DENSE_ROWS_PER_ENTRY;
}

// Makes sure that there is a page with something to ask. False where there is nothing to be asked
// now.
static bool have_page(struct sweeper *sweeper)
{
    struct worker *worker = sweeper->worker;
    if (sweeper->has_page) {
        return true;
    }
    // Before the writer has begun the epoch, the cache takes nothing to be of an older one.
    bool is_begun = (uint64_t)status_get(worker->status, STATUS_CACHE_EPOCH) >= sweeper->epoch;
    if (!is_begun || mailbox_is_full(worker->writer)) {
        timer_arm(sweeper->timer, LOOK_AGAIN_US);
        return false;
    }
    enum error error = load_page(sweeper);
    if (error != ERROR_NONE) {
        LOG_ERROR("sweep cannot read the cache", LOG_TEXT("error", error_text(error)));
        timer_arm(sweeper->timer, retry_next_us(&sweeper->retry));
        return false;
    }
    if (sweeper->page.count == 0) {
        advance(sweeper, 0);
        return false;
    }
    return true;
}

static bool on_idle(void *context, struct conn *conn)
{
    struct sweeper *sweeper = context;
    if (!sweeper->is_active || sweeper->is_asking || evtimer_pending(sweeper->timer, NULL) ||
        !have_page(sweeper)) {
        return false;
    }
    sweeper->by_range = holds_most_of_table(sweeper->worker);
    if (sweeper->by_range) {
        ask_by_range(sweeper, conn);
    } else {
        ask_by_keys(sweeper, conn);
    }
    return true;
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct sweeper *sweeper = context;
    read_pool_wake(sweeper->worker->read_pool);
}

// ---- Its life

void sweeper_start(struct sweeper *sweeper, uint64_t epoch)
{
    sweeper_stop(sweeper);
    sweeper->is_active = true;
    sweeper->epoch = epoch;
    sweeper->hand_bytes = 0;
    sweeper->swept_count = 0;
    sweeper->drops_count = 0;
    sweeper->started_boot_us = clock_boot_us();
    LOG_INFO("sweep started", LOG_INT("epoch", epoch));
    read_pool_wake(sweeper->worker->read_pool);
}

void sweeper_stop(struct sweeper *sweeper)
{
    if (sweeper->is_active) {
        LOG_INFO("sweep stopped", LOG_INT("epoch", sweeper->epoch),
                 LOG_INT("records", sweeper->swept_count));
    }
    sweeper->is_active = false;
    drop_page(sweeper);
    CHECK(evtimer_del(sweeper->timer) == 0);
}

void sweeper_on_connected(struct sweeper *sweeper)
{
    retry_reset(&sweeper->retry);
}

void sweeper_on_lost(struct sweeper *sweeper, const struct failure *failure)
{
    (void)failure;
    sweeper_stop(sweeper);
}

struct sweeper *sweeper_create(struct worker *worker)
{
    struct sweeper *sweeper = memory_zeroed(1, sizeof *sweeper);
    sweeper->worker = worker;
    sweeper->timer = timer_new(worker->base, on_timer, sweeper);
    sweeper->user = (struct read_user){.is_bulk = true, .context = sweeper, .on_idle = on_idle};
    read_pool_join(worker->read_pool, &sweeper->user);
    return sweeper;
}

void sweeper_destroy(struct sweeper *sweeper)
{
    if (sweeper == NULL) {
        return;
    }
    sweeper_stop(sweeper);
    read_pool_leave(sweeper->worker->read_pool, &sweeper->user);
    timer_free(sweeper->timer);
    free(sweeper);
}
