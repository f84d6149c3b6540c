// Direct reads in batches: what lies in the map is not asked for, and the order of requests on a
// key holds. And writes, in a batch or alone, of which nobody knows whether they are done.

#include <pgnear.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/harness/direct.h"
#include "system/harness/faults.h"
#include "system/harness/held_back.h"

enum { QUIET_ROUNDS = 2000, ROUNDS = 60 };

static void add_get(pgnear_batch *batch, const char *key)
{
    pgnear_error error;
    direct_must(pgnear_batch_get(batch, pgnear_text(key), NULL, &error), &error);
}

static void add_set(pgnear_batch *batch, const char *key, uint8_t value)
{
    pgnear_error error;
    direct_must(pgnear_batch_set(batch, pgnear_text(key), (pgnear_bytes){&value, 1}, NULL, &error),
                &error);
}

static const pgnear_reply *run(pgnear_batch *batch, size_t expected)
{
    const pgnear_reply *replies;
    pgnear_error error;
    size_t count;
    direct_must(pgnear_batch_run(batch, NULL, &replies, &count, &error), &error);
    assert_int_equal(count, expected);
    for (size_t i = 0; i < count; i++) {
        direct_must(replies[i].code, replies[i].error);
    }
    return replies;
}

// In a child.
static _Noreturn void run_quietly(const struct node *node)
{
    pgnear *handle = direct_open(node);
    pgnear_batch *batch = pgnear_batch_create(handle);
    bool good = true;
    for (int i = 0; i < QUIET_ROUNDS && good; i++) {
        const pgnear_reply *replies;
        size_t count;
        if (i == 1) {
            direct_forbid_system_calls();
        }
        good = pgnear_batch_get(batch, pgnear_text("present"), NULL, NULL) == PGNEAR_OK &&
               pgnear_batch_get(batch, pgnear_text("absent"), NULL, NULL) == PGNEAR_OK &&
               pgnear_batch_get(batch, pgnear_text("present"), NULL, NULL) == PGNEAR_OK &&
               pgnear_batch_run(batch, NULL, &replies, &count, NULL) == PGNEAR_OK && count == 3 &&
               replies[0].item.present && !replies[1].item.present && replies[2].item.present;
    }
    syscall(SYS_exit_group, good ? 0 : 1);
    abort();
}

static void a_batch_of_hits_makes_no_system_call(struct scenario *scenario)
{
    struct node *node = direct_start(scenario);
    pid_t child = fork();
    if (child == 0) {
        run_quietly(node);
    }
    direct_await_child(child);
}

static void a_batch_sees_its_own_writes(struct scenario *scenario)
{
    struct node *node = direct_start(scenario);
    pgnear *handle = direct_open(node);
    pgnear_batch *batch = pgnear_batch_create(handle);
    direct_set_int(handle, "k", 0, PGNEAR_ACK_POSTGRES);
    for (uint8_t i = 1; i <= ROUNDS; i++) {
        add_get(batch, "k");
        add_set(batch, "k", i);
        add_get(batch, "k");
        add_get(batch, "present");
        pgnear_error error;
        direct_must(pgnear_batch_delete(batch, pgnear_text("k"), NULL, &error), &error);
        add_get(batch, "k");
        add_set(batch, "k", i);
        const pgnear_reply *replies = run(batch, 7);
        assert_int_equal(direct_int(&replies[0].item), i - 1);
        assert_int_equal(direct_int(&replies[2].item), i);
        assert_true(replies[3].item.present);
        assert_false(replies[5].item.present);
    }
    // A call may change whatever it likes.
    static const uint8_t PARAMS[] = "\x92\xa1k\x7f";
    pgnear_error error;
    direct_must(pgnear_batch_call(batch, "set", (pgnear_bytes){PARAMS, 4}, true, &error), &error);
    add_get(batch, "k");
    assert_int_equal(direct_int(&run(batch, 2)[1].item), 0x7f);
    pgnear_batch_destroy(batch);
    pgnear_close(handle);
}

