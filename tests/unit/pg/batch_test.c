// What one transaction writes: coalescing, levels, groups and their order, limits; and what is told
// of its outcome.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "pg/batch.h"
#include "pg/batch_outcome.h"

static const struct batch_limits LIMITS = {
    .rows_max = 2000, .entries_max = SIZE_MAX, .now_us = 1000000};

static bool add_pairs(struct batch *batch, uint64_t seq, struct call call, struct pair *pairs,
                      size_t pairs_count)
{
    struct buffer bytes = {0};
    struct entry entry;
    call.pairs = pairs;
    call.pairs_count = pairs_count;
    entry_of_call(&call, &entry, &bytes);
    entry.seq = seq;
    entry.expires_at_us = call.ttl_ms;
    bool added = batch_add(batch, &entry);
    buffer_deinit(&bytes);
    return added;
}

static bool add_call(struct batch *batch, uint64_t seq, struct call call, const char *key)
{
    struct pair pair = {.key = slice_of_string(key), .value = slice_of("\x01", 1)};
    return add_pairs(batch, seq, call, &pair, 1);
}

static bool add(struct batch *batch, uint64_t seq, enum method method, const char *key)
{
    return add_call(batch, seq, (struct call){.method = method}, key);
}

// "put a@1 b@2 | delete c@3": the groups with the keys and seqs of their writes.
static void assert_groups(struct batch *batch, const char *expected)
{
    static const char *const KINDS[] = {
        "put",  "delete", "put-if-absent", "put-if-version", "delete-if-version",
        "incr", "merge",  "touch"};
    struct buffer text = {0};
    for (size_t i = 0; i < batch->groups_count; i++) {
        const struct batch_group *group = &batch->groups[i];
        buffer_printf(&text, "%s%s%s", i == 0 ? "" : " | ", KINDS[group->kind],
                      group->returns ? "!" : "");
        for (size_t j = 0; j < group->ops_count; j++) {
            buffer_printf(&text, " %.*s@%d", SLICE_FORMAT(group->ops[j]->key),
                          (int)group->ops[j]->entry->seq);
        }
    }
    buffer_append(&text, "", 1);
    assert_string_equal((const char *)buffer_slice(&text).at, expected);
    buffer_deinit(&text);
}

static void keys_are_sorted_and_coalesced(void **state)
{
    (void)state;
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(&batch, 1, METHOD_SET, "b"));
    assert_true(add(&batch, 2, METHOD_SET, "a"));
    assert_true(add(&batch, 3, METHOD_DELETE, "c"));
    assert_true(add(&batch, 4, METHOD_SET, "b"));
    assert_true(add(&batch, 5, METHOD_DELETE, "a"));
    batch_seal(&batch);
    assert_groups(&batch, "put b@4 | delete a@5 c@3");
    assert_int_equal(batch.rows_count, 3);
    assert_int_equal(batch_to_seq(&batch), 5);
    assert_int_equal(batch_keys_count(&batch), 3);
    batch_deinit(&batch);
}

static void writes_with_results_are_not_crossed(void **state)
{
    (void)state;
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(&batch, 1, METHOD_SET, "a"));
    assert_true(add(&batch, 2, METHOD_INCR, "a"));
    assert_true(add(&batch, 3, METHOD_SET, "a"));
    assert_true(add(&batch, 4, METHOD_SET, "a"));
    assert_true(add(&batch, 5, METHOD_SET, "b"));
    assert_true(add(&batch, 6, METHOD_MERGE, "a"));
    assert_true(add(&batch, 7, METHOD_TOUCH, "b"));
    batch_seal(&batch);
    assert_groups(&batch, "put a@1 b@5 | incr! a@2 | touch! b@7 | put a@4 | merge! a@6");
    batch_deinit(&batch);
}

static void a_caller_who_waits_keeps_the_write(void **state)
{
    (void)state;
    const struct call waiting_set = {.method = METHOD_SET, .ack = ACK_POSTGRES};
    const struct call waiting_delete = {.method = METHOD_DELETE, .ack = ACK_POSTGRES};
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(&batch, 1, METHOD_SET, "a"));
    assert_true(add_call(&batch, 2, waiting_set, "a"));    // replaces what nobody waits for
    assert_true(add(&batch, 3, METHOD_SET, "a"));          // but is not replaced
    assert_true(add_call(&batch, 4, waiting_delete, "a")); // counts what it deletes
    batch_seal(&batch);
    assert_groups(&batch, "put! a@2 | put a@3 | delete! a@4");
    batch_deinit(&batch);
}

