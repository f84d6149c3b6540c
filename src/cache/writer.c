// The writer's life: open, recover, run as a thread, stop, close; and the ports that the other
// wings are given. The thread waits for its mailbox or for the next thing that is due, and does a
// turn (turn.c). Owns both environments.
#include "cache/writer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "cache/accepted.h"
#include "cache/inspection.h"
#include "cache/reader.h"
#include "cache/turn.h"

enum { MAILBOX_COUNT_MAX = 1 << 16, MAILBOX_BYTES_MAX = 64 << 20 };

static const size_t TURN_BYTES_MAX = 8 << 20;
static const size_t TURN_BYTES_PART = 32; // of the cache's map

// ---- clocks

static int64_t machine_boot_us(void *context)
{
    (void)context;
    return clock_boot_us();
}

static int64_t machine_real_us(void *context)
{
    (void)context;
    return clock_real_us();
}

static const struct cache_clock MACHINE_CLOCK = {
    .boot_us = machine_boot_us,
    .real_us = machine_real_us,
};

// ---- open

// What the cache holds rows of: another server or table, and it holds nothing of use.
static uint64_t source_of(const struct postgres_settings *postgres)
{
    const struct document_settings *document = &postgres->document;
    struct buffer text = {0};
    buffer_printf(&text, "%s\n%s", postgres->place == NULL ? "" : postgres->place,
                  postgres->table == NULL ? "" : postgres->table);
    if (document->table != NULL) {
        buffer_printf(&text, "\n%s\n%s\n%s\n%s", document->table, document->id_column, document->id,
                      document->column);
    }
    uint64_t source = sketch_hash(buffer_slice(&text));
    buffer_deinit(&text);
    return source;
}

// Who may read everything over the socket may read the files, and nobody else.
static bool group_reads(const struct server_settings *server)
{
    return (server->socket_mode & (S_IRGRP | S_IWGRP)) == (S_IRGRP | S_IWGRP) &&
           server->allow_uids_count == 0;
}

static enum error open_store(struct writer *writer, const struct writer_options *options,
                             struct store_found *found, struct failure *failure)
{
    const struct settings *settings = options->settings;
    const struct store_options store = {
        .dir = settings->cache.dir,
        .size_bytes = settings->cache.size_bytes,
        .clock = writer->clock,
        .status = options->status,
        .boot_id = writer->outbox.boot_id,
        .node = writer->outbox.identity.node,
        .source = source_of(&settings->postgres),
        .group_reads = group_reads(&settings->server),
    };
    return store_open(&writer->store, &store, found, failure);
}

static enum error open_all(struct writer *writer, const struct writer_options *options,
                           struct failure *failure)
{
    const struct settings *settings = options->settings;
    if (settings->cache.size_bytes <= settings->writes.outbox_bytes) {
        return failure_set(failure, ERROR_CONFIG,
                           "cache.size must exceed writes.outbox_size, since every write on its "
                           "way is held in the cache");
    }
    const struct outbox_options outbox = {
        .dir = settings->writes.dir,
        .capacity_bytes = settings->writes.outbox_bytes,
        .boot_id = options->boot_id,
        .goes_without_log = options->goes_without_log,
    };
    enum error error = outbox_open(&writer->outbox, &outbox, failure);
    if (error != ERROR_NONE) {
        return failure_of_setting(failure, error, "writes.dir");
    }
    struct store_found found;
    error = open_store(writer, options, &found, failure);
    if (error != ERROR_NONE) {
        return failure_of_setting(failure, error, "cache.dir");
    }
    retention_init(&writer->retention, settings->writes.retain_us, writer_boot_us(writer));
    size_t part = writer->store.map_bytes / TURN_BYTES_PART;
    writer->turn_bytes_max = part < TURN_BYTES_MAX ? part : TURN_BYTES_MAX;
    error = writer_recover(writer, &found, failure);
    if (error == ERROR_CORRUPT || (error != ERROR_NONE && writer->memory_is_recovered)) {
        // The cache is at fault: the outbox has been read through, and holds all that counts.
        store_mark_spoiled(&writer->store);
        store_close(&writer->store);
        error = open_store(writer, options, &found, failure);
        if (error == ERROR_NONE) {
            error = writer_recover(writer, &found, failure);
        }
    }
    return failure_of_setting(failure, error, "cache.dir");
}

enum error writer_open(const struct writer_options *options, struct writer **writer,
                       struct failure *failure)
{
    struct writer *opened = memory_zeroed(1, sizeof *opened);
    opened->settings = options->settings;
    opened->status = options->status;
    opened->stop = options->stop;
    opened->has_readers = options->has_readers;
    opened->clock = options->clock != NULL ? *options->clock : MACHINE_CLOCK;
    CHECK(pthread_mutex_init(&opened->memory.mutex, NULL) == 0);
    mover_init(&opened->mover, &opened->outbox, &opened->mailbox, opened->clock);
    enum error error = mailbox_init(&opened->mailbox, MAILBOX_COUNT_MAX, MAILBOX_BYTES_MAX);
    if (error != ERROR_NONE) {
        mover_deinit(&opened->mover);
        pthread_mutex_destroy(&opened->memory.mutex);
        free(opened);
        return failure_set(failure, error, "no file descriptor is left");
    }
    error = open_all(opened, options, failure);
    if (error != ERROR_NONE) {
        writer_close(opened);
        return error;
    }
    tallies_open(&opened->tallies, &opened->store, writer_boot_us(opened));
    store_mark_serving(&opened->store);
    if (options->moves_by_hand) {
        mover_start_by_hand(&opened->mover);
    }
    *writer = opened;
    return ERROR_NONE;
}

