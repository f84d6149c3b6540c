#include "pg/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/fetcher.h"
#include "pg/handshake.h"
#include "pg/payload.h"
#include "pg/sweeper.h"
#include "pg/worker.h"

enum {
    HEARTBEAT_EVERY_US = 500 * CLOCK_US_PER_MS,
    HEARTBEAT_MAX_US = 2 * CLOCK_US_PER_S, // between sending one and its coming back
    FULL_PAUSE_US = 5 * CLOCK_US_PER_MS,   // before looking at a full mailbox again
    CHANNEL_BYTES = 64
};

enum feed_state { FEED_OFF, FEED_LISTENING, FEED_LIVE };

struct heartbeat {
    bool is_out;
    bool is_heard;    // the notification has come back
    bool is_answered; // the query that sent it has
    int64_t sent_boot_us;
    int64_t sent_real_us;
    int64_t clock_offset_us;
    bool is_same_server;
};

struct feed {
    struct worker *worker;
    struct conn *conn;
    enum feed_state state;
    bool is_listening; // LISTEN is committed
    bool has_lived;    // an epoch was begun by this process: the next one follows a gap
    bool is_shut;      // by ourselves: no gap
    bool listens_same; // LISTEN and the control connection are on one server
    char own_channel[CHANNEL_BYTES];
    struct heartbeat heartbeat;
    int64_t proven_boot_us; // the last heartbeat that came back was sent then, or LISTEN was
    int64_t ticked_boot_us;
    struct event *tick_timer;
    struct event *proof_timer; // the feed is lost where it fires
    struct event *full_timer;
    struct event *deadline_timer;
    // Requests for sync, linked by sibling:
    struct request *asked;         // wait for the next heartbeat to be sent
    struct request *sent;          // wait for the one that is out
    int64_t next_deadline_boot_us; // none of theirs is earlier
};

static void send_heartbeat(struct feed *feed);

static void arm(struct event *timer, int64_t delay_us)
{
    if (delay_us < 0) {
        delay_us = 0;
    }
    struct timeval delay = {
        .tv_sec = delay_us / CLOCK_US_PER_S,
        .tv_usec = delay_us % CLOCK_US_PER_S,
    };
    CHECK(evtimer_add(timer, &delay) == 0);
}

static void disarm(struct event *timer)
{
    CHECK(evtimer_del(timer) == 0);
}

// ---- What the writer is told

static struct feed_message *feed_message_create(enum feed_event event)
{
    struct feed_message *message = message_create(MESSAGE_FEED, sizeof *message);
    message->event = event;
    return message;
}

static void post_resync(struct feed *feed)
{
    struct changes_message *changes = message_create(MESSAGE_CHANGES, sizeof *changes);
    changes->resync = true;
    worker_post(feed->worker, &changes->message);
}

static void post_heartbeat(struct feed *feed)
{
    struct feed_message *message = feed_message_create(FEED_HEARTBEAT);
    message->heartbeat_boot_us = feed->heartbeat.sent_boot_us;
    message->has_clock_offset = true;
    message->clock_offset_us = feed->heartbeat.clock_offset_us;
    worker_post(feed->worker, &message->message);
}

void feed_begin_epoch(struct feed *feed)
{
    struct worker *worker = feed->worker;
    if (feed->state != FEED_LIVE) {
        return; // the next life of the feed begins with one
    }
    bool is_replaced = worker->server_replaced;
    fetcher_mark_all(worker->fetcher);
    sweeper_stop(worker->sweeper);
    worker->server_replaced = false;
    worker->epoch++;
    worker->is_swept = false;
    struct feed_message *message = feed_message_create(is_replaced ? FEED_REPLACED : FEED_STARTED);
    message->heartbeat_boot_us = feed->proven_boot_us;
    message->server.started_us = worker->server.started_us;
    memcpy(message->server.timeline, worker->server.timeline, sizeof message->server.timeline);
    worker_post(worker, &message->message);
    if (feed->has_lived) {
        post_resync(feed);
    }
    feed->has_lived = true;
    LOG_INFO("feed started", LOG_INT("epoch", worker->epoch),
             LOG_INT("server_replaced", is_replaced));
    sweeper_start(worker->sweeper, worker->epoch);
    worker_update_state(worker);
}

