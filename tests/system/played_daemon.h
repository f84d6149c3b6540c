// The rest of the daemon around a real pg worker: a writer that returns what the worker posts, its
// start and stop, and the writes and calls of clients.
#pragma once

#include "system/harness/deadline.h"
#include "system/played_ports.h"

#include <poll.h>

#include "system/harness/json_text.h"
#include "json/json.h"

// ---- The writer

PLAYED_UNUSED static void send_home(struct request *request)
{
    while (request != NULL) {
        struct request *sibling = request->sibling;
        request_finish(request);
        request = sibling;
    }
}

PLAYED_UNUSED static void note_flushed(struct daemon *daemon, const struct flushed_message *flushed)
{
    daemon->flushed++;
    for (size_t i = 0; daemon->watched != NULL && i < flushed->keys_count; i++) {
        if (slice_equal(flushed->keys[i].key, slice_of_string(daemon->watched))) {
            daemon->watched_key = flushed->keys[i];
        }
    }
}

PLAYED_UNUSED static void note_retire(struct daemon *daemon, const struct retire_message *retire)
{
    assert_true(daemon->retires_count < 64 && retire->seq <= daemon->entries_count);
    daemon->retires[daemon->retires_count] = *retire;
    daemon->retires[daemon->retires_count].requests = NULL;
    daemon->retires_count++;
    daemon->entries[retire->seq - 1].retired = true;
}

PLAYED_UNUSED static void note_changes(struct daemon *daemon, const struct changes_message *changes)
{
    daemon->resyncs += changes->resync;
    daemon->own_changes += changes->own ? (int)changes->changes_count : 0;
    daemon->foreign_changes += changes->own ? 0 : (int)changes->changes_count;
}

PLAYED_UNUSED static void note_feed(struct daemon *daemon, const struct feed_message *feed)
{
    daemon->feeds[feed->event]++;
    if (feed->event == FEED_STARTED || feed->event == FEED_REPLACED) {
        status_add(&daemon->status, STATUS_CACHE_EPOCH, 1);
    }
}

PLAYED_UNUSED static void note(struct daemon *daemon, struct message *message)
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

PLAYED_UNUSED static bool holds_flushed(struct daemon *daemon)
{
    pthread_mutex_lock(&daemon->mutex);
    bool holds = daemon->holds_flushed;
    pthread_mutex_unlock(&daemon->mutex);
    return holds;
}

PLAYED_UNUSED static void hold_flushed(struct daemon *daemon, bool holds)
{
    pthread_mutex_lock(&daemon->mutex);
    daemon->holds_flushed = holds;
    pthread_mutex_unlock(&daemon->mutex);
}

PLAYED_UNUSED static void answer(struct daemon *daemon, struct message *message)
{
    note(daemon, message);
    struct mailbox *back = worker_mailbox(daemon->worker);
    switch ((enum message_kind)message->kind) {
    case MESSAGE_FLUSHED: {
        struct flushed_message *flushed = (struct flushed_message *)message;
        while (holds_flushed(daemon) && !worker_is_stopping()) {
            poll(NULL, 0, 1);
        }
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

PLAYED_UNUSED static void run_writer(void *context, int index)
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

PLAYED_UNUSED static void set_up(struct daemon *daemon, struct pg *pg)
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

PLAYED_UNUSED static void start_worker(struct daemon *daemon, uint64_t applied_seq)
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

PLAYED_UNUSED static void stop_worker(struct daemon *daemon, int64_t drain_us)
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

PLAYED_UNUSED static void tear_down(struct daemon *daemon)
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

PLAYED_UNUSED static void await(struct daemon *daemon, enum status_item item, int64_t at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&daemon->status, item) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s stays at %lld, not %lld", status_name(item),
                          (long long)status_get(&daemon->status, item), (long long)at_least);
        }
    }
}

PLAYED_UNUSED static void await_applied(struct daemon *daemon)
{
    await(daemon, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)daemon->last_seq);
}

PLAYED_UNUSED static int64_t locked_int(struct daemon *daemon, const int *value)
{
    pthread_mutex_lock(&daemon->mutex);
    int copy = *value;
    pthread_mutex_unlock(&daemon->mutex);
    return copy;
}

PLAYED_UNUSED static void await_int(struct daemon *daemon, const int *value, int at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (locked_int(daemon, value) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%lld, not %d", (long long)locked_int(daemon, value), at_least);
        }
    }
}

PLAYED_UNUSED static struct daemon *start(struct scenario *scenario, struct pg *pg)
{
    struct daemon *daemon = scenario_alloc(scenario, sizeof *daemon);
    daemon->scenario = scenario;
    set_up(daemon, pg);
    start_worker(daemon, 0);
    await(daemon, STATUS_PG_FLUSHABLE, 1);
    return daemon;
}

// ---- Writing

PLAYED_UNUSED static uint64_t journal(struct daemon *daemon, const struct call *call)
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

PLAYED_UNUSED static void publish(struct daemon *daemon)
{
    status_set(&daemon->status, STATUS_OUTBOX_JOURNALED_SEQ, (int64_t)daemon->last_seq);
    mailbox_wake(worker_mailbox(daemon->worker));
}

struct written {
    struct call call;
    struct pair pair;
    struct buffer value;
};

PLAYED_UNUSED static struct written call_of(enum method method, const char *key, const char *json)
{
    struct written written = {.call = {.method = method, .pairs_count = 1}};
    written.call.timeout_ms = TIMEOUT_US / CLOCK_US_PER_MS;
    written.pair.key = slice_of_string(key);
    if (json != NULL) {
        json_text_to_msgpack(json, &written.value);
    }
    return written;
}

PLAYED_UNUSED static void write_only(struct daemon *daemon, struct written written)
{
    written.pair.value = buffer_slice(&written.value);
    written.call.pairs = &written.pair;
    journal(daemon, &written.call);
    publish(daemon);
    buffer_deinit(&written.value);
}

PLAYED_UNUSED static void set(struct daemon *daemon, const char *key, const char *json)
{
    write_only(daemon, call_of(METHOD_SET, key, json));
}

PLAYED_UNUSED static void send_call(struct daemon *daemon, struct written *written)
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

PLAYED_UNUSED static struct request *await_reply(struct daemon *daemon)
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

PLAYED_UNUSED static struct request *call(struct daemon *daemon, struct written written)
{
    send_call(daemon, &written);
    return await_reply(daemon);
}

PLAYED_UNUSED static void assert_done(struct request *request)
{
    if (request->reply.failure.error != ERROR_NONE) {
        scenario_fail("%s: %s", error_wire_code(request->reply.failure.error),
                      request->reply.failure.message);
    }
}

PLAYED_UNUSED static void assert_value(struct daemon *daemon, struct request *request,
                                       const char *json)
{
    assert_done(request);
    assert_int_equal(request->reply.items_count, 1);
    assert_json(json_text_of_msgpack(daemon->scenario, request->reply.items[0].value), json);
    assert_true(request->reply.items[0].has_version);
    request_destroy(request);
}

PLAYED_UNUSED static void assert_failed(struct request *request, enum error error,
                                        const char *words)
{
    const struct failure *failure = &request->reply.failure;
    if (failure->error != error || strstr(failure->message, words) == NULL) {
        scenario_fail("%s: %s", error_wire_code(failure->error), failure->message);
    }
    request_destroy(request);
}
