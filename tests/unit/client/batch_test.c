// Batches: requests that go out together are answered each for itself, and a connection that breaks
// in between is told of each as of a single one.

#include "unit/client/fake_node.h"

#include <pgnear.h>

static const pgnear_bytes ONE = {"\x01", 1};

struct dialogue {
    struct fake_node fake;
    pgnear *handle;
    pgnear_batch *batch;
    const pgnear_reply *replies;
    size_t count;
    pgnear_error error;
};

static void begin(struct dialogue *dialogue, const struct fake_step *steps)
{
    *dialogue = (struct dialogue){0};
    fake_node_start(&dialogue->fake, steps);
    assert_int_equal(pgnear_open(dialogue->fake.path, NULL, &dialogue->handle, &dialogue->error),
                     PGNEAR_OK);
    dialogue->batch = pgnear_batch_create(dialogue->handle);
}

static void run(struct dialogue *dialogue)
{
    assert_int_equal(pgnear_batch_run(dialogue->batch, NULL, &dialogue->replies, &dialogue->count,
                                      &dialogue->error),
                     PGNEAR_OK);
}

static void end(struct dialogue *dialogue)
{
    fake_node_end(&dialogue->fake);
    fake_node_free(&dialogue->fake);
    pgnear_batch_destroy(dialogue->batch);
    pgnear_close(dialogue->handle);
}

static void add_set(struct dialogue *dialogue, const char *key, const char *id)
{
    pgnear_write_options options = PGNEAR_WRITE_OPTIONS_INIT;
    if (id != NULL) {
        options.id = pgnear_text(id);
    }
    assert_int_equal(
        pgnear_batch_set(dialogue->batch, pgnear_text(key), ONE, &options, &dialogue->error),
        PGNEAR_OK);
}

static void add_get(struct dialogue *dialogue, const char *key)
{
    assert_int_equal(pgnear_batch_get(dialogue->batch, pgnear_text(key), NULL, &dialogue->error),
                     PGNEAR_OK);
}

static void each_request_has_its_own_answer(void **state)
{
    (void)state;
    static const struct fake_step STEPS[] = {
        FAKE_HELLO,
        {FAKE_ANSWER, "{\"seq\":7}", 0},
        {FAKE_EVENT, "[\"changed\",[\"a\",1,\"set\"]]", 0},
        {FAKE_ERROR, "{\"code\":\"OVERLOADED\",\"message\":\"full\",\"retryable\":true}", 0},
        {FAKE_ANSWER, "[5,3]", 0},
        {FAKE_ANSWER, "{\"seq\":8,\"version\":9}", 0},
        {FAKE_ANSWER, "\"pong\"", 0},
        {FAKE_ANSWER, "[6,4]", 0},
        {FAKE_ANSWER, "{\"seq\":9}", 0},
        {FAKE_END, NULL, 0},
    };
    struct dialogue dialogue;
    begin(&dialogue, STEPS);
    add_set(&dialogue, "a", NULL);
    add_set(&dialogue, "b", NULL);
    add_get(&dialogue, "c");
    // What is refused at once is not in the batch.
    assert_int_equal(pgnear_batch_set(dialogue.batch, pgnear_text("x"),
                                      (pgnear_bytes){"\x92\x01", 2}, NULL, NULL),
                     PGNEAR_INVALID_VALUE);
    assert_int_equal(pgnear_batch_delete(dialogue.batch, pgnear_text("d"), NULL, NULL), PGNEAR_OK);
    assert_int_equal(
        pgnear_batch_call(dialogue.batch, "ping", (pgnear_bytes){"\x90", 1}, false, NULL),
        PGNEAR_OK);
    run(&dialogue);
    const pgnear_reply *replies = dialogue.replies;
    assert_int_equal(dialogue.count, 5);
    assert_int_equal(replies[0].written.seq, 7);
    assert_int_equal(replies[1].code, PGNEAR_OVERLOADED);
    assert_true(replies[1].error->retryable);
    assert_true(replies[2].item.present && replies[2].item.version == 3);
    assert_true(replies[3].written.has_version && replies[3].written.version == 9);
    assert_int_equal(replies[4].result.len, 5);
    // The batch is empty again and goes on; the replies of before are gone.
    add_get(&dialogue, "c");
    run(&dialogue);
    assert_int_equal(dialogue.count, 1);
    assert_int_equal(dialogue.replies[0].item.version, 4);
    // Nor need anybody want the replies.
    add_set(&dialogue, "a", NULL);
    assert_int_equal(pgnear_batch_run(dialogue.batch, NULL, NULL, NULL, NULL), PGNEAR_OK);
    end(&dialogue);
}

