// A fetch lives from the sending of its SELECT to on_done. Its memory is bounded by the query: each
// row's text is limited to its share of FETCH_BYTES_MAX, and a row that is larger is asked for
// again alone.
//
// An answer may enter the cache if its flight was never marked and the feed has been live, in one
// epoch, from the sending to the receipt (rules 4 and 7); the writer looks at the epoch once more.
#include "pg/fetch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/helm.h"
#include "pg/pg_array.h"
#include "pg/preloader.h"
#include "pg/table_row.h"

enum { FETCH_KEYS_MAX = 256, FETCH_BYTES_MAX = 32 << 20, FETCH_ATTEMPTS_MAX = 3 };

enum { PG_OID_TEXT_ARRAY = 1009, LIMIT_TEXT_BYTES = 24, PARAMS_COUNT = 2 };

static const Oid KEY_TYPES[PARAMS_COUNT] = {PG_OID_TEXT, PG_OID_INT8};
static const Oid KEYS_TYPES[PARAMS_COUNT] = {PG_OID_TEXT_ARRAY, PG_OID_INT8};

struct fetch {
    struct fetch_desk *desk;
    struct fills_message *fills; // NULL until there is one to be made
    struct buffer value;         // of the row at hand
    size_t json_bytes_max;       // of a row
    uint64_t epoch;              // at the sending
    bool feed_was_live;          // at the sending
    bool is_named;               // it went as a statement that the server keeps
    size_t count;
    struct flight *flights[FETCH_KEYS_MAX]; // by key; NULL once landed or put back
    struct slice keys[FETCH_KEYS_MAX];      // in `arena`: flights may be gone before the last row
    struct arena arena;
};

static void make_sql(struct buffer *sql, const char *table, const char *condition)
{
    buffer_clear(sql, 0);
    table_row_select(sql, table, condition, false);
}

// A plan for any one key is as good as the plan for this one, so that the server can keep it; the
// plan for many depends on how many they are.
void fetch_prepare(struct fetch_desk *desk)
{
    make_sql(&desk->sql, desk->worker->table, "key = ANY ($1)");
    make_sql(&desk->key_sql, desk->worker->table, "key = $1");
    prepared_name(buffer_text(&desk->key_sql), KEY_TYPES, PARAMS_COUNT, desk->key_name);
    desk->keeps_statements = true;
}

void fetch_desk_deinit(struct fetch_desk *desk)
{
    buffer_deinit(&desk->sql);
    buffer_deinit(&desk->key_sql);
}

// ---- What may be cached

static bool may_fill(const struct fetch *fetch, const struct flight *flight)
{
    const struct worker *worker = fetch->desk->worker;
    return !flight->is_marked && fetch->feed_was_live && worker->feed_live &&
           worker->epoch == fetch->epoch;
}

static void add_fill(struct fetch *fetch, struct slice key, const struct answer *answer)
{
    if (fetch->fills == NULL) {
        fetch->fills = message_create(MESSAGE_FILLS, sizeof *fetch->fills);
        fetch->fills->epoch = fetch->epoch;
        fetch->fills->number = ++fetch->desk->fills_count;
        fetch->fills->fills =
            arena_alloc(&fetch->fills->arena, fetch->count * sizeof *fetch->fills->fills);
    }
    struct fills_message *fills = fetch->fills;
    fills->fills[fills->fills_count++] = (struct fill){
        .key = arena_copy(&fills->arena, key),
        .present = answer->is_present,
        .value = arena_copy(&fills->arena, answer->value),
        .version = answer->version,
        .expires_at_us = answer->expires_at_us,
    };
}

// The cache can do without a fill; a writer that does not keep up is not given more.
static void post_fills(struct fetch *fetch)
{
    struct fills_message *fills = fetch->fills;
    fetch->fills = NULL;
    if (fills == NULL) {
        return;
    }
    fills->message.bytes += fills->arena.bytes;
    if (mailbox_is_full(fetch->desk->worker->writer)) {
        flights_release(fetch->desk->flights, fills->number);
        message_destroy(&fills->message);
    } else {
        worker_post_lazily(fetch->desk->worker, &fills->message);
    }
}

// ---- Landing

