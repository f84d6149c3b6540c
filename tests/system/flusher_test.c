// The pg worker against a real PostgreSQL, with the rest of the daemon played by the test: an
// outbox in memory, and a writer that returns what the worker posts. What must hold: every entry is
// applied exactly once and in order whatever happens to the connections, callers are told the
// truth, and the feed says when it may be trusted.
#include "system/harness/deadline.h"
#include "system/harness/pg.h"

#include <poll.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "pg/worker.h"
#include "system/harness/json_text.h"
#include "system/harness/proxy.h"
#include "json/json.h"

enum { ENTRIES_MAX = 20000, TIMEOUT_US = 20 * CLOCK_US_PER_S };

static const char NODE[] = "11111111-2222-3333-4444-555555555555";
static const char INCARNATION[] = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
static const char EARLIER[] = "99999999-bbbb-cccc-dddd-eeeeeeeeeeee";

struct stored {
    struct buffer bytes; // entry_encode
    bool retired;
};

struct daemon {
    struct scenario *scenario;
    struct pg *pg;
    struct settings settings;
    struct status status;
    struct worker *worker;
    struct mailbox writer;
    struct mailbox home;
    struct workers *writer_thread;
    uint64_t last_seq; // of the main thread
    pthread_mutex_t mutex;
    // Shared, under mutex:
    struct stored *entries; // of seq at [seq - 1]
    size_t entries_count;
    struct outbox_binding binding;
    struct retire_message retires[64]; // without requests
    size_t retires_count;
    int feeds[4]; // by enum feed_event
    int flushed;
    int rewinds;
    int resyncs;
    struct proxy *unreadable_after; // NULL, or: once it has cut, the outbox is not read once
    int unread;
    int own_changes;
    int foreign_changes;
    // The last FLUSHED of the watched key:
    const char *watched;
    struct flushed_key watched_key; // value and key are not kept
    int stop_status;                // -1: not asked to stop
};

// ---- The ports

static enum error reader_open(void *cache, struct cache_reader **reader)
{
    *reader = cache;
    return ERROR_NONE;
}

static void reader_close(struct cache_reader *reader)
{
    (void)reader;
}

static void reader_begin(struct cache_reader *reader)
{
    (void)reader;
}

static enum lookup lookup_nothing(struct cache_reader *reader, struct slice key,
                                  struct cached *cached)
{
    (void)reader;
    (void)key;
    (void)cached;
    return LOOKUP_MISS;
}

static enum error visit_no_suspects(struct cache_reader *reader, struct slice after,
                                    size_t count_max,
                                    bool (*visit)(void *context, const struct swept_record *record),
                                    void *context)
{
    (void)reader;
    (void)after;
    (void)count_max;
    (void)visit;
    (void)context;
    return ERROR_NONE;
}

static int64_t now_us(void *cache)
{
    (void)cache;
    return clock_real_us();
}

static void check_nothing(void *cache, struct reply *reply)
{
    (void)cache;
    (void)reply;
}

static bool knows_incarnation(void *outbox, const char *incarnation)
{
    (void)outbox;
    return strcmp(incarnation, EARLIER) == 0;
}

static enum error visit_outbox(void *outbox, uint64_t after_seq,
                               bool (*visit)(void *context, const struct entry *entry),
                               void *context)
{
    struct daemon *daemon = outbox;
    pthread_mutex_lock(&daemon->mutex);
    enum error error = ERROR_NONE;
    if (daemon->unreadable_after != NULL && proxy_cuts_fired(daemon->unreadable_after) > 0) {
        daemon->unreadable_after = NULL;
        daemon->unread++;
        error = ERROR_SYSTEM;
    }
    for (uint64_t seq = after_seq + 1; error == ERROR_NONE && seq <= daemon->entries_count; seq++) {
        const struct stored *stored = &daemon->entries[seq - 1];
        struct entry entry;
        error = entry_decode(seq, buffer_slice(&stored->bytes), &entry);
        entry.retired = stored->retired;
        if (error != ERROR_NONE || !visit(context, &entry)) {
            break;
        }
    }
    pthread_mutex_unlock(&daemon->mutex);
    return error;
}

static void on_stop(void *context, int exit_status)
{
    struct daemon *daemon = context;
    pthread_mutex_lock(&daemon->mutex);
    daemon->stop_status = exit_status;
    pthread_mutex_unlock(&daemon->mutex);
}

// ---- The writer

static void send_home(struct request *request)
{
    while (request != NULL) {
        struct request *sibling = request->sibling;
        request_finish(request);
        request = sibling;
    }
}

static void note_flushed(struct daemon *daemon, const struct flushed_message *flushed)
{
    daemon->flushed++;
    for (size_t i = 0; daemon->watched != NULL && i < flushed->keys_count; i++) {
        if (slice_equal(flushed->keys[i].key, slice_of_string(daemon->watched))) {
            daemon->watched_key = flushed->keys[i];
        }
    }
}

static void note_retire(struct daemon *daemon, const struct retire_message *retire)
{
    assert_true(daemon->retires_count < 64 && retire->seq <= daemon->entries_count);
    daemon->retires[daemon->retires_count] = *retire;
    daemon->retires[daemon->retires_count].requests = NULL;
    daemon->retires_count++;
    daemon->entries[retire->seq - 1].retired = true;
}

