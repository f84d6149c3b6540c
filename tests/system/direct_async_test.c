// Direct reads without waiting: what lies in the map is not asked for, the order of requests on a
// key holds, and callbacks come from the loop alone.

#include <pgnear.h>
#include <pgnear/adapters/poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/harness/deadline.h"
#include "system/harness/direct.h"
#include "system/harness/faults.h"
#include "system/harness/held_back.h"

enum { QUIET_ROUNDS = 2000, ROUNDS = 60 };

enum { ANSWERS_MAX = 64 };

// What was called back, in that order.
struct asking {
    pgnear_async *async;
    struct pgnear_poll poll;
    int depth; // of calls into the library
    int answers;
    int64_t values[ANSWERS_MAX];
    const char *names[ANSWERS_MAX];
    int again; // asks for more, from the callback
};

struct question {
    struct asking *asking;
    const char *name;
};

static void on_reply(pgnear_async *async, const pgnear_reply *reply, void *context);

static void ask(struct question *question, const char *key)
{
    pgnear_error error;
    question->asking->depth++;
    direct_must(pgnear_async_get(question->asking->async, pgnear_text(key), NULL, on_reply,
                                 question, &error),
                &error);
    question->asking->depth--;
}

static void on_reply(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    struct question *question = context;
    struct asking *asking = question->asking;
    assert_ptr_equal(async, asking->async);
    assert_int_equal(asking->depth, 0);
    direct_must(reply->code, reply->error);
    if (asking->answers < ANSWERS_MAX) {
        bool is_int = reply->item.present && reply->item.value.len == 1;
        asking->values[asking->answers] = is_int ? direct_int(&reply->item) : -1;
        asking->names[asking->answers] = question->name;
    }
    asking->answers++;
    if (asking->again > 0) {
        asking->again--;
        ask(question, "k");
    }
}

static void turn(struct asking *asking)
{
    struct pollfd entry = pgnear_poll_entry(&asking->poll);
    int timeout_ms = pgnear_poll_timeout(&asking->poll);
    poll(&entry, 1, timeout_ms >= 0 && timeout_ms < 1000 ? timeout_ms : 1000);
    pgnear_poll_handle(&asking->poll, entry.revents);
}

static void await_answers(struct asking *asking, int count)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (asking->answers < count) {
        turn(asking);
        assert_true(deadline_left_ms(&deadline) > 0);
    }
    assert_int_equal(asking->answers, count);
}

static void open_async(const struct node *node, struct asking *asking)
{
    pgnear_error error;
    *asking = (struct asking){0};
    direct_must(pgnear_async_open(node->socket_path, NULL, &asking->async, &error), &error);
    direct_must(pgnear_poll_attach(asking->async, &asking->poll), NULL);
    // Once hello is answered the cache is known.
    struct question first = {asking, "first"};
    ask(&first, "absent");
    await_answers(asking, 1);
    asking->answers = 0;
}

static void send_set(struct asking *asking, const char *key, uint8_t value)
{
    pgnear_error error;
    direct_must(pgnear_async_set(asking->async, pgnear_text(key), (pgnear_bytes){&value, 1}, NULL,
                                 NULL, NULL, &error),
                &error);
}

// In a child.
static _Noreturn void ask_quietly(const struct node *node)
{
    struct asking asking;
    open_async(node, &asking);
    struct question question = {&asking, "quiet"};
    ask(&question, "present");
    await_answers(&asking, 1);
    direct_forbid_system_calls();
    bool good = true;
    for (int i = 0; i < QUIET_ROUNDS && good; i++) {
        asking.answers = 0;
        ask(&question, "present");
        ask(&question, "absent");
        good = asking.answers == 0 && pgnear_async_pending(asking.async) == 2 &&
               pgnear_poll_timeout(&asking.poll) == 0;
        pgnear_poll_handle(&asking.poll, 0);
        good = good && asking.answers == 2 && pgnear_async_pending(asking.async) == 0;
    }
    syscall(SYS_exit_group, good ? 0 : 1);
    abort();
}

static void an_async_hit_makes_no_system_call(struct scenario *scenario)
{
    struct node *node = direct_start(scenario);
    pid_t child = fork();
    if (child == 0) {
        ask_quietly(node);
    }
    direct_await_child(child);
}

static void async_requests_on_a_key_keep_their_order(struct scenario *scenario)
{
    struct node *node = direct_start(scenario);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 0, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    struct asking asking;
    open_async(node, &asking);
    struct question before = {&asking, "before"}, after = {&asking, "after"};
    for (uint8_t i = 1; i <= ROUNDS; i++) {
        asking.answers = 0;
        ask(&before, "k");
        send_set(&asking, "k", i);
        ask(&after, "k");
        ask(&after, "k");
        await_answers(&asking, 3);
        for (int answer = 0; answer < 3; answer++) {
            bool is_before = strcmp(asking.names[answer], "before") == 0;
            assert_int_equal(asking.values[answer], is_before ? i - 1 : i);
        }
        // The write is acknowledged, since what came behind it is answered.
        assert_int_equal(direct_get_int(handle, "k"), i);
    }
    pgnear_async_close(asking.async);
    pgnear_close(handle);
}

static void a_callback_may_ask_on_and_close(struct scenario *scenario)
{
    enum { AGAIN = 1000 };
    struct node *node = direct_start(scenario);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 3, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    struct asking asking;
    open_async(node, &asking);
    struct question question = {&asking, "again"};
    asking.again = AGAIN;
    ask(&question, "k");
    await_answers(&asking, AGAIN + 1);
    // What was found is told, whatever becomes of the connection.
    asking.answers = 0;
    ask(&question, "k");
    ask(&question, "k");
    pgnear_async_close(asking.async);
    assert_int_equal(asking.answers, 2);
    assert_int_equal(asking.values[1], 3);
    pgnear_close(handle);
}