static void land(struct fetch *fetch, size_t place, const struct answer *answer)
{
    struct fetch_desk *desk = fetch->desk;
    struct flight *flight = fetch->flights[place];
    bool is_known = answer->failure.error == ERROR_NONE;
    bool is_wanted = answer->is_present || desk->worker->settings->cache.negative;
    fetch->flights[place] = NULL;
    flights_land(desk->flights, flight);
    preloader_mark(desk->worker->preloader, flight->key);
    bool fills = is_known && is_wanted && may_fill(fetch, flight);
    if (fills) {
        add_fill(fetch, flight->key, answer);
    }
    struct flight_waiter *waiter;
    while ((waiter = flight_next_waiter(flight)) != NULL) {
        desk->on_answer(desk->context, waiter, answer);
    }
    if (fills) {
        flights_keep(desk->flights, flight, answer, fetch->fills->number);
    } else {
        flight_free(flight);
    }
}

static void put_back(struct fetch *fetch, size_t place, bool alone)
{
    flights_put_back(fetch->desk->flights, fetch->flights[place], alone);
    fetch->flights[place] = NULL;
}

static int compare_keys(const void *key, const void *element)
{
    return slice_compare(*(const struct slice *)key, *(const struct slice *)element);
}

static void take_row(struct fetch *fetch, const struct table_row *row)
{
    const struct slice *key =
        bsearch(&row->key, fetch->keys, fetch->count, sizeof fetch->keys[0], compare_keys);
    // A table that lost its primary key, or has a collation of its own, may answer more.
    if (key == NULL || fetch->flights[key - fetch->keys] == NULL) {
        return;
    }
    size_t place = (size_t)(key - fetch->keys);
    if (!row->has_json && fetch->count > 1) {
        put_back(fetch, place, true);
        return;
    }
    struct answer answer = {
        .is_present = true,
        .version = row->version,
        .expires_at_us = row->expires_at_us,
    };
    buffer_clear(&fetch->value, fetch->json_bytes_max);
    size_t value_bytes_max = fetch->desk->worker->settings->server.max_value_bytes;
    if (table_row_convert(row, value_bytes_max, &fetch->value, &answer.failure) == ERROR_NONE) {
        answer.value = buffer_slice(&fetch->value);
    }
    land(fetch, place, &answer);
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct fetch *fetch = context;
    (void)FAULT_POINT(FETCH_ANSWERED);
    // Who is answered hears of it when the writer has the fill: what he does to the key comes
    // after.
    mailbox_cork();
    for (int i = 0; i < PQntuples(result); i++) {
        struct table_row row;
        table_row_read(result, i, &row);
        take_row(fetch, &row);
    }
    // Now, not when the unit is done: whatever is heard in between goes to the writer behind this,
    // and could no longer mark flights that have landed.
    post_fills(fetch);
    mailbox_uncork();
}

// ---- The end

static void land_rest(struct fetch *fetch, const struct answer *answer)
{
    for (size_t i = 0; i < fetch->count; i++) {
        if (fetch->flights[i] != NULL) {
            land(fetch, i, answer);
        }
    }
}

// Each flight is tried again, but not for ever.
static void retry_rest(struct fetch *fetch, const struct failure *failure, bool alone)
{
    struct answer answer = {.failure = ask_no_connection(failure)};
    for (size_t i = 0; i < fetch->count; i++) {
        if (fetch->flights[i] == NULL) {
            continue;
        }
        if (fetch->flights[i]->attempts < FETCH_ATTEMPTS_MAX) {
            put_back(fetch, i, alone);
        } else {
            land(fetch, i, &answer);
        }
    }
}