static void note_changes(struct daemon *daemon, const struct changes_message *changes)
{
    daemon->resyncs += changes->resync;
    daemon->own_changes += changes->own ? (int)changes->changes_count : 0;
    daemon->foreign_changes += changes->own ? 0 : (int)changes->changes_count;
}

static void note_feed(struct daemon *daemon, const struct feed_message *feed)
{
    daemon->feeds[feed->event]++;
    if (feed->event == FEED_STARTED || feed->event == FEED_REPLACED) {
        status_add(&daemon->status, STATUS_CACHE_EPOCH, 1);
    }
}

static void note(struct daemon *daemon, struct message *message)
{
    pthread_mutex_lock(&daemon->mutex);
    switch ((enum message_kind)message->kind) {
    case MESSAGE_FLUSHED:
        note_flushed(daemon, (struct flushed_message *)message);
        break;
    case MESSAGE_RETIRE:
        note_retire(daemon, (struct retire_message *)message);
        break;
    case MESSAGE_CHANGES:
        note_changes(daemon, (struct changes_message *)message);
        break;
    case MESSAGE_FEED:
        note_feed(daemon, (struct feed_message *)message);
        break;
    case MESSAGE_REWIND:
        daemon->rewinds++;
        break;
    case MESSAGE_BIND:
        daemon->binding = ((struct bind_message *)message)->binding;
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&daemon->mutex);
}

static void answer(struct daemon *daemon, struct message *message)
{
    note(daemon, message);
    struct mailbox *back = worker_mailbox(daemon->worker);
    switch ((enum message_kind)message->kind) {
    case MESSAGE_FLUSHED: {
        struct flushed_message *flushed = (struct flushed_message *)message;
        assert_true((int64_t)flushed->epoch <= status_get(&daemon->status, STATUS_CACHE_EPOCH));
        send_home(flushed->requests);
        flushed->requests = NULL;
        mailbox_push(back, message);
        return;
    }
    case MESSAGE_RETIRE:
        send_home(((struct retire_message *)message)->requests);
        ((struct retire_message *)message)->requests = NULL;
        mailbox_push(back, message);
        return;
    case MESSAGE_BIND:
    case MESSAGE_REWIND:
        mailbox_push(back, message);
        return;
    case MESSAGE_REQUEST:
        ((struct request *)message)->reply.boolean = true;
        request_finish((struct request *)message);
        return;
    default:
        message_destroy(message);
    }
}

static void run_writer(void *context, int index)
{
    (void)index;
    struct daemon *daemon = context;
    while (!worker_is_stopping()) {
        struct pollfd waiting = {.fd = mailbox_fd(&daemon->writer), .events = POLLIN};
        poll(&waiting, 1, 20);
        struct message *message = mailbox_take(&daemon->writer);
        while (message != NULL) {
            struct message *next = message->next;
            answer(daemon, message);
            message = next;
        }
    }
}

// ---- The daemon's life

static void set_up(struct daemon *daemon, struct pg *pg)
{
    daemon->pg = pg;
    daemon->stop_status = -1;
    daemon->settings = (struct settings){
        .server = {.max_value_bytes = 1 << 20},
        .writes = {.linger_us = 1000, .batch_rows = 2000, .timeout_us = TIMEOUT_US},
        .postgres = {.conninfo = (char *)pg_url(pg),
                     .table = "kv_store",
                     .create_schema = true,
                     .connections = 1,
                     .connect_timeout_us = 3 * CLOCK_US_PER_S,
                     .statement_timeout_us = 30 * CLOCK_US_PER_S},
    };
    daemon->entries = scenario_alloc(daemon->scenario, ENTRIES_MAX * sizeof *daemon->entries);
    pthread_mutex_init(&daemon->mutex, NULL);
    status_init(&daemon->status);
    assert_int_equal(mailbox_init(&daemon->home, 1000000, SIZE_MAX), ERROR_NONE);
}

static void start_worker(struct daemon *daemon, uint64_t applied_seq)
{
    assert_int_equal(mailbox_init(&daemon->writer, 100000, SIZE_MAX), ERROR_NONE);
    struct worker_options options = {
        .settings = &daemon->settings,
        .status = &daemon->status,
        .writer = &daemon->writer,
        .cache = {.cache = daemon,
                  .reader_open = reader_open,
                  .reader_close = reader_close,
                  .begin = reader_begin,
                  .end = reader_begin,
                  .lookup = lookup_nothing,
                  .visit_suspects = visit_no_suspects,
                  .now_us = now_us,
                  .check = check_nothing},
        .outbox = {.outbox = daemon,
                   .knows_incarnation = knows_incarnation,
                   .visit = visit_outbox,
                   .visit_accepted = visit_outbox},
        .stop = {.context = daemon, .stop = on_stop},
        .identity = {.binding = daemon->binding, .applied_seq = applied_seq},
    };
    memcpy(options.identity.node, NODE, sizeof NODE);
    memcpy(options.identity.incarnation, INCARNATION, sizeof INCARNATION);
    assert_int_equal(worker_create(&options, &daemon->worker), ERROR_NONE);
    daemon->writer_thread = workers_start(daemon->scenario, 1, run_writer, daemon);
    assert_int_equal(worker_start(daemon->worker), ERROR_NONE);
}

