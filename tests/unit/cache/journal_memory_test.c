// What becomes of memory acknowledgements where their ring is full, deleted, moved away, or has no
// room, while the writer works.

#include "unit/cache/ring_files.h"

static void one_that_is_moved_away_is_made_anew(void **state)
{
    struct rig *rig = *state;
    char path[160], other[160];
    ring_files_path(rig, OUTBOX_RING_FILE, path);
    ring_files_path(rig, "elsewhere", other);
    rig_open(rig);
    for (int is_linked = 0; is_linked < 2; is_linked++) {
        // A second name, so that it is not gone without the first.
        assert_int_equal(is_linked == 1 ? link(path, other) : rename(path, other), 0);
        assert_int_equal(is_linked == 1 ? unlink(path) : 0, 0);
        rig_pass(rig, 2 * RIG_S);
        rig_pass(rig, 2 * RIG_S);
        assert_true(ring_files_have(rig, OUTBOX_RING_FILE));
        assert_int_equal(unlink(other), 0);
    }
    // Another file in its place is none that a start would find.
    assert_int_equal(rename(path, other), 0);
    ring_files_store(rig, OUTBOX_RING_FILE, (const uint8_t *)"", 1);
    rig_pass(rig, 2 * RIG_S);
    rig_pass(rig, 2 * RIG_S);
    ring_files_set(rig, "a", "1");
    rig_crash(rig);
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 0);
    rig_assert_pending(rig, "a", "1");
}

static void without_room_for_it_memory_acks_are_synced(void **state)
{
    struct rig *rig = *state;
    rig->has_log = true;
    rig_arm("outbox.ring_room=fail");
    rig_open(rig);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 0);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG), 1);
    ring_files_set(rig, "a", "1");
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), 1);
    ring_files_lose_machine(rig);
    rig_open(rig);
    rig_assert_entries(rig, ".");
    // Once there is room it is made, and in use once a start knows of it.
    rig_arm(NULL);
    rig_pass(rig, 2 * RIG_S);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    ring_files_set(rig, "b", "2");
    assert_int_equal(rig->writer->outbox.ring.count, 1);
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

static void a_full_one_is_a_group_or_a_commit(void **state)
{
    struct rig *rig = *state;
    for (int has_log = 0; has_log < 2; has_log++) {
        rig->has_log = has_log == 1;
        rig_open(rig);
        ring_files_set(rig, "a", "1");
        rig_arm("outbox.ring_full=fail:1");
        ring_files_set(rig, "b", "2");
        rig_arm(NULL);
        ring_files_set(rig, "c", "3");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOG_GROUPS), has_log);
        ring_files_lose_machine(rig);
        rig_open(rig);
        // Synced, and what came before with it; what came after is lost with the machine.
        rig_assert_entries(rig, has_log == 0 ? ".." : "....");
        assert_int_equal(rig_status(rig, STATUS_OUTBOX_LOST), 1 + has_log);
        rig_crash(rig);
    }
    rig_open(rig);
}

static void one_that_is_deleted_is_made_anew(void **state)
{
    struct rig *rig = *state;
    char path[160];
    rig->has_log = true;
    ring_files_path(rig, OUTBOX_RING_FILE, path);
    rig_open(rig);
    ring_files_set(rig, "a", "1");
    assert_int_equal(unlink(path), 0);
    rig_pass(rig, 2 * RIG_S);
    // What was in it alone is in the outbox.
    rig_assert_entries(rig, ".");
    rig_pass(rig, 2 * RIG_S);
    assert_int_equal(rig_status(rig, STATUS_OUTBOX_RING), 1);
    assert_int_equal(access(path, F_OK), 0);
    ring_files_set(rig, "b", "2");
    rig_crash(rig);
    rig_remove_tree(rig->cache_dir);
    rig_open(rig);
    rig_assert_entries(rig, "..");
    rig_crash(rig);
    // Where it is gone at a start, that goes on without what it held.
    assert_int_equal(unlink(path), 0);
    rig_open(rig);
    rig_assert_entries(rig, "..");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ring_files_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_is_moved_away_is_made_anew),
        TEST(without_room_for_it_memory_acks_are_synced),
        TEST(a_full_one_is_a_group_or_a_commit),
        TEST(one_that_is_deleted_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
