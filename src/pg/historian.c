// A question is a request on its way through one query. It is asked once this node's own writes to
// its keys are in PostgreSQL, since only what is committed has a version; it ends with its answer,
// at its deadline or with the connection. Answers are cut by PostgreSQL at SCAN_BYTES_MAX of text.
#include "pg/historian.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/ask.h"
#include "pg/flusher.h"
#include "pg/history_query.h"
#include "pg/read_pool.h"
#include "pg/timer.h"

enum { QUESTIONS_MAX = 1024 }; // beyond, a request is OVERLOADED

struct question {
    struct question *prev;
    struct question *next;
    struct historian *historian;
    struct request *request; // NULL: finished while its unit is in flight
    struct event *deadline;
    bool is_asking;
    struct failure failure; // of the answer; .error == ERROR_NONE: there is none
};

struct historian {
    struct worker *worker;
    struct read_user user;
    struct question *questions; // utlist
    size_t questions_count;
};

// ---- The end of a question

static void free_question(struct question *question)
{
    struct historian *historian = question->historian;
    CHECK(!question->is_asking && question->request == NULL);
    DL_DELETE(historian->questions, question);
    historian->questions_count--;
    free(question);
}

static struct request *take_request(struct question *question)
{
    struct request *request = question->request;
    question->request = NULL;
    timer_free(question->deadline);
    if (!question->is_asking) {
        free_question(question);
    }
    return request;
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct question *question = context;
    struct failure failure = {0};
    failure_note(&failure, ERROR_TIMEOUT, "PostgreSQL did not answer within %" PRId64 " ms",
                 question->request->call.timeout_ms);
    ask_fail(take_request(question), &failure);
}

// ---- Answers

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct question *question = context;
    if (question->request != NULL) {
        size_t value_bytes_max = question->historian->worker->settings->server.max_value_bytes;
        history_query_read(result, value_bytes_max, question->request, &question->failure);
    }
}

static void answer(struct question *question, enum unit_outcome outcome,
                   const struct failure *failure)
{
    struct failure told = question->failure;
    if (outcome == UNIT_REFUSED) {
        told = ask_refusal(failure);
    } else if (outcome == UNIT_LOST) {
        told = ask_no_connection(failure);
    }
    struct request *request = take_request(question);
    if (told.error == ERROR_NONE) {
        request_finish(request);
    } else {
        ask_fail(request, &told);
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct question *question = context;
    struct read_pool *pool = question->historian->worker->read_pool;
    question->is_asking = false;
    if (question->request == NULL) {
        free_question(question);
    } else {
        answer(question, outcome, failure);
    }
    read_pool_wake(pool);
}

// ---- Questions

static bool on_idle(void *context, struct conn *conn)
{
    struct historian *historian = context;
    struct worker *worker = historian->worker;
    struct question *question;
    if (worker_is_reapplying(worker)) {
        return false; // looked at again with fetcher_on_applied
    }
    DL_FOREACH(historian->questions, question)
    {
        if (question->is_asking || question->request->after_seq > worker->applied_seq) {
            continue;
        }
        const struct unit unit = {
            .context = question,
            .on_result = on_result,
            .on_done = on_done,
        };
        question->is_asking = true;
        history_query_send(worker, &question->request->call, conn, unit);
        return true;
    }
    return false;
}

static void refuse_waiting(struct historian *historian, const struct failure *failure)
{
    struct question *question, *following;
    DL_FOREACH_SAFE(historian->questions, question, following)
    {
        if (question->request != NULL) {
            ask_fail(take_request(question), failure);
        }
    }
}

static void on_down(void *context, const struct failure *failure)
{
    struct failure refusal = ask_no_connection(failure);
    refuse_waiting(context, &refusal);
}

// Finishes a request that cannot be taken. False where it can.
static bool is_turned_away(struct historian *historian, struct request *request)
{
    struct failure failure = {0};
    if (!historian->worker->settings->postgres.versioning) {
        failure_note(&failure, ERROR_BAD_REQUEST,
                     "versioning is off: no history is kept (postgres.versioning)");
    } else if (ask_is_turned_away(historian->worker, request)) {
        return true;
    } else if (historian->questions_count >= QUESTIONS_MAX) {
        failure_note(&failure, ERROR_OVERLOADED, "too many reads wait for PostgreSQL");
    } else {
        return false;
    }
    ask_fail(request, &failure);
    return true;
}

void historian_request(struct historian *historian, struct request *request)
{
    if (is_turned_away(historian, request)) {
        return;
    }
    struct question *question = memory_zeroed(1, sizeof *question);
    question->historian = historian;
    question->request = request;
    DL_APPEND(historian->questions, question);
    historian->questions_count++;
    question->deadline = timer_new(historian->worker->base, on_deadline, question);
    timer_arm(question->deadline, request->deadline_boot_us - clock_boot_us());
    flusher_want(historian->worker->flusher, request->after_seq);
    read_pool_wake(historian->worker->read_pool);
}

// ---- Its life

void historian_on_connected(struct historian *historian)
{
    read_pool_wake(historian->worker->read_pool);
}

void historian_on_lost(struct historian *historian, const struct failure *failure)
{
    (void)failure; // worker_refuse knows it
    struct question *question, *following;
    DL_FOREACH_SAFE(historian->questions, question, following)
    {
        if (question->request != NULL) {
            worker_refuse(historian->worker, take_request(question));
        }
    }
}

void historian_refuse_all(struct historian *historian, const struct failure *failure)
{
    refuse_waiting(historian, failure);
}

struct historian *historian_create(struct worker *worker)
{
    struct historian *historian = memory_zeroed(1, sizeof *historian);
    historian->worker = worker;
    historian->user = (struct read_user){
        .context = historian,
        .on_idle = on_idle,
        .on_down = on_down,
    };
    read_pool_join(worker->read_pool, &historian->user);
    return historian;
}

void historian_destroy(struct historian *historian)
{
    if (historian == NULL) {
        return;
    }
    read_pool_leave(historian->worker->read_pool, &historian->user);
    CHECK_VALUES(historian->questions_count == 0, "%zu requests", historian->questions_count);
    free(historian);
}