static void stop_worker(struct daemon *daemon, int64_t drain_us)
{
    worker_stop(daemon->worker, clock_boot_us() + drain_us);
    workers_stop(daemon->writer_thread);
    workers_join(daemon->writer_thread);
    struct message *left = mailbox_take(&daemon->writer);
    while (left != NULL) {
        struct message *next = left->next;
        answer(daemon, left);
        left = next;
    }
    worker_destroy(daemon->worker);
    daemon->worker = NULL;
    mailbox_deinit(&daemon->writer);
}

static void tear_down(struct daemon *daemon)
{
    stop_worker(daemon, 0);
    for (size_t i = 0; i < daemon->entries_count; i++) {
        buffer_deinit(&daemon->entries[i].bytes);
    }
    assert_null(mailbox_take(&daemon->home));
    mailbox_deinit(&daemon->home);
    status_deinit(&daemon->status);
    pthread_mutex_destroy(&daemon->mutex);
}

static void await(struct daemon *daemon, enum status_item item, int64_t at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&daemon->status, item) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s stays at %lld, not %lld", status_name(item),
                          (long long)status_get(&daemon->status, item), (long long)at_least);
        }
    }
}

static void await_applied(struct daemon *daemon)
{
    await(daemon, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)daemon->last_seq);
}

static int64_t locked_int(struct daemon *daemon, const int *value)
{
    pthread_mutex_lock(&daemon->mutex);
    int copy = *value;
    pthread_mutex_unlock(&daemon->mutex);
    return copy;
}

static void await_int(struct daemon *daemon, const int *value, int at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (locked_int(daemon, value) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%lld, not %d", (long long)locked_int(daemon, value), at_least);
        }
    }
}

static struct daemon *start(struct scenario *scenario, struct pg *pg)
{
    struct daemon *daemon = scenario_alloc(scenario, sizeof *daemon);
    daemon->scenario = scenario;
    set_up(daemon, pg);
    start_worker(daemon, 0);
    await(daemon, STATUS_PG_FLUSHABLE, 1);
    return daemon;
}

// ---- Writing

static uint64_t journal(struct daemon *daemon, const struct call *call)
{
    struct buffer pairs = {0};
    struct entry entry;
    entry_of_call(call, &entry, &pairs);
    entry.seq = ++daemon->last_seq;
    entry.accepted_us = clock_real_us();
    entry.expires_at_us = call->has_ttl ? clock_real_us() + call->ttl_ms * CLOCK_US_PER_MS : 0;
    pthread_mutex_lock(&daemon->mutex);
    assert_true(daemon->entries_count < ENTRIES_MAX);
    entry_encode(&entry, &daemon->entries[daemon->entries_count].bytes);
    daemon->entries_count++;
    pthread_mutex_unlock(&daemon->mutex);
    buffer_deinit(&pairs);
    return entry.seq;
}

static void publish(struct daemon *daemon)
{
    status_set(&daemon->status, STATUS_OUTBOX_JOURNALED_SEQ, (int64_t)daemon->last_seq);
    mailbox_wake(worker_mailbox(daemon->worker));
}

struct written {
    struct call call;
    struct pair pair;
    struct buffer value;
};

static struct written call_of(enum method method, const char *key, const char *json)
{
    struct written written = {.call = {.method = method, .pairs_count = 1}};
    written.call.timeout_ms = TIMEOUT_US / CLOCK_US_PER_MS;
    written.pair.key = slice_of_string(key);
    if (json != NULL) {
        json_text_to_msgpack(json, &written.value);
    }
    return written;
}

static void write_only(struct daemon *daemon, struct written written)
{
    written.pair.value = buffer_slice(&written.value);
    written.call.pairs = &written.pair;
    journal(daemon, &written.call);
    publish(daemon);
    buffer_deinit(&written.value);
}

static void set(struct daemon *daemon, const char *key, const char *json)
{
    write_only(daemon, call_of(METHOD_SET, key, json));
}

static void send_call(struct daemon *daemon, struct written *written)
{
    written->pair.value = buffer_slice(&written->value);
    written->call.pairs = &written->pair;
    struct request *request = request_create(&written->call, &daemon->home);
    request->deadline_boot_us = clock_boot_us() + written->call.timeout_ms * CLOCK_US_PER_MS;
    if (method_class(written->call.method) == METHOD_WRITE) {
        request->seq = journal(daemon, &written->call);
    }
    if (written->call.method == METHOD_FLUSH) {
        request->after_seq = daemon->last_seq;
    }
    mailbox_push(worker_mailbox(daemon->worker), &request->message);
    publish(daemon);
    buffer_deinit(&written->value);
}