// ---- Requests for sync

static void arm_deadline(struct feed *feed)
{
    int64_t next = INT64_MAX;
    const struct request *const lists[] = {feed->asked, feed->sent};
    for (int i = 0; i < 2; i++) {
        for (const struct request *request = lists[i]; request != NULL;
             request = request->sibling) {
            next = request->deadline_boot_us < next ? request->deadline_boot_us : next;
        }
    }
    feed->next_deadline_boot_us = next;
    if (next == INT64_MAX) {
        disarm(feed->deadline_timer);
    } else {
        int64_t delay_us = next - clock_boot_us();
        arm(feed->deadline_timer, delay_us < CLOCK_US_PER_MS ? CLOCK_US_PER_MS : delay_us);
    }
}

static void fail_sync(struct feed *feed, struct request *request)
{
    if (feed->state == FEED_LIVE) {
        request_fail(request, ERROR_TIMEOUT, "Failed to sync: %s",
                     feed->worker->is_swept ? "no heartbeat came back in time"
                                            : "the cache was not revalidated in time");
    } else {
        worker_refuse(feed->worker, request);
    }
}

static void expire(struct feed *feed, struct request **list, int64_t now_boot_us)
{
    while (*list != NULL) {
        struct request *request = *list;
        if (request->deadline_boot_us > now_boot_us) {
            list = &request->sibling;
            continue;
        }
        *list = request->sibling;
        fail_sync(feed, request);
    }
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct feed *feed = context;
    int64_t now_boot_us = clock_boot_us();
    expire(feed, &feed->asked, now_boot_us);
    expire(feed, &feed->sent, now_boot_us);
    arm_deadline(feed);
}

void feed_request(struct feed *feed, struct request *request)
{
    CHECK(request->call.method == METHOD_SYNC);
    request->sibling = feed->asked;
    feed->asked = request;
    if (request->deadline_boot_us < feed->next_deadline_boot_us) {
        arm_deadline(feed);
    }
    send_heartbeat(feed);
}

// A heartbeat was lost with its connection: who waited for it waits for the next.
static void ask_again(struct feed *feed)
{
    struct request **tail = &feed->asked;
    while (*tail != NULL) {
        tail = &(*tail)->sibling;
    }
    *tail = feed->sent;
    feed->sent = NULL;
}

// The requests go through the writer's mailbox behind all that was heard: a barrier. What an
// earlier gap left unheard is in the cache only when the sweep is done: until then, they wait for
// another heartbeat.
static void pass_barrier(struct feed *feed)
{
    if (!feed->worker->is_swept) {
        ask_again(feed);
        return;
    }
    struct request *request = feed->sent;
    feed->sent = NULL;
    while (request != NULL) {
        struct request *sibling = request->sibling;
        worker_post(feed->worker, &request->message);
        request = sibling;
    }
}

// ---- Losing it

static void lose(struct feed *feed, const char *reason)
{
    struct worker *worker = feed->worker;
    bool was_live = feed->state == FEED_LIVE;
    feed->state = FEED_LISTENING;
    feed->is_listening = false;
    feed->heartbeat.is_out = false;
    ask_again(feed);
    disarm(feed->proof_timer);
    disarm(feed->full_timer);
    fetcher_mark_all(worker->fetcher);
    sweeper_stop(worker->sweeper);
    if (!was_live) {
        return;
    }
    worker->feed_live = false;
    if (!feed->is_shut) {
        status_add(worker->status, STATUS_PG_GAPS, 1);
        LOG_WARNING("feed lost", LOG_TEXT("reason", reason), LOG_INT("epoch", worker->epoch));
    }
    worker_post(worker, &feed_message_create(FEED_LOST)->message);
    worker_update_state(worker);
}

// Nothing that any connection says is to be trusted before a new beginning.
static void give_up(struct feed *feed, const char *reason)
{
    lose(feed, reason);
    handshake_restart(feed->worker->handshake, reason);
}

