// A writer without its thread, between mailboxes that the test reads: turns are run by hand, time
// stands until it is moved, and directories are made anew for each test. The outbox is refused on
// a memory file system, so the directories are in /var/tmp.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/memory.h"
#include "cache/writer.h"
#include "remove_tree.h"

#define RIG_UNUSED __attribute__((unused))

#define RIG_S      ((int64_t)1000000)

struct rig {
    char dir[64];
    char cache_dir[80];
    char outbox_dir[80];
    struct settings settings;
    struct status status;
    struct mailbox pg;      // the test is the pg worker
    struct mailbox server;  // watchers
    struct mailbox home;    // where requests come home to
    struct message *homed;  // taken from `home`, not yet looked at
    struct message *posted; // taken from `pg`, not yet looked at
    int64_t boot_us;
    int64_t real_us;
    struct cache_clock clock;
    char boot_id[40];
    int stops;
    bool has_readers;   // as if direct readers had the cache open
    bool has_log;       // in front of the outbox
    bool moves_by_hand; // writer_move in place of the mover's thread
    struct writer *writer;
    struct cache_port cache;
    struct outbox_port outbox;
    struct cache_reader *reader;
};

RIG_UNUSED static int64_t rig_boot_us(void *context)
{
    return ((struct rig *)context)->boot_us;
}

RIG_UNUSED static int64_t rig_real_us(void *context)
{
    return ((struct rig *)context)->real_us;
}

RIG_UNUSED static void rig_on_stop(void *context, int exit_status)
{
    assert_int_equal(exit_status, 1);
    ((struct rig *)context)->stops++;
}

RIG_UNUSED static void rig_path(const struct rig *rig, const char *dir, const char *name,
                                char path[128])
{
    snprintf(path, 128, "%s/%s/%s", rig->dir, dir, name);
}

// As rm -r.
RIG_UNUSED static void rig_remove_tree(const char *path)
{
    assert_true(remove_tree(path));
}

// Arms fault points (base/fault.h), or disarms them all where NULL.
RIG_UNUSED static void rig_arm(const char *faults)
{
    struct failure failure;
    if (fault_arm(faults == NULL ? "" : faults, &failure) != ERROR_NONE) {
        fail_msg("%s", failure.message);
    }
}

// The machine is booted for the `number`th time.
RIG_UNUSED static void rig_boot(struct rig *rig, int number)
{
    snprintf(rig->boot_id, sizeof rig->boot_id, "00000000-0000-4000-8000-%012d", number);
}

RIG_UNUSED static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    snprintf(rig->dir, sizeof rig->dir, "/var/tmp/pgnear-cache-test-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->cache_dir, sizeof rig->cache_dir, "%s/cache", rig->dir);
    snprintf(rig->outbox_dir, sizeof rig->outbox_dir, "%s/outbox", rig->dir);
    rig->settings.cache = (struct cache_settings){
        .dir = rig->cache_dir,
        .size_bytes = 16 << 20,
        .max_stale_us = 60 * RIG_S,
        .negative = true,
    };
    rig->settings.writes = (struct writes_settings){
        .dir = rig->outbox_dir,
        .outbox_bytes = 4 << 20,
        .retain_us = 60 * RIG_S,
    };
    rig->settings.postgres.conninfo = "host=nowhere";
    rig->settings.postgres.table = "kv_store";
    rig->boot_us = 1000 * RIG_S;
    rig->real_us = 1700000000 * RIG_S;
    rig->clock = (struct cache_clock){
        .context = rig,
        .boot_us = rig_boot_us,
        .real_us = rig_real_us,
    };
    rig_boot(rig, 1);
    status_init(&rig->status);
    assert_int_equal(mailbox_init(&rig->pg, 1000, 1 << 20), ERROR_NONE);
    assert_int_equal(mailbox_init(&rig->server, 4, 1 << 20), ERROR_NONE);
    assert_int_equal(mailbox_init(&rig->home, 1000, 1 << 20), ERROR_NONE);
}

