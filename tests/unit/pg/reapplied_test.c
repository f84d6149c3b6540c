// Conditions of writes that a failover lost, when they are applied again: the version that one
// named is gone with the server that drew it, and another stands for it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "pg/reapplied.h"

static const struct batch_limits LIMITS = {.rows_max = 2000, .entries_max = SIZE_MAX};

// Of the conditions that follow: what the node had applied when it held what they name.
static uint64_t held_seq;

// A set or a delete of "k".
static bool add(const struct reapplied *reapplied, struct batch *batch, uint64_t seq,
                struct call call)
{
    struct pair pair = {.key = slice_of_string("k"), .value = slice_of("\x01", 1)};
    struct buffer bytes = {0};
    struct entry entry;
    call.pairs = &pair;
    call.pairs_count = 1;
    entry_of_call(&call, &entry, &bytes);
    entry.seq = seq;
    entry.held_seq = held_seq;
    bool added = reapplied_add(reapplied, batch, &entry);
    buffer_deinit(&bytes);
    return added;
}

static const struct call SET = {.method = METHOD_SET};
static const struct call DELETE = {.method = METHOD_DELETE};
static const struct call SET_IF_7 = {
    .method = METHOD_SET, .condition = CONDITION_IF_VERSION, .if_version = 7};

// The batch's only write had this result.
static size_t commit(struct reapplied *reapplied, struct batch *batch, bool applied,
                     int64_t version)
{
    batch_seal(batch);
    assert_int_equal(batch->ops_count, 1);
    batch->ops[0]->is_known = true;
    batch->ops[0]->is_applied = applied;
    batch->ops[0]->has_version = version != 0;
    batch->ops[0]->version = version;
    size_t count = reapplied_note(reapplied, batch);
    batch_deinit(batch);
    return count;
}

static struct call set_if(int64_t version)
{
    return (struct call){
        .method = METHOD_SET, .condition = CONDITION_IF_VERSION, .if_version = version};
}

// Which version a write is sent with whose caller named this one.
static int64_t version_for(const struct reapplied *reapplied, uint64_t seq, int64_t named)
{
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(reapplied, &batch, seq, set_if(named)));
    int64_t version = batch.ops[0]->if_version;
    batch_deinit(&batch);
    return version;
}

static int64_t asked_version(const struct reapplied *reapplied, uint64_t seq)
{
    return version_for(reapplied, seq, 7);
}

// One write of `call`, which had this result.
static void replay(struct reapplied *reapplied, uint64_t seq, struct call call, bool applied,
                   int64_t version)
{
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(reapplied, &batch, seq, call));
    assert_int_equal(commit(reapplied, &batch, applied, version), 1);
}

static void a_condition_follows_what_was_applied_again(void **state)
{
    (void)state;
    struct reapplied reapplied = {0};
    struct batch batch;
    reapplied_begin(&reapplied, 20, 20);
    assert_int_equal(asked_version(&reapplied, 11), 7);
    batch_init(&batch, &LIMITS);
    assert_true(add(&reapplied, &batch, 10, SET));
    // What the batch makes of the key is not known yet.
    assert_false(add(&reapplied, &batch, 11, SET_IF_7));
    assert_int_equal(commit(&reapplied, &batch, true, 100), 1);
    assert_int_equal(asked_version(&reapplied, 11), 100);
    // New writes know the versions of now.
    assert_int_equal(asked_version(&reapplied, 21), 7);
    // One that failed left the row as it was; one that deleted it, none.
    replay(&reapplied, 12, SET_IF_7, false, 100);
    assert_int_equal(version_for(&reapplied, 13, 8), 100);
    replay(&reapplied, 14, DELETE, true, 0);
    assert_int_equal(asked_version(&reapplied, 15), 7);
    reapplied_deinit(&reapplied);
}

// The daemon ended as well: it may have been decided or not. It named a version from before the
// write that it came behind, which its caller never saw.
static void a_condition_from_before_does_not_follow(void **state)
{
    (void)state;
    struct reapplied reapplied = {0};
    reapplied_begin(&reapplied, 9, 20);
    replay(&reapplied, 10, SET, true, 100);
    held_seq = 0; // the node held another version, or none
    assert_int_equal(asked_version(&reapplied, 11), 7);
    held_seq = 9; // it held that one, before the set was applied
    assert_int_equal(asked_version(&reapplied, 11), 7);
    held_seq = 10; // it held that one, which is the set's
    assert_int_equal(asked_version(&reapplied, 11), 100);
    held_seq = 11; // and others had been applied, of other keys
    assert_int_equal(asked_version(&reapplied, 12), 100);
    held_seq = 0;
    reapplied_deinit(&reapplied);
}