static struct request *await_reply(struct daemon *daemon)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    struct message *message;
    while ((message = mailbox_take(&daemon->home)) == NULL) {
        struct pollfd waiting = {.fd = mailbox_fd(&daemon->home), .events = POLLIN};
        if (poll(&waiting, 1, deadline_left_ms(&deadline)) == 0) {
            scenario_fail("no reply");
        }
    }
    assert_null(message->next);
    return (struct request *)message;
}

static struct request *call(struct daemon *daemon, struct written written)
{
    send_call(daemon, &written);
    return await_reply(daemon);
}

static void assert_done(struct request *request)
{
    if (request->reply.failure.error != ERROR_NONE) {
        scenario_fail("%s: %s", error_wire_code(request->reply.failure.error),
                      request->reply.failure.message);
    }
}

static void assert_value(struct daemon *daemon, struct request *request, const char *json)
{
    assert_done(request);
    assert_int_equal(request->reply.items_count, 1);
    assert_json(json_text_of_msgpack(daemon->scenario, request->reply.items[0].value), json);
    assert_true(request->reply.items[0].has_version);
    request_destroy(request);
}

static void assert_failed(struct request *request, enum error error, const char *words)
{
    const struct failure *failure = &request->reply.failure;
    if (failure->error != error || strstr(failure->message, words) == NULL) {
        scenario_fail("%s: %s", error_wire_code(failure->error), failure->message);
    }
    request_destroy(request);
}

// ---- The tests

static void writes_reach_the_table_once(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    daemon->watched = "k7";
    for (int i = 0; i < 500; i++) {
        set(daemon, scenario_text(scenario, "k%d", i % 100), scenario_text(scenario, "%d", i));
    }
    write_only(daemon, call_of(METHOD_DELETE, "k8", NULL));
    await_applied(daemon);
    assert_pg_value(pg, "99", "SELECT count(*) FROM kv_store");
    assert_pg_value(pg, "t",
                    "SELECT bool_and(value::text = (400 + substr(key, 2)::int)::text)"
                    " FROM kv_store");
    assert_pg_value(pg, "501", "SELECT applied_seq FROM pgnear_node WHERE node = '%s'", NODE);
    assert_int_equal(daemon->watched_key.version,
                     pg_int(pg, "SELECT version FROM kv_store WHERE key = 'k7'"));
    assert_true(daemon->watched_key.present && !daemon->watched_key.has_value);
    tear_down(daemon);
}

static void results_come_from_postgresql(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "3")), "3");
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "0.5")), "3.5");
    assert_value(daemon, call(daemon, call_of(METHOD_MERGE, "m", "{\"a\":1,\"b\":{\"c\":null}}")),
                 "{\"a\":1,\"b\":{}}");
    assert_value(daemon, call(daemon, call_of(METHOD_MERGE, "m", "{\"a\":null,\"d\":[1]}")),
                 "{\"b\":{},\"d\":[1]}");
    assert_value(daemon, call(daemon, call_of(METHOD_MERGE, "m", "7")), "7");

    struct written touch = call_of(METHOD_TOUCH, "n", NULL);
    touch.call.has_ttl = true;
    touch.call.ttl_ms = 60000;
    struct request *request = call(daemon, touch);
    assert_done(request);
    assert_true(request->reply.boolean);
    request_destroy(request);
    assert_pg_value(pg, "t",
                    "SELECT expires_at > now() + interval '50 s' FROM kv_store"
                    " WHERE key = 'n'");
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "1")), "4.5");
    assert_pg_value(pg, "t", "SELECT expires_at IS NOT NULL FROM kv_store WHERE key = 'n'");

    request = call(daemon, call_of(METHOD_TOUCH, "absent", NULL));
    assert_done(request);
    assert_false(request->reply.boolean);
    request_destroy(request);
    tear_down(daemon);
}

static void conditions_are_decided_in_postgresql(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    struct written write = call_of(METHOD_SET, "k", "1");
    write.call.condition = CONDITION_IF_ABSENT;
    struct request *request = call(daemon, write);
    assert_done(request);
    assert_true(request->reply.has_version);
    int64_t version = request->reply.version;
    request_destroy(request);
    assert_int_equal(version, pg_int(pg, "SELECT version FROM kv_store WHERE key = 'k'"));

    write = call_of(METHOD_SET, "k", "2");
    write.call.condition = CONDITION_IF_ABSENT;
    request = call(daemon, write);
    assert_int_equal(request->reply.failure.error, ERROR_CONFLICT);
    assert_true(request->reply.failure.has_version);
    assert_int_equal(request->reply.failure.version, version);
    request_destroy(request);

    write = call_of(METHOD_SET, "k", "3");
    write.call.condition = CONDITION_IF_VERSION;
    write.call.if_version = version;
    request = call(daemon, write);
    assert_done(request);
    assert_true(request->reply.version > version);
    request_destroy(request);

    write = call_of(METHOD_DELETE, "k", NULL);
    write.call.condition = CONDITION_IF_VERSION;
    write.call.if_version = version;
    request = call(daemon, write);
    assert_failed(request, ERROR_CONFLICT, "Failed to delete key \"k\"");
    assert_pg_value(pg, "3", "SELECT value FROM kv_store WHERE key = 'k'");

    pg_exec(pg, "UPDATE kv_store SET expires_at = now() - interval '1 s'");
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "k", "5")), "5");
    assert_pg_value(pg, NULL, "SELECT expires_at FROM kv_store WHERE key = 'k'");

    write = call_of(METHOD_DELETE, "k", NULL);
    write.call.ack = ACK_POSTGRES;
    request = call(daemon, write);
    assert_done(request);
    assert_true(request->reply.has_deleted && request->reply.integer == 1);
    request_destroy(request);
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store");
    tear_down(daemon);
}