static void conditions_stand_alone(void **state)
{
    (void)state;
    const struct call absent = {.method = METHOD_SET, .condition = CONDITION_IF_ABSENT};
    const struct call version = {.method = METHOD_SET, .condition = CONDITION_IF_VERSION};
    const struct call gone = {.method = METHOD_DELETE, .condition = CONDITION_IF_VERSION};
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add_call(&batch, 1, absent, "a"));
    assert_true(add_call(&batch, 2, version, "b"));
    assert_true(add_call(&batch, 3, gone, "c"));
    assert_true(add_call(&batch, 4, version, "a"));
    batch_seal(&batch);
    assert_groups(&batch, "put-if-absent! a@1 | put-if-version! b@2 | delete-if-version! c@3 |"
                          " put-if-version! a@4");
    batch_deinit(&batch);
}

static void versioning_keeps_every_write(void **state)
{
    (void)state;
    struct batch_limits limits = LIMITS;
    limits.versioning = true;
    struct batch batch;
    batch_init(&batch, &limits);
    assert_true(add(&batch, 1, METHOD_SET, "a"));
    assert_true(add(&batch, 2, METHOD_SET, "a"));
    // Within one mset a key is written once all the same.
    struct pair pairs[] = {{.key = slice_of_string("b"), .value = slice_of("\x01", 1)},
                           {.key = slice_of_string("b"), .value = slice_of("\x02", 1)}};
    assert_true(add_pairs(&batch, 3, (struct call){.method = METHOD_MSET}, pairs, 2));
    batch_seal(&batch);
    assert_groups(&batch, "put a@1 b@3 | put a@2");
    assert_memory_equal(batch.groups[0].ops[1]->value.at, "\x02", 1);
    batch_deinit(&batch);
}

static void an_expired_set_is_a_delete(void **state)
{
    (void)state;
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add_call(&batch, 1, (struct call){.method = METHOD_SET, .ttl_ms = 999999}, "past"));
    assert_true(
        add_call(&batch, 2, (struct call){.method = METHOD_SET, .ttl_ms = 1000001}, "future"));
    batch_seal(&batch);
    assert_groups(&batch, "put future@2 | delete past@1");
    batch_deinit(&batch);
}

static void an_mset_is_never_divided(void **state)
{
    (void)state;
    struct batch_limits limits = LIMITS;
    limits.rows_max = 4;
    enum { PAIRS = 10 };
    static const char KEYS[] = "0123456789";
    struct pair pairs[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = (struct pair){.key = slice_of(KEYS + i, 1), .value = slice_of("\x01", 1)};
    }
    struct batch batch;
    batch_init(&batch, &limits);
    assert_true(add_pairs(&batch, 1, (struct call){.method = METHOD_MSET}, pairs, PAIRS));
    assert_false(add(&batch, 2, METHOD_SET, "x"));
    batch_deinit(&batch);

    batch_init(&batch, &limits);
    assert_true(add(&batch, 1, METHOD_SET, "x"));
    assert_false(add_pairs(&batch, 2, (struct call){.method = METHOD_MSET}, pairs, PAIRS));
    assert_int_equal(batch_to_seq(&batch), 1);
    batch_deinit(&batch);
}

static void limits_end_a_batch(void **state)
{
    (void)state;
    struct batch_limits limits = LIMITS;
    limits.rows_max = 2;
    struct batch batch;
    batch_init(&batch, &limits);
    assert_true(add(&batch, 1, METHOD_SET, "a"));
    assert_true(add(&batch, 2, METHOD_SET, "a"));
    assert_true(add(&batch, 3, METHOD_SET, "b"));
    assert_false(add(&batch, 4, METHOD_SET, "c"));
    batch_deinit(&batch);

    limits = LIMITS;
    limits.entries_max = 1;
    batch_init(&batch, &limits);
    assert_true(add(&batch, 1, METHOD_SET, "a"));
    assert_false(add(&batch, 2, METHOD_SET, "b"));
    batch_deinit(&batch);

    batch_init(&batch, &LIMITS);
    for (uint64_t seq = 1; seq <= BATCH_LEVELS_MAX; seq++) {
        assert_true(add(&batch, seq, METHOD_INCR, "hot"));
    }
    assert_false(add(&batch, BATCH_LEVELS_MAX + 1, METHOD_INCR, "hot"));
    assert_true(add(&batch, BATCH_LEVELS_MAX + 2, METHOD_INCR, "cold"));
    batch_seal(&batch);
    assert_int_equal(batch.groups_count, BATCH_LEVELS_MAX);
    batch_deinit(&batch);
}

