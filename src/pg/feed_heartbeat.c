#include "pg/feed_heartbeat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/feed_mend.h"
#include "pg/feed_sync.h"
#include "pg/handshake.h"
#include "pg/sqlstate.h"
#include "pg/table_name.h"
#include "pg/timer.h"

enum {
    HEARTBEAT_EVERY_US = 500 * CLOCK_US_PER_MS,
    HEARTBEAT_MAX_US = 2 * CLOCK_US_PER_S, // between sending one and its coming back
    HEARTBEATS_PER_SHAPE = 4,
    FRESH_US = CLOCK_US_PER_S,
};

static void post_heartbeat(struct feed *feed)
{
    struct feed_message *message = feed_message_create(FEED_HEARTBEAT);
    message->heartbeat_boot_us = feed->heartbeat.sent_boot_us;
    message->has_clock_offset = true;
    message->clock_offset_us = feed->heartbeat.clock_offset_us;
    worker_post(feed->worker, &message->message);
}

static void arm_proof(struct feed *feed)
{
    timer_arm(feed->proof_timer, feed->proven_boot_us + HEARTBEAT_MAX_US - clock_boot_us());
}

static void on_unproven(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct feed *feed = context;
    bool is_deaf = feed->heartbeat.is_out && feed->heartbeat.is_answered;
    if (!is_deaf) {
        feed_give_up(feed, "no heartbeat was answered within 2 s");
    } else if (feed->state == FEED_LIVE) {
        conn_fail(feed->conn, "no heartbeat came back within 2 s");
    } else {
        const char *words = "LISTEN hears nothing (where postgres.url is a pooler, name the server"
                            " itself in postgres.listen_url)";
        feed_set_error(feed, NULL, words);
        conn_fail(feed->conn, words);
    }
}

static void note_room(struct feed *feed)
{
    feed->queue_is_full = false;
    LOG_INFO("notifications accepted again");
}