static void a_poisoned_write_is_parked_alone(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    pg_exec(pg, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'not this one'; END $$;"
                "CREATE TRIGGER refuse BEFORE INSERT ON kv_store FOR EACH ROW"
                " WHEN (NEW.value = '\"bad\"') EXECUTE FUNCTION refuse()");
    for (int i = 0; i < 200; i++) {
        set(daemon, scenario_text(scenario, "k%d", i), i == 77 || i == 78 ? "\"bad\"" : "1");
    }
    await_applied(daemon);
    assert_pg_value(pg, "198", "SELECT count(*) FROM kv_store");
    assert_int_equal(daemon->retires_count, 2);
    assert_int_equal(daemon->retires[0].seq, 78);
    assert_int_equal(daemon->retires[1].seq, 79);
    assert_int_equal(daemon->retires[0].reason, RETIRE_DEAD_LETTER);
    assert_string_equal(daemon->retires[0].sqlstate, "P0001");
    assert_string_equal(daemon->retires[0].text, "not this one");

    struct written write = call_of(METHOD_SET, "w", "\"bad\"");
    write.call.ack = ACK_POSTGRES;
    assert_failed(call(daemon, write), ERROR_REJECTED, "Failed to set key \"w\": not this one");
    assert_int_equal(daemon->retires[2].reason, RETIRE_WITHDRAWN);
    tear_down(daemon);
}

static void an_incr_of_a_text_is_refused(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    set(daemon, "t", "\"text\"");
    struct request *request = call(daemon, call_of(METHOD_INCR, "t", "1"));
    assert_string_equal(request->reply.failure.sqlstate, "22023");
    assert_failed(request, ERROR_REJECTED, "Failed to incr key \"t\": ");
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "1")), "1");
    tear_down(daemon);
}

static void an_operators_error_stops_the_flush(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    set(daemon, "before", "1");
    await_applied(daemon);
    pg_exec(pg, "ALTER TABLE kv_store RENAME TO hidden");
    struct written write = call_of(METHOD_SET, "test", "1");
    write.call.ack = ACK_POSTGRES;
    struct request *request = call(daemon, write);
    assert_string_equal(request->reply.failure.sqlstate, "42P01");
    assert_failed(request, ERROR_REJECTED, "Failed to set key \"test\": relation ");
    struct failure failure = {0};
    assert_true(status_get_error(&daemon->status, &failure));
    assert_string_equal(failure.sqlstate, "42P01");
    set(daemon, "queued", "2");
    assert_int_equal(status_get(&daemon->status, STATUS_PG_FLUSHABLE), 0);
    pg_exec(pg, "ALTER TABLE hidden RENAME TO kv_store");
    await_applied(daemon);
    await(daemon, STATUS_PG_FLUSHABLE, 1);
    assert_false(status_get_error(&daemon->status, &failure));
    assert_pg_value(pg, "before, queued",
                    "SELECT string_agg(key, ', ' ORDER BY key) FROM kv_store");
    assert_int_equal(daemon->retires_count, 1);
    tear_down(daemon);
}

static void every_incr_counts_once_whatever_is_killed(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    enum { ROUNDS = 40, INCRS_A_ROUND = 25 };
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < INCRS_A_ROUND; i++) {
            write_only(daemon, call_of(METHOD_INCR, "total", "1"));
            set(daemon, "last", scenario_text(scenario, "%d", round * INCRS_A_ROUND + i));
        }
        pg_exec(pg, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE"
                    " application_name = 'pgnear' AND query NOT LIKE '%%clock_timestamp%%'"
                    " AND query NOT LIKE '%%LISTEN%%'");
    }
    await_applied(daemon);
    assert_pg_value(pg, "1000", "SELECT value FROM kv_store WHERE key = 'total'");
    assert_pg_value(pg, "999", "SELECT value FROM kv_store WHERE key = 'last'");
    tear_down(daemon);
}

// Starts with the proxy between the daemon and the server.
static struct daemon *start_behind(struct scenario *scenario, struct pg *pg, struct proxy *proxy)
{
    struct daemon *daemon = scenario_alloc(scenario, sizeof *daemon);
    daemon->scenario = scenario;
    set_up(daemon, pg);
    daemon->settings.postgres.conninfo = (char *)proxy_url(proxy);
    start_worker(daemon, 0);
    await(daemon, STATUS_PG_FLUSHABLE, 1);
    return daemon;
}