// The node has read the first two and dies: a plain write may have been done; a read, a write with
// an id and what was answered are clear.
static void a_broken_connection_is_told_of_each(void **state)
{
    (void)state;
    static const struct fake_step STEPS[] = {
        FAKE_HELLO,
        {FAKE_ANSWER, "{\"seq\":1}", 0},
        {FAKE_READ, NULL, 0},
        {FAKE_CLOSE, NULL, 0},
        {FAKE_ACCEPT, NULL, 0},
        {FAKE_ANSWER, "[5,3]", 0},
        {FAKE_ANSWER, "{\"seq\":3}", 0},
        {FAKE_END, NULL, 0},
    };
    struct dialogue dialogue;
    begin(&dialogue, STEPS);
    add_set(&dialogue, "a", NULL);
    add_set(&dialogue, "b", NULL);
    add_get(&dialogue, "c");
    add_set(&dialogue, "d", "id");
    run(&dialogue);
    assert_int_equal(dialogue.replies[0].code, PGNEAR_OK);
    assert_int_equal(dialogue.replies[1].code, PGNEAR_OUTCOME_UNKNOWN);
    assert_int_equal(dialogue.replies[2].code, PGNEAR_OK);
    assert_int_equal(dialogue.replies[3].written.seq, 3);
    end(&dialogue);
}

static void an_answer_that_is_late_is_stepped_over(void **state)
{
    (void)state;
    static const struct fake_step STEPS[] = {
        FAKE_HELLO,
        {FAKE_READ, NULL, 0},
        {FAKE_READ, NULL, 0},
        {FAKE_STALE, "[1,1]", 0},
        {FAKE_LATE, "[2,2]", 0},
        {FAKE_END, NULL, 0},
    };
    struct dialogue dialogue;
    pgnear_call_options options = PGNEAR_CALL_OPTIONS_INIT;
    options.timeout_ms = 1;
    begin(&dialogue, STEPS);
    add_get(&dialogue, "a");
    assert_int_equal(
        pgnear_batch_run(dialogue.batch, &options, &dialogue.replies, &dialogue.count, NULL),
        PGNEAR_OK);
    assert_int_equal(dialogue.replies[0].code, PGNEAR_TIMEOUT);
    add_get(&dialogue, "b");
    run(&dialogue);
    assert_int_equal(dialogue.replies[0].item.version, 2);
    end(&dialogue);
}

static void nobody_there_keeps_the_batch(void **state)
{
    (void)state;
    static const struct fake_step STEPS[] = {
        FAKE_HELLO,
        {FAKE_CLOSE, NULL, 0},
        {FAKE_END, NULL, 0},
    };
    struct dialogue dialogue;
    begin(&dialogue, STEPS);
    fake_node_end(&dialogue.fake);
    fake_node_free(&dialogue.fake);
    add_get(&dialogue, "a");
    assert_int_equal(
        pgnear_batch_run(dialogue.batch, NULL, &dialogue.replies, &dialogue.count, &dialogue.error),
        PGNEAR_UNREACHABLE);
    pgnear_batch_destroy(dialogue.batch);
    pgnear_close(dialogue.handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_has_its_own_answer),
        cmocka_unit_test(a_broken_connection_is_told_of_each),
        cmocka_unit_test(an_answer_that_is_late_is_stepped_over),
        cmocka_unit_test(nobody_there_keeps_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
