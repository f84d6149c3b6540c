// Runs on the pg worker's thread and owns the requests for scan and all. Up to SCANS_ACTIVE_MAX of
// them have a page in the making, each with at most one unit in flight; the others queue.
#include "pg/scanner.h"

#include <inttypes.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/prepared.h"
#include "pg/read_pool.h"
#include "pg/scan_page.h"
#include "pg/scan_query.h"
#include "pg/timer.h"

enum {
    SCANS_MAX = 1024, // beyond it a request is OVERLOADED
    SCANS_ACTIVE_MAX = 8,
    SCAN_ATTEMPTS_MAX = 3, // at one unit
    OVERLAY_BYTES_MAX = 32 << 20,
    ANSWER_BYTES_MAX = SCAN_BYTES_MAX, // of text, of one SELECT
    ANSWER_ROWS_MIN = 8,
    ANSWER_ROWS_MAX = 4096,
    ROW_BYTES_FIRST_GUESS = 1024,
};

struct scan {
    struct scan *prev;
    struct scan *next;
    struct scanner *scanner;
    struct request *request; // NULL: finished while its unit is in flight
    struct event *deadline;
    uint64_t last_seq; // of the writes acknowledged before it came
    unsigned attempts;
    bool is_asking;     // a unit is in flight
    bool is_started;    // counts as active
    bool is_pinned;     // the overlay holds for what follows page.after
    bool is_refetching; // all that is left is what was flushed meanwhile
    bool is_refetched;
    bool is_named;        // the unit in flight is a statement that the server keeps
    size_t rows_max;      // of the unit in flight
    size_t long_count;    // of keys beyond our limit in the last answer
    uint64_t refetch_seq; // what was flushed up to here is fetched again
    struct key_range range;
    struct overlay overlay;
    struct scan_page page;
};

struct scanner {
    struct worker *worker;
    struct read_user user;
    struct scan *scans; // utlist: the first is the next to be served
    size_t scans_count;
    size_t active_count;
    size_t row_bytes; // of text, as lately seen
    bool keeps_statements;
};

// ---- The end of a scan

static void free_scan(struct scan *scan)
{
    struct scanner *scanner = scan->scanner;
    CHECK(!scan->is_asking && scan->request == NULL);
    DL_DELETE(scanner->scans, scan);
    scanner->scans_count--;
    scanner->active_count -= scan->is_started;
    overlay_deinit(&scan->overlay);
    scan_page_deinit(&scan->page);
    free(scan);
}

// The request is the caller's to finish. The page's arena, and so the page, goes with it.
static struct request *take_request(struct scan *scan)
{
    struct request *request = scan->request;
    scan->request = NULL;
    timer_free(scan->deadline);
    if (!scan->is_asking) {
        free_scan(scan);
    }
    return request;
}

static void fail(struct scan *scan, const struct failure *failure)
{
    ask_fail(take_request(scan), failure);
}

static void finish(struct scan *scan)
{
    struct request *request = scan->request;
    if (request->call.all && scan->page.bytes > scan->page.bytes_max) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_TOO_LARGE, "more than %d bytes: use scan", SCAN_BYTES_MAX);
        fail(scan, &failure);
        return;
    }
    scan_page_finish(&scan->page, &request->reply);
    request_finish(take_request(scan));
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct scan *scan = context;
    struct failure failure = {0};
    failure_note(&failure, ERROR_TIMEOUT, "not complete within %" PRId64 " ms",
                 scan->request->call.timeout_ms);
    fail(scan, &failure);
}

// ---- The overlay

static bool add_entry(void *context, const struct entry *entry)
{
    struct scan *scan = context;
    // One whose result was not known when the scan came may be seen or not.
    if (!entry_returns_result(entry) || entry->seq <= scan->last_seq) {
        overlay_add(&scan->overlay, entry);
    }
    return true;
}

// Pins the overlay of what follows page.after. False where that has to wait, or failed.
static bool pin_overlay(struct scan *scan)
{
    struct worker *worker = scan->scanner->worker;
    overlay_deinit(&scan->overlay);
    scan->range.after = scan->page.after;
    overlay_init(&scan->overlay, &scan->range, OVERLAY_BYTES_MAX);
    enum error error =
        worker->outbox.visit_accepted(worker->outbox.outbox, worker->applied_seq, add_entry, scan);
    if (error != ERROR_NONE) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_INTERNAL, "the outbox cannot be read: %s", error_text(error));
        fail(scan, &failure);
        return false;
    }
    if (scan->overlay.undecided_seq > worker->applied_seq) {
        return false; // looked at again with fetcher_on_applied
    }
    overlay_seal(&scan->overlay);
    scan->is_pinned = true;
    return true;
}

// ---- Answers