static void the_results_of_a_lost_commit_are_recovered(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = start_behind(scenario, pg, proxy);
    set(daemon, "n", "1");
    await_applied(daemon);
    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "41")), "42");
    assert_int_equal(proxy_cuts_fired(proxy), 1);

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    assert_value(daemon, call(daemon, call_of(METHOD_MERGE, "m", "{\"a\":[1.5,\"\\u00e9\"]}")),
                 "{\"a\":[1.5,\"\\u00e9\"]}");

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    struct written write = call_of(METHOD_SET, "n", "43");
    write.call.condition = CONDITION_IF_ABSENT;
    struct request *request = call(daemon, write);
    assert_int_equal(request->reply.failure.version,
                     pg_int(pg, "SELECT version FROM kv_store WHERE key = 'n'"));
    assert_failed(request, ERROR_CONFLICT, "Failed to set key \"n\"");

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    write = call_of(METHOD_SET, "n", "44");
    write.call.ack = ACK_POSTGRES;
    request = call(daemon, write);
    assert_done(request);
    assert_int_equal(request->reply.version,
                     pg_int(pg, "SELECT version FROM kv_store WHERE key = 'n'"));
    request_destroy(request);

    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    write = call_of(METHOD_DELETE, "n", NULL);
    write.call.ack = ACK_POSTGRES;
    request = call(daemon, write);
    assert_done(request);
    assert_int_equal(request->reply.integer, 1);
    request_destroy(request);
    assert_int_equal(proxy_cuts_fired(proxy), 5);
    assert_pg_value(pg, "{\"a\": [1.5, \"\u00e9\"]}", "SELECT value FROM kv_store");
    tear_down(daemon);
}

static void an_outbox_that_cannot_be_read_then_is_read_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = start_behind(scenario, pg, proxy);
    daemon->unreadable_after = proxy;
    proxy_cut_at_commit(proxy, PROXY_CUT_AFTER);
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "41")), "41");
    assert_int_equal(proxy_cuts_fired(proxy), 1);
    assert_int_equal(daemon->unread, 1);
    assert_int_equal(daemon->stop_status, -1);
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "1")), "42");
    tear_down(daemon);
}

static void no_cut_at_commit_repeats_or_loses(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = start_behind(scenario, pg, proxy);
    enum { CUTS = 16 };
    for (int cut = 0; cut < CUTS; cut++) {
        proxy_cut_at_commit(proxy, (enum proxy_cut)(1 + cut % (PROXY_CUT_COUNT - 1)));
        for (int i = 0; i < 10; i++) {
            write_only(daemon, call_of(METHOD_INCR, "total", "1"));
            write_only(daemon, call_of(METHOD_INCR, scenario_text(scenario, "k%d", i), "1"));
        }
        await_applied(daemon);
        assert_int_equal(proxy_cuts_fired(proxy), cut + 1);
    }
    assert_pg_value(pg, "160", "SELECT value FROM kv_store WHERE key = 'total'");
    assert_pg_value(pg, "t", "SELECT bool_and(value = '16') FROM kv_store WHERE key LIKE 'k%%'");
    tear_down(daemon);
}

static void a_silent_feed_is_given_up(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct proxy *proxy = proxy_start(scenario, pg, "proxy");
    struct daemon *daemon = start_behind(scenario, pg, proxy);
    await(daemon, STATUS_PG_STATE, NODE_LIVE);
    int64_t began_us = clock_boot_us();
    assert_int_equal(proxy_freeze_listeners(proxy), 1);
    await_int(daemon, &daemon->feeds[FEED_LOST], 1);
    int64_t took_us = clock_boot_us() - began_us;
    assert_true(took_us > CLOCK_US_PER_S && took_us < 5 * (int64_t)CLOCK_US_PER_S);
    await_int(daemon, &daemon->feeds[FEED_STARTED], 2);
    await(daemon, STATUS_PG_STATE, NODE_LIVE);

    assert_true(proxy_freeze_all(proxy) >= 3);
    await_int(daemon, &daemon->feeds[FEED_LOST], 2);
    set(daemon, "k", "1");
    await_applied(daemon);
    await(daemon, STATUS_PG_STATE, NODE_LIVE);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store");
    tear_down(daemon);
}

static void a_lost_listen_is_a_gap(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    await_int(daemon, &daemon->feeds[FEED_HEARTBEAT], 1);
    assert_int_equal(locked_int(daemon, &daemon->feeds[FEED_STARTED]), 1);
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('x', '1'), ('y', '2')");
    await_int(daemon, &daemon->foreign_changes, 2);
    set(daemon, "mine", "1");
    await_applied(daemon);
    await(daemon, STATUS_PG_STATE, NODE_LIVE);
    pg_exec(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
                " OR (application_name = 'pgnear' AND query LIKE '%%LISTEN%%')");
    await_int(daemon, &daemon->feeds[FEED_LOST], 1);
    await_int(daemon, &daemon->feeds[FEED_STARTED], 2);
    await_int(daemon, &daemon->resyncs, 1);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_GAPS), 1);
    tear_down(daemon);
}

