// A real pg worker against a real PostgreSQL, with the rest of the daemon played by the test: an
// outbox in memory, a cache that is a list of suspects, and a writer thread that notes what the
// worker tells it and returns what is to be returned. The main thread's but for the writer, and for
// the ports, which the worker calls.
#pragma once

#include "base/clock.h"
#include "pg/worker.h"
#include "system/harness/pg.h"
#include "system/harness/proxy.h"

enum { DAEMON_ENTRIES_MAX = 20000, DAEMON_RECORDS_MAX = 20000, DAEMON_FILLS_MAX = 256 };
enum { DAEMON_RETIRES_MAX = 64, DAEMON_TIMEOUT_MS = 20000 };

#define DAEMON_NODE        "11111111-2222-3333-4444-555555555555"
#define DAEMON_INCARNATION "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
// Another one that its outbox has journaled.
#define DAEMON_EARLIER "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"

struct daemon_entry {
    struct buffer bytes; // entry_encode
    bool retired;
};

struct daemon_fill {
    const char *key;
    bool present;
    int64_t version;
    const char *json; // of the value
};

struct daemon {
    struct scenario *scenario;
    struct pg *pg;
    struct settings settings; // may be changed until daemon_start
    struct status status;
    struct worker *worker;
    struct mailbox writer;
    struct mailbox home;
    struct message *kept; // of `home`, not yet asked for
    struct workers *writer_thread;
    uint64_t last_seq;
    pthread_mutex_t mutex;
    // Shared, under mutex. The outbox:
    struct daemon_entry *entries; // of seq at [seq - 1]
    size_t entries_count;
    struct outbox_binding binding;
    struct proxy *unreadable_after; // NULL, or: once it has cut, the outbox is not read once
    int unread;
    // The cache:
    struct swept_record records[DAEMON_RECORDS_MAX]; // suspects, by key
    size_t records_count;
    const char *held_key; // what a lookup finds of it; NULL: nothing
    enum lookup held_lookup;
    struct cached held;
    bool is_begun_late; // the writer does not get to begin epochs
    bool holds_flushed; // what is told of batches does not go back before this is false
    // What the writer was told:
    struct daemon_fill fills[DAEMON_FILLS_MAX];
    size_t fills_count;
    bool dropped[DAEMON_RECORDS_MAX];
    size_t drops_count;
    size_t swept_messages;
    size_t sweeps_done;
    char hand[KEY_BYTES_MAX + 1];
    int feeds[4]; // by enum feed_event
    int own_changes;
    int foreign_changes;
    int resyncs;
    int rewinds;
    int flushed;
    const char *watched;            // a key
    struct flushed_key watched_key; // of the last FLUSHED with it; without value and key
    struct retire_message retires[DAEMON_RETIRES_MAX]; // without requests
    size_t retires_count;
    int stop_status; // -1: not asked to stop
};

// ---- Its life

// Not started yet: the test may change the settings and the cache.
struct daemon *daemon_create(struct scenario *scenario, struct pg *pg);

// Starts the worker, which takes what is journaled up to `applied_seq` for applied.
void daemon_start(struct daemon *daemon, uint64_t applied_seq);

// The two together, for a worker that is live, with the table and its triggers made.
struct daemon *daemon_of(struct scenario *scenario, struct pg *pg);
// The same with the proxy between the worker and the server, and not awaited to be live.
struct daemon *daemon_behind(struct scenario *scenario, struct pg *pg, struct proxy *proxy);

// The outbox is drained for at most `drain_us`. It may be started again.
void daemon_stop(struct daemon *daemon, int64_t drain_us);

// Stops and frees it. Every request must have been asked for, and no stop be left to be awaited.
void daemon_end(struct daemon *daemon);

// ---- What it comes to

void daemon_await(struct daemon *daemon, enum status_item item, int64_t at_least);
void daemon_await_applied(struct daemon *daemon); // all that was journaled

// One of the counts above, under the mutex.
int daemon_int(struct daemon *daemon, const int *count);
void daemon_await_int(struct daemon *daemon, const int *count, int at_least);

// The exit status with which the worker asks the daemon to stop, once it does.
int daemon_await_stop(struct daemon *daemon);

size_t daemon_fills_of(struct daemon *daemon, const char *key);
void daemon_await_fills(struct daemon *daemon, const char *key, size_t count);

// What the cache shows of the key from now on to who looks it up.
void daemon_hold(struct daemon *daemon, const char *key, enum lookup lookup,
                 const struct cached *held);

// Whether the writer keeps what it is told of batches; not beyond daemon_stop.
void daemon_hold_flushed(struct daemon *daemon, bool holds);

// As texts, valid until the scenario ends.
const char *daemon_text(struct daemon *daemon, struct slice slice);
const char *daemon_json(struct daemon *daemon, struct slice msgpack);