static void take_rows(struct scan *scan, const PGresult *result)
{
    struct scanner *scanner = scan->scanner;
    struct scan_answer answer;
    scan_answer_read(result, &answer);
    if (answer.rows_count > 0) {
        scanner->row_bytes = answer.text_bytes / answer.rows_count + 1;
    }
    scan->long_count = answer.long_count;
    bool is_cut = answer.found_count > answer.rows_count;
    if (scan->is_refetching) {
        scan_page_refresh(&scan->page, answer.rows, answer.rows_count, is_cut, scan->refetch_seq);
    } else {
        bool is_end = !is_cut && answer.rows_count < scan->rows_max;
        scan_page_merge(&scan->page, answer.rows, answer.rows_count, is_end, &scan->overlay);
    }
    free(answer.rows);
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct scan *scan = context;
    if (scan->request != NULL) {
        take_rows(scan, result);
    }
}

static bool has_flushed_entries(const struct scan *scan)
{
    for (size_t i = 0; i < scan->page.entries_count; i++) {
        if (page_entry_is_flushed(&scan->page.entries[i], scan->refetch_seq)) {
            return true;
        }
    }
    return false;
}

static void advance(struct scan *scan)
{
    struct scan_page *page = &scan->page;
    scan->attempts = 0;
    scan->is_refetched = scan->is_refetching;
    scan->refetch_seq = scan->scanner->worker->applied_seq;
    if (!page->is_complete && !scan_page_is_full(page)) {
        // Behind its horizon the overlay has to be pinned anew.
        scan->is_pinned =
            !scan->overlay.has_horizon || slice_compare(page->after, scan->overlay.horizon) < 0;
    } else if (!scan->is_refetched && has_flushed_entries(scan)) {
        scan->is_refetching = true;
    } else {
        finish(scan);
    }
}

// The server does not keep what it was told to, or cannot use it any more: asked again without.
static void ask_without_name(struct scan *scan, const struct failure *failure)
{
    struct scanner *scanner = scan->scanner;
    if (scanner->keeps_statements) {
        LOG_INFO("statements of scans are not kept", LOG_TEXT("sqlstate", failure->sqlstate),
                 LOG_TEXT("error", failure->message));
        scanner->keeps_statements = false;
    }
    scan->attempts--;
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct scan *scan = context;
    struct worker *worker = scan->scanner->worker;
    scan->is_asking = false;
    if (scan->request == NULL) {
        free_scan(scan);
    } else if (outcome == UNIT_OK) {
        advance(scan);
    } else if (outcome == UNIT_REFUSED && scan->is_named &&
               prepared_is_refusal(failure->sqlstate)) {
        ask_without_name(scan, failure);
    } else {
        struct failure refusal =
            outcome == UNIT_LOST ? ask_no_connection(failure) : ask_refusal(failure);
        if (refusal.error != ERROR_UNAVAILABLE || scan->attempts >= SCAN_ATTEMPTS_MAX) {
            LOG_WARNING("scan failed", LOG_TEXT("sqlstate", refusal.sqlstate),
                        LOG_TEXT("error", refusal.message));
            fail(scan, &refusal);
        }
    }
    read_pool_wake(worker->read_pool);
}

// ---- Questions

static size_t rows_max_of(const struct scan *scan)
{
    size_t wanted = ANSWER_ROWS_MAX;
    if (scan->page.items_max < wanted) {
        wanted = scan->page.items_max + 1 - scan->page.visible_count;
    }
    // Where such keys crowd, they must not be met in handfuls.
    wanted += 2 * scan->long_count;
    wanted = wanted < ANSWER_ROWS_MAX ? wanted : ANSWER_ROWS_MAX;
    size_t expected = ANSWER_BYTES_MAX / scan->scanner->row_bytes;
    expected = expected > ANSWER_ROWS_MIN ? expected : ANSWER_ROWS_MIN;
    return wanted < expected ? wanted : expected;
}

static void ask_again_for_flushed(struct scan *scan, const struct scan_query *query,
                                  struct conn *conn, struct unit unit)
{
    const struct scan_page *page = &scan->page;
    struct slice *keys = memory_zeroed(page->entries_count, sizeof *keys);
    size_t count = 0;
    for (size_t i = 0; i < page->entries_count; i++) {
        if (page_entry_is_flushed(&page->entries[i], scan->refetch_seq)) {
            keys[count++] = page->entries[i].key;
        }
    }
    scan_query_keys(query, keys, count, conn, unit);
    free(keys);
}

static void ask(struct scan *scan, struct conn *conn)
{
    struct worker *worker = scan->scanner->worker;
    const struct unit unit = {.context = scan, .on_result = on_result, .on_done = on_done};
    struct scan_query query = {
        .table = worker->table,
        .rows_max = scan->is_refetching ? scan->page.entries_count : rows_max_of(scan),
        .json_bytes_max = table_row_json_bytes_max(scan->page.value_bytes_max),
        .text_bytes_max = ANSWER_BYTES_MAX,
    };
    // How many rows the first page of a scan may have is the client's choice, and so the same again
    // and again; what is asked for after that differs from scan to scan.
    scan->is_named = scan->scanner->keeps_statements && !scan->is_refetching &&
                     query.rows_max == scan->page.items_max + 1;
    query.is_kept = scan->is_named;
    scan->is_asking = true;
    scan->attempts++;
    scan->rows_max = query.rows_max;
    if (scan->is_refetching) {
        ask_again_for_flushed(scan, &query, conn, unit);
    } else {
        const struct key_range range = {scan->range.prefix, scan->page.after};
        scan_query_range(&query, &range, conn, unit);
    }
}

