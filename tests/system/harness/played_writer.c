// What the worker posts is noted under the mutex, and answered after it.

#include "system/harness/played_writer.h"

#include <poll.h>
#include <string.h>

enum { TICK_MS = 20, HOLD_TICK_MS = 1 };

static void note_fills(struct daemon *daemon, const struct fills_message *fills)
{
    for (size_t i = 0; i < fills->fills_count && daemon->fills_count < DAEMON_FILLS_MAX; i++) {
        const struct fill *fill = &fills->fills[i];
        daemon->fills[daemon->fills_count++] = (struct daemon_fill){
            .key = daemon_text(daemon, fill->key),
            .present = fill->present,
            .version = fill->version,
            .json = fill->present ? daemon_json(daemon, fill->value) : NULL,
        };
    }
}

static void note_swept(struct daemon *daemon, const struct swept_message *swept)
{
    for (size_t i = 0; i < swept->drops_count; i++) {
        size_t place = 0;
        while (!slice_equal(daemon->records[place].key, swept->drops[i])) {
            place++;
            assert_true(place < daemon->records_count);
        }
        assert_false(daemon->dropped[place]);
        daemon->dropped[place] = true;
        daemon->drops_count++;
    }
    assert_true(slice_compare(swept->hand, slice_of_string(daemon->hand)) >= 0);
    memcpy(daemon->hand, swept->hand.at, swept->hand.len);
    daemon->hand[swept->hand.len] = '\0';
    daemon->swept_messages++;
    daemon->sweeps_done += swept->done;
}

static void note_feed(struct daemon *daemon, const struct feed_message *feed)
{
    daemon->feeds[feed->event]++;
    if (feed->event != FEED_STARTED && feed->event != FEED_REPLACED) {
        return;
    }
    daemon->hand[0] = '\0';
    daemon->drops_count = 0;
    memset(daemon->dropped, 0, sizeof daemon->dropped);
    if (!daemon->is_begun_late) {
        status_add(&daemon->status, STATUS_CACHE_EPOCH, 1);
    }
}

static void note_changes(struct daemon *daemon, const struct changes_message *changes)
{
    daemon->resyncs += changes->resync;
    *(changes->own ? &daemon->own_changes : &daemon->foreign_changes) +=
        (int)changes->changes_count;
}

static void note_flushed(struct daemon *daemon, const struct flushed_message *flushed)
{
    daemon->flushed++;
    assert_true((int64_t)flushed->epoch <= status_get(&daemon->status, STATUS_CACHE_EPOCH));
    for (size_t i = 0; daemon->watched != NULL && i < flushed->keys_count; i++) {
        if (slice_equal(flushed->keys[i].key, slice_of_string(daemon->watched))) {
            daemon->watched_key = flushed->keys[i];
        }
    }
}

static void note_retire(struct daemon *daemon, const struct retire_message *retire)
{
    assert_true(daemon->retires_count < DAEMON_RETIRES_MAX && retire->seq <= daemon->entries_count);
    struct retire_message *noted = &daemon->retires[daemon->retires_count++];
    *noted = *retire;
    noted->requests = NULL;
    daemon->entries[retire->seq - 1].retired = true;
}

static void note(struct daemon *daemon, const struct message *message)
{
    switch ((enum message_kind)message->kind) {
    case MESSAGE_FILLS:
        note_fills(daemon, (const struct fills_message *)message);
        break;
    case MESSAGE_SWEPT:
        note_swept(daemon, (const struct swept_message *)message);
        break;
    case MESSAGE_FEED:
        note_feed(daemon, (const struct feed_message *)message);
        break;
    case MESSAGE_CHANGES:
        note_changes(daemon, (const struct changes_message *)message);
        break;
    case MESSAGE_FLUSHED:
        note_flushed(daemon, (const struct flushed_message *)message);
        break;
    case MESSAGE_RETIRE:
        note_retire(daemon, (const struct retire_message *)message);
        break;
    case MESSAGE_REWIND:
        daemon->rewinds++;
        break;
    case MESSAGE_BIND:
        daemon->binding = ((const struct bind_message *)message)->binding;
        break;
    case MESSAGE_REQUEST:
        break;
    }
}

static void send_home(struct request **requests)
{
    struct request *request = *requests;
    *requests = NULL;
    while (request != NULL) {
        struct request *sibling = request->sibling;
        request_finish(request);
        request = sibling;
    }
}

static bool holds_flushed(struct daemon *daemon)
{
    pthread_mutex_lock(&daemon->mutex);
    bool holds = daemon->holds_flushed;
    pthread_mutex_unlock(&daemon->mutex);
    return holds;
}

static void give_back(struct daemon *daemon, struct message *message)
{
    mailbox_push(worker_mailbox(daemon->worker), message);
}

static void take(struct daemon *daemon, struct message *message)
{
    pthread_mutex_lock(&daemon->mutex);
    note(daemon, message);
    pthread_mutex_unlock(&daemon->mutex);
    switch ((enum message_kind)message->kind) {
    case MESSAGE_FLUSHED:
        while (holds_flushed(daemon) && !worker_is_stopping()) {
            poll(NULL, 0, HOLD_TICK_MS);
        }
        send_home(&((struct flushed_message *)message)->requests);
        give_back(daemon, message);
        return;
    case MESSAGE_RETIRE:
        send_home(&((struct retire_message *)message)->requests);
        give_back(daemon, message);
        return;
    case MESSAGE_BIND:
    case MESSAGE_REWIND:
        give_back(daemon, message);
        return;
    case MESSAGE_REQUEST:
        ((struct request *)message)->reply.boolean = true;
        request_finish((struct request *)message);
        return;
    case MESSAGE_FILLS:
        if (((struct fills_message *)message)->number != 0) {
            give_back(daemon, message);
            return;
        }
        break;
    case MESSAGE_SWEPT:
    case MESSAGE_FEED:
    case MESSAGE_CHANGES:
        break;
    }
    message_destroy(message);
}

void played_writer_take_all(struct daemon *daemon)
{
    struct message *message = mailbox_take(&daemon->writer);
    while (message != NULL) {
        struct message *next = message->next;
        take(daemon, message);
        message = next;
    }
}

void played_writer_run(void *context, int index)
{
    (void)index;
    struct daemon *daemon = context;
    while (!worker_is_stopping()) {
        struct pollfd waiting = {.fd = mailbox_fd(&daemon->writer), .events = POLLIN};
        poll(&waiting, 1, TICK_MS);
        played_writer_take_all(daemon);
    }
}
