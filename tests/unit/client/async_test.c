// A connection without waiting against a node that does not answer.
#include "unit/client/fake_node.h"

#include <pgnear/adapters/poll.h>

struct outcome {
    int count;
    pgnear_code codes[2];
};

static void on_reply(pgnear_async *async, const pgnear_reply *reply, void *context)
{
    (void)async;
    struct outcome *outcome = context;
    outcome->codes[outcome->count++] = reply->code;
}

static pgnear_async *open_fake(const struct fake_node *fake, struct pgnear_poll *loop)
{
    pgnear_async *async;
    assert_int_equal(pgnear_async_open(fake->path, NULL, &async, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_poll_attach(async, loop), PGNEAR_OK);
    return async;
}

static void turn_until(struct pgnear_poll *loop, const pgnear_async *async, size_t pending)
{
    while (pgnear_async_pending(async) > pending) {
        struct pollfd entry = pgnear_poll_entry(loop);
        assert_true(poll(&entry, 1, pgnear_poll_timeout(loop)) >= 0);
        pgnear_poll_handle(loop, entry.revents);
    }
}

// One is received in part and one waits behind it: both go out once the node reads on, so nobody
// may be told that nothing was done.
static void a_late_write_may_be_done(void **state)
{
    (void)state;
    enum { LARGE_BYTES = 4 << 20 };
    static const struct fake_step STEPS[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    struct pgnear_poll loop;
    struct outcome outcome = {0};
    fake_node_start(&fake, STEPS);
    pgnear_async *async = open_fake(&fake, &loop);
    turn_until(&loop, async, 0);
    uint8_t *large = calloc(1, LARGE_BYTES);
    assert_non_null(large);
    memcpy(large, "\xc6\0\x3f\xff\xfb", 5); // a bin of all that follows
    const pgnear_bytes values[] = {{large, LARGE_BYTES}, {(const uint8_t *)"\x05", 1}};
    pgnear_write_options hasty = PGNEAR_WRITE_OPTIONS_INIT;
    hasty.timeout_ms = 100;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            pgnear_async_set(async, pgnear_text("k"), values[i], &hasty, on_reply, &outcome, NULL),
            PGNEAR_OK);
    }
    turn_until(&loop, async, 0);
    assert_int_equal(outcome.count, 2);
    assert_int_equal(outcome.codes[0], PGNEAR_OUTCOME_UNKNOWN);
    assert_int_equal(outcome.codes[1], PGNEAR_OUTCOME_UNKNOWN);
    pgnear_async_close(async);
    free(large);
    fake_node_end(&fake);
    fake_node_free(&fake);
}

// A connection that ends takes what it had not sent with it.
static void what_is_not_sent_is_not_done(void **state)
{
    (void)state;
    static const struct fake_step STEPS[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    struct pgnear_poll loop;
    struct outcome outcome = {0};
    fake_node_start(&fake, STEPS);
    pgnear_async *async = open_fake(&fake, &loop);
    turn_until(&loop, async, 0);
    assert_int_equal(pgnear_async_set(async, pgnear_text("k"),
                                      (pgnear_bytes){(const uint8_t *)"\x05", 1}, NULL, on_reply,
                                      &outcome, NULL),
                     PGNEAR_OK);
    pgnear_async_close(async);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.codes[0], PGNEAR_UNREACHABLE);
    fake_node_end(&fake);
    fake_node_free(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_write_may_be_done),
        cmocka_unit_test(what_is_not_sent_is_not_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
