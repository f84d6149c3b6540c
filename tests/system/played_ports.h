// What the pg worker has of the rest of the daemon, played by a test: an outbox in memory, a cache
// that holds nothing, and what is noted of the messages that come.
#pragma once

#include "system/harness/pg.h"

#include <string.h>

#include "base/clock.h"
#include "pg/worker.h"
#include "system/harness/proxy.h"

#define PLAYED_UNUSED __attribute__((unused))

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
    bool holds_flushed; // what is posted does not go back before this is false
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

PLAYED_UNUSED static enum error reader_open(void *cache, struct cache_reader **reader)
{
    *reader = cache;
    return ERROR_NONE;
}

PLAYED_UNUSED static void reader_close(struct cache_reader *reader)
{
    (void)reader;
}

PLAYED_UNUSED static void reader_begin(struct cache_reader *reader)
{
    (void)reader;
}

PLAYED_UNUSED static enum lookup lookup_nothing(struct cache_reader *reader, struct slice key,
                                                struct cached *cached)
{
    (void)reader;
    (void)key;
    (void)cached;
    return LOOKUP_MISS;
}

PLAYED_UNUSED static enum error
visit_no_suspects(struct cache_reader *reader, struct slice after, size_t count_max,
                  bool (*visit)(void *context, const struct swept_record *record), void *context)
{
    (void)reader;
    (void)after;
    (void)count_max;
    (void)visit;
    (void)context;
    return ERROR_NONE;
}

PLAYED_UNUSED static int64_t now_us(void *cache)
{
    (void)cache;
    return clock_real_us();
}

PLAYED_UNUSED static void check_nothing(void *cache, struct reply *reply)
{
    (void)cache;
    (void)reply;
}

PLAYED_UNUSED static bool knows_incarnation(void *outbox, const char *incarnation)
{
    (void)outbox;
    return strcmp(incarnation, EARLIER) == 0;
}

PLAYED_UNUSED static enum error
visit_outbox(void *outbox, uint64_t after_seq,
             bool (*visit)(void *context, const struct entry *entry), void *context)
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

PLAYED_UNUSED static void on_stop(void *context, int exit_status)
{
    struct daemon *daemon = context;
    pthread_mutex_lock(&daemon->mutex);
    daemon->stop_status = exit_status;
    pthread_mutex_unlock(&daemon->mutex);
}
