// A pg worker against a real PostgreSQL for the tests of its reading modules. The test plays the
// rest of the daemon: a cache that is a sorted list of suspects, an outbox in memory, and a writer
// thread that remembers what it is told and returns what is to be returned. Each test includes it
// once; main thread but for the writer.
#pragma once

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "pg/worker.h"
#include "system/harness/deadline.h"
#include "system/harness/json_text.h"
#include "system/harness/pg.h"
#include "json/json.h"

enum { BENCH_RECORDS_MAX = 20000, BENCH_ENTRIES_MAX = 20000, BENCH_TIMEOUT_MS = 20000 };

struct bench_fill {
    const char *key;
    bool present;
    int64_t version;
    const char *json; // of the value
};

struct bench {
    struct scenario *scenario;
    struct pg *pg;
    struct settings settings;
    struct status status;
    struct worker *worker;
    struct mailbox writer;
    struct mailbox home;
    struct workers *writer_thread;
    struct message *kept; // of `home`, not yet asked for
    uint64_t last_seq;
    pthread_mutex_t mutex;
    // Shared, under mutex:
    struct bench_fill fills[256];
    size_t fills_count;
    struct swept_record records[BENCH_RECORDS_MAX]; // suspects, by key
    size_t records_count;
    bool dropped[BENCH_RECORDS_MAX];
    size_t drops_count;
    size_t swept_messages;
    size_t sweeps_done;
    char hand[KEY_BYTES_MAX + 1];
    struct buffer entries[BENCH_ENTRIES_MAX]; // entry_encode, of seq at [seq - 1]
    size_t entries_count;
    bool is_begun_late; // the writer does not get to begin epochs
    // What a lookup finds of `held_key`; NULL: nothing.
    const char *held_key;
    enum lookup held_lookup;
    struct cached held;
};

// ---- The ports

static inline enum error bench_reader_open(void *cache, struct cache_reader **reader)
{
    *reader = cache;
    return ERROR_NONE;
}

static inline void bench_reader_nothing(struct cache_reader *reader)
{
    (void)reader;
}

static inline enum error
bench_visit_suspects(struct cache_reader *reader, struct slice after, size_t count_max,
                     bool (*visit)(void *context, const struct swept_record *record), void *context)
{
    struct bench *bench = (void *)reader;
    pthread_mutex_lock(&bench->mutex);
    size_t count = 0;
    for (size_t i = 0; i < bench->records_count && count < count_max; i++) {
        if (slice_compare(bench->records[i].key, after) > 0) {
            count++;
            if (!visit(context, &bench->records[i])) {
                break;
            }
        }
    }
    pthread_mutex_unlock(&bench->mutex);
    return ERROR_NONE;
}

static inline enum lookup bench_lookup(struct cache_reader *reader, struct slice key,
                                       struct cached *cached)
{
    struct bench *bench = (void *)reader;
    enum lookup found = LOOKUP_MISS;
    pthread_mutex_lock(&bench->mutex);
    if (bench->held_key != NULL && slice_equal(key, slice_of_string(bench->held_key))) {
        found = bench->held_lookup;
        *cached = bench->held;
    }
    pthread_mutex_unlock(&bench->mutex);
    return found;
}

static inline int64_t bench_now_us(void *cache)
{
    (void)cache;
    return clock_real_us();
}

static inline void bench_check(void *cache, struct reply *reply)
{
    (void)cache;
    struct check_item *items =
        arena_alloc(&reply->arena, (reply->checks_count + 1) * sizeof *items);
    for (size_t i = 0; i < reply->checks_count; i++) {
        items[i] = reply->checks[i];
    }
    items[reply->checks_count++] = (struct check_item){
        .item = slice_of_string("disk"), .ok = true, .message = slice_of_string("there is room")};
    reply->checks = items;
}

static inline bool bench_knows_incarnation(void *outbox, const char *incarnation)
{
    (void)outbox;
    (void)incarnation;
    return false;
}

static inline enum error bench_visit_outbox(void *outbox, uint64_t after_seq,
                                            bool (*visit)(void *context, const struct entry *entry),
                                            void *context)
{
    struct bench *bench = outbox;
    pthread_mutex_lock(&bench->mutex);
    enum error error = ERROR_NONE;
    bool goes_on = true;
    for (uint64_t seq = after_seq + 1; goes_on && seq <= bench->entries_count; seq++) {
        struct entry entry;
        error = entry_decode(seq, buffer_slice(&bench->entries[seq - 1]), &entry);
        goes_on = error == ERROR_NONE && visit(context, &entry);
    }
    pthread_mutex_unlock(&bench->mutex);
    return error;
}

static inline void bench_on_stop(void *context, int exit_status)
{
    (void)context;
    scenario_fail("the worker gave up with %d", exit_status);
}

// ---- The writer