// The error of a start that may fail.
RIG_UNUSED static enum error rig_try_open(struct rig *rig, struct failure *failure)
{
    const struct writer_options options = {
        .settings = &rig->settings,
        .status = &rig->status,
        .stop = {.context = rig, .stop = rig_on_stop},
        .boot_id = rig->boot_id,
        .clock = &rig->clock,
        .has_readers = rig->has_readers,
        .goes_without_log = !rig->has_log,
        .moves_by_hand = rig->moves_by_hand,
    };
    memset(failure, 0, sizeof *failure);
    enum error error = writer_open(&options, &rig->writer, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    struct mailbox *servers[] = {&rig->server};
    writer_connect(rig->writer, &rig->pg, servers, 1);
    rig->cache = writer_cache_port(rig->writer);
    rig->outbox = writer_outbox_port(rig->writer);
    assert_int_equal(rig->cache.reader_open(rig->cache.cache, &rig->reader), ERROR_NONE);
    return ERROR_NONE;
}

RIG_UNUSED static void rig_turn(struct rig *rig)
{
    int turns = 0;
    while (writer_turn(rig->writer) == 0 && turns < 1000) {
        turns++;
    }
    assert_true(turns < 1000);
}

RIG_UNUSED static void rig_open(struct rig *rig)
{
    struct failure failure;
    enum error error = rig_try_open(rig, &failure);
    if (error != ERROR_NONE) {
        fail_msg("open: %s", failure.message);
    }
    rig_turn(rig); // the first looks after what the start left
}

// As a crash of the process.
RIG_UNUSED static void rig_crash(struct rig *rig)
{
    rig->cache.reader_close(rig->reader);
    writer_close(rig->writer);
    rig->writer = NULL;
}

RIG_UNUSED static void rig_stop(struct rig *rig)
{
    rig->cache.reader_close(rig->reader);
    writer_stop(rig->writer);
    writer_close(rig->writer);
    rig->writer = NULL;
}

RIG_UNUSED static void rig_destroy_messages(struct message *message)
{
    while (message != NULL) {
        struct message *next = message->next;
        message_destroy(message);
        message = next;
    }
}

RIG_UNUSED static void rig_deinit(struct rig *rig)
{
    if (rig->writer != NULL) {
        rig_crash(rig);
    }
    rig_destroy_messages(rig->homed);
    rig_destroy_messages(rig->posted);
    struct mailbox *mailboxes[] = {&rig->pg, &rig->server, &rig->home};
    for (size_t i = 0; i < 3; i++) {
        rig_destroy_messages(mailbox_take(mailboxes[i]));
        mailbox_deinit(mailboxes[i]);
    }
    status_deinit(&rig->status);
    rig_remove_tree(rig->dir);
}

// Of a test that opens its rig itself.
RIG_UNUSED static int rig_setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    *state = rig;
    return 0;
}

// Of every test whose state is a rig on the heap.
RIG_UNUSED static int rig_teardown(void **state)
{
    rig_arm(NULL);
    rig_deinit(*state);
    free(*state);
    return 0;
}

RIG_UNUSED static void rig_pass(struct rig *rig, int64_t us)
{
    rig->boot_us += us;
    rig->real_us += us;
    rig_turn(rig);
}

RIG_UNUSED static struct message *rig_take_first(struct mailbox *mailbox, struct message **rest)
{
    if (*rest == NULL) {
        *rest = mailbox_take(mailbox);
    }
    struct message *message = *rest;
    if (message != NULL) {
        *rest = message->next;
        message->next = NULL;
    }
    return message;
}

// The next message to the pg worker, NULL where there is none.
RIG_UNUSED static void *rig_posted(struct rig *rig)
{
    return rig_take_first(&rig->pg, &rig->posted);
}

// The next request that came home, NULL where there is none.
RIG_UNUSED static struct request *rig_homed(struct rig *rig)
{
    return (struct request *)rig_take_first(&rig->home, &rig->homed);
}

// ---- calls

RIG_UNUSED static struct slice rig_text(const char *text)
{
    return slice_of(text, strlen(text));
}

