// One chore is in flight at a time. After a full batch there may be more, so the next one is asked
// for at once, but behind whatever else waits for a connection; where PostgreSQL refused some of
// it, not before a moment has passed.
#include "pg/janitor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/read_pool.h"
#include "pg/reap_pass.h"
#include "pg/timer.h"

enum { BATCH_ROWS_MAX = 1000, CHORES_COUNT = 2 };
enum {
    TRIM_PARTS = 10,
    TRIM_EVERY_MIN_US = CLOCK_US_PER_S,
    TRIM_EVERY_MAX_US = 60 * CLOCK_US_PER_S
};
enum { AFTER_REFUSAL_US = 10 * CLOCK_US_PER_S, AFTER_REFUSED_ROWS_US = CLOCK_US_PER_S };

struct chore {
    struct janitor *janitor;
    const char *name;
    enum status_item removed; // counts what it took away
    int64_t every_us;         // 0: never
    struct event *timer;      // pending: not due before it fires
    bool is_due;
    char last_refusal[FAILURE_MESSAGE_BYTES]; // logged already
};

struct janitor {
    struct worker *worker;
    struct read_user user;
    bool is_open;
    struct chore *asking; // NULL: none is in flight
    int64_t removed;      // what the one in flight answered; -1: another node is at it
    int64_t refused;      // the same
    struct reap_pass pass;
    struct chore chores[CHORES_COUNT];
};

enum { CHORE_REAP, CHORE_TRIM };

static void arm(struct chore *chore, int64_t delay_us)
{
    chore->is_due = false;
    timer_arm(chore->timer, delay_us);
}

static void tell(const struct reap_pass *pass, enum reap_news news)
{
    if (news == REAP_REFUSED) {
        LOG_WARNING("expired rows refused", LOG_INT("rows", pass->found),
                    LOG_TEXT("sqlstate", pass->reason.sqlstate),
                    LOG_TEXT("error", pass->reason.message));
    } else if (news == REAP_NONE_IS_NOW) {
        LOG_INFO("expired rows refused no more");
    }
}

static void on_reaped(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct janitor *janitor = context;
    struct reaped reaped = reap_pass_read(result);
    janitor->removed = reaped.removed;
    janitor->refused = reaped.refused;
    tell(&janitor->pass, reap_pass_take(&janitor->pass, &reaped, BATCH_ROWS_MAX, clock_boot_us()));
    status_set(janitor->worker->status, STATUS_PG_UNREAPED, janitor->pass.found);
}

static void on_trimmed(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct janitor *janitor = context;
    janitor->removed = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    janitor->refused = 0;
}

static void take_answer(struct janitor *janitor, struct chore *chore)
{
    chore->last_refusal[0] = '\0';
    if (janitor->removed > 0) {
        status_add(janitor->worker->status, chore->removed, janitor->removed);
    }
    if (janitor->removed + janitor->refused < BATCH_ROWS_MAX) {
        arm(chore, chore->every_us);
    } else if (janitor->refused > 0) {
        arm(chore,
            chore->every_us < AFTER_REFUSED_ROWS_US ? chore->every_us : AFTER_REFUSED_ROWS_US);
    }
}

static void take_refusal(struct chore *chore, const struct failure *failure)
{
    if (ask_refusal_is_new(chore->last_refusal, failure)) {
        LOG_WARNING(chore->name, LOG_TEXT("sqlstate", failure->sqlstate),
                    LOG_TEXT("error", failure->message));
    }
    arm(chore, chore->every_us > AFTER_REFUSAL_US ? chore->every_us : AFTER_REFUSAL_US);
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct janitor *janitor = context;
    struct chore *chore = janitor->asking;
    janitor->asking = NULL;
    if (janitor->is_open) {
        if (outcome == UNIT_OK) {
            take_answer(janitor, chore);
        } else if (outcome == UNIT_REFUSED) {
            take_refusal(chore, failure);
        } else {
            arm(chore, CLOCK_US_PER_S);
        }
    }
    read_pool_wake(janitor->worker->read_pool);
}

