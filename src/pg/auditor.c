// Runs on the pg worker's thread.
//
//   RESTING --tick--> DUE --idle connection--> ASKING --all equal--> RESTING
//                                                 |--differences--> AWAITING --heartbeat--> RESTING
//
// What is held is looked at three times: before the query is sent, so that what it answers cannot
// be older than the record; when the answer comes; and behind the heartbeat. Only a record that is
// the same each time counts.
#include "pg/auditor.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/audit_query.h"
#include "pg/audit_sample.h"
#include "pg/fetcher.h"
#include "pg/read_pool.h"
#include "pg/timer.h"

enum {
    TICK_US = CLOCK_US_PER_S,
    TICK_SHORT_US = CLOCK_US_PER_S / 10, // where a tick would take too many keys
    LOOK_US = CLOCK_US_PER_S / 10,       // for the heartbeat
    AFTER_REFUSAL_US = 10 * CLOCK_US_PER_S,
    YOUNG_US = 20 * CLOCK_US_PER_MS,
};

enum audit_state { AUDIT_RESTING, AUDIT_DUE, AUDIT_ASKING, AUDIT_AWAITING };

struct auditor {
    struct worker *worker;
    struct read_user user;
    struct event *timer;
    enum audit_state state;
    bool is_open;
    uint8_t hand[KEY_BYTES_MAX];
    size_t hand_bytes;
    int64_t answered_boot_us;
    uint64_t epoch;                           // of the samples
    char last_refusal[FAILURE_MESSAGE_BYTES]; // logged already
    struct arena arena;                       // of the samples
    size_t count;
    struct audit_sample samples[AUDIT_KEYS_MAX]; // by key
};

static int rate_of(const struct auditor *auditor)
{
    return worker_audit_rate(auditor->worker);
}

static int64_t tick_us(const struct auditor *auditor)
{
    return rate_of(auditor) > AUDIT_KEYS_MAX ? TICK_SHORT_US : TICK_US;
}

// Whether a difference could be told from a change that was not heard.
static bool may_compare(const struct auditor *auditor)
{
    const struct worker *worker = auditor->worker;
    return auditor->is_open && worker->ready && worker->feed_live && worker->is_swept &&
           !worker->is_stopping;
}

static void rest(struct auditor *auditor, int64_t pause_us)
{
    auditor->state = AUDIT_RESTING;
    auditor->count = 0;
    arena_deinit(&auditor->arena);
    if (auditor->is_open && rate_of(auditor) > 0) {
        timer_arm(auditor->timer, pause_us);
    }
}

// ---- Choosing

// Another record might follow it within the same step of its clock and be taken for it: absences
// have no version to tell them apart.
static bool is_young(const struct auditor *auditor, const struct held_record *held)
{
    const struct cache_port *cache = &auditor->worker->cache;
    return held->stored_at_us + YOUNG_US > cache->now_us(cache->cache);
}

static bool choose(void *context, const struct held_record *held)
{
    struct auditor *auditor = context;
    CHECK_VALUES(held->key.len <= sizeof auditor->hand, "%zu bytes", held->key.len);
    memcpy(auditor->hand, held->key.at, held->key.len);
    auditor->hand_bytes = held->key.len;
    if (held->is_believed && !is_young(auditor, held)) {
        audit_sample_init(&auditor->samples[auditor->count++], &auditor->arena, held);
    }
    return auditor->count < AUDIT_KEYS_MAX;
}

// Visits the records behind the hand; it is at the beginning again where there were none.
static enum error visit(struct auditor *auditor, size_t keys_count)
{
    struct worker *worker = auditor->worker;
    size_t hand_bytes = auditor->hand_bytes;
    uint8_t hand[KEY_BYTES_MAX];
    memcpy(hand, auditor->hand, hand_bytes);
    auditor->hand_bytes = 0;
    return worker->cache.visit_held(worker->reader, slice_of(hand, hand_bytes), keys_count, choose,
                                    auditor);
}

// The next records, beginning anew where the cache ends. Zero where there are none.
static size_t choose_samples(struct auditor *auditor)
{
    struct worker *worker = auditor->worker;
    size_t keys_count = (size_t)(rate_of(auditor) * tick_us(auditor) / CLOCK_US_PER_S);
    bool was_under_way = auditor->hand_bytes > 0;
    CHECK(auditor->count == 0);
    worker->cache.begin(worker->reader);
    enum error error = visit(auditor, keys_count);
    if (error == ERROR_NONE && auditor->hand_bytes == 0 && was_under_way) {
        error = visit(auditor, keys_count);
    }
    worker->cache.end(worker->reader);
    if (error != ERROR_NONE) {
        LOG_ERROR("audit cannot read the cache", LOG_TEXT("error", error_text(error)));
        auditor->count = 0;
    }
    auditor->epoch = worker->epoch;
    return auditor->count;
}

// ---- Answers

static int compare_samples(const void *key, const void *element)
{
    return slice_compare(*(const struct slice *)key, ((const struct audit_sample *)element)->key);
}