RIG_UNUSED static struct call rig_call(enum method method, enum ack ack, struct pair *pair)
{
    return (struct call){
        .method = method,
        .ack = ack,
        .pairs_count = pair == NULL ? 0 : 1,
        .pairs = pair,
        .has_key = pair != NULL,
    };
}

RIG_UNUSED static void rig_push(struct rig *rig, const struct call *call)
{
    struct request *request = request_create(call, &rig->home);
    mailbox_push(writer_mailbox(rig->writer), &request->message);
}

RIG_UNUSED static void rig_push_set(struct rig *rig, const char *key, const char *value,
                                    enum ack ack)
{
    struct pair pair = {.key = rig_text(key), .value = rig_text(value)};
    struct call call = rig_call(METHOD_SET, ack, &pair);
    rig_push(rig, &call);
}

// Does a set with ack journal and gives its seq.
RIG_UNUSED static uint64_t rig_set(struct rig *rig, const char *key, const char *value)
{
    rig_push_set(rig, key, value, ACK_JOURNAL);
    rig_turn(rig);
    struct request *request = rig_homed(rig);
    assert_non_null(request);
    assert_int_equal(request->reply.failure.error, ERROR_NONE);
    uint64_t seq = request->reply.seq;
    assert_true(seq > 0);
    request_destroy(request);
    return seq;
}

// Expects the next request home to have failed with `error`, or not to have failed.
RIG_UNUSED static uint64_t rig_expect_home(struct rig *rig, enum error error)
{
    struct request *request = rig_homed(rig);
    assert_non_null(request);
    if (request->reply.failure.error != error) {
        fail_msg("%s: %s", error_wire_code(request->reply.failure.error),
                 request->reply.failure.message);
    }
    uint64_t seq = request->reply.seq;
    request_destroy(request);
    return seq;
}

// ---- what PostgreSQL's side says

RIG_UNUSED static void rig_push_message(struct rig *rig, void *message)
{
    mailbox_push(writer_mailbox(rig->writer), message);
}

RIG_UNUSED static void rig_feed(struct rig *rig, enum feed_event event)
{
    struct feed_message *feed = message_create(MESSAGE_FEED, sizeof *feed);
    feed->event = event;
    feed->heartbeat_boot_us = event == FEED_LOST ? 0 : rig->boot_us;
    rig_push_message(rig, feed);
    rig_turn(rig);
}

RIG_UNUSED static uint64_t rig_epoch(struct rig *rig)
{
    return (uint64_t)status_get(&rig->status, STATUS_CACHE_EPOCH);
}

RIG_UNUSED static void rig_push_fill(struct rig *rig, const char *key, const char *value,
                                     int64_t version, uint64_t epoch)
{
    struct fills_message *fills = message_create(MESSAGE_FILLS, sizeof *fills);
    fills->epoch = epoch;
    fills->fills_count = 1;
    fills->fills = arena_alloc(&fills->arena, sizeof *fills->fills);
    fills->fills[0] = (struct fill){
        .key = arena_copy(&fills->arena, rig_text(key)),
        .present = value != NULL,
        .value = value != NULL ? arena_copy(&fills->arena, rig_text(value)) : slice_of(NULL, 0),
        .version = version,
    };
    rig_push_message(rig, fills);
}

RIG_UNUSED static void rig_fill(struct rig *rig, const char *key, const char *value,
                                int64_t version)
{
    rig_push_fill(rig, key, value, version, rig_epoch(rig));
    rig_turn(rig);
}

RIG_UNUSED static void rig_push_change(struct rig *rig, const char *key, int64_t version, bool own)
{
    struct changes_message *changes = message_create(MESSAGE_CHANGES, sizeof *changes);
    changes->own = own;
    changes->changes_count = 1;
    changes->changes = arena_alloc(&changes->arena, sizeof *changes->changes);
    changes->changes[0] = (struct change){
        .key = arena_copy(&changes->arena, rig_text(key)),
        .version = version,
        .op = CHANGE_SET,
    };
    rig_push_message(rig, changes);
}

RIG_UNUSED static void rig_change(struct rig *rig, const char *key, int64_t version, bool own)
{
    rig_push_change(rig, key, version, own);
    rig_turn(rig);
}