static void on_unproven(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct feed *feed = context;
    bool is_deaf = feed->heartbeat.is_out && feed->heartbeat.is_answered;
    if (!is_deaf) {
        give_up(feed, "no heartbeat was answered within 2 s");
    } else if (feed->state == FEED_LIVE) {
        conn_fail(feed->conn, "no heartbeat came back within 2 s");
    } else {
        const char *words = "LISTEN hears nothing (where postgres.url is a pooler, name the server"
                            " itself in postgres.listen_url)";
        status_set_error(feed->worker->status, NULL, words);
        conn_fail(feed->conn, words);
    }
}

// ---- Heartbeats

static void arm_proof(struct feed *feed)
{
    arm(feed->proof_timer, feed->proven_boot_us + HEARTBEAT_MAX_US - clock_boot_us());
}

static void heartbeat_is_back(struct feed *feed)
{
    struct worker *worker = feed->worker;
    struct heartbeat *heartbeat = &feed->heartbeat;
    heartbeat->is_out = false;
    int64_t now_boot_us = clock_boot_us();
    if (now_boot_us - heartbeat->sent_boot_us >= HEARTBEAT_MAX_US) {
        give_up(feed, "a heartbeat came back too late");
        return;
    }
    status_set(worker->status, STATUS_PG_ROUND_TRIP_US, now_boot_us - heartbeat->sent_boot_us);
    feed->proven_boot_us = heartbeat->sent_boot_us;
    arm_proof(feed);
    if (feed->state != FEED_LIVE) {
        feed->state = FEED_LIVE;
        worker->feed_live = true;
        feed_begin_epoch(feed);
    }
    post_heartbeat(feed);
    pass_barrier(feed);
    if (feed->asked != NULL && worker->is_swept) {
        send_heartbeat(feed);
    }
}

void feed_on_swept(struct feed *feed)
{
    if (feed->asked != NULL) {
        send_heartbeat(feed);
    }
}

static void maybe_back(struct feed *feed)
{
    struct heartbeat *heartbeat = &feed->heartbeat;
    if (heartbeat->is_out && heartbeat->is_heard && heartbeat->is_answered) {
        heartbeat_is_back(feed);
    }
}

static void on_heartbeat_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct feed *feed = context;
    struct heartbeat *heartbeat = &feed->heartbeat;
    int64_t server_us = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    int64_t started_us = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
    bool in_recovery = *PQgetvalue(result, 0, 2) == 't';
    // PostgreSQL read its clock about half way between the sending and now.
    heartbeat->clock_offset_us =
        server_us - (heartbeat->sent_real_us + (clock_real_us() - heartbeat->sent_real_us) / 2);
    heartbeat->is_same_server = started_us == feed->worker->server.started_us && !in_recovery;
}

static void on_heartbeat_done(void *context, enum unit_outcome outcome,
                              const struct failure *failure)
{
    struct feed *feed = context;
    if (outcome == UNIT_LOST) {
        return; // the worker is told, and tells the feed
    }
    if (outcome == UNIT_REFUSED) {
        give_up(feed, failure->message);
    } else if (!feed->heartbeat.is_same_server) {
        give_up(feed, "another server answers");
    } else {
        feed->heartbeat.is_answered = true;
        maybe_back(feed);
    }
}

// Sends one where none is out and the control connection is free.
static void send_heartbeat(struct feed *feed)
{
    struct conn *control = handshake_conn(feed->worker->handshake);
    if (!feed->is_listening || feed->heartbeat.is_out || !feed->worker->ready ||
        !conn_is_idle(control)) {
        return;
    }
    feed->heartbeat = (struct heartbeat){
        .is_out = true,
        .sent_boot_us = clock_boot_us(),
        .sent_real_us = clock_real_us(),
    };
    CHECK(feed->sent == NULL);
    feed->sent = feed->asked;
    feed->asked = NULL;
    char payload[24];
    snprintf(payload, sizeof payload, "%lld", (long long)feed->heartbeat.sent_boot_us);
    const char *values[] = {feed->own_channel, payload};
    struct query query = {
        .sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
               " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"
               " pg_is_in_recovery(), pg_notify($1, $2)",
        .params_count = 2,
        .values = values,
    };
    struct unit unit = {
        .queries = &query,
        .queries_count = 1,
        .context = feed,
        .on_result = on_heartbeat_result,
        .on_done = on_heartbeat_done,
    };
    conn_send(control, &unit);
}

