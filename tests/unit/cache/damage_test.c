// A start that finds its files damaged, deleted or of another life: the cache is made anew, and the
// outbox stops it.
#include "unit/cache/rig.h"

#include <fcntl.h>

static void scribble(const struct rig *rig, const char *dir, const char *name, off_t at, size_t len)
{
    char path[128];
    rig_path(rig, dir, name, path);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    char garbage[4096];
    memset(garbage, 0x5a, sizeof garbage);
    for (size_t done = 0; done < len; done += sizeof garbage) {
        assert_int_equal(pwrite(fd, garbage, sizeof garbage, at + (off_t)done), sizeof garbage);
    }
    close(fd);
}

static void key_of(int i, char key[16])
{
    snprintf(key, 16, "k%05d", i);
}

// Flushes the keys `from` to `to`, the last of which was written as `seq`.

static void fill_some(struct rig *rig)
{
    rig_open(rig);
    rig_feed(rig, FEED_STARTED);
    for (int i = 0; i < 2000; i++) {
        char key[16];
        key_of(i, key);
        rig_push_fill(rig, key, "a value of some length, to have some pages", i, rig_epoch(rig));
    }
    rig_turn(rig);
    rig_set(rig, "mine", "v");
    rig_crash(rig);
}

static void assert_cold_but_whole(struct rig *rig)
{
    rig_open(rig);
    rig_assert_miss(rig, "k00000");
    rig_assert_miss(rig, "k01999");
    rig_assert_pending(rig, "mine", "v");
    assert_true(rig_status(rig, STATUS_OUTBOX_DEPTH) >= 1);
}

static void a_damaged_cache_is_wiped(void **state)
{
    struct rig *rig = *state;
    fill_some(rig);
    scribble(rig, "cache", "cache.mdb", 0, 8192); // its meta pages
    assert_cold_but_whole(rig);
    rig_crash(rig);
    fill_some(rig);
    scribble(rig, "cache", "cache.mdb", 8192, 1 << 20); // all the others
    assert_cold_but_whole(rig);
    rig_crash(rig);
    fill_some(rig);
    char path[128];
    rig_path(rig, "cache", "cache.mdb", path);
    assert_int_equal(truncate(path, 20000), 0);
    assert_cold_but_whole(rig);
    rig_crash(rig);
    fill_some(rig);
    scribble(rig, "cache", "control", 0, 4096);
    assert_cold_but_whole(rig);
}

static void a_deleted_cache_is_made_anew(void **state)
{
    struct rig *rig = *state;
    fill_some(rig);
    rig_remove_tree(rig->cache_dir);
    assert_cold_but_whole(rig);
}

static void a_cache_of_another_table_or_outbox_is_wiped(void **state)
{
    struct rig *rig = *state;
    fill_some(rig);
    rig->settings.postgres.table = "other";
    assert_cold_but_whole(rig);
    rig_crash(rig);
    rig->settings.postgres.table = "kv_store";
    fill_some(rig);
    rig_remove_tree(rig->outbox_dir);
    rig_open(rig);
    rig_assert_miss(rig, "k00000");
    rig_assert_miss(rig, "mine");
}

static void a_smaller_cache_starts_cold_after_a_stop(void **state)
{
    struct rig *rig = *state;
    fill_some(rig);
    rig_open(rig);
    rig_stop(rig);
    rig->settings.cache.size_bytes /= 2;
    assert_cold_but_whole(rig);
}

static void a_damaged_outbox_stops_the_start(void **state)
{
    struct rig *rig = *state;
    static const struct {
        off_t at;
        size_t len;
        off_t cut; // 0: not
    } DAMAGES[] = {{0, 8192, 0}, {8192, 65536, 0}, {0, 0, 1}, {0, 0, 12288}};
    for (size_t i = 0; i < sizeof DAMAGES / sizeof DAMAGES[0]; i++) {
        rig_open(rig);
        for (int write = 0; write < 50; write++) {
            rig_set(rig, "k", "v");
        }
        rig_crash(rig);
        char path[128];
        rig_path(rig, "outbox", "outbox.mdb", path);
        if (DAMAGES[i].cut > 0) {
            assert_int_equal(truncate(path, DAMAGES[i].cut - 1), 0);
        } else {
            scribble(rig, "outbox", "outbox.mdb", DAMAGES[i].at, DAMAGES[i].len);
        }
        struct stat before, after;
        assert_int_equal(stat(path, &before), 0);
        struct failure failure;
        assert_int_equal(rig_try_open(rig, &failure), ERROR_CORRUPT);
        assert_non_null(strstr(failure.message, "is damaged"));
        assert_non_null(strstr(failure.message, rig->outbox_dir));
        // Untouched, for whoever is to mend it.
        assert_int_equal(stat(path, &after), 0);
        assert_int_equal(after.st_size, before.st_size);
        assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
        assert_int_equal(unlink(path), 0);
    }
    rig_open(rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_damaged_cache_is_wiped),
        TEST(a_deleted_cache_is_made_anew),
        TEST(a_cache_of_another_table_or_outbox_is_wiped),
        TEST(a_smaller_cache_starts_cold_after_a_stop),
        TEST(a_damaged_outbox_stops_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
