// Writes that are acknowledged before they are in the outbox: when they get there, and who sees
// them until then.

#include "cache/writer_state.h"
#include "unit/cache/rig.h"

static int setup(void **state)
{
    struct rig *rig = memory_zeroed(1, sizeof *rig);
    rig_init(rig);
    rig_open(rig);
    *state = rig;
    return 0;
}

static bool count_entry(void *context, const struct entry *entry)
{
    assert_true(entry->seq > 0);
    ++*(int *)context;
    return true;
}

static int count_visible(struct rig *rig)
{
    int count = 0;
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, count_entry, &count), ERROR_NONE);
    return count;
}

static void a_memory_write_is_read_at_once_and_journaled_soon(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "k", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    rig_assert_pending(rig, "k", "v");
    assert_int_equal(count_visible(rig), 0);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LAST_SEQ), seq);
    rig_pass(rig, 10000);
    assert_int_equal(count_visible(rig), 1);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), seq);
}

static bool expect_next_key(void *context, const struct entry *entry)
{
    const char **next = context;
    struct entry_cursor cursor = entry_cursor_of(entry);
    struct pair pair;
    assert_true(entry_next_pair(&cursor, &pair));
    assert_int_equal(pair.key.len, 1);
    assert_int_equal(pair.key.at[0], *(*next)++);
    return true;
}

static void a_journal_ack_covers_the_memory_writes_before_it(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "a", "v", ACK_MEMORY);
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_turn(rig);
    rig_push_set(rig, "c", "v", ACK_MEMORY);
    rig_push_set(rig, "d", "v", ACK_JOURNAL);
    rig_push_set(rig, "e", "v", ACK_MEMORY);
    rig_turn(rig);
    const char *keys = "abcde";
    assert_int_equal(rig->outbox.visit(rig->outbox.outbox, 0, expect_next_key, &keys), ERROR_NONE);
    assert_string_equal(keys, "");
}

static void assert_accepted(struct rig *rig, uint64_t after_seq, const char *keys)
{
    assert_int_equal(
        rig->outbox.visit_accepted(rig->outbox.outbox, after_seq, expect_next_key, &keys),
        ERROR_NONE);
    assert_string_equal(keys, "");
}

static void what_is_in_memory_only_is_accepted_all_the_same(void **state)
{
    struct rig *rig = *state;
    assert_accepted(rig, 0, "");
    rig_push_set(rig, "a", "v", ACK_MEMORY);
    rig_push_set(rig, "b", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t first_seq = rig_expect_home(rig, ERROR_NONE);
    rig_expect_home(rig, ERROR_NONE);
    assert_int_equal(count_visible(rig), 0);
    assert_accepted(rig, 0, "ab");
    assert_accepted(rig, first_seq, "b");
    rig_push_set(rig, "c", "v", ACK_JOURNAL);
    rig_turn(rig);
    assert_accepted(rig, 0, "abc");
    rig_push_set(rig, "d", "v", ACK_MEMORY);
    rig_turn(rig);
    assert_int_equal(count_visible(rig), 3);
    assert_accepted(rig, 0, "abcd");
    assert_accepted(rig, first_seq + 2, "d");
}

static void what_a_turn_is_still_at_is_not_accepted_yet(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "a", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    struct pair pair = {.key = rig_text("b"), .value = rig_text("v")};
    struct call call = rig_call(METHOD_SET, ACK_JOURNAL, &pair);
    struct entry entry;
    struct buffer pairs = {0};
    entry_of_call(&call, &entry, &pairs);
    entry.seq = seq + 1;
    struct rows *rows = &rig->writer->memory.rows;
    struct rows_mark mark = rows_mark(rows);
    rows_add(rows, &entry);
    assert_accepted(rig, 0, "a");
    rows_cut(rows, mark);
    buffer_deinit(&pairs);
}

static void many_memory_writes_do_not_wait(void **state)
{
    struct rig *rig = *state;
    const int count = MEMORY_COUNT_MAX + 1;
    // So that it is not for want of room.
    rig_stop(rig);
    rig->settings.writes.outbox_bytes = 64 << 20;
    rig->settings.cache.size_bytes = 128 << 20;
    rig_open(rig);
    for (int i = 0; i < count; i++) {
        rig_push_set(rig, "k", "v", ACK_MEMORY);
    }
    rig_turn(rig);
    rig_turn(rig);
    rig_turn(rig);
    assert_int_equal(count_visible(rig), count);
}

static void a_flush_journals_memory_writes_and_goes_to_pg(void **state)
{
    struct rig *rig = *state;
    rig_push_set(rig, "k", "v", ACK_MEMORY);
    rig_turn(rig);
    uint64_t seq = rig_expect_home(rig, ERROR_NONE);
    struct call call = rig_call(METHOD_FLUSH, ACK_JOURNAL, NULL);
    rig_push(rig, &call);
    rig_turn(rig);
    assert_int_equal(count_visible(rig), 1);
    struct request *flush = rig_posted(rig);
    assert_int_equal(flush->call.method, METHOD_FLUSH);
    assert_int_equal(flush->after_seq, seq);
    request_destroy(flush);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_JOURNALED_SEQ), seq);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_memory_write_is_read_at_once_and_journaled_soon),
        TEST(a_journal_ack_covers_the_memory_writes_before_it),
        TEST(what_is_in_memory_only_is_accepted_all_the_same),
        TEST(what_a_turn_is_still_at_is_not_accepted_yet),
        TEST(many_memory_writes_do_not_wait),
        TEST(a_flush_journals_memory_writes_and_goes_to_pg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