static void take_row(struct auditor *auditor, const PGresult *result, int place)
{
    struct buffer value = {0};
    struct table_row row;
    table_row_read(result, place, &row);
    struct audit_sample *sample = bsearch(&row.key, auditor->samples, auditor->count,
                                          sizeof auditor->samples[0], compare_samples);
    if (sample == NULL) {
        return;
    }
    size_t value_bytes_max = auditor->worker->settings->server.max_value_bytes;
    bool has_value =
        row.has_json && table_row_convert(&row, value_bytes_max, &value, NULL) == ERROR_NONE;
    audit_sample_take_row(sample, &auditor->arena, &row,
                          table_row_time(result, place, AUDIT_COLUMN_UPDATED_AT),
                          has_value ? &value : NULL);
    buffer_deinit(&value);
}

// Keeps the samples that differ.
static void compare(struct auditor *auditor)
{
    struct worker *worker = auditor->worker;
    size_t kept = 0;
    int64_t compared = 0;
    worker->cache.begin(worker->reader);
    for (size_t i = 0; i < auditor->count; i++) {
        const struct audit_sample *sample = &auditor->samples[i];
        struct held_record held;
        if (!worker->cache.find_held(worker->reader, sample->key, &held) ||
            !audit_sample_is_held(sample, &held)) {
            continue;
        }
        compared++;
        if (audit_sample_compare(sample, &held) != AUDIT_EQUAL) {
            auditor->samples[kept++] = *sample;
        }
    }
    worker->cache.end(worker->reader);
    auditor->count = kept;
    status_add(worker->status, STATUS_CACHE_AUDIT_COMPARED, compared);
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct auditor *auditor = context;
    // The heartbeat that counts is sent after this.
    auditor->answered_boot_us = clock_boot_us();
    for (int i = 0; i < PQntuples(result); i++) {
        take_row(auditor, result, i);
    }
}