static void groups_with_results_are_bounded(void **state)
{
    (void)state;
    struct batch batch;
    batch_init(&batch, &LIMITS);
    for (int i = 0; i < BATCH_GROUP_RESULTS_MAX + 1; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%04d", i);
        assert_true(add(&batch, (uint64_t)i + 1, METHOD_INCR, key));
    }
    batch_seal(&batch);
    assert_int_equal(batch.groups_count, 2);
    assert_int_equal(batch.groups[0].ops_count, BATCH_GROUP_RESULTS_MAX);
    assert_non_null(batch_group_find(&batch.groups[1], slice_of_string("k0100")));
    assert_null(batch_group_find(&batch.groups[0], slice_of_string("k0100")));
    batch_deinit(&batch);
}

static void retired_entries_flush_as_nothing(void **state)
{
    (void)state;
    struct batch batch;
    batch_init(&batch, &LIMITS);
    struct pair pair = {.key = slice_of_string("a"), .value = slice_of("\x01", 1)};
    struct call call = {.method = METHOD_INCR, .pairs_count = 1, .pairs = &pair};
    struct buffer bytes = {0};
    struct entry entry;
    entry_of_call(&call, &entry, &bytes);
    entry.seq = 7;
    entry.retired = true;
    assert_true(batch_add(&batch, &entry));
    buffer_deinit(&bytes);
    batch_seal(&batch);
    assert_int_equal(batch.groups_count, 0);
    assert_int_equal(batch_to_seq(&batch), 7);
    assert_false(batch_find(&batch, 7)->returns);
    assert_null(batch_find(&batch, 6));
    batch_deinit(&batch);
}

// What tries a dead letter again, expecting something of its key.
static struct entry guarded(uint64_t seq, struct call *call, struct buffer *pairs,
                            struct buffer *guards)
{
    struct entry entry;
    entry_of_call(call, &entry, pairs);
    entry_append_guard(guards, &(struct guard){.present = true, .version = 5});
    entry.seq = seq;
    entry.letter_seq = 1;
    entry.is_guarded = true;
    entry.guards = buffer_slice(guards);
    return entry;
}

static void a_guarded_entry_is_a_batch_of_its_own(void **state)
{
    (void)state;
    struct pair pair = {.key = slice_of_string("a"), .value = slice_of("\x01", 1)};
    struct call call = {.method = METHOD_SET, .pairs_count = 1, .pairs = &pair};
    struct buffer pairs = {0}, guards = {0};
    struct entry entry = guarded(7, &call, &pairs, &guards);
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(&batch, 6, METHOD_SET, "b"));
    assert_false(batch_add(&batch, &entry));
    batch_deinit(&batch);
    batch_init(&batch, &LIMITS);
    assert_true(batch_add(&batch, &entry));
    assert_false(add(&batch, 8, METHOD_SET, "b"));
    batch_seal(&batch);
    assert_groups(&batch, "put a@7");
    struct flushed_message *flushed = batch_flushed(&batch, 7, 1, true);
    assert_int_equal(flushed->letters_count, 1);
    assert_int_equal(flushed->letters[0], 1);
    assert_true(flushed->keys[0].drop);
    message_destroy(&flushed->message);
    batch_deinit(&batch);
    // It is the same from the disk.
    struct buffer bytes = {0};
    struct entry decoded;
    struct guard guard;
    entry_encode(&entry, &bytes);
    assert_int_equal(entry_decode(7, buffer_slice(&bytes), &decoded), ERROR_NONE);
    assert_int_equal(decoded.letter_seq, 1);
    assert_true(decoded.is_guarded && entry_next_guard(&decoded.guards, &guard));
    assert_true(guard.present && guard.version == 5);
    assert_false(entry_next_guard(&decoded.guards, &guard));
    buffer_deinit(&bytes);
    buffer_deinit(&pairs);
    buffer_deinit(&guards);
}

// ---- Outcomes

static const struct flushed_key *flushed_key(const struct flushed_message *flushed, const char *key)
{
    for (size_t i = 0; i < flushed->keys_count; i++) {
        if (slice_equal(flushed->keys[i].key, slice_of_string(key))) {
            return &flushed->keys[i];
        }
    }
    return NULL;
}