static void ask(struct janitor *janitor, struct chore *chore, struct conn *conn)
{
    const struct worker *worker = janitor->worker;
    struct buffer sql = {0};
    bool is_reap = chore == &janitor->chores[CHORE_REAP];
    if (is_reap) {
        reap_pass_ask(&janitor->pass, &worker->names, BATCH_ROWS_MAX, clock_boot_us(), &sql);
    } else {
        buffer_printf(&sql, "SELECT %s(interval '%lld us', %d)", worker->names.trim_function,
                      (long long)worker->settings->postgres.history_keep_us, BATCH_ROWS_MAX);
    }
    const struct query query = {.sql = buffer_text(&sql)};
    const struct unit unit = {
        .queries = &query,
        .queries_count = 1,
        .context = janitor,
        .on_result = is_reap ? on_reaped : on_trimmed,
        .on_done = on_done,
    };
    janitor->asking = chore;
    conn_send(conn, &unit);
    buffer_deinit(&sql);
}

static bool on_idle(void *context, struct conn *conn)
{
    struct janitor *janitor = context;
    if (!janitor->is_open || janitor->asking != NULL || janitor->worker->is_stopping) {
        return false;
    }
    for (size_t i = 0; i < CHORES_COUNT; i++) {
        if (janitor->chores[i].is_due) {
            ask(janitor, &janitor->chores[i], conn);
            return true;
        }
    }
    return false;
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct chore *chore = context;
    chore->is_due = true;
    read_pool_wake(chore->janitor->worker->read_pool);
}

void janitor_on_connected(struct janitor *janitor)
{
    janitor->is_open = true;
    reap_pass_restart(&janitor->pass);
    for (size_t i = 0; i < CHORES_COUNT; i++) {
        struct chore *chore = &janitor->chores[i];
        if (chore->every_us > 0 && chore != janitor->asking) {
            arm(chore, chore->every_us);
        }
    }
}

void janitor_on_lost(struct janitor *janitor, const struct failure *failure)
{
    (void)failure;
    janitor->is_open = false;
    for (size_t i = 0; i < CHORES_COUNT; i++) {
        janitor->chores[i].is_due = false;
        CHECK(evtimer_del(janitor->chores[i].timer) == 0);
    }
}

bool janitor_cannot_reap(const struct janitor *janitor, struct failure *failure)
{
    const struct reap_pass *pass = &janitor->pass;
    const char *refusal = janitor->chores[CHORE_REAP].last_refusal;
    if (refusal[0] != '\0') {
        failure_note(failure, ERROR_REJECTED, "no expired row is removed: %s", refusal);
    } else if (pass->found > 0) {
        failure_note(failure, ERROR_REJECTED,
                     "expired rows that PostgreSQL refuses to delete: %" PRId64
                     ", the first of them (%s) %s",
                     pass->found, pass->reason.sqlstate, pass->reason.message);
    } else {
        return false;
    }
    return true;
}

static int64_t trim_every_us(const struct postgres_settings *postgres)
{
    int64_t every_us = postgres->history_keep_us / TRIM_PARTS;
    if (!postgres->versioning || every_us == 0) {
        return 0;
    }
    every_us = every_us < TRIM_EVERY_MAX_US ? every_us : (int64_t)TRIM_EVERY_MAX_US;
    return every_us > TRIM_EVERY_MIN_US ? every_us : (int64_t)TRIM_EVERY_MIN_US;
}

struct janitor *janitor_create(struct worker *worker)
{
    struct janitor *janitor = memory_zeroed(1, sizeof *janitor);
    janitor->worker = worker;
    janitor->chores[CHORE_REAP] = (struct chore){
        .name = "expired rows not removed",
        .removed = STATUS_PG_REAPED,
        .every_us = worker->settings->expiry.reap_every_us,
    };
    janitor->chores[CHORE_TRIM] = (struct chore){
        .name = "old history not removed",
        .removed = STATUS_PG_TRIMMED,
        .every_us = trim_every_us(&worker->settings->postgres),
    };
    for (size_t i = 0; i < CHORES_COUNT; i++) {
        janitor->chores[i].janitor = janitor;
        janitor->chores[i].timer = timer_new(worker->base, on_timer, &janitor->chores[i]);
    }
    janitor->user = (struct read_user){.is_bulk = true, .context = janitor, .on_idle = on_idle};
    read_pool_join(worker->read_pool, &janitor->user);
    return janitor;
}

void janitor_destroy(struct janitor *janitor)
{
    if (janitor == NULL) {
        return;
    }
    janitor->is_open = false;
    read_pool_leave(janitor->worker->read_pool, &janitor->user);
    for (size_t i = 0; i < CHORES_COUNT; i++) {
        timer_free(janitor->chores[i].timer);
    }
    reap_pass_deinit(&janitor->pass);
    free(janitor);
}