static void on_tick(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct feed *feed = context;
    int64_t now_boot_us = clock_boot_us();
    int64_t late_us = now_boot_us - feed->ticked_boot_us - HEARTBEAT_EVERY_US;
    feed->ticked_boot_us = now_boot_us;
    arm(feed->tick_timer, HEARTBEAT_EVERY_US);
    if (late_us > HEARTBEAT_MAX_US) {
        // Stopped or suspended: what was announced meanwhile may have been dropped on the way.
        give_up(feed, "this process stood still");
        return;
    }
    send_heartbeat(feed);
}

// ---- Notifications

static void on_changes(struct feed *feed, struct changes_message *changes, bool is_own)
{
    struct worker *worker = feed->worker;
    for (size_t i = 0; i < changes->changes_count; i++) {
        fetcher_mark(worker->fetcher, changes->changes[i].key);
    }
    // Where triggers of others are about, they write under our name.
    changes->own = is_own && !worker->foreign_triggers;
    worker_post(worker, &changes->message);
}

static void on_truncate(struct feed *feed)
{
    fetcher_mark_all(feed->worker->fetcher);
    struct changes_message *changes = message_create(MESSAGE_CHANGES, sizeof *changes);
    changes->truncated = true;
    changes->resync = true;
    worker_post(feed->worker, &changes->message);
}

static void on_payload(struct feed *feed, struct slice payload)
{
    struct worker *worker = feed->worker;
    struct slice origin = {0};
    struct changes_message *changes = NULL;
    status_add(worker->status, STATUS_PG_NOTIFICATIONS, 1);
    enum payload_kind kind = payload_decode(payload, &origin, &changes);
    bool is_own = slice_equal(origin, slice_of_string(worker->identity.node));
    switch (kind) {
    case PAYLOAD_CHANGES:
        on_changes(feed, changes, is_own);
        break;
    case PAYLOAD_TRUNCATE:
        on_truncate(feed);
        break;
    case PAYLOAD_SWEEP:
        LOG_INFO("bulk change announced", LOG_INT("epoch", worker->epoch));
        feed_begin_epoch(feed);
        break;
    case PAYLOAD_BAD:
        LOG_WARNING("notification unreadable", LOG_INT("bytes", payload.len));
        feed_begin_epoch(feed);
        break;
    }
}

// The socket is left alone while the writer has more than it can take; if that lasts, heartbeats
// are late, and the feed is rightly given up.
static void mind_writer(struct feed *feed)
{
    bool is_full = mailbox_is_full(feed->worker->writer);
    conn_set_reading(feed->conn, !is_full);
    if (is_full) {
        arm(feed->full_timer, FULL_PAUSE_US);
    }
}

static void on_full(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    mind_writer(context);
}

static void on_notify(void *context, const char *channel, struct slice payload)
{
    struct feed *feed = context;
    if (strcmp(channel, feed->own_channel) != 0) {
        on_payload(feed, payload);
        if (mailbox_is_full(feed->worker->writer)) {
            mind_writer(feed);
        }
        return;
    }
    char stamp[24];
    snprintf(stamp, sizeof stamp, "%lld", (long long)feed->heartbeat.sent_boot_us);
    if (feed->heartbeat.is_out && slice_equal(payload, slice_of_string(stamp))) {
        feed->heartbeat.is_heard = true;
        maybe_back(feed);
    }
}

// ---- The connection

static void on_listen_result(void *context, size_t index, const PGresult *result)
{
    struct feed *feed = context;
    const struct server_identity *server = &feed->worker->server;
    if (index == 0) {
        feed->listens_same = strtoll(PQgetvalue(result, 0, 0), NULL, 10) == server->started_us &&
                             strcmp(PQgetvalue(result, 0, 1), server->timeline) == 0;
    }
}

static void on_listen_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct feed *feed = context;
    if (outcome == UNIT_LOST) {
        return;
    }
    if (outcome == UNIT_REFUSED) {
        status_set_error(feed->worker->status, failure->sqlstate, failure->message);
        LOG_ERROR("listen refused", LOG_TEXT("sqlstate", failure->sqlstate),
                  LOG_TEXT("error", failure->message));
        conn_fail(feed->conn, failure->message);
        return;
    }
    if (!feed->listens_same) {
        // Either of them may be the one that was left behind.
        give_up(feed, "LISTEN and the control connection are on different servers");
        return;
    }
    feed->is_listening = true;
    feed->proven_boot_us = clock_boot_us();
    arm_proof(feed);
    send_heartbeat(feed);
}