static inline const char *bench_text(struct bench *bench, struct slice slice)
{
    return scenario_text(bench->scenario, "%.*s", SLICE_FORMAT(slice));
}

static inline const char *bench_json(struct bench *bench, struct slice msgpack)
{
    struct buffer text = {0};
    assert_int_equal(json_from_msgpack(msgpack, false, &text, NULL), ERROR_NONE);
    const char *json = bench_text(bench, buffer_slice(&text));
    buffer_deinit(&text);
    return json;
}

static inline void bench_note_fills(struct bench *bench, const struct fills_message *fills)
{
    for (size_t i = 0; i < fills->fills_count && bench->fills_count < 256; i++) {
        const struct fill *fill = &fills->fills[i];
        bench->fills[bench->fills_count++] = (struct bench_fill){
            .key = bench_text(bench, fill->key),
            .present = fill->present,
            .version = fill->version,
            .json = fill->present ? bench_json(bench, fill->value) : NULL,
        };
    }
}

static inline void bench_note_swept(struct bench *bench, const struct swept_message *swept)
{
    for (size_t i = 0; i < swept->drops_count; i++) {
        size_t place = 0;
        while (!slice_equal(bench->records[place].key, swept->drops[i])) {
            place++;
            assert_true(place < bench->records_count);
        }
        assert_false(bench->dropped[place]);
        bench->dropped[place] = true;
        bench->drops_count++;
    }
    assert_true(slice_compare(swept->hand, slice_of_string(bench->hand)) >= 0);
    memcpy(bench->hand, swept->hand.at, swept->hand.len);
    bench->hand[swept->hand.len] = '\0';
    bench->swept_messages++;
    bench->sweeps_done += swept->done;
}

static inline void bench_note_feed(struct bench *bench, const struct feed_message *feed)
{
    if (feed->event != FEED_STARTED && feed->event != FEED_REPLACED) {
        return;
    }
    bench->hand[0] = '\0';
    bench->drops_count = 0;
    memset(bench->dropped, 0, sizeof bench->dropped);
    if (!bench->is_begun_late) {
        status_add(&bench->status, STATUS_CACHE_EPOCH, 1);
    }
}

static inline void bench_take(struct bench *bench, struct message *message)
{
    struct request *requests = NULL;
    bool is_returned = false;
    pthread_mutex_lock(&bench->mutex);
    switch ((enum message_kind)message->kind) {
    case MESSAGE_FILLS:
        bench_note_fills(bench, (struct fills_message *)message);
        is_returned = ((struct fills_message *)message)->number != 0;
        break;
    case MESSAGE_SWEPT:
        bench_note_swept(bench, (struct swept_message *)message);
        break;
    case MESSAGE_FEED:
        bench_note_feed(bench, (struct feed_message *)message);
        break;
    case MESSAGE_FLUSHED:
        requests = ((struct flushed_message *)message)->requests;
        ((struct flushed_message *)message)->requests = NULL;
        is_returned = true;
        break;
    case MESSAGE_RETIRE:
    case MESSAGE_BIND:
    case MESSAGE_REWIND:
        is_returned = true;
        break;
    case MESSAGE_REQUEST:
        requests = (struct request *)message;
        requests->sibling = NULL;
        break;
    case MESSAGE_CHANGES:
        break;
    }
    pthread_mutex_unlock(&bench->mutex);
    if (is_returned) {
        mailbox_push(worker_mailbox(bench->worker), message);
    } else if (message->kind != MESSAGE_REQUEST) {
        message_destroy(message);
    }
    while (requests != NULL) {
        struct request *sibling = requests->sibling;
        request_finish(requests);
        requests = sibling;
    }
}

static inline void bench_drain(struct bench *bench)
{
    struct message *message = mailbox_take(&bench->writer);
    while (message != NULL) {
        struct message *next = message->next;
        bench_take(bench, message);
        message = next;
    }
}

static inline void bench_run_writer(void *context, int index)
{
    (void)index;
    struct bench *bench = context;
    while (!worker_is_stopping()) {
        struct pollfd waiting = {.fd = mailbox_fd(&bench->writer), .events = POLLIN};
        poll(&waiting, 1, 20);
        bench_drain(bench);
    }
}

// ---- Its life

static inline void bench_await(struct bench *bench, enum status_item item, int64_t at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&bench->status, item) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s stays at %lld, not %lld", status_name(item),
                          (long long)status_get(&bench->status, item), (long long)at_least);
        }
    }
}

