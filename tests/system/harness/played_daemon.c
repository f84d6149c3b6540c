// What the worker posts reaches `take` on the writer's thread; what it asks of the ports comes on
// its own.

#include "system/harness/played_daemon.h"

#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/played_writer.h"
#include "json/json.h"

const char *daemon_text(struct daemon *daemon, struct slice slice)
{
    return scenario_text(daemon->scenario, "%.*s", SLICE_FORMAT(slice));
}

const char *daemon_json(struct daemon *daemon, struct slice msgpack)
{
    struct buffer text = {0};
    assert_int_equal(json_from_msgpack(msgpack, false, &text, NULL), ERROR_NONE);
    const char *json = daemon_text(daemon, buffer_slice(&text));
    buffer_deinit(&text);
    return json;
}

// ---- The ports

static enum error reader_open(void *cache, struct cache_reader **reader)
{
    *reader = cache;
    return ERROR_NONE;
}

static void reader_nothing(struct cache_reader *reader)
{
    (void)reader;
}

static enum lookup lookup(struct cache_reader *reader, struct slice key, struct cached *cached)
{
    struct daemon *daemon = (void *)reader;
    enum lookup found = LOOKUP_MISS;
    pthread_mutex_lock(&daemon->mutex);
    if (daemon->held_key != NULL && slice_equal(key, slice_of_string(daemon->held_key))) {
        found = daemon->held_lookup;
        *cached = daemon->held;
    }
    pthread_mutex_unlock(&daemon->mutex);
    return found;
}

static enum error visit_suspects(struct cache_reader *reader, struct slice after, size_t count_max,
                                 bool (*visit)(void *context, const struct swept_record *record),
                                 void *context)
{
    struct daemon *daemon = (void *)reader;
    pthread_mutex_lock(&daemon->mutex);
    size_t count = 0;
    for (size_t i = 0; i < daemon->records_count && count < count_max; i++) {
        if (slice_compare(daemon->records[i].key, after) > 0) {
            count++;
            if (!visit(context, &daemon->records[i])) {
                break;
            }
        }
    }
    pthread_mutex_unlock(&daemon->mutex);
    return ERROR_NONE;
}

static int64_t now_us(void *cache)
{
    (void)cache;
    return clock_real_us();
}

static void check(void *cache, struct reply *reply)
{
    (void)cache;
    struct check_item *items =
        arena_alloc(&reply->arena, (reply->checks_count + 1) * sizeof *items);
    for (size_t i = 0; i < reply->checks_count; i++) {
        items[i] = reply->checks[i];
    }
    items[reply->checks_count++] = (struct check_item){
        .item = slice_of_string("disk"), .ok = true, .message = slice_of_string("there is room")};
    reply->checks = items;
}

static bool knows_incarnation(void *outbox, const char *incarnation)
{
    (void)outbox;
    return strcmp(incarnation, DAEMON_EARLIER) == 0;
}

// Whether the test has it that the outbox cannot be read this time.
static bool is_unreadable(struct daemon *daemon)
{
    if (daemon->unreadable_after == NULL || proxy_cuts_fired(daemon->unreadable_after) == 0) {
        return false;
    }
    daemon->unreadable_after = NULL;
    daemon->unread++;
    return true;
}

static enum error visit_outbox(void *outbox, uint64_t after_seq,
                               bool (*visit)(void *context, const struct entry *entry),
                               void *context)
{
    struct daemon *daemon = outbox;
    pthread_mutex_lock(&daemon->mutex);
    enum error error = is_unreadable(daemon) ? ERROR_SYSTEM : ERROR_NONE;
    bool goes_on = error == ERROR_NONE;
    for (uint64_t seq = after_seq + 1; goes_on && seq <= daemon->entries_count; seq++) {
        const struct daemon_entry *stored = &daemon->entries[seq - 1];
        struct entry entry;
        error = entry_decode(seq, buffer_slice(&stored->bytes), &entry);
        entry.retired = stored->retired;
        goes_on = error == ERROR_NONE && visit(context, &entry);
    }
    pthread_mutex_unlock(&daemon->mutex);
    return error;
}

static void on_stop(void *context, int exit_status)
{
    struct daemon *daemon = context;
    pthread_mutex_lock(&daemon->mutex);
    daemon->stop_status = exit_status;
    pthread_mutex_unlock(&daemon->mutex);
}

// ---- Its life

struct daemon *daemon_create(struct scenario *scenario, struct pg *pg)
{
    struct daemon *daemon = scenario_alloc(scenario, sizeof *daemon);
    daemon->scenario = scenario;
    daemon->pg = pg;
    daemon->stop_status = -1;
    daemon->settings = (struct settings){
        .server = {.max_value_bytes = 1 << 20},
        .cache = {.negative = true},
        .writes = {.linger_us = 1000,
                   .batch_rows = 2000,
                   .timeout_us = (int64_t)DAEMON_TIMEOUT_MS * CLOCK_US_PER_MS},
        .postgres = {.conninfo = (char *)pg_url(pg),
                     .table = "kv_store",
                     .create_schema = true,
                     .connections = 1,
                     .connect_timeout_us = 3 * CLOCK_US_PER_S,
                     .statement_timeout_us = 30 * CLOCK_US_PER_S},
    };
    daemon->entries = scenario_alloc(scenario, DAEMON_ENTRIES_MAX * sizeof *daemon->entries);
    pthread_mutex_init(&daemon->mutex, NULL);
    status_init(&daemon->status);
    assert_int_equal(mailbox_init(&daemon->home, 1000000, SIZE_MAX), ERROR_NONE);
    return daemon;
}