static void log_refusal(struct fetch_desk *desk, const struct failure *failure)
{
    if (ask_refusal_is_new(desk->last_refusal, failure)) {
        LOG_WARNING("fetch refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
    }
}

// The server does not keep what it was told to, or cannot use it any more: asked again without.
static void ask_without_name(struct fetch *fetch, const struct failure *failure)
{
    struct fetch_desk *desk = fetch->desk;
    if (desk->keeps_statements) {
        LOG_INFO("statements are not kept", LOG_TEXT("sqlstate", failure->sqlstate),
                 LOG_TEXT("error", failure->message));
        desk->keeps_statements = false;
    }
    fetch->flights[0]->attempts--;
    put_back(fetch, 0, false);
}

static void refuse(struct fetch *fetch, const struct failure *failure)
{
    static const char INTERNAL_CLASS[] = "XX";
    if (fetch->is_named && fetch->flights[0] != NULL && prepared_is_refusal(failure->sqlstate)) {
        ask_without_name(fetch, failure);
        return;
    }
    log_refusal(fetch->desk, failure);
    struct answer answer = {.failure = ask_refusal(failure)};
    if (answer.failure.error == ERROR_UNAVAILABLE) {
        retry_rest(fetch, failure, false);
    } else if (strncmp(failure->sqlstate, INTERNAL_CLASS, 2) == 0 && fetch->count > 1) {
        // A damaged row is the trouble of those who ask for it only.
        retry_rest(fetch, failure, true);
    } else {
        land_rest(fetch, &answer);
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct fetch *fetch = context;
    struct fetch_desk *desk = fetch->desk;
    static const struct answer ABSENT = {0};
    mailbox_cork();
    switch (outcome) {
    case UNIT_OK:
        desk->last_refusal[0] = '\0';
        land_rest(fetch, &ABSENT);
        break;
    case UNIT_REFUSED:
        refuse(fetch, failure);
        break;
    case UNIT_LOST:
        retry_rest(fetch, failure, false);
        break;
    }
    post_fills(fetch);
    mailbox_uncork();
    buffer_deinit(&fetch->value);
    arena_deinit(&fetch->arena);
    free(fetch);
    desk->on_done(desk->context);
}

// ---- Sending

static int compare_flights(const void *a, const void *b)
{
    return slice_compare((*(struct flight *const *)a)->key, (*(struct flight *const *)b)->key);
}

static void send_query(struct fetch *fetch, struct conn *conn, struct query *query,
                       struct slice keys)
{
    char limit[LIMIT_TEXT_BYTES];
    snprintf(limit, sizeof limit, "%zu", fetch->json_bytes_max);
    query->params_count = PARAMS_COUNT;
    query->values = (const char *const[]){(const char *)keys.at, limit};
    query->lengths = (const int[]){(int)keys.len, 0};
    query->formats = (const int[]){1, 0};
    query->result_format = 1;
    const struct unit unit = {
        .queries = query,
        .queries_count = 1,
        .context = fetch,
        .on_result = on_result,
        .on_done = on_done,
    };
    conn_send(conn, &unit);
}

static void send_one(struct fetch *fetch, struct conn *conn)
{
    struct fetch_desk *desk = fetch->desk;
    struct query query = {
        .sql = buffer_text(&desk->key_sql),
        .name = desk->keeps_statements ? desk->key_name : NULL,
        .types = KEY_TYPES,
    };
    fetch->is_named = desk->keeps_statements;
    send_query(fetch, conn, &query, fetch->keys[0]);
}

static void send_many(struct fetch *fetch, struct conn *conn)
{
    struct buffer keys = {0};
    struct pg_array array;
    pg_array_begin(&array, &keys, PG_OID_TEXT);
    for (size_t i = 0; i < fetch->count; i++) {
        pg_array_text(&array, fetch->keys[i]);
    }
    pg_array_end(&array);
    struct query query = {
        .sql = buffer_text(&fetch->desk->sql),
        .types = KEYS_TYPES,
    };
    send_query(fetch, conn, &query, buffer_slice(&keys));
    buffer_deinit(&keys);
}

bool fetch_send(struct fetch_desk *desk, struct conn *conn)
{
    struct worker *worker = desk->worker;
    struct flight *batch[FETCH_KEYS_MAX];
    size_t count = flights_take(desk->flights, FETCH_KEYS_MAX, clock_boot_us(), batch);
    if (count == 0) {
        return false;
    }
    qsort(batch, count, sizeof batch[0], compare_flights);
    struct fetch *fetch = memory_zeroed(1, sizeof *fetch);
    fetch->desk = desk;
    fetch->count = count;
    fetch->epoch = worker->epoch;
    fetch->feed_was_live = worker->feed_live;
    for (size_t i = 0; i < count; i++) {
        fetch->flights[i] = batch[i];
        fetch->keys[i] = arena_copy(&fetch->arena, batch[i]->key);
    }
    size_t json_bytes_max = table_row_json_bytes_max(worker->settings->server.max_value_bytes);
    size_t share = FETCH_BYTES_MAX / count;
    fetch->json_bytes_max = count == 1 || json_bytes_max < share ? json_bytes_max : share;
    status_add(worker->status, STATUS_PG_FETCHES, 1);
    status_add(worker->status, STATUS_PG_LOOP_FETCHES, helm_is_visited());
    status_add(worker->status, STATUS_PG_FETCHED_KEYS, (int64_t)count);
    if (count == 1) {
        send_one(fetch, conn);
    } else {
        send_many(fetch, conn);
    }
    return true;
}
