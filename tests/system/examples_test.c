// The programs under examples/, built as they stand, do what they say; and the parts of libpgnear
// that they show hold where a node dies under them.

#include <pgnear/adapters/poll.h>
#include <signal.h>
#include <string.h>

#include "system/harness/cli.h"

static void assert_example(struct node *node, const char *name, const char *output)
{
    struct scenario *scenario = node->scenario;
    const char *path = scenario_path(scenario, name);
    const char *const environment[] = {
        scenario_text(scenario, "PGNEAR_SOCKET=%s", node->socket_path), NULL};
    const struct process_options options = {.environment = environment, .output_path = path};
    process_run(scenario,
                (const char *const[]){scenario_text(scenario, PGNEAR_EXAMPLES "/%s", name), NULL},
                &options);
    assert_string_equal(read_text_file(scenario, path), output);
}

static void each_example_does_what_it_says(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    assert_example(node, "get_set", "{\"n\":[1,2.5],\"text\":\"hello\"}\n");
    assert_example(node, "batch", "1000 counters\n");
    assert_example(node, "compare_and_set", "done\n");
    assert_rpc(node, "get", "[\"example:number\"]", "[3,\"*\"]");
    assert_example(node, "async_libevent", "100 answered, 0 failed\n");
    // What it hears of is its own write alone.
    assert_rpc(node, "flush", "[]", "{\"seq\":\"*\"}");
    assert_rpc(node, "sync", "[]", "true");
    assert_example(node, "async_poll", "example:watched was set\n");
}

// ---- The connection that does not wait, step by step

struct seen {
    int answers;
    pgnear_code last;
    pgnear_code closed; // PGNEAR_OK: on_close was not called
    bool closes;        // the callback closes the connection
};

static void on_reply(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    struct seen *seen = context;
    seen->answers++;
    seen->last = reply->code;
    if (seen->closes) {
        pgnear_async_close(async);
    }
}

static void on_close(pgnear_async *async, const pgnear_error *error, void *context)
{
    (void)async;
    ((struct seen *)context)->closed = error->code;
}

static void step(struct pgnear_poll *adapter)
{
    struct pollfd entry = pgnear_poll_entry(adapter);
    poll(&entry, 1, pgnear_poll_timeout(adapter));
    pgnear_poll_handle(adapter, entry.revents);
}

static pgnear_async *open_async(struct node *node, struct pgnear_poll *adapter, struct seen *seen)
{
    pgnear_async *async = NULL;
    pgnear_error error;
    if (pgnear_async_open(node->socket_path, NULL, &async, &error) != PGNEAR_OK) {
        scenario_fail("%s", error.message);
    }
    *seen = (struct seen){0};
    pgnear_async_on_close(async, on_close, seen);
    assert_int_equal(pgnear_poll_attach(async, adapter), PGNEAR_OK);
    return async;
}

static const pgnear_bytes ONE = {"\x01", 1};

static void ask(pgnear_async *async, struct seen *seen, const char *key, int64_t timeout_ms)
{
    pgnear_get_options options = PGNEAR_GET_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    assert_int_equal(pgnear_async_get(async, pgnear_text(key), &options, on_reply, seen, NULL),
                     PGNEAR_OK);
}

static void a_node_that_dies_answers_everything(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    struct pgnear_poll adapter;
    struct seen seen;
    pgnear_async *async = open_async(node, &adapter, &seen);
    ask(async, &seen, "k", 0);
    while (seen.answers < 1) {
        step(&adapter);
    }
    assert_int_equal(seen.last, PGNEAR_OK);
    process_signal(node->process, SIGSTOP);
    assert_int_equal(pgnear_async_set(async, pgnear_text("k"), ONE, NULL, on_reply, &seen, NULL),
                     PGNEAR_OK);
    pgnear_async_handle_write(async);
    ask(async, &seen, "unsent", 0);
    assert_int_equal(pgnear_async_pending(async), 2);
    node_kill(node);
    while (seen.closed == PGNEAR_OK) {
        step(&adapter);
    }
    assert_int_equal(seen.answers, 3);
    assert_int_equal(seen.closed, PGNEAR_UNREACHABLE);
    assert_int_equal(pgnear_async_fd(async), -1);
    assert_int_equal(pgnear_async_get(async, pgnear_text("k"), NULL, on_reply, &seen, NULL),
                     PGNEAR_UNREACHABLE);
    pgnear_async_close(async);
    assert_null(adapter.async);
}

static void a_deadline_answers_by_itself(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    struct pgnear_poll adapter;
    struct seen seen;
    pgnear_async *async = open_async(node, &adapter, &seen);
    process_signal(node->process, SIGSTOP);
    ask(async, &seen, "a", 1);
    while (seen.answers < 1) {
        step(&adapter);
    }
    assert_int_equal(seen.last, PGNEAR_TIMEOUT);
    process_signal(node->process, SIGCONT);
    ask(async, &seen, "b", 0);
    while (seen.answers < 2) {
        step(&adapter);
    }
    assert_int_equal(seen.last, PGNEAR_OK);
    pgnear_async_close(async);
}

static void a_callback_may_close_the_connection(struct scenario *scenario)
{
    struct node *node = node_start(scenario, pg_start(scenario, NULL), NULL);
    struct pgnear_poll adapter;
    struct seen seen;
    pgnear_async *async = open_async(node, &adapter, &seen);
    seen.closes = true;
    for (int i = 0; i < 10; i++) {
        ask(async, &seen, "k", 0);
    }
    while (adapter.async != NULL) {
        step(&adapter);
    }
    assert_int_equal(seen.answers, 10); // the others are told that it has ended
    assert_int_equal(seen.last, PGNEAR_UNREACHABLE);
    assert_int_equal(seen.closed, PGNEAR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(each_example_does_what_it_says),
        SCENARIO(a_node_that_dies_answers_everything),
        SCENARIO(a_deadline_answers_by_itself),
        SCENARIO(a_callback_may_close_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