void daemon_start(struct daemon *daemon, uint64_t applied_seq)
{
    assert_int_equal(mailbox_init(&daemon->writer, 100000, SIZE_MAX), ERROR_NONE);
    const struct worker_options options = {
        .settings = &daemon->settings,
        .status = &daemon->status,
        .writer = &daemon->writer,
        .cache = {.cache = daemon,
                  .reader_open = reader_open,
                  .reader_close = reader_nothing,
                  .begin = reader_nothing,
                  .lookup = lookup,
                  .end = reader_nothing,
                  .visit_suspects = visit_suspects,
                  .now_us = now_us,
                  .check = check},
        .outbox = {.outbox = daemon,
                   .knows_incarnation = knows_incarnation,
                   .visit = visit_outbox,
                   .visit_accepted = visit_outbox},
        .stop = {.context = daemon, .stop = on_stop},
        .identity = {.node = DAEMON_NODE,
                     .incarnation = DAEMON_INCARNATION,
                     .binding = daemon->binding,
                     .applied_seq = applied_seq},
    };
    assert_int_equal(worker_create(&options, &daemon->worker), ERROR_NONE);
    daemon->writer_thread = workers_start(daemon->scenario, 1, played_writer_run, daemon);
    assert_int_equal(worker_start(daemon->worker), ERROR_NONE);
}

struct daemon *daemon_of(struct scenario *scenario, struct pg *pg)
{
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_STATE, NODE_LIVE);
    daemon_await(daemon, STATUS_PG_FLUSHABLE, 1);
    return daemon;
}

struct daemon *daemon_behind(struct scenario *scenario, struct pg *pg, struct proxy *proxy)
{
    struct daemon *daemon = daemon_create(scenario, pg);
    daemon->settings.postgres.conninfo = (char *)proxy_url(proxy);
    daemon_start(daemon, 0);
    daemon_await(daemon, STATUS_PG_FLUSHABLE, 1);
    return daemon;
}

void daemon_stop(struct daemon *daemon, int64_t drain_us)
{
    worker_stop(daemon->worker, clock_boot_us() + drain_us);
    workers_stop(daemon->writer_thread);
    workers_join(daemon->writer_thread);
    played_writer_take_all(daemon);
    worker_destroy(daemon->worker);
    daemon->worker = NULL;
    mailbox_deinit(&daemon->writer);
}

void daemon_end(struct daemon *daemon)
{
    daemon_stop(daemon, 0);
    if (daemon->stop_status >= 0) {
        scenario_fail("the worker gave up with %d", daemon->stop_status);
    }
    for (size_t i = 0; i < daemon->entries_count; i++) {
        buffer_deinit(&daemon->entries[i].bytes);
    }
    assert_null(mailbox_take(&daemon->home));
    assert_null(daemon->kept);
    mailbox_deinit(&daemon->home);
    status_deinit(&daemon->status);
    pthread_mutex_destroy(&daemon->mutex);
}

// ---- What it comes to

void daemon_await(struct daemon *daemon, enum status_item item, int64_t at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (status_get(&daemon->status, item) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s stays at %lld, not %lld", status_name(item),
                          (long long)status_get(&daemon->status, item), (long long)at_least);
        }
    }
}

void daemon_await_applied(struct daemon *daemon)
{
    daemon_await(daemon, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)daemon->last_seq);
}

int daemon_int(struct daemon *daemon, const int *count)
{
    pthread_mutex_lock(&daemon->mutex);
    int copy = *count;
    pthread_mutex_unlock(&daemon->mutex);
    return copy;
}

void daemon_await_int(struct daemon *daemon, const int *count, int at_least)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (daemon_int(daemon, count) < at_least) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%d, not %d", daemon_int(daemon, count), at_least);
        }
    }
}

int daemon_await_stop(struct daemon *daemon)
{
    daemon_await_int(daemon, &daemon->stop_status, 0);
    pthread_mutex_lock(&daemon->mutex);
    int exit_status = daemon->stop_status;
    daemon->stop_status = -1;
    pthread_mutex_unlock(&daemon->mutex);
    return exit_status;
}

size_t daemon_fills_of(struct daemon *daemon, const char *key)
{
    size_t count = 0;
    pthread_mutex_lock(&daemon->mutex);
    for (size_t i = 0; i < daemon->fills_count; i++) {
        count += strcmp(daemon->fills[i].key, key) == 0;
    }
    pthread_mutex_unlock(&daemon->mutex);
    return count;
}

void daemon_await_fills(struct daemon *daemon, const char *key, size_t count)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (daemon_fills_of(daemon, key) < count) {
        if (!deadline_again(&deadline)) {
            scenario_fail("\"%s\" was filled %zu times, not %zu", key, daemon_fills_of(daemon, key),
                          count);
        }
    }
}

void daemon_hold_flushed(struct daemon *daemon, bool holds)
{
    pthread_mutex_lock(&daemon->mutex);
    daemon->holds_flushed = holds;
    pthread_mutex_unlock(&daemon->mutex);
}

void daemon_hold(struct daemon *daemon, const char *key, enum lookup lookup,
                 const struct cached *held)
{
    pthread_mutex_lock(&daemon->mutex);
    daemon->held_key = key;
    daemon->held_lookup = lookup;
    daemon->held = *held;
    pthread_mutex_unlock(&daemon->mutex);
}
