#include "pg/feed_sync.h"

#include "base/check.h"
#include "base/clock.h"
#include "pg/feed_heartbeat.h"
#include "pg/timer.h"

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
        timer_disarm(feed->deadline_timer);
    } else {
        int64_t delay_us = next - clock_boot_us();
        timer_arm(feed->deadline_timer, delay_us < CLOCK_US_PER_MS ? CLOCK_US_PER_MS : delay_us);
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
    feed_heartbeat_send(feed);
}

void feed_sync_send(struct feed *feed)
{
    CHECK(feed->sent == NULL);
    feed->sent = feed->asked;
    feed->asked = NULL;
}

void feed_sync_ask_again(struct feed *feed)
{
    struct request **tail = &feed->asked;
    while (*tail != NULL) {
        tail = &(*tail)->sibling;
    }
    *tail = feed->sent;
    feed->sent = NULL;
}

void feed_sync_pass_barrier(struct feed *feed)
{
    if (!feed->worker->is_swept) {
        feed_sync_ask_again(feed);
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

void feed_on_swept(struct feed *feed)
{
    if (feed->asked != NULL) {
        feed_heartbeat_send(feed);
    }
}

void feed_sync_refuse_all(struct feed *feed)
{
    feed_sync_ask_again(feed);
    struct request *request = feed->asked;
    feed->asked = NULL;
    while (request != NULL) {
        struct request *sibling = request->sibling;
        worker_refuse(feed->worker, request);
        request = sibling;
    }
    timer_disarm(feed->deadline_timer);
}

void feed_sync_init(struct feed *feed)
{
    feed->next_deadline_boot_us = INT64_MAX;
    feed->deadline_timer = timer_new(feed->worker->base, on_deadline, feed);
}

void feed_sync_deinit(struct feed *feed)
{
    CHECK(feed->asked == NULL && feed->sent == NULL);
    timer_free(feed->deadline_timer);
}