// Not started yet: the test may change the settings and the cache.
static inline struct bench *bench_create(struct scenario *scenario, struct pg *pg)
{
    struct bench *bench = scenario_alloc(scenario, sizeof *bench);
    bench->scenario = scenario;
    bench->pg = pg;
    bench->settings = (struct settings){
        .server = {.max_value_bytes = 1 << 20},
        .cache = {.negative = true},
        .writes = {.linger_us = 1000, .batch_rows = 2000},
        .postgres = {.conninfo = (char *)pg_url(pg),
                     .table = "kv_store",
                     .create_schema = true,
                     .connections = 1,
                     .connect_timeout_us = 3 * CLOCK_US_PER_S,
                     .statement_timeout_us = 30 * CLOCK_US_PER_S},
    };
    pthread_mutex_init(&bench->mutex, NULL);
    status_init(&bench->status);
    assert_int_equal(mailbox_init(&bench->home, 1000000, SIZE_MAX), ERROR_NONE);
    assert_int_equal(mailbox_init(&bench->writer, 100000, SIZE_MAX), ERROR_NONE);
    return bench;
}

static inline void bench_start(struct bench *bench)
{
    struct worker_options options = {
        .settings = &bench->settings,
        .status = &bench->status,
        .writer = &bench->writer,
        .cache = {.cache = bench,
                  .reader_open = bench_reader_open,
                  .reader_close = bench_reader_nothing,
                  .begin = bench_reader_nothing,
                  .lookup = bench_lookup,
                  .end = bench_reader_nothing,
                  .visit_suspects = bench_visit_suspects,
                  .now_us = bench_now_us,
                  .check = bench_check},
        .outbox = {.outbox = bench,
                   .knows_incarnation = bench_knows_incarnation,
                   .visit = bench_visit_outbox,
                   .visit_accepted = bench_visit_outbox},
        .stop = {.context = bench, .stop = bench_on_stop},
        .identity = {.node = "11111111-2222-3333-4444-555555555555",
                     .incarnation = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"},
    };
    assert_int_equal(worker_create(&options, &bench->worker), ERROR_NONE);
    bench->writer_thread = workers_start(bench->scenario, 1, bench_run_writer, bench);
    assert_int_equal(worker_start(bench->worker), ERROR_NONE);
}

// A worker that is live, with the table and its triggers made.
static inline struct bench *bench_of(struct scenario *scenario, struct pg *pg)
{
    struct bench *bench = bench_create(scenario, pg);
    bench_start(bench);
    bench_await(bench, STATUS_PG_STATE, NODE_LIVE);
    bench_await(bench, STATUS_PG_FLUSHABLE, 1);
    return bench;
}

static inline void bench_end(struct bench *bench)
{
    worker_stop(bench->worker, clock_boot_us());
    workers_stop(bench->writer_thread);
    workers_join(bench->writer_thread);
    bench_drain(bench);
    worker_destroy(bench->worker);
    for (size_t i = 0; i < bench->entries_count; i++) {
        buffer_deinit(&bench->entries[i]);
    }
    mailbox_deinit(&bench->writer);
    assert_null(mailbox_take(&bench->home));
    assert_null(bench->kept);
    mailbox_deinit(&bench->home);
    status_deinit(&bench->status);
    pthread_mutex_destroy(&bench->mutex);
}

// ---- Requests

static inline struct request *bench_make(struct bench *bench, const struct call *call)
{
    struct call timed = *call;
    timed.timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : BENCH_TIMEOUT_MS;
    struct request *request = request_create(&timed, &bench->home);
    request->deadline_boot_us = clock_boot_us() + timed.timeout_ms * CLOCK_US_PER_MS;
    return request;
}

// Sends a call; `request` is only a name for bench_await_reply.
static inline struct request *bench_send(struct bench *bench, const struct call *call)
{
    struct request *request = bench_make(bench, call);
    mailbox_push(worker_mailbox(bench->worker), &request->message);
    return request;
}

static inline struct call bench_call(enum method method, struct pair *pair, const char *key)
{
    *pair = (struct pair){.key = slice_of_string(key)};
    return (struct call){.method = method, .pairs_count = 1, .pairs = pair};
}

static inline struct request *bench_send_get(struct bench *bench, const char *key)
{
    struct pair pair;
    struct call call = bench_call(METHOD_GET, &pair, key);
    return bench_send(bench, &call);
}

static inline struct request *bench_send_fresh(struct bench *bench, const char *key)
{
    struct pair pair;
    struct call call = bench_call(METHOD_GET, &pair, key);
    call.fresh = true;
    return bench_send(bench, &call);
}

static inline bool bench_is_home(struct bench *bench, const struct request *request)
{
    struct message *fresh = mailbox_take(&bench->home);
    struct message **link = &bench->kept;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = fresh;
    for (link = &bench->kept; *link != NULL; link = &(*link)->next) {
        if (*link == &request->message) {
            return true;
        }
    }
    return false;
}

// The request, finished, for the caller to destroy.
static inline struct request *bench_await_reply(struct bench *bench, struct request *request)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (!bench_is_home(bench, request)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s is not answered", method_name(request->call.method));
        }
    }
    struct message **link = &bench->kept;
    while (*link != &request->message) {
        link = &(*link)->next;
    }
    *link = request->message.next;
    return request;
}