static void a_restarted_server_is_another_one(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    await_int(daemon, &daemon->feeds[FEED_STARTED], 1);
    assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "1")), "1");
    int64_t version = pg_int(pg, "SELECT version FROM kv_store");
    pg_stop(pg, PG_STOP_FAST);
    await_int(daemon, &daemon->feeds[FEED_LOST], 1);
    assert_int_equal(status_get(&daemon->status, STATUS_PG_STATE), NODE_DISCONNECTED);
    struct written flush = {.call = {.method = METHOD_FLUSH, .timeout_ms = 50}};
    write_only(daemon, call_of(METHOD_INCR, "n", "1"));
    assert_failed(call(daemon, flush), ERROR_UNAVAILABLE, "connection");
    pg_start_again(pg);
    await_int(daemon, &daemon->feeds[FEED_REPLACED], 1);
    await_applied(daemon);
    assert_true(pg_int(pg, "SELECT version FROM kv_store") > version);
    assert_pg_value(pg, "2", "SELECT value FROM kv_store");
    assert_int_equal(daemon->rewinds, 0);
    tear_down(daemon);
}

static void flush_and_sync_are_answered(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    set(daemon, "k", "1");
    struct written flush = {.call = {.method = METHOD_FLUSH, .timeout_ms = 20000}};
    struct request *request = call(daemon, flush);
    assert_done(request);
    assert_int_equal(request->reply.seq, 1);
    request_destroy(request);
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    struct written sync = {.call = {.method = METHOD_SYNC, .timeout_ms = 20000}};
    pg_exec(pg, "INSERT INTO kv_store (key, value) VALUES ('x', '1')");
    request = call(daemon, sync);
    assert_done(request);
    assert_true(request->reply.boolean);
    assert_true(locked_int(daemon, &daemon->foreign_changes) >= 1);
    request_destroy(request);
    tear_down(daemon);
}

static void lost_writes_are_applied_again(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    for (int i = 0; i < 10; i++) {
        assert_value(daemon, call(daemon, call_of(METHOD_INCR, "n", "1")),
                     scenario_text(scenario, "%d", i + 1));
    }
    await_applied(daemon);
    // As if a standby that had the first six had been promoted.
    stop_worker(daemon, 0);
    pg_exec(pg, "UPDATE pgnear_node SET applied_seq = 6; UPDATE kv_store SET value = '6'");
    start_worker(daemon, 10);
    await_int(daemon, &daemon->rewinds, 1);
    await_applied(daemon);
    pg_await_value(pg, "10", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_pg_value(pg, "10", "SELECT applied_seq FROM pgnear_node");
    tear_down(daemon);
}

static void an_unheard_batch_is_not_repeated(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    for (int i = 0; i < 10; i++) {
        write_only(daemon, call_of(METHOD_INCR, "n", "1"));
    }
    await_applied(daemon);
    // A daemon that did not hear of the last four, and had another incarnation.
    stop_worker(daemon, 0);
    pg_exec(pg, "UPDATE pgnear_node SET incarnation = '%s'", EARLIER);
    daemon->watched = "n";
    start_worker(daemon, 6);
    await_applied(daemon);
    assert_true(daemon->watched_key.drop);
    assert_pg_value(pg, "10", "SELECT value FROM kv_store WHERE key = 'n'");
    assert_pg_value(pg, INCARNATION, "SELECT incarnation FROM pgnear_node");
    tear_down(daemon);
}

static void a_twin_is_not_flushed_with(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    set(daemon, "k", "1");
    await_applied(daemon);
    pg_exec(pg, "UPDATE pgnear_node SET incarnation = md5(random()::text)::uuid");
    set(daemon, "k", "2");
    struct deadline deadline = deadline_in(DEADLINE_MS);
    struct failure failure = {0};
    while (!status_get_error(&daemon->status, &failure) ||
           strstr(failure.message, "two daemons with one identity") == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s", failure.message);
        }
    }
    assert_pg_value(pg, "1", "SELECT value FROM kv_store WHERE key = 'k'");
    pg_exec(pg, "UPDATE pgnear_node SET incarnation = '%s'", EARLIER);
    await_applied(daemon);
    assert_pg_value(pg, "2", "SELECT value FROM kv_store WHERE key = 'k'");
    tear_down(daemon);
}

static void what_a_trigger_altered_is_dropped(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    daemon->watched = "k";
    set(daemon, "k", "0");
    set(daemon, "k", "1");
    await_applied(daemon);
    assert_false(daemon->watched_key.drop);
    pg_exec(pg, "CREATE FUNCTION alter_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " NEW.value := '\"altered\"'; RETURN NEW; END $$;"
                "CREATE TRIGGER alter_it BEFORE INSERT OR UPDATE ON kv_store FOR EACH ROW"
                " WHEN (NEW.value = '2') EXECUTE FUNCTION alter_it()");
    set(daemon, "k", "2"); // not yet known of: everything is dropped, and swept
    await_applied(daemon);
    assert_true(daemon->watched_key.drop);
    await_int(daemon, &daemon->feeds[FEED_STARTED], 2);
    set(daemon, "k", "3"); // known of: compared, and as it was written
    await_applied(daemon);
    assert_false(daemon->watched_key.drop);
    set(daemon, "k", "2");
    await_applied(daemon);
    assert_true(daemon->watched_key.drop);
    assert_pg_value(pg, "\"altered\"", "SELECT value FROM kv_store");
    tear_down(daemon);
}

