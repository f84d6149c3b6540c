// What a start refuses, and what it makes of its own that none before it had.
#include "unit/cache/rig.h"

#include "cache/outbox.h"

static void a_second_daemon_is_refused(void **state)
{
    struct rig *rig = *state;
    rig_open(rig);
    const struct writer_options options = {.settings = &rig->settings, .status = &rig->status};
    struct writer *second;
    struct failure failure = {0};
    assert_int_equal(writer_open(&options, &second, &failure), ERROR_IN_USE);
    assert_non_null(strstr(failure.message, "in use"));
    struct settings other = rig->settings;
    char dir[96];
    snprintf(dir, sizeof dir, "%s/outbox2", rig->dir);
    other.writes.dir = dir;
    const struct writer_options same_cache = {.settings = &other, .status = &rig->status};
    assert_int_equal(writer_open(&same_cache, &second, &failure), ERROR_IN_USE);
    assert_non_null(strstr(failure.message, rig->cache_dir));
    rig_set(rig, "k", "v"); // the first is none the worse for it
}

static void a_memory_file_system_is_refused_for_the_outbox(void **state)
{
    struct rig *rig = *state;
    struct stat shm;
    if (stat("/dev/shm", &shm) != 0 ||
        directory_refused_file_system("/dev/shm", DIRECTORY_DURABLE) == NULL) {
        skip();
    }
    char dir[] = "/dev/shm/pgnear-outbox-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    rig->settings.writes.dir = dir;
    struct failure failure;
    assert_int_equal(rig_try_open(rig, &failure), ERROR_CONFIG);
    assert_non_null(strstr(failure.message, "tmpfs"));
    rig->settings.writes.dir = rig->outbox_dir;
    rig->settings.cache.dir = dir;
    rig_open(rig); // but not for the cache
    rig_crash(rig);
    rig_remove_tree(dir);
}

static void a_cache_smaller_than_the_outbox_is_refused(void **state)
{
    struct rig *rig = *state;
    rig->settings.cache.size_bytes = rig->settings.writes.outbox_bytes;
    struct failure failure;
    assert_int_equal(rig_try_open(rig, &failure), ERROR_CONFIG);
    assert_non_null(strstr(failure.message, "cache.size"));
}

static void starts_are_journaled_incarnations(void **state)
{
    struct rig *rig = *state;
    char first[37], node[37];
    rig_open(rig);
    strcpy(first, writer_identity(rig->writer)->incarnation);
    strcpy(node, writer_identity(rig->writer)->node);
    assert_false(rig->outbox.knows_incarnation(rig->outbox.outbox, first));
    rig_crash(rig);
    rig_open(rig);
    assert_string_equal(writer_identity(rig->writer)->node, node);
    assert_string_not_equal(writer_identity(rig->writer)->incarnation, first);
    assert_true(rig->outbox.knows_incarnation(rig->outbox.outbox, first));
    for (int i = 0; i < OUTBOX_INCARNATIONS_MAX; i++) {
        rig_crash(rig);
        rig_open(rig);
    }
    assert_false(rig->outbox.knows_incarnation(rig->outbox.outbox, first));
}

static void a_seq_is_never_used_twice(void **state)
{
    struct rig *rig = *state;
    uint64_t last = 0;
    for (int start = 0; start < 3; start++) {
        rig_open(rig);
        uint64_t seq = rig_set(rig, "k", "v");
        // Beyond whatever may have been given out before, entry or not.
        assert_true(start == 0 || seq >= last + (1 << 20));
        last = seq;
        rig_crash(rig);
    }
}

// A reader that died in another process leaves its slot; the start takes it back.

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_daemon_is_refused),
        TEST(a_memory_file_system_is_refused_for_the_outbox),
        TEST(a_cache_smaller_than_the_outbox_is_refused),
        TEST(starts_are_journaled_incarnations),
        TEST(a_seq_is_never_used_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