static void take_refusal(struct auditor *auditor, const struct failure *failure)
{
    if (ask_refusal_is_new(auditor->last_refusal, failure)) {
        LOG_WARNING("audit refused", LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
    }
    rest(auditor, AFTER_REFUSAL_US);
}

static void take_answer(struct auditor *auditor)
{
    auditor->last_refusal[0] = '\0';
    compare(auditor);
    if (auditor->count == 0) {
        rest(auditor, tick_us(auditor));
        return;
    }
    auditor->state = AUDIT_AWAITING;
    timer_arm(auditor->timer, LOOK_US);
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct auditor *auditor = context;
    if (outcome == UNIT_REFUSED) {
        take_refusal(auditor, failure);
    } else if (outcome == UNIT_OK && may_compare(auditor) &&
               auditor->worker->epoch == auditor->epoch) {
        take_answer(auditor);
    } else {
        rest(auditor, tick_us(auditor));
    }
    read_pool_wake(auditor->worker->read_pool);
}

// ---- Judging

static int64_t elapsed_ms(int64_t since_boot_us)
{
    return since_boot_us == 0 ? -1 : (clock_boot_us() - since_boot_us) / CLOCK_US_PER_MS;
}

// How long the record can have been stale: since the row changed where it says so, else since the
// record was stored.
static int64_t stale_us(const struct auditor *auditor, const struct audit_sample *sample,
                        const struct held_record *held)
{
    const struct cache_port *cache = &auditor->worker->cache;
    int64_t now_us = cache->now_us(cache->cache);
    int64_t since_us = held->stored_at_us;
    if (sample->has_row && sample->row_updated_at_us > since_us) {
        since_us = sample->row_updated_at_us;
    }
    return since_us > 0 && now_us > since_us ? now_us - since_us : 0;
}

static void tell(const struct auditor *auditor, const struct audit_sample *sample,
                 const struct held_record *held)
{
    struct worker *worker = auditor->worker;
    int64_t us = stale_us(auditor, sample, held);
    LOG_WARNING("stale record found", LOG_SLICE("key", sample->key),
                LOG_TEXT("differs", audit_finding_name(audit_sample_compare(sample, held))),
                LOG_INT("held_version", held->version),
                LOG_INT("version", sample->has_row ? sample->row_version : 0),
                LOG_TEXT("origin", held->origin), LOG_INT("stored_at_us", held->stored_at_us),
                LOG_INT("stale_ms_at_most", us / CLOCK_US_PER_MS),
                LOG_INT("record_epoch", held->epoch), LOG_INT("epoch", worker->epoch),
                LOG_INT("swept_ms_ago", elapsed_ms(worker->swept_boot_us)),
                LOG_INT("notified_ms_ago", elapsed_ms(worker->notified_boot_us)));
    status_add(worker->status, STATUS_CACHE_AUDIT_STALE, 1);
    status_add(worker->status, STATUS_CACHE_AUDIT_STALE_US, us);
    status_set(worker->status, STATUS_CACHE_AUDIT_STALE_AT_US, clock_real_us());
}

// What the change would have done, had it been announced.
static void repair(struct auditor *auditor, struct changes_message *changes,
                   const struct audit_sample *sample)
{
    fetcher_mark(auditor->worker->fetcher, sample->key);
    changes->is_repair = true;
    changes->resync |= !sample->has_row; // the version of a delete is not known
    changes->changes[changes->changes_count++] = (struct change){
        .key = arena_copy(&changes->arena, sample->key),
        .version = sample->row_version,
        .op = sample->has_row ? CHANGE_SET : CHANGE_DELETE,
    };
}

enum judgement { JUDGED_PASSING, JUDGED_STALE, JUDGED_LATER };

static enum judgement judge(struct auditor *auditor, const struct audit_sample *sample,
                            struct held_record *held)
{
    const struct worker *worker = auditor->worker;
    if (!worker->cache.find_held(worker->reader, sample->key, held) ||
        !audit_sample_is_held(sample, held) || audit_sample_compare(sample, held) == AUDIT_EQUAL) {
        return JUDGED_PASSING;
    }
    return held->current_boot_us > auditor->answered_boot_us ? JUDGED_STALE : JUDGED_LATER;
}

static void judge_all(struct auditor *auditor)
{
    struct worker *worker = auditor->worker;
    struct changes_message *changes = message_create(MESSAGE_CHANGES, sizeof *changes);
    changes->changes = arena_alloc(&changes->arena, auditor->count * sizeof changes->changes[0]);
    size_t kept = 0, passing = 0;
    worker->cache.begin(worker->reader);
    for (size_t i = 0; i < auditor->count; i++) {
        const struct audit_sample *sample = &auditor->samples[i];
        struct held_record held;
        enum judgement judgement = judge(auditor, sample, &held);
        passing += judgement == JUDGED_PASSING;
        if (judgement == JUDGED_STALE) {
            tell(auditor, sample, &held);
            repair(auditor, changes, sample);
        } else if (judgement == JUDGED_LATER) {
            auditor->samples[kept++] = *sample;
        }
    }
    worker->cache.end(worker->reader);
    auditor->count = kept;
    status_add(worker->status, STATUS_CACHE_AUDIT_PASSING, (int64_t)passing);
    if (changes->changes_count > 0) {
        changes->message.bytes += changes->arena.bytes;
        worker_post(worker, &changes->message);
    } else {
        message_destroy(&changes->message);
    }
}

static void await_heartbeat(struct auditor *auditor)
{
    if (may_compare(auditor) && auditor->worker->epoch == auditor->epoch) {
        judge_all(auditor);
        if (auditor->count > 0) {
            timer_arm(auditor->timer, LOOK_US);
            return;
        }
    }
    rest(auditor, tick_us(auditor));
}

// ---- Questions

static void ask(struct auditor *auditor, struct conn *conn)
{
    const struct unit unit = {
        .context = auditor,
        .on_result = on_result,
        .on_done = on_done,
    };
    auditor->state = AUDIT_ASKING;
    audit_query_send(conn, &unit, auditor->worker->table, auditor->samples, auditor->count);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct auditor *auditor = context;
    if (auditor->state != AUDIT_DUE) {
        return false;
    }
    if (!may_compare(auditor) || choose_samples(auditor) == 0) {
        rest(auditor, tick_us(auditor));
        return false;
    }
    ask(auditor, conn);
    return true;
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct auditor *auditor = context;
    if (auditor->state == AUDIT_AWAITING) {
        await_heartbeat(auditor);
    } else if (auditor->state == AUDIT_RESTING && rate_of(auditor) > 0 && may_compare(auditor)) {
        auditor->state = AUDIT_DUE;
        read_pool_wake(auditor->worker->read_pool);
    } else if (auditor->state == AUDIT_RESTING) {
        rest(auditor, TICK_US);
    }
}

// ---- Its life

void auditor_on_connected(struct auditor *auditor)
{
    auditor->is_open = true;
    if (auditor->state != AUDIT_ASKING) {
        rest(auditor, tick_us(auditor));
    }
}

void auditor_wake(struct auditor *auditor)
{
    if (auditor->is_open && auditor->state == AUDIT_RESTING &&
        !evtimer_pending(auditor->timer, NULL)) {
        rest(auditor, tick_us(auditor));
    }
}

void auditor_on_lost(struct auditor *auditor, const struct failure *failure)
{
    (void)failure;
    auditor->is_open = false;
    CHECK(evtimer_del(auditor->timer) == 0);
    if (auditor->state != AUDIT_ASKING) {
        rest(auditor, 0);
    }
}

struct auditor *auditor_create(struct worker *worker)
{
    struct auditor *auditor = memory_zeroed(1, sizeof *auditor);
    auditor->worker = worker;
    auditor->timer = timer_new(worker->base, on_timer, auditor);
    auditor->user = (struct read_user){.is_bulk = true, .context = auditor, .on_idle = on_idle};
    read_pool_join(worker->read_pool, &auditor->user);
    return auditor;
}

void auditor_destroy(struct auditor *auditor)
{
    if (auditor == NULL) {
        return;
    }
    auditor->is_open = false;
    read_pool_leave(auditor->worker->read_pool, &auditor->user);
    timer_free(auditor->timer);
    arena_deinit(&auditor->arena);
    free(auditor);
}