static void a_reply_is_the_same_both_ways(struct scenario *scenario)
{
    static const char *const KEYS[] = {"present", "absent", "small"};
    struct node *node = direct_start(scenario);
    pgnear *handles[] = {direct_open(node), direct_open_socket_only(node)};
    direct_set_int(handles[0], "small", 7, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "small");
    pgnear_batch *batches[2];
    const pgnear_reply *replies[2];
    int64_t hits = node_stat_int(node, "cache.direct_hits");
    for (int way = 0; way < 2; way++) {
        batches[way] = pgnear_batch_create(handles[way]);
        for (size_t i = 0; i < 3; i++) {
            add_get(batches[way], KEYS[i]);
        }
        replies[way] = run(batches[way], 3);
    }
    for (size_t i = 0; i < 3; i++) {
        const pgnear_reply *a = &replies[0][i], *b = &replies[1][i];
        assert_int_equal(a->item.present, b->item.present);
        assert_int_equal(a->item.has_version, b->item.has_version);
        assert_int_equal(a->item.version, b->item.version);
        assert_int_equal(a->item.value.len, b->item.value.len);
        if (a->item.present) {
            assert_memory_equal(a->item.value.at, b->item.value.at, a->item.value.len);
        }
        assert_int_equal(a->result.len, b->result.len);
        assert_memory_equal(a->result.at, b->result.at, a->result.len);
    }
    node_await_stat_min(node, "cache.direct_hits", hits + 3);
    for (int way = 0; way < 2; way++) {
        pgnear_batch_destroy(batches[way]);
        pgnear_close(handles[way]);
    }
}

// A change that no notification announces: the handle was told of it by PostgreSQL alone, and the
// cache holds what was before.
static void nothing_older_is_told_in_a_batch(struct scenario *scenario)
{
    struct pg *pg = pg_start(scenario, NULL);
    struct node *node = node_start(scenario, pg, NULL);
    pgnear *handle = direct_open(node);
    pgnear_batch *batch = pgnear_batch_create(handle);
    direct_set_int(handle, "k", 1, PGNEAR_ACK_POSTGRES);
    direct_await_hit(node, "k");
    pg_exec(pg, "ALTER TABLE kv_store DISABLE TRIGGER ALL");
    pg_exec(pg, "UPDATE kv_store SET value = '2', version = version + 1000000");
    add_get(batch, "k");
    assert_int_equal(direct_int(&run(batch, 1)->item), 1);
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    fresh.fresh = true;
    pgnear_error error;
    direct_must(pgnear_batch_get(batch, pgnear_text("k"), &fresh, &error), &error);
    add_get(batch, "k");
    const pgnear_reply *replies = run(batch, 2);
    assert_int_equal(direct_int(&replies[0].item), 2);
    for (int i = 0; i < 3; i++) {
        add_get(batch, "k");
        assert_int_equal(direct_int(&run(batch, 1)->item), 2);
    }
    pgnear_batch_destroy(batch);
    pgnear_close(handle);
}

static void a_batch_outlives_the_nodes_process(struct scenario *scenario)
{
    struct node *node = direct_start(scenario);
    pgnear *handle = direct_open(node);
    pgnear_batch *batch = pgnear_batch_create(handle);
    const pgnear_reply *replies;
    pgnear_error error;
    size_t count;
    direct_assert_hit(node, handle, "present"); // so the files are open
    node_kill(node);
    add_get(batch, "present");
    add_get(batch, "absent");
    replies = run(batch, 2);
    assert_true(replies[0].item.present);
    assert_false(replies[1].item.present);
    // What only the node can do leaves the batch as it was.
    add_get(batch, "present");
    add_set(batch, "present", 5);
    add_get(batch, "present");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pgnear_batch_run(batch, NULL, &replies, &count, &error),
                         PGNEAR_UNREACHABLE);
    }
    node_start_again(node);
    replies = run(batch, 3);
    assert_true(replies[0].item.value.len > 1);
    assert_int_equal(direct_int(&replies[2].item), 5);
    pgnear_batch_destroy(batch);
    pgnear_close(handle);
}

static void read_fresh(pgnear *handle)
{
    pgnear_get_options fresh = PGNEAR_GET_OPTIONS_INIT;
    fresh.fresh = true;
    pgnear_item item;
    pgnear_error error;
    direct_must(pgnear_get(handle, pgnear_text("k"), &fresh, &item, &error), &error);
    assert_int_equal(direct_int(&item), 2);
}