static void start(struct scan *scan)
{
    const struct call *call = &scan->request->call;
    struct worker *worker = scan->scanner->worker;
    scan->is_started = true;
    scan->scanner->active_count++;
    scan->page = (struct scan_page){
        .arena = &scan->request->reply.arena,
        .items_max = call->all ? SIZE_MAX : call->limit,
        .bytes_max = SCAN_BYTES_MAX,
        .value_bytes_max = worker->settings->server.max_value_bytes,
        .now_us = worker->cache.now_us(worker->cache.cache),
        .after = call->after,
    };
}

// Whether the scan took the connection.
static bool serve(struct scan *scan, struct conn *conn)
{
    struct scanner *scanner = scan->scanner;
    if (scan->is_asking || (!scan->is_started && scanner->active_count >= SCANS_ACTIVE_MAX)) {
        return false;
    }
    if (!scan->is_started) {
        start(scan);
    }
    if (!scan->is_pinned && !pin_overlay(scan)) {
        return false;
    }
    ask(scan, conn);
    return true;
}

static bool on_idle(void *context, struct conn *conn)
{
    struct scanner *scanner = context;
    struct scan *scan, *following;
    DL_FOREACH_SAFE(scanner->scans, scan, following)
    {
        if (serve(scan, conn)) {
            DL_DELETE(scanner->scans, scan);
            DL_APPEND(scanner->scans, scan);
            return true;
        }
    }
    return false;
}

void scanner_request(struct scanner *scanner, struct request *request)
{
    const struct call *call = &request->call;
    CHECK_VALUES(call->method == METHOD_SCAN || call->method == METHOD_ALL, "%s",
                 method_name(call->method));
    CHECK_VALUES(call->all || (call->limit > 0 && call->limit <= SCAN_ITEMS_MAX), "%" PRIu32,
                 call->limit);
    if (ask_is_turned_away(scanner->worker, request)) {
        return;
    }
    if (scanner->scans_count >= SCANS_MAX) {
        struct failure failure = {0};
        failure_note(&failure, ERROR_OVERLOADED, "too many scans wait for PostgreSQL");
        ask_fail(request, &failure);
        return;
    }
    struct scan *scan = memory_zeroed(1, sizeof *scan);
    scan->scanner = scanner;
    scan->request = request;
    scan->range.prefix = call->prefix;
    scan->last_seq = (uint64_t)status_get(scanner->worker->status, STATUS_OUTBOX_LAST_SEQ);
    DL_APPEND(scanner->scans, scan);
    scanner->scans_count++;
    scan->deadline = timer_new(scanner->worker->base, on_deadline, scan);
    timer_arm(scan->deadline, request->deadline_boot_us - clock_boot_us());
    read_pool_wake(scanner->worker->read_pool);
}

// ---- The connections

static void on_down(void *context, const struct failure *failure)
{
    struct failure refusal = ask_no_connection(failure);
    scanner_refuse_all(context, &refusal);
}

void scanner_on_connected(struct scanner *scanner)
{
    scanner->keeps_statements = true;
    read_pool_wake(scanner->worker->read_pool);
}

void scanner_on_lost(struct scanner *scanner, const struct failure *failure)
{
    (void)failure; // worker_refuse knows it
    struct scan *scan, *following;
    DL_FOREACH_SAFE(scanner->scans, scan, following)
    {
        if (scan->request != NULL) {
            worker_refuse(scanner->worker, take_request(scan));
        }
    }
}

void scanner_refuse_all(struct scanner *scanner, const struct failure *failure)
{
    struct scan *scan, *following;
    DL_FOREACH_SAFE(scanner->scans, scan, following)
    {
        if (scan->request != NULL) {
            fail(scan, failure);
        }
    }
}

// ---- Its life

struct scanner *scanner_create(struct worker *worker)
{
    struct scanner *scanner = memory_zeroed(1, sizeof *scanner);
    scanner->worker = worker;
    scanner->row_bytes = ROW_BYTES_FIRST_GUESS;
    scanner->user = (struct read_user){
        .is_bulk = true,
        .context = scanner,
        .on_idle = on_idle,
        .on_down = on_down,
    };
    read_pool_join(worker->read_pool, &scanner->user);
    return scanner;
}

void scanner_destroy(struct scanner *scanner)
{
    if (scanner == NULL) {
        return;
    }
    read_pool_leave(scanner->worker->read_pool, &scanner->user);
    CHECK_VALUES(scanner->scans_count == 0, "%zu requests", scanner->scans_count);
    free(scanner);
}