static void heartbeat_is_back(struct feed *feed)
{
    struct worker *worker = feed->worker;
    struct heartbeat *heartbeat = &feed->heartbeat;
    heartbeat->is_out = false;
    int64_t now_boot_us = clock_boot_us();
    if (now_boot_us - heartbeat->sent_boot_us >= HEARTBEAT_MAX_US) {
        feed_give_up(feed, "a heartbeat came back too late");
        return;
    }
    status_set(worker->status, STATUS_PG_ROUND_TRIP_US, now_boot_us - heartbeat->sent_boot_us);
    feed->proven_boot_us = heartbeat->sent_boot_us;
    arm_proof(feed);
    if (feed->queue_is_full) {
        note_room(feed);
    }
    if (feed->state != FEED_LIVE) {
        feed->state = FEED_LIVE;
        worker->feed_live = true;
        feed_set_error(feed, NULL, NULL);
        feed_begin_epoch(feed);
    }
    post_heartbeat(feed);
    feed_sync_pass_barrier(feed);
    if (feed->asked != NULL && worker->is_swept) {
        feed_heartbeat_send(feed);
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
    struct feed *feed = context;
    struct heartbeat *heartbeat = &feed->heartbeat;
    if (index == 1) {
        table_shape_take(&heartbeat->shape, result);
        return;
    }
    int64_t server_us = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    int64_t started_us = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
    bool in_recovery = *PQgetvalue(result, 0, 2) == 't';
    // PostgreSQL read its clock about half way between the sending and now.
    heartbeat->clock_offset_us =
        server_us - (heartbeat->sent_boot_us + (clock_boot_us() - heartbeat->sent_boot_us) / 2);
    heartbeat->is_same_server = started_us == feed->worker->server.start.started_us && !in_recovery;
}

// Some listener of the cluster, in whatever database, has stood in a transaction for so long that
// PostgreSQL takes no more notifications. What needs none goes on, and the next heartbeat tries
// again; but a feed that cannot be proven is not live.
static void note_full_queue(struct feed *feed, const struct failure *failure)
{
    if (!feed->queue_is_full) {
        LOG_ERROR("notifications refused", LOG_TEXT("sqlstate", failure->sqlstate),
                  LOG_TEXT("error", failure->message));
    }
    feed->queue_is_full = true;
    feed_set_error(feed, failure->sqlstate, failure->message);
    feed_mute(feed, failure->message);
}

static const char *name_lack(const struct feed *feed)
{
    const struct table_shape *found = &feed->heartbeat.shape;
    if (table_shape_lacks_for_bare(found, &feed->shape)) {
        return "are missing on a new partition (what `pgnear schema` prints makes them)";
    }
    return found->is_demoted ? "are enabled, but not ENABLE ALWAYS (what `pgnear schema` prints"
                               " mends it)"
                             : "are disabled or gone (`pgnear check` names them)";
}

// Without its triggers the table changes unheard. Reads ask PostgreSQL until they are back.
static void note_unannounced(struct feed *feed)
{
    static const char NOT_IN_PREREQUISITE_STATE[] = "55000";
    const char *table = feed->worker->names.table;
    char words[FAILURE_MESSAGE_BYTES];
    if (feed->heartbeat.shape.digest[0] == '\0') {
        snprintf(words, sizeof words, "relation %s does not exist", table);
    } else {
        snprintf(words, sizeof words, "changes are not announced: triggers of %s %s", table,
                 name_lack(feed));
    }
    if (!feed->is_unannounced) {
        LOG_ERROR("changes not announced", LOG_TEXT("error", words));
    }
    feed->is_unannounced = true;
    feed_set_error(feed, NOT_IN_PREREQUISITE_STATE, words);
    feed_mute(feed, words);
}

// A partition may have come between the script of the schema and the first look at the table.
static bool is_unannounced(const struct feed *feed)
{
    const struct table_shape *found = &feed->heartbeat.shape;
    return feed->knows_shape ? table_shape_lost_triggers(found, &feed->shape)
                             : found->bare > 0 && feed->worker->settings->postgres.create_schema;
}

// False where the feed is lost over it.
static bool judge_shape(struct feed *feed)
{
    const struct table_shape *found = &feed->heartbeat.shape;
    if (is_unannounced(feed)) {
        note_unannounced(feed);
        if (found->is_demoted || table_shape_lacks_for_bare(found, &feed->shape)) {
            feed_mend_triggers(feed);
        }
        return false;
    }
    if (feed->is_unannounced) {
        feed->is_unannounced = false;
        LOG_INFO("changes announced again");
    }
    bool is_another = feed->knows_shape && strcmp(found->digest, feed->shape.digest) != 0;
    feed->shape = *found;
    feed->knows_shape = true;
    if (is_another) {
        // Values may have changed and versions not, or begun anew: nothing held is to be trusted.
        LOG_WARNING("table altered", LOG_TEXT("table", feed->worker->names.table));
        feed->worker->server_replaced = true;
        feed_begin_epoch(feed);
    }
    return true;
}

static void on_heartbeat_done(void *context, enum unit_outcome outcome,
                              const struct failure *failure)
{
    struct feed *feed = context;
    if (outcome == UNIT_LOST) {
        return; // the worker is told, and tells the feed
    }
    if (outcome == UNIT_REFUSED && strcmp(failure->sqlstate, SQLSTATE_LIMIT_EXCEEDED) == 0) {
        note_full_queue(feed, failure);
    } else if (outcome == UNIT_REFUSED) {
        feed_give_up(feed, failure->message);
    } else if (!feed->heartbeat.is_same_server) {
        feed_give_up(feed, "another server answers");
    } else if (!feed->heartbeat.has_shape || judge_shape(feed)) {
        feed->heartbeat.is_answered = true;
        maybe_back(feed);
    }
}

void feed_heartbeat_send(struct feed *feed)
{
    struct conn *control = handshake_conn(feed->worker->handshake);
    if (!feed->is_listening || feed->heartbeat.is_out || !feed->worker->ready ||
        !conn_is_idle(control)) {
        return;
    }
    feed->heartbeat = (struct heartbeat){
        .is_out = true,
        .sent_boot_us = clock_boot_us(),
        .has_shape = feed->state != FEED_LIVE || feed->heartbeats % HEARTBEATS_PER_SHAPE == 0,
    };
    feed->heartbeats++;
    feed_sync_send(feed);
    struct schema_options *schema = &feed->worker->schema;
    const struct table_name *home = layout_of(schema)->home(schema);
    char payload[24], home_name[QUALIFIED_NAME_BYTES];
    snprintf(payload, sizeof payload, "%lld", (long long)feed->heartbeat.sent_boot_us);
    quote_qualified(home->schema, home->table, home_name);
    const char *values[] = {feed->own_channel, payload};
    const char *shape_values[] = {feed->worker->names.table, home_name, schema->table.table};
    const struct query queries[] = {
        {.sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
                " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"
                " pg_is_in_recovery(), pg_notify($1, $2)",
         .params_count = 2,
         .values = values},
        {.sql = TABLE_SHAPE_SQL, .params_count = 3, .values = shape_values},
    };
    struct unit unit = {
        .queries = queries,
        .queries_count = feed->heartbeat.has_shape ? 2 : 1,
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
    timer_arm(feed->tick_timer, HEARTBEAT_EVERY_US);
    if (late_us > HEARTBEAT_MAX_US) {
        // Stopped or suspended: what was announced meanwhile may have been dropped on the way.
        feed_give_up(feed, "this process stood still");
        return;
    }
    feed_heartbeat_send(feed);
}

int64_t feed_vouches_since(const struct feed *feed)
{
    int64_t since_boot_us = clock_boot_us() - FRESH_US;
    return feed->state == FEED_LIVE && feed->proven_boot_us > since_boot_us ? 0 : since_boot_us;
}

void feed_heartbeat_hear(struct feed *feed, struct slice payload)
{
    char stamp[24];
    snprintf(stamp, sizeof stamp, "%lld", (long long)feed->heartbeat.sent_boot_us);
    bool is_it = feed->heartbeat.is_out && slice_equal(payload, slice_of_string(stamp));
    if (is_it && !FAULT_POINT(HEARTBEAT)) {
        feed->heartbeat.is_heard = true;
        maybe_back(feed);
    }
}

void feed_heartbeat_start(struct feed *feed)
{
    feed->ticked_boot_us = clock_boot_us();
    timer_arm(feed->tick_timer, HEARTBEAT_EVERY_US);
}

void feed_heartbeat_listening(struct feed *feed)
{
    feed->proven_boot_us = clock_boot_us();
    arm_proof(feed);
    feed_heartbeat_send(feed);
}

void feed_heartbeat_lose(struct feed *feed)
{
    feed->heartbeat.is_out = false;
    timer_disarm(feed->proof_timer);
}

void feed_heartbeat_stop(struct feed *feed)
{
    timer_disarm(feed->tick_timer);
}

void feed_heartbeat_init(struct feed *feed)
{
    feed->tick_timer = timer_new(feed->worker->base, on_tick, feed);
    feed->proof_timer = timer_new(feed->worker->base, on_unproven, feed);
}

void feed_heartbeat_deinit(struct feed *feed)
{
    timer_free(feed->tick_timer);
    timer_free(feed->proof_timer);
}