void writer_connect(struct writer *writer, struct mailbox *pg, struct mailbox *const *servers,
                    size_t servers_count)
{
    CHECK(!writer->is_started);
    CHECK_VALUES(servers_count <= SERVERS_MAX, "%zu servers", servers_count);
    writer->pg = pg;
    writer->servers_count = servers_count;
    for (size_t i = 0; i < servers_count; i++) {
        writer->servers[i] = servers[i];
    }
}

// ---- run

static int64_t earlier(int64_t a_us, int64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

// When the outbox has to be committed without a message. While the disk has no room that waits for
// the next attempt, and while the mover has it, for the mover.
static int64_t commit_due_boot_us(struct writer *writer)
{
    int64_t due_us = writer->confirm_boot_us == 0 ? INT64_MAX : writer->confirm_boot_us;
    if (mover_is_busy(&writer->mover)) {
        return INT64_MAX;
    }
    if (writer->retry_boot_us != 0) {
        return earlier(due_us, writer->retry_boot_us);
    }
    due_us = earlier(due_us, writer_memory_due_boot_us(writer));
    return earlier(due_us, writer_idle_boot_us(writer));
}

// When there is something to do without a message, by CLOCK_BOOTTIME.
static int64_t next_boot_us(struct writer *writer)
{
    if (writer->backlog != NULL) {
        return 0;
    }
    int64_t next_us = earlier(writer->upkeep_boot_us, commit_due_boot_us(writer));
    next_us = earlier(next_us, hot_due_boot_us(&writer->store.hot));
    for (size_t i = 0; i < writer->servers_count; i++) {
        if (writer->resync_owed[i]) {
            next_us = earlier(next_us, writer_boot_us(writer) + MEMORY_AGE_US);
        }
    }
    return next_us;
}

bool writer_move(struct writer *writer)
{
    return mover_step(&writer->mover);
}

int writer_turn(struct writer *writer)
{
    turn_run(writer);
    int64_t wait_us = next_boot_us(writer) - writer_boot_us(writer);
    return wait_us <= 0 ? 0 : (int)((wait_us + CLOCK_US_PER_MS - 1) / CLOCK_US_PER_MS);
}

static void *run(void *context)
{
    struct writer *writer = context;
    contention_join(&writer->status->serving);
    thread_name("writer");
    int wait_ms = 0;
    while (!atomic_load(&writer->stopping)) {
        struct pollfd mailbox = {.fd = mailbox_fd(&writer->mailbox), .events = POLLIN};
        int ready = poll(&mailbox, 1, wait_ms);
        CHECK_VALUES(ready >= 0 || errno == EINTR, "errno %d", errno);
        wait_ms = writer_turn(writer);
    }
    return NULL;
}

enum error writer_start(struct writer *writer)
{
    CHECK(!writer->is_started && writer->pg != NULL);
    enum error error = mover_start(&writer->mover);
    if (error != ERROR_NONE) {
        return error;
    }
    int code = thread_start(&writer->thread, run, writer);
    if (code != 0) {
        LOG_ERROR("writer not started", LOG_INT("errno", code));
        mover_stop(&writer->mover);
        return ERROR_SYSTEM;
    }
    writer->is_started = true;
    return ERROR_NONE;
}

void writer_fail(struct writer *writer, const char *event, enum error error, bool spoils_cache)
{
    if (writer->failed) {
        return;
    }
    writer->failed = true;
    LOG_ERROR(event, LOG_TEXT("error", error_text(error)),
              LOG_TEXT("dir", spoils_cache ? writer->store.directory.path
                                           : writer->outbox.directory.path));
    if (spoils_cache) {
        store_mark_spoiled(&writer->store);
    }
    if (writer->stop.stop != NULL) {
        writer->stop.stop(writer->stop.context, 1);
    }
}

bool writer_renew_cache(struct writer *writer, int holder_pid)
{
    struct failure failure;
    if (store_renew(&writer->store, &failure) != ERROR_NONE) {
        LOG_ERROR("no new cache files", LOG_TEXT("error", failure.message));
        return false;
    }
    writer->slots = (struct slots){0};
    if (holder_pid != 0 && holder_pid != (int)getpid()) {
        LOG_WARNING("reader left behind in the old cache files", LOG_INT("pid", holder_pid),
                    LOG_TEXT("dir", writer->store.directory.path));
    } else {
        LOG_INFO("cache files made anew for room", LOG_TEXT("dir", writer->store.directory.path));
    }
    return true;
}

void writer_measure_outbox(struct writer *writer)
{
    MDB_txn *txn;
    if (mdb_txn_begin(writer->outbox.env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) {
        return;
    }
    size_t used_bytes = outbox_used_bytes(&writer->outbox, txn);
    mdb_txn_abort(txn);
    status_set(writer->status, STATUS_OUTBOX_BYTES, (int64_t)used_bytes);
    status_set(writer->status, STATUS_OUTBOX_DEAD_LETTERS,
               (int64_t)outbox_letters(&writer->outbox));
    status_set(writer->status, STATUS_OUTBOX_LOG, outbox_log_is_in_use(&writer->outbox.log));
    status_set(writer->status, STATUS_OUTBOX_RING, outbox_rings(&writer->outbox));
}

// ---- stop and close

static void drain(struct writer *writer)
{
    // One turn more than there are messages for: the last one moves what is left in memory.
    writer->memory.oldest_boot_us = INT64_MIN / 2;
    writer->confirm_boot_us = 1;
    do {
        writer_turn(writer);
    } while (!writer->failed && writer->backlog != NULL);
}

void writer_stop(struct writer *writer)
{
    if (writer->is_started) {
        atomic_store(&writer->stopping, true);
        mailbox_wake(&writer->mailbox);
        CHECK(pthread_join(writer->thread, NULL) == 0);
        writer->is_started = false;
    }
    mover_stop(&writer->mover);
    drain(writer);
    if (writer->memory.count > 0) {
        drain(writer);
    }
    if (!writer->failed && writer->memory.count == 0) {
        outbox_rest(&writer->outbox);
        store_mark_clean(&writer->store);
    }
}

static void destroy_messages(struct message *message)
{
    while (message != NULL) {
        struct message *next = message->next;
        message_destroy(message);
        message = next;
    }
}

void writer_close(struct writer *writer)
{
    CHECK(!writer->is_started);
    destroy_messages(mailbox_take(&writer->mailbox));
    destroy_messages(writer->backlog);
    destroy_messages(writer->undurable);
    mailbox_deinit(&writer->mailbox);
    awaited_deinit(&writer->awaited);
    rows_deinit(&writer->memory.rows);
    pthread_mutex_destroy(&writer->memory.mutex);
    mover_deinit(&writer->mover);
    tallies_close(&writer->tallies);
    store_close(&writer->store);
    outbox_close(&writer->outbox);
    free(writer);
}

// ---- ports

struct mailbox *writer_mailbox(struct writer *writer)
{
    return &writer->mailbox;
}

const struct outbox_identity *writer_identity(const struct writer *writer)
{
    return &writer->outbox.identity;
}

void writer_set_max_stale(struct writer *writer, int64_t max_stale_us)
{
    atomic_store_explicit(&writer->store.control.page->max_stale_us, max_stale_us,
                          memory_order_relaxed);
}

static enum error port_reader_open(void *cache, struct cache_reader **reader)
{
    return reader_open(&((struct writer *)cache)->store, reader);
}

static int64_t port_now_us(void *cache)
{
    return store_now_us(&((struct writer *)cache)->store);
}

static void port_check(void *cache, struct reply *reply)
{
    inspect(cache, reply);
}

struct cache_port writer_cache_port(struct writer *writer)
{
    return (struct cache_port){
        .cache = writer,
        .reader_open = port_reader_open,
        .reader_close = reader_close,
        .begin = reader_begin,
        .is_current = reader_is_current,
        .is_torn = reader_is_torn,
        .look_up_hot = reader_look_up_hot,
        .prefetch = reader_prefetch,
        .prefetch_record = reader_prefetch_record,
        .lookup = reader_lookup,
        .end = reader_end,
        .visit_suspects = reader_visit_suspects,
        .visit_held = reader_visit_held,
        .find_held = reader_find_held,
        .now_us = port_now_us,
        .check = port_check,
    };
}

static bool port_knows_incarnation(void *outbox, const char *incarnation)
{
    return outbox_knows_incarnation(&((struct writer *)outbox)->outbox, incarnation);
}

// What the writer has not raised the journaled seq to yet is not visited, so that the pg worker
// has been given a request before it sees the request's entry.
static enum error port_visit(void *outbox, uint64_t after_seq,
                             bool (*visit)(void *context, const struct entry *entry), void *context)
{
    struct writer *writer = outbox;
    uint64_t journaled_seq = (uint64_t)status_get(writer->status, STATUS_OUTBOX_JOURNALED_SEQ);
    return outbox_visit(&writer->outbox, after_seq, journaled_seq, visit, context);
}

static enum error port_visit_accepted(void *outbox, uint64_t after_seq,
                                      bool (*visit)(void *context, const struct entry *entry),
                                      void *context)
{
    struct writer *writer = outbox;
    return accepted_visit(writer, after_seq, visit, context);
}

struct outbox_port writer_outbox_port(struct writer *writer)
{
    return (struct outbox_port){
        .outbox = writer,
        .knows_incarnation = port_knows_incarnation,
        .visit = port_visit,
        .visit_accepted = port_visit_accepted,
    };
}
