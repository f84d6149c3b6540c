// Events: none is lost in silence, whatever else the connection does.

#include "unit/client/fake_node.h"

#include <pgnear.h>

static pgnear *open_watching(const struct fake_node *fake, const char *prefix)
{
    pgnear *handle = NULL;
    assert_int_equal(pgnear_open(fake->path, NULL, &handle, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_watch(handle, pgnear_text(prefix), NULL, NULL), PGNEAR_OK);
    return handle;
}

static void end(struct fake_node *fake, pgnear *handle)
{
    fake_node_end(fake);
    fake_node_free(fake);
    pgnear_close(handle);
}

static void assert_event(pgnear *handle, pgnear_event_kind kind, const char *key)
{
    pgnear_event event;
    pgnear_error error;
    if (pgnear_next_event(handle, FAKE_PATIENCE_MS, &event, &error) != PGNEAR_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.key.len, strlen(key));
    assert_memory_equal(event.key.at, key, event.key.len);
}

static void events_come_in_order(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_EVENT, "[\"changed\",[\"a\",5,\"set\"]]", 0},
                                      {FAKE_EVENT, "[\"from_the_future\",[1]]", 0},
                                      {FAKE_EVENT, "[\"changed\",[\"b\",null,\"delete\"]]", 0},
                                      {FAKE_EVENT, "[\"resync\",[]]", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_watching(&fake, "p:");
    pgnear_event event;
    assert_int_equal(pgnear_next_event(handle, FAKE_PATIENCE_MS, &event, NULL), PGNEAR_OK);
    assert_int_equal(event.kind, PGNEAR_EVENT_SET);
    assert_true(event.has_version);
    assert_int_equal(event.version, 5);
    assert_event(handle, PGNEAR_EVENT_DELETE, "b");
    assert_event(handle, PGNEAR_EVENT_RESYNC, "");
    assert_int_equal(pgnear_next_event(handle, 0, &event, NULL), PGNEAR_TIMEOUT);
    fake_node_end(&fake);
    assert_request(&fake, 1, "[\"watch\",[\"p:\"]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void events_before_an_answer_are_kept(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_READ, NULL, 0},
                                      {FAKE_EVENT, "[\"changed\",[\"a\",1,\"set\"]]", 0},
                                      {FAKE_EVENT, "[\"changed\",[\"b\",2,\"set\"]]", 0},
                                      {FAKE_LATE, "\"pong\"", 0},
                                      {FAKE_EVENT, "[\"changed\",[\"c\",3,\"set\"]]", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_watching(&fake, "");
    assert_int_equal(pgnear_ping(handle, NULL, NULL), PGNEAR_OK);
    assert_event(handle, PGNEAR_EVENT_SET, "a");
    assert_event(handle, PGNEAR_EVENT_SET, "b");
    assert_event(handle, PGNEAR_EVENT_SET, "c");
    end(&fake, handle);
}

static void a_new_connection_watches_again_and_says_that_there_is_a_gap(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_EVENT, "[\"changed\",[\"before\",1,\"set\"]]", 0},
                                      {FAKE_CLOSE, NULL, 0},
                                      {FAKE_ACCEPT, NULL, 0},
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_EVENT, "[\"changed\",[\"after\",2,\"set\"]]", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_watching(&fake, "p:");
    assert_event(handle, PGNEAR_EVENT_SET, "before");
    assert_event(handle, PGNEAR_EVENT_RESYNC, "");
    assert_event(handle, PGNEAR_EVENT_SET, "after");
    fake_node_end(&fake);
    assert_request(&fake, 2, "[\"watch\",[\"p:\"]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

static void what_is_no_longer_watched_is_not_asked_for_again(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_CLOSE, NULL, 0},
                                      {FAKE_ACCEPT, NULL, 0},
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_ANSWER, "\"pong\"", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_watching(&fake, "a");
    assert_int_equal(pgnear_watch(handle, pgnear_text("b"), NULL, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_unwatch(handle, pgnear_text("a"), NULL, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_ping(handle, NULL, NULL), PGNEAR_OK);
    fake_node_end(&fake);
    assert_int_equal(fake.requests_count, 6);
    assert_request(&fake, 4, "[\"watch\",[\"b\"]]");
    assert_request(&fake, 5, "[\"ping\",[]]");
    fake_node_free(&fake);
    pgnear_close(handle);
}

// More events than the handle keeps while it waits for an answer.
static void too_many_events_become_a_resync(void **state)
{
    (void)state;
    enum { EVENTS = 400000 }; // of 17 bytes each
    const struct fake_step steps[] = {FAKE_HELLO,
                                      {FAKE_ANSWER, "true", 0},
                                      {FAKE_READ, NULL, 0},
                                      {FAKE_EVENTS, "[\"changed\",[\"k\",1,\"set\"]]", EVENTS},
                                      {FAKE_LATE, "\"pong\"", 0},
                                      {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_watching(&fake, "");
    assert_int_equal(pgnear_ping(handle, NULL, NULL), PGNEAR_OK);
    int count = 0;
    pgnear_event event;
    pgnear_event_kind last = PGNEAR_EVENT_SET;
    while (pgnear_next_event(handle, 0, &event, NULL) == PGNEAR_OK) {
        last = event.kind;
        count++;
    }
    assert_true(count < EVENTS);
    assert_int_equal(last, PGNEAR_EVENT_RESYNC);
    end(&fake, handle);
}

static void a_node_that_is_gone_is_tried_again(void **state)
{
    (void)state;
    const struct fake_step steps[] = {
        FAKE_HELLO, {FAKE_ANSWER, "true", 0}, {FAKE_CLOSE, NULL, 0}, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = open_watching(&fake, "");
    fake_node_end(&fake);
    fake_node_free(&fake);
    pgnear_event event;
    assert_int_equal(pgnear_next_event(handle, FAKE_PATIENCE_MS, &event, NULL), PGNEAR_UNREACHABLE);
    assert_int_equal(pgnear_fd(handle), -1);
    assert_int_equal(pgnear_next_event(handle, FAKE_PATIENCE_MS, &event, NULL), PGNEAR_UNREACHABLE);
    pgnear_close(handle);
}

static void nothing_watched_is_nothing_to_wait_for(void **state)
{
    (void)state;
    const struct fake_step steps[] = {FAKE_HELLO, {FAKE_END, NULL, 0}};
    struct fake_node fake;
    fake_node_start(&fake, steps);
    pgnear *handle = NULL;
    assert_int_equal(pgnear_open(fake.path, NULL, &handle, NULL), PGNEAR_OK);
    assert_int_equal(pgnear_next_event(handle, -1, NULL, NULL), PGNEAR_BAD_REQUEST);
    end(&fake, handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order),
        cmocka_unit_test(events_before_an_answer_are_kept),
        cmocka_unit_test(a_new_connection_watches_again_and_says_that_there_is_a_gap),
        cmocka_unit_test(what_is_no_longer_watched_is_not_asked_for_again),
        cmocka_unit_test(too_many_events_become_a_resync),
        cmocka_unit_test(a_node_that_is_gone_is_tried_again),
        cmocka_unit_test(nothing_watched_is_nothing_to_wait_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