static void stopping_drains_the_outbox(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    daemon->settings.writes.linger_us = 60 * (int64_t)CLOCK_US_PER_S;
    for (int i = 0; i < 100; i++) {
        set(daemon, scenario_text(scenario, "k%d", i), "1");
    }
    stop_worker(daemon, 20 * (int64_t)CLOCK_US_PER_S);
    assert_pg_value(pg, "100", "SELECT count(*) FROM kv_store");
    assert_pg_value(pg, "0",
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'pgnear'");
    start_worker(daemon, 100);
    tear_down(daemon);
}

// Threads that clients wait for, and that want for a processor.
struct crowd {
    struct daemon *daemon;
    cpu_set_t processor;
};

static void want_the_processor(void *context, int index)
{
    (void)index;
    struct crowd *crowd = context;
    assert_int_equal(sched_setaffinity(0, sizeof crowd->processor, &crowd->processor), 0);
    contention_join(&crowd->daemon->status.serving);
    while (!worker_is_stopping()) {
    }
}

static struct workers *start_crowd(struct daemon *daemon)
{
    struct crowd *crowd = scenario_alloc(daemon->scenario, sizeof *crowd);
    cpu_set_t all;
    size_t processor = 0;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(processor, &all)) {
        processor++;
    }
    crowd->daemon = daemon;
    CPU_ZERO(&crowd->processor);
    CPU_SET(processor, &crowd->processor);
    return workers_start(daemon->scenario, 2, want_the_processor, crowd);
}

// A write for which the flush gives way.
static void set_held_back(struct daemon *daemon)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    int64_t yields = status_get(&daemon->status, STATUS_PG_FLUSH_YIELDS);
    while (status_get(&daemon->status, STATUS_PG_FLUSH_YIELDS) == yields) {
        set(daemon, "k", "1");
        assert_true(deadline_again(&deadline));
    }
}

static void the_flush_gives_way_to_clients(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    daemon->settings.writes.outbox_bytes = 1 << 20;
    await(daemon, STATUS_PG_STATE, NODE_LIVE);
    struct workers *crowd = start_crowd(daemon);
    set_held_back(daemon);
    await_applied(daemon); // within a second or so, asked for by nobody
    // Who waits for it does not wait for that; try again, since the machine has other work.
    int64_t spent_us;
    int tries = 0;
    await_applied(daemon);
    do {
        set_held_back(daemon);
        int64_t began_us = clock_boot_us();
        struct request *request = call(daemon, call_of(METHOD_FLUSH, "", NULL));
        assert_done(request);
        request_destroy(request);
        spent_us = clock_boot_us() - began_us;
        assert_true(++tries <= 20);
    } while (spent_us > CLOCK_US_PER_S / 2);
    workers_stop(crowd);
    workers_join(crowd);
    await_applied(daemon);
    tear_down(daemon);
}

static void another_table_is_refused_while_writes_wait(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct daemon *daemon = start(scenario, pg);
    set(daemon, "k", "1");
    await_applied(daemon);
    stop_worker(daemon, 0);
    journal(daemon, &(struct call){.method = METHOD_DELETE,
                                   .pairs_count = 1,
                                   .pairs = &(struct pair){.key = slice_of_string("k")}});
    status_set(&daemon->status, STATUS_OUTBOX_JOURNALED_SEQ, 2);
    daemon->settings.postgres.table = "other";
    start_worker(daemon, 1);
    await_int(daemon, &daemon->stop_status, 1);
    assert_pg_value(pg, "1", "SELECT count(*) FROM kv_store");
    stop_worker(daemon, 0);
    daemon->settings.postgres.table = "kv_store";
    start_worker(daemon, 1);
    await_applied(daemon);
    assert_pg_value(pg, "0", "SELECT count(*) FROM kv_store");
    tear_down(daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(writes_reach_the_table_once),
        SCENARIO(results_come_from_postgresql),
        SCENARIO(conditions_are_decided_in_postgresql),
        SCENARIO(a_poisoned_write_is_parked_alone),
        SCENARIO(an_incr_of_a_text_is_refused),
        SCENARIO(an_operators_error_stops_the_flush),
        SCENARIO(every_incr_counts_once_whatever_is_killed),
        SCENARIO(the_results_of_a_lost_commit_are_recovered),
        SCENARIO(an_outbox_that_cannot_be_read_then_is_read_again),
        SCENARIO(no_cut_at_commit_repeats_or_loses),
        SCENARIO(a_silent_feed_is_given_up),
        SCENARIO(a_lost_listen_is_a_gap),
        SCENARIO(a_restarted_server_is_another_one),
        SCENARIO(flush_and_sync_are_answered),
        SCENARIO(lost_writes_are_applied_again),
        SCENARIO(an_unheard_batch_is_not_repeated),
        SCENARIO(a_twin_is_not_flushed_with),
        SCENARIO(what_a_trigger_altered_is_dropped),
        SCENARIO(stopping_drains_the_outbox),
        SCENARIO(the_flush_gives_way_to_clients),
        SCENARIO(another_table_is_refused_while_writes_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