// Two callers saw one version; one of them had not been answered when all ended. The second write
// to come must not hold only because the first one has made a new version.
static void one_version_lets_one_write_through(void **state)
{
    (void)state;
    struct reapplied reapplied = {0};
    struct batch batch;
    reapplied_begin(&reapplied, 0, 20);
    held_seq = 9;
    batch_init(&batch, &LIMITS);
    assert_true(add(&reapplied, &batch, 10, SET_IF_7));
    // A batch that comes to nothing changes nothing.
    batch_deinit(&batch);
    assert_int_equal(asked_version(&reapplied, 10), 7);
    replay(&reapplied, 10, SET_IF_7, true, 100);
    assert_int_equal(asked_version(&reapplied, 11), 7);
    assert_int_equal(version_for(&reapplied, 11, 6), 6);
    // One that saw what the first made goes on from it, and so does the next.
    held_seq = 11;
    replay(&reapplied, 12, set_if(8), true, 101);
    assert_int_equal(version_for(&reapplied, 13, 8), 8);
    held_seq = 12;
    assert_int_equal(version_for(&reapplied, 13, 9), 101);
    held_seq = 0;
    reapplied_deinit(&reapplied);
}

static void another_failover_forgets(void **state)
{
    (void)state;
    struct reapplied reapplied = {0};
    struct batch batch;
    reapplied_begin(&reapplied, 0, 20);
    batch_init(&batch, &LIMITS);
    assert_true(add(&reapplied, &batch, 10, SET));
    commit(&reapplied, &batch, true, 100);
    reapplied_begin(&reapplied, 0, 10);
    assert_int_equal(reapplied.to_seq, 20);
    assert_int_equal(asked_version(&reapplied, 11), 7);
    // Nothing is kept once all is applied again.
    batch_init(&batch, &LIMITS);
    assert_true(add(&reapplied, &batch, 20, SET));
    assert_int_equal(commit(&reapplied, &batch, true, 100), 1);
    assert_null(reapplied.keys);
    batch_init(&batch, &LIMITS);
    assert_true(add(&reapplied, &batch, 21, SET));
    assert_int_equal(commit(&reapplied, &batch, true, 101), 0);
    reapplied_deinit(&reapplied);
}

// Another server that has all of it has the versions as well.
static void a_failover_that_lost_nothing_keeps_the_versions(void **state)
{
    (void)state;
    struct reapplied reapplied = {0};
    struct batch batch;
    reapplied_begin(&reapplied, 15, 15);
    batch_init(&batch, &LIMITS);
    assert_true(add(&reapplied, &batch, 10, SET));
    commit(&reapplied, &batch, true, 100);
    reapplied_extend(&reapplied, 20, 20);
    reapplied_extend(&reapplied, 12, 12);
    assert_int_equal(reapplied.to_seq, 20);
    assert_int_equal(asked_version(&reapplied, 16), 100);
    reapplied_deinit(&reapplied);
}

// What PostgreSQL is known to hold is taken as one batch, whatever is in it.
static void what_is_decided_is_not_divided(void **state)
{
    (void)state;
    struct reapplied reapplied = {0};
    const struct batch_limits limits = {
        .rows_max = SIZE_MAX, .entries_max = SIZE_MAX, .is_unbounded = true};
    struct batch batch;
    reapplied_begin(&reapplied, 0, 20);
    batch_init(&batch, &limits);
    assert_true(add(&reapplied, &batch, 10, SET));
    assert_true(add(&reapplied, &batch, 11, SET_IF_7));
    batch_seal(&batch);
    assert_int_equal(reapplied_note(&reapplied, &batch), 2);
    batch_deinit(&batch);
    reapplied_deinit(&reapplied);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_follows_what_was_applied_again),
        cmocka_unit_test(a_condition_from_before_does_not_follow),
        cmocka_unit_test(one_version_lets_one_write_through),
        cmocka_unit_test(another_failover_forgets),
        cmocka_unit_test(a_failover_that_lost_nothing_keeps_the_versions),
        cmocka_unit_test(what_is_decided_is_not_divided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
