// The life of the feed: LISTEN, what is heard, the epochs that it begins, its loss.
#include "pg/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/feed_heartbeat.h"
#include "pg/feed_state.h"
#include "pg/feed_sync.h"
#include "pg/fetcher.h"
#include "pg/handshake.h"
#include "pg/payload.h"
#include "pg/sweeper.h"
#include "pg/timer.h"

enum { FULL_PAUSE_US = 5 * CLOCK_US_PER_MS }; // before looking at a full mailbox again

// ---- What the writer is told

struct feed_message *feed_message_create(enum feed_event event)
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
    message->server = worker->server.start;
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

// ---- Losing it

static void lose(struct feed *feed, const char *reason)
{
    struct worker *worker = feed->worker;
    bool was_live = feed->state == FEED_LIVE;
    feed->state = FEED_LISTENING;
    feed->is_listening = false;
    feed_heartbeat_lose(feed);
    feed_sync_ask_again(feed);
    timer_disarm(feed->full_timer);
    fetcher_mark_all(worker->fetcher);
    sweeper_stop(worker->sweeper);
    if (!was_live) {
        return;
    }
    worker->feed_live = false;
    worker_update_state(worker); // nobody sees the gap counted and the feed still live
    if (!feed->is_shut) {
        status_add(worker->status, STATUS_PG_GAPS, 1);
        LOG_WARNING("feed lost", LOG_TEXT("reason", reason), LOG_INT("epoch", worker->epoch));
    }
    worker_post(worker, &feed_message_create(FEED_LOST)->message);
}

void feed_give_up(struct feed *feed, const char *reason)
{
    lose(feed, reason);
    handshake_restart(feed->worker->handshake, reason);
}

void feed_mute(struct feed *feed, const char *reason)
{
    lose(feed, reason);
    feed->is_listening = true;
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
    worker->notified_boot_us = clock_boot_us();
    if (FAULT_POINT(PAYLOAD)) {
        payload = slice_of_string("?");
    }
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
        timer_arm(feed->full_timer, FULL_PAUSE_US);
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
    feed_heartbeat_hear(feed, payload);
}

// ---- The connection

static void on_listen_result(void *context, size_t index, const PGresult *result)
{
    struct feed *feed = context;
    if (index == 0) {
        agreement_take(&feed->agreement, feed->worker, result);
    }
}

static void on_listen_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct feed *feed = context;
    if (outcome == UNIT_LOST) {
        return;
    }
    if (outcome == UNIT_REFUSED) {
        if (ask_refusal_is_new(feed->refusal, failure)) {
            LOG_ERROR("listen refused", LOG_TEXT("sqlstate", failure->sqlstate),
                      LOG_TEXT("error", failure->message));
        }
        conn_fail_quietly(feed->conn, failure->message);
        feed_set_error(feed, failure->sqlstate, failure->message);
        return;
    }
    if (!feed->agreement.holds) {
        agreement_leave(&feed->agreement, feed->worker, feed->conn);
        return;
    }
    feed->is_listening = true;
    feed->refusal[0] = '\0';
    feed_heartbeat_listening(feed);
}

static void on_connected(void *context)
{
    struct feed *feed = context;
    char listen[160], listen_own[160];
    snprintf(listen, sizeof listen, FAULT_POINT(LISTEN) ? "LISTEN" : "LISTEN \"%s\"",
             feed->worker->names.channel);
    snprintf(listen_own, sizeof listen_own, "LISTEN \"%s\"", feed->own_channel);
    if (feed->has_lived) {
        status_add(feed->worker->status, STATUS_PG_RECONNECTS, 1);
    }
    agreement_ask(&feed->agreement);
    const struct query queries[] = {
        {.sql = AGREEMENT_SQL},
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

void feed_set_error(struct feed *feed, const char *sqlstate, const char *words)
{
    status_set_error(feed->worker->status, TROUBLE_FEED, sqlstate, words);
}

static void on_lost(void *context, const struct failure *failure)
{
    struct feed *feed = context;
    bool was_listening = feed->is_listening;
    lose(feed, failure->message);
    // One that worked comes back in a moment, mostly; and what is wrong with one that listens in
    // vain has been told better.
    if (!was_listening) {
        feed_set_error(feed, failure->sqlstate, failure->message);
    }
    worker_on_server_lost(feed->worker, failure);
}

void feed_start(struct feed *feed)
{
    CHECK(feed->state == FEED_OFF);
    feed->state = FEED_LISTENING;
    feed_heartbeat_start(feed);
    conn_open(feed->conn);
}

void feed_stop(struct feed *feed, const char *reason)
{
    if (feed->state == FEED_OFF) {
        return;
    }
    lose(feed, reason);
    feed->state = FEED_OFF;
    feed_heartbeat_stop(feed);
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
    feed->full_timer = timer_new(worker->base, on_full, feed);
    feed_heartbeat_init(feed);
    feed_sync_init(feed);
    return feed;
}

void feed_shut(struct feed *feed)
{
    feed->is_shut = true;
    feed_stop(feed, "the daemon is stopping");
    feed_sync_refuse_all(feed);
}

void feed_destroy(struct feed *feed)
{
    if (feed == NULL) {
        return;
    }
    conn_destroy(feed->conn);
    feed_heartbeat_deinit(feed);
    feed_sync_deinit(feed);
    timer_free(feed->full_timer);
    free(feed);
}
