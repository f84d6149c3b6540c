// What `check` says of the disks and the readers, each item by breaking that thing.

#include "unit/cache/rig.h"

#include <sys/stat.h>

#include "cache/inspection.h"
#include "cache/writer_state.h"
#include "cachefile/environment.h"

// The message of an item, after "ok: " or "wrong: ".
static const char *item_of(struct rig *rig, const char *name)
{
    static char text[512];
    struct reply reply = {0};
    text[0] = '\0';
    inspect(rig->writer, &reply);
    for (size_t i = 0; i < reply.checks_count; i++) {
        const struct check_item *item = &reply.checks[i];
        if (slice_equal(item->item, slice_of_string(name))) {
            snprintf(text, sizeof text, "%s: %.*s", item->ok ? "ok" : "wrong",
                     SLICE_FORMAT(item->message));
        }
    }
    arena_deinit(&reply.arena);
    return text;
}

static void assert_item(struct rig *rig, const char *name, const char *words)
{
    const char *text = item_of(rig, name);
    if (strstr(text, words) == NULL) {
        fail_msg("%s says \"%s\", not \"%s\"", name, text, words);
    }
}

static void all_is_in_order(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_open(&rig);
    assert_item(&rig, "cache directory", "ok: /var/tmp/");
    assert_item(&rig, "outbox directory", "MiB free");
    assert_item(&rig, "outbox room", "ok: ");
    assert_item(&rig, "outbox log", "wrong: not in use");
    assert_item(&rig, "outbox ring", "ok: in use");
    assert_item(&rig, "dead letters", "ok: 0 dead letters");
    assert_item(&rig, "reader slots", "ok: ");
    rig_deinit(&rig);
}

static void a_directory_that_was_deleted_is_named(void **state)
{
    (void)state;
    struct rig rig;
    char moved[96];
    rig_init(&rig);
    rig_open(&rig);
    snprintf(moved, sizeof moved, "%s.moved", rig.cache_dir);
    assert_int_equal(rename(rig.cache_dir, moved), 0);
    assert_item(&rig, "cache directory", "wrong: ");
    assert_item(&rig, "cache directory", "was it deleted?");
    assert_int_equal(rename(moved, rig.cache_dir), 0);
    rig_deinit(&rig);
}

// Both go on working for the daemon, which has them open, and neither is there for its next start.
static void an_outbox_that_is_gone_is_named(void **state)
{
    (void)state;
    struct rig rig;
    char path[160], moved[176];
    rig_init(&rig);
    rig_open(&rig);
    assert_item(&rig, "outbox file", "ok: ");
    for (int is_directory = 0; is_directory < 2; is_directory++) {
        snprintf(path, sizeof path, "%s%s", rig.outbox_dir, is_directory ? "" : "/outbox.mdb");
        snprintf(moved, sizeof moved, "%s.moved", path);
        assert_int_equal(rename(path, moved), 0);
        assert_item(&rig, "outbox file", "wrong: outbox.mdb was deleted or moved away");
        if (is_directory) { // as good as none
            assert_int_equal(mkdir(path, 0750), 0);
            assert_item(&rig, "outbox file", "wrong: ");
            assert_int_equal(rmdir(path), 0);
        }
        assert_int_equal(rename(moved, path), 0);
        assert_item(&rig, "outbox file", "ok: ");
    }
    rig_deinit(&rig);
}

static void a_file_system_that_forgets_is_named(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_open(&rig);
    if (directory_refused_file_system("/dev/shm", DIRECTORY_DURABLE) == NULL) {
        rig_deinit(&rig);
        skip(); // it is on a disk here
    }
    rig.settings.writes.dir = "/dev/shm";
    assert_item(&rig, "outbox directory", "wrong: /dev/shm is on ");
    rig.settings.writes.dir = rig.outbox_dir;
    rig_deinit(&rig);
}

static void a_full_outbox_and_dead_letters_are_named(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_open(&rig);
    static char value[64 * 1024];
    memset(value, 'x', sizeof value - 1);
    while (status_get(&rig.status, STATUS_OUTBOX_BYTES) <= (4 << 20) / 100 * 95) {
        rig_set(&rig, "k", value);
    }
    assert_item(&rig, "outbox room", "of 4096 KiB in use; writes are OVERLOADED until");
    // What is applied makes way: it does not count where nothing waits.
    status_set(&rig.status, STATUS_OUTBOX_DEPTH, 0);
    assert_item(&rig, "outbox room", "ok: 0 of 4096 KiB in use");
    status_set(&rig.status, STATUS_OUTBOX_DEAD_LETTERS, 2);
    assert_item(&rig, "dead letters", "wrong: 2 dead letters");
    rig_deinit(&rig);
}

// Readers that are there count, those that were there do not.
static void readers_that_take_all_slots_are_named(void **state)
{
    (void)state;
    struct rig rig;
    static MDB_txn *readers[ENVIRONMENT_READERS_MAX];
    size_t count = 0;
    rig_init(&rig);
    rig_open(&rig);
    while (count < ENVIRONMENT_READERS_MAX * 95 / 100) {
        assert_int_equal(mdb_txn_begin(rig.writer->store.env, NULL, MDB_RDONLY, &readers[count]),
                         MDB_SUCCESS);
        count++;
    }
    assert_item(&rig, "reader slots", "wrong: ");
    while (count > 0) {
        mdb_txn_abort(readers[--count]);
    }
    assert_item(&rig, "reader slots", "ok: ");
    rig_deinit(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_in_order),
        cmocka_unit_test(a_directory_that_was_deleted_is_named),
        cmocka_unit_test(an_outbox_that_is_gone_is_named),
        cmocka_unit_test(a_file_system_that_forgets_is_named),
        cmocka_unit_test(a_full_outbox_and_dead_letters_are_named),
        cmocka_unit_test(readers_that_take_all_slots_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