static void a_failed_condition_leaves_what_was_before(void **state)
{
    (void)state;
    const struct call version = {.method = METHOD_SET, .condition = CONDITION_IF_VERSION};
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add(&batch, 5, METHOD_SET, "a"));
    assert_true(add_call(&batch, 6, version, "a"));
    assert_true(add_call(&batch, 7, version, "b"));
    batch_seal(&batch);
    struct batch_op *put = batch_find(&batch, 5)->ops[0];
    put->is_known = put->is_applied = put->has_version = true;
    put->version = 50;
    for (uint64_t seq = 6; seq <= 7; seq++) {
        struct batch_op *op = batch_find(&batch, seq)->ops[0];
        op->is_known = op->has_version = true;
        op->version = 50;
    }
    struct reply reply = {0};
    batch_reply(batch_find(&batch, 6), &reply);
    assert_int_equal(reply.failure.error, ERROR_CONFLICT);
    assert_true(reply.failure.has_version);
    assert_int_equal(reply.failure.version, 50);
    reply_deinit(&reply);

    struct flushed_message *flushed = batch_flushed(&batch, 7, 3, true);
    assert_int_equal(flushed->applied_seq, 7);
    const struct flushed_key *key = flushed_key(flushed, "a");
    assert_int_equal(key->seq, 5);
    assert_false(key->drop);
    assert_int_equal(key->version, 50);
    assert_true(flushed_key(flushed, "b")->drop);
    message_destroy(&flushed->message);
    batch_deinit(&batch);
}

static void recorded_results_answer_what_was_lost(void **state)
{
    (void)state;
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    const struct call waiting = {.method = METHOD_INCR, .id = slice_of_string("once")};
    struct batch batch;
    batch_init(&batch, &LIMITS);
    assert_true(add_call(&batch, 1, waiting, "n"));
    assert_true(add(&batch, 2, METHOD_SET, "p"));
    assert_true(add(&batch, 3, METHOD_INCR, "m"));
    batch_seal(&batch);
    const char *json = "[[1, \"n\", true, 17, 42], [9, \"other\", true, 18, null]]";
    assert_int_equal(batch_take_recorded(&batch, slice_of_string(json), &limits), ERROR_NONE);

    struct reply reply = {0};
    batch_reply(batch_find(&batch, 1), &reply);
    assert_int_equal(reply.failure.error, ERROR_NONE);
    assert_int_equal(reply.items[0].version, 17);
    assert_memory_equal(reply.items[0].value.at, "\x2a", 1);
    reply_deinit(&reply);
    batch_reply(batch_find(&batch, 3), &reply);
    assert_int_equal(reply.failure.error, ERROR_OUTCOME_UNKNOWN);
    reply_deinit(&reply);

    struct flushed_message *flushed = batch_flushed(&batch, 3, 1, false);
    assert_true(flushed_key(flushed, "n")->drop);
    assert_true(flushed_key(flushed, "p")->drop);
    assert_int_equal(flushed->answers_count, 1);
    assert_int_equal(flushed->answers[0].seq, 1);
    message_destroy(&flushed->message);

    static const char *const BROKEN[] = {"",
                                         "{}",
                                         "[1]",
                                         "[[1]]",
                                         "[[1,\"n\",true,\"x\",1]]",
                                         "[[-1,\"n\",true,1,1]]",
                                         "[[1,\"n\",1,1,1]]"};
    for (size_t i = 0; i < sizeof BROKEN / sizeof BROKEN[0]; i++) {
        assert_int_equal(batch_take_recorded(&batch, slice_of_string(BROKEN[i]), &limits),
                         ERROR_CORRUPT);
    }
    batch_deinit(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_sorted_and_coalesced),
        cmocka_unit_test(writes_with_results_are_not_crossed),
        cmocka_unit_test(a_caller_who_waits_keeps_the_write),
        cmocka_unit_test(conditions_stand_alone),
        cmocka_unit_test(versioning_keeps_every_write),
        cmocka_unit_test(an_expired_set_is_a_delete),
        cmocka_unit_test(an_mset_is_never_divided),
        cmocka_unit_test(limits_end_a_batch),
        cmocka_unit_test(groups_with_results_are_bounded),
        cmocka_unit_test(retired_entries_flush_as_nothing),
        cmocka_unit_test(a_guarded_entry_is_a_batch_of_its_own),
        cmocka_unit_test(a_failed_condition_leaves_what_was_before),
        cmocka_unit_test(recorded_results_answer_what_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