static void on_fresh(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    (void)async;
    direct_must(reply->code, reply->error);
    *(int64_t *)context = direct_int(&reply->item);
}

static void nothing_older_is_told_without_waiting(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = direct_open(node);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    struct asking asking;
    open_async(node, &asking);
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER ALL");
    struct question question = {&asking, "old"};
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    fresh.fresh = true;
    for (int i = 2; i < 32; i++) {
        pg_exec(pg, "UPDATE kv_store SET value = '%d', version = version + 1000000", i);
        int64_t value = 0;
        pgnear_error error;
        direct_must(
            pgnear_async_get(asking.async, pgnear_text("k"), &fresh, on_fresh, &value, &error),
            &error);
        struct deadline deadline = deadline_in(DEADLINE_MS);
        while (value == 0) {
            turn(&asking);
            assert_true(deadline_left_ms(&deadline) > 0);
        }
        assert_int_equal(value, i);
        // At once: the cache learns of it some time after the handle.
        asking.answers = 0;
        ask(&question, "k");
        await_answers(&asking, 1);
        assert_int_equal(asking.values[0], i);
    }
    pgnear_async_close(asking.async);
    pgnear_close(handle);
}

static void on_code(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    (void)async;
    *(pgnear_code *)context = reply->code;
}

// The code of a set that is not done.
static pgnear_code fail_to_set(struct asking *asking, pgnear_bytes value, int64_t timeout_ms)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    pgnear_code code = PGNEAR_OK;
    pgnear_error error;
    direct_must(
        pgnear_async_set(asking->async, pgnear_text("k"), value, &options, on_code, &code, &error),
        &error);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    while (code == PGNEAR_OK) {
        turn(asking);
        assert_true(deadline_left_ms(&deadline) > 0);
    }
    return code;
}

static void a_write_without_waiting_that_is_not_done_hides_nothing(struct scenario *scenario)
{
    struct held_back held = held_back_start(scenario);
    struct asking asking;
    open_async(held.node, &asking);
    struct question question = {&asking, "k"};
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    fresh.fresh = true;
    direct_must(pgnear_async_get(asking.async, pgnear_text("k"), &fresh, on_reply, &question, NULL),
                NULL);
    await_answers(&asking, 1);
    assert_int_equal(asking.values[0], 2);
    assert_int_equal(fail_to_set(&asking, HELD_BACK_BAD_VALUE, 0), PGNEAR_INVALID_VALUE);
    ask(&question, "k");
    await_answers(&asking, 2);
    assert_int_equal(asking.values[1], 2);
    assert_int_equal(fail_to_set(&asking, HELD_BACK_FIVE, 20), PGNEAR_OUTCOME_UNKNOWN);
    ask(&question, "k");
    faults_disarm(held.faults, FAULT_CACHE_FILL);
    await_answers(&asking, 3);
    assert_int_not_equal(asking.values[2], 1);
    pgnear_async_close(asking.async);
}

struct watching {
    struct asking *asking;
    pgnear *writer;
    bool is_told;    // of the change
    bool looks_back; // a get was answered with what was before it, behind it
};

static void on_change(pgnear_async *async, const pgnear_event *event, void *context)
{
    (void)async;
    (void)event;
    ((struct watching *)context)->is_told = true;
}

static void on_get(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    struct watching *watching = context;
    (void)async;
    direct_must(reply->code, reply->error);
    watching->looks_back = watching->is_told && direct_int(&reply->item) == 1;
    watching->asking->answers++;
}

static void on_watch(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    (void)async;
    direct_must(reply->code, reply->error);
    ((struct watching *)context)->asking->answers++;
}

// Finds 1 in the map, and sees to it that the change to 2 has come in before this returns.
static void on_ping(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    struct watching *watching = context;
    direct_must(reply->code, reply->error);
    pgnear_error error;
    direct_must(pgnear_async_get(async, pgnear_text("k"), NULL, on_get, watching, &error), &error);
    direct_set_int(watching->writer, "k", 2, PGNEAR_ACK_POSTGRES);
    struct pollfd fd = {.fd = pgnear_async_fd(async), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, DEADLINE_MS), 1);
}

// Who keeps what it gets, and drops it with each change, would keep the old value for ever.
static void no_change_is_told_before_what_was_found(struct scenario *scenario)
{
    static const uint8_t WATCH[] = {0x91, 0xa1, 'k'}, PING[] = {0x90};
    struct node *node = direct_start(scenario);
    struct asking asking;
    struct watching watching = {.asking = &asking, .writer = direct_open(node)};
    direct_set_int(watching.writer, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    open_async(node, &asking);
    pgnear_async_on_event(asking.async, on_change, &watching);
    pgnear_error error;
    direct_must(pgnear_async_call(asking.async, "watch", (pgnear_bytes){WATCH, sizeof WATCH}, false,
                                  NULL, on_watch, &watching, &error),
                &error);
    await_answers(&asking, 1);
    asking.answers = 0;
    direct_must(pgnear_async_call(asking.async, "ping", (pgnear_bytes){PING, sizeof PING}, false,
                                  NULL, on_ping, &watching, &error),
                &error);
    await_answers(&asking, 1);
    assert_false(watching.looks_back);
    pgnear_async_close(asking.async);
    pgnear_close(watching.writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(an_async_hit_makes_no_system_call),
        SCENARIO(async_requests_on_a_key_keep_their_order),
        SCENARIO(a_callback_may_ask_on_and_close),
        SCENARIO(nothing_older_is_told_without_waiting),
        SCENARIO(a_write_without_waiting_that_is_not_done_hides_nothing),
        SCENARIO(no_change_is_told_before_what_was_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