static void on_connected(void *context)
{
    struct feed *feed = context;
    char listen[160], listen_own[160];
    snprintf(listen, sizeof listen, "LISTEN \"%s\"", feed->worker->names.channel);
    snprintf(listen_own, sizeof listen_own, "LISTEN \"%s\"", feed->own_channel);
    if (feed->has_lived) {
        status_add(feed->worker->status, STATUS_PG_RECONNECTS, 1);
    }
    const struct query queries[] = {
        {.sql = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"
                " CASE WHEN pg_is_in_recovery() THEN ''"
                " ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"},
        {.sql = listen},
        {.sql = listen_own},
    };
    struct unit unit = {
        .queries = queries,
        .queries_count = 3,
        .context = feed,
        .on_result = on_listen_result,
        .on_done = on_listen_done,
    };
    conn_send(feed->conn, &unit);
}

static void on_lost(void *context, const struct failure *failure)
{
    struct feed *feed = context;
    lose(feed, failure->message);
    worker_on_server_lost(feed->worker, failure);
}

void feed_start(struct feed *feed)
{
    CHECK(feed->state == FEED_OFF);
    feed->state = FEED_LISTENING;
    feed->ticked_boot_us = clock_boot_us();
    arm(feed->tick_timer, HEARTBEAT_EVERY_US);
    conn_open(feed->conn);
}

void feed_stop(struct feed *feed, const char *reason)
{
    if (feed->state == FEED_OFF) {
        return;
    }
    lose(feed, reason);
    feed->state = FEED_OFF;
    disarm(feed->tick_timer);
    conn_close(feed->conn);
}

// ---- Life

// "pgnear_node_" and the node's UUID without its dashes.
static void name_own_channel(struct feed *feed)
{
    char *at = stpcpy(feed->own_channel, "pgnear_node_");
    for (const char *digit = feed->worker->identity.node; *digit != '\0'; digit++) {
        if (*digit != '-') {
            *at++ = *digit;
        }
    }
    *at = '\0';
}

struct feed *feed_create(struct worker *worker)
{
    struct feed *feed = memory_zeroed(1, sizeof *feed);
    feed->worker = worker;
    feed->next_deadline_boot_us = INT64_MAX;
    name_own_channel(feed);
    struct conn_options options = worker_conn_options(worker, "listen");
    const char *listen_conninfo = worker->settings->postgres.listen_conninfo;
    if (listen_conninfo != NULL) {
        options.conninfo = listen_conninfo;
    }
    options.context = feed;
    options.on_connected = on_connected;
    options.on_lost = on_lost;
    options.on_notify = on_notify;
    feed->conn = conn_create(&options);
    feed->tick_timer = evtimer_new(worker->base, on_tick, feed);
    feed->proof_timer = evtimer_new(worker->base, on_unproven, feed);
    feed->full_timer = evtimer_new(worker->base, on_full, feed);
    feed->deadline_timer = evtimer_new(worker->base, on_deadline, feed);
    CHECK(feed->tick_timer != NULL && feed->proof_timer != NULL && feed->full_timer != NULL &&
          feed->deadline_timer != NULL);
    return feed;
}

void feed_shut(struct feed *feed)
{
    feed->is_shut = true;
    feed_stop(feed, "the daemon is stopping");
    ask_again(feed);
    struct request *request = feed->asked;
    feed->asked = NULL;
    while (request != NULL) {
        struct request *sibling = request->sibling;
        worker_refuse(feed->worker, request);
        request = sibling;
    }
    disarm(feed->deadline_timer);
}

void feed_destroy(struct feed *feed)
{
    if (feed == NULL) {
        return;
    }
    CHECK(feed->asked == NULL && feed->sent == NULL);
    conn_destroy(feed->conn);
    event_free(feed->tick_timer);
    event_free(feed->proof_timer);
    event_free(feed->full_timer);
    event_free(feed->deadline_timer);
    free(feed);
}