// The only item of a reply as "<json> v<version>" ("v-" where there is none), "absent", or
// "<CODE>: <message>".
static inline const char *bench_item(struct bench *bench, const struct item *item)
{
    if (!item->present) {
        return "absent";
    }
    const char *version =
        item->has_version ? scenario_text(bench->scenario, "%lld", (long long)item->version) : "-";
    return scenario_text(bench->scenario, "%s v%s", bench_json(bench, item->value), version);
}

static inline const char *bench_outcome(struct bench *bench, struct request *request)
{
    bench_await_reply(bench, request);
    const struct failure *failure = &request->reply.failure;
    const char *text = failure->error != ERROR_NONE
                           ? scenario_text(bench->scenario, "%s: %s",
                                           error_wire_code(failure->error), failure->message)
                           : bench_item(bench, &request->reply.items[0]);
    request_destroy(request);
    return text;
}

static inline const char *bench_get(struct bench *bench, const char *key)
{
    return bench_outcome(bench, bench_send_get(bench, key));
}

// What the cache shows of the key from now on to who looks it up.
static inline void bench_hold(struct bench *bench, const char *key, enum lookup lookup,
                              const struct cached *held)
{
    pthread_mutex_lock(&bench->mutex);
    bench->held_key = key;
    bench->held_lookup = lookup;
    bench->held = *held;
    pthread_mutex_unlock(&bench->mutex);
}

// ---- Writes

// Journals one plain write; json NULL deletes. publish with bench_journaled.
static inline uint64_t bench_journal(struct bench *bench, enum method method, const char *key,
                                     const char *json)
{
    struct buffer value = {0}, pairs = {0};
    if (json != NULL) {
        json_text_to_msgpack(json, &value);
    }
    struct pair pair = {.key = slice_of_string(key), .value = buffer_slice(&value)};
    struct call call = {.method = method, .pairs_count = 1, .pairs = &pair};
    struct entry entry;
    entry_of_call(&call, &entry, &pairs);
    entry.seq = ++bench->last_seq;
    entry.accepted_us = clock_real_us();
    pthread_mutex_lock(&bench->mutex);
    assert_true(bench->entries_count < BENCH_ENTRIES_MAX);
    entry_encode(&entry, &bench->entries[bench->entries_count++]);
    pthread_mutex_unlock(&bench->mutex);
    buffer_deinit(&pairs);
    buffer_deinit(&value);
    status_set(&bench->status, STATUS_OUTBOX_LAST_SEQ, (int64_t)entry.seq);
    return entry.seq;
}

static inline void bench_journaled(struct bench *bench)
{
    status_set(&bench->status, STATUS_OUTBOX_JOURNALED_SEQ, (int64_t)bench->last_seq);
    mailbox_wake(worker_mailbox(bench->worker));
}

// ---- What the writer heard

static inline size_t bench_fills_of(struct bench *bench, const char *key)
{
    size_t count = 0;
    pthread_mutex_lock(&bench->mutex);
    for (size_t i = 0; i < bench->fills_count; i++) {
        count += strcmp(bench->fills[i].key, key) == 0;
    }
    pthread_mutex_unlock(&bench->mutex);
    return count;
}

static inline void bench_await_fills(struct bench *bench, const char *key, size_t count)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (bench_fills_of(bench, key) < count) {
        if (!deadline_again(&deadline)) {
            scenario_fail("\"%s\" was filled %zu times, not %zu", key, bench_fills_of(bench, key),
                          count);
        }
    }
}

// A sync, after which all that was posted before is noted.
static inline void bench_sync(struct bench *bench)
{
    struct call call = {.method = METHOD_SYNC};
    struct request *request = bench_await_reply(bench, bench_send(bench, &call));
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    request_destroy(request);
}

// ---- Sessions of others

static inline void bench_run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        scenario_fail("%s: %s", sql, PQerrorMessage(conn));
    }
    PQclear(result);
}

// A session in whose transaction nobody reads the table.
static inline PGconn *bench_lock_table(struct bench *bench)
{
    PGconn *conn = pg_connect(bench->pg);
    bench_run(conn, "BEGIN; LOCK TABLE kv_store IN ACCESS EXCLUSIVE MODE");
    return conn;
}

static inline void bench_commit(PGconn *conn)
{
    bench_run(conn, "COMMIT");
    PQfinish(conn);
}

// Until so many of the worker's sessions wait for a lock.
static inline void bench_await_blocked(struct bench *bench, const char *count)
{
    pg_await_value(bench->pg, count,
                   "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                   " AND application_name = 'pgnear' AND query LIKE 'SELECT key%%'");
}