RIG_UNUSED static struct flushed_message *rig_flushed(struct rig *rig, uint64_t applied_seq,
                                                      size_t keys_count)
{
    struct flushed_message *flushed = message_create(MESSAGE_FLUSHED, sizeof *flushed);
    flushed->applied_seq = applied_seq;
    flushed->epoch = rig_epoch(rig);
    flushed->feed_was_live = true;
    flushed->keys_count = keys_count;
    flushed->keys = arena_alloc(&flushed->arena, keys_count * sizeof *flushed->keys);
    return flushed;
}

// The batch that ended with `seq`, a write of `key`, is committed; the message comes back.
RIG_UNUSED static void rig_flush(struct rig *rig, const char *key, uint64_t seq, int64_t version)
{
    struct flushed_message *flushed = rig_flushed(rig, seq, 1);
    flushed->keys[0] = (struct flushed_key){
        .key = arena_copy(&flushed->arena, rig_text(key)),
        .seq = seq,
        .present = true,
        .version = version,
    };
    rig_push_message(rig, flushed);
    rig_turn(rig);
    struct message *back = rig_posted(rig);
    assert_non_null(back);
    assert_int_equal(back->kind, MESSAGE_FLUSHED);
    message_destroy(back);
}

// ---- reading

struct rig_read {
    enum lookup lookup;
    bool present;
    bool pending;
    uint64_t pending_seq;
    int64_t version;
    int64_t current_boot_us;
    char value[256];
};

RIG_UNUSED static struct rig_read rig_read(struct rig *rig, const char *key)
{
    struct cached cached = {0};
    struct rig_read read = {0};
    rig->cache.begin(rig->reader);
    read.lookup = rig->cache.lookup(rig->reader, rig_text(key), &cached);
    if (read.lookup != LOOKUP_MISS) {
        read.present = cached.present;
        read.pending = cached.pending;
        read.pending_seq = cached.pending_seq;
        read.version = cached.version;
        read.current_boot_us = cached.current_boot_us;
        size_t len = cached.value.len < sizeof read.value ? cached.value.len : 255;
        memcpy(read.value, cached.value.at == NULL ? (const uint8_t *)"" : cached.value.at, len);
    }
    rig->cache.end(rig->reader);
    return read;
}

RIG_UNUSED static void rig_assert_pending(struct rig *rig, const char *key, const char *value)
{
    struct rig_read read = rig_read(rig, key);
    assert_int_equal(read.lookup, LOOKUP_HIT);
    assert_true(read.pending);
    assert_int_equal(read.present, value != NULL);
    assert_string_equal(read.value, value == NULL ? "" : value);
}

RIG_UNUSED static void rig_assert_clean(struct rig *rig, const char *key, const char *value,
                                        int64_t version)
{
    struct rig_read read = rig_read(rig, key);
    assert_int_equal(read.lookup, LOOKUP_HIT);
    assert_false(read.pending);
    assert_int_equal(read.present, value != NULL);
    assert_string_equal(read.value, value == NULL ? "" : value);
    assert_int_equal(read.version, version);
}

RIG_UNUSED static void rig_assert_miss(struct rig *rig, const char *key)
{
    assert_int_equal(rig_read(rig, key).lookup, LOOKUP_MISS);
}

RIG_UNUSED static int64_t rig_status(struct rig *rig, enum status_item item)
{
    return status_get(&rig->status, item);
}

struct rig_marks {
    char marks[16];
    size_t count;
};

static bool rig_mark_entry(void *context, const struct entry *entry)
{
    struct rig_marks *marks = context;
    assert_in_range(marks->count, 0, sizeof marks->marks - 2);
    marks->marks[marks->count++] = entry->retired ? 'r' : '.';
    return true;
}

// The entries of the outbox in order: `r` for a retired one, `.` for another.
RIG_UNUSED static void rig_assert_entries(struct rig *rig, const char *expected)
{
    struct rig_marks marks = {0};
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, rig_mark_entry, &marks), ERROR_NONE);
    assert_string_equal(marks.marks, expected);
}