// Behind a write of which nobody knows whether it is done.
static void expect_nothing_older(pgnear *handle)
{
    pgnear_get_options hasty = PGNEAR_GET_OPTIONS_INIT;
    hasty.timeout_ms = 20;
    pgnear_item item;
    pgnear_code code = pgnear_get(handle, pgnear_text("k"), &hasty, &item, NULL);
    assert_true(code == PGNEAR_TIMEOUT || (code == PGNEAR_OK && direct_int(&item) != 1));
}

static void a_write_that_is_not_done_hides_nothing(struct scenario *scenario)
{
    struct held_back held = held_back_start(scenario);
    pgnear *handle = direct_open(held.node);
    pgnear_error error;
    read_fresh(handle);
    assert_int_equal(pgnear_set(handle, pgnear_text("k"), HELD_BACK_BAD_VALUE, NULL, NULL, &error),
                     PGNEAR_INVALID_VALUE);
    assert_int_equal(direct_get_int(handle, "k"), 2);
    const pgnear_pair pairs[] = {{pgnear_text("k"), HELD_BACK_FIVE},
                                 {pgnear_text("k"), HELD_BACK_BAD_VALUE}};
    assert_int_equal(pgnear_mset(handle, pairs, 2, NULL, NULL, &error), PGNEAR_INVALID_VALUE);
    assert_int_equal(direct_get_int(handle, "k"), 2);
    const pgnear_bytes keys[] = {pgnear_text("k"), pgnear_text("")};
    assert_int_equal(pgnear_delete(handle, keys, 2, NULL, NULL, &error), PGNEAR_INVALID_KEY);
    assert_int_equal(direct_get_int(handle, "k"), 2);
    pgnear_write_options hasty = PGNEAR_WRITE_OPTIONS_INIT;
    hasty.timeout_ms = 20;
    assert_int_equal(pgnear_set(handle, pgnear_text("k"), HELD_BACK_FIVE, &hasty, NULL, &error),
                     PGNEAR_OUTCOME_UNKNOWN);
    expect_nothing_older(handle);
    faults_disarm(held.faults, FAULT_CACHE_FILL);
    assert_int_not_equal(direct_get_int(handle, "k"), 1);
    pgnear_close(handle);
}

static void a_write_of_a_batch_that_is_not_done_hides_nothing(struct scenario *scenario)
{
    struct held_back held = held_back_start(scenario);
    pgnear *handle = direct_open(held.node);
    pgnear_batch *batch = pgnear_batch_create(handle);
    const pgnear_reply *replies;
    pgnear_error error;
    size_t count;
    read_fresh(handle);
    direct_must(pgnear_batch_set(batch, pgnear_text("k"), HELD_BACK_BAD_VALUE, NULL, &error),
                &error);
    direct_must(pgnear_batch_run(batch, NULL, &replies, &count, &error), &error);
    assert_int_equal(replies[0].code, PGNEAR_INVALID_VALUE);
    add_get(batch, "k");
    assert_int_equal(direct_int(&run(batch, 1)->item), 2);
    pgnear_call_options hasty = PGNEAR_CALL_OPTIONS_INIT;
    hasty.timeout_ms = 20;
    add_set(batch, "k", 5);
    direct_must(pgnear_batch_run(batch, &hasty, &replies, &count, &error), &error);
    assert_int_equal(replies[0].code, PGNEAR_OUTCOME_UNKNOWN);
    expect_nothing_older(handle);
    faults_disarm(held.faults, FAULT_CACHE_FILL);
    pgnear_batch_destroy(batch);
    pgnear_close(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(a_batch_of_hits_makes_no_system_call),
        SCENARIO(a_batch_sees_its_own_writes),
        SCENARIO(a_reply_is_the_same_both_ways),
        SCENARIO(nothing_older_is_told_in_a_batch),
        SCENARIO(a_batch_outlives_the_nodes_process),
        SCENARIO(a_write_that_is_not_done_hides_nothing),
        SCENARIO(a_write_of_a_batch_that_is_not_done_hides_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
