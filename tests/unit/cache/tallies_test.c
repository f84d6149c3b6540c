// The sum of what direct readers count: nothing is lost with a reader, nothing is counted that no
// reader can have read.

#include "unit/cache/rig.h"

#include <fcntl.h>
#include <signal.h>

#include "cachefile/tally.h"

struct counted {
    struct rig rig;
    int directory_fd;
    struct tally tally;
};

static int setup(void **state)
{
    struct counted *counted = memory_zeroed(1, sizeof *counted);
    rig_init(&counted->rig);
    rig_open(&counted->rig);
    counted->directory_fd = open(counted->rig.cache_dir, O_RDONLY | O_DIRECTORY);
    assert_true(tally_map(&counted->tally, counted->directory_fd));
    *state = counted;
    return 0;
}

static int teardown(void **state)
{
    struct counted *counted = *state;
    tally_unmap(&counted->tally);
    close(counted->directory_fd);
    rig_stop(&counted->rig);
    rig_deinit(&counted->rig);
    free(counted);
    return 0;
}

// A second passes, and the writer looks.
static void expect(struct counted *counted, int64_t hits, int64_t hot_hits, int64_t misses,
                   int64_t readers)
{
    struct status *status = &counted->rig.status;
    counted->rig.boot_us += RIG_S + 1;
    rig_turn(&counted->rig);
    assert_int_equal(status_get(status, STATUS_CACHE_DIRECT_HITS), hits);
    assert_int_equal(status_get(status, STATUS_CACHE_DIRECT_HOT_HITS), hot_hits);
    assert_int_equal(status_get(status, STATUS_CACHE_DIRECT_MISSES), misses);
    assert_int_equal(status_get(status, STATUS_CACHE_DIRECT_READERS), readers);
}

static void figures_are_added_up(void **state)
{
    struct counted *counted = *state;
    expect(counted, 0, 0, 0, 0);
    struct tally_row *first = tally_claim(&counted->tally);
    struct tally_row *second = tally_claim(&counted->tally);
    tally_add(&first->hot_hits, 100);
    tally_add(&second->other_hits, 20);
    tally_add(&second->misses, 3);
    expect(counted, 120, 100, 3, 2);
    expect(counted, 120, 100, 3, 2);
    // Who comes and goes between two looks is not lost.
    tally_add(&first->hot_hits, 1);
    tally_release(first);
    first = tally_claim(&counted->tally);
    tally_add(&first->hot_hits, 1);
    tally_release(first);
    expect(counted, 122, 102, 3, 1);
    tally_release(second);
    expect(counted, 122, 102, 3, 0);
}

static void the_dead_are_counted_once(void **state)
{
    struct counted *counted = *state;
    pid_t child = fork();
    if (child == 0) {
        tally_add(&tally_claim(&counted->tally)->hot_hits, 5);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    // Its figures moved, so that it is taken to live until the next look.
    expect(counted, 5, 5, 0, 1);
    expect(counted, 5, 5, 0, 0);
    // A row of a process whose id is this one's by now.
    struct tally_row *row = tally_claim(&counted->tally);
    expect(counted, 5, 5, 0, 1);
    atomic_store(&row->owner, atomic_load(&row->owner) + (UINT64_C(1) << 32));
    expect(counted, 5, 5, 0, 0);
}

// More rows than are looked at thoroughly at a time: each gets its turn.
static void every_row_gets_its_turn(void **state)
{
    enum { MANY = 50, LOOKS = 6 };
    struct counted *counted = *state;
    for (int i = 0; i < MANY; i++) {
        struct tally_row *row = tally_claim(&counted->tally);
        atomic_store(&row->owner, atomic_load(&row->owner) + (UINT64_C(1) << 32));
    }
    for (int i = 0; i < LOOKS; i++) {
        counted->rig.boot_us += RIG_S + 1;
        rig_turn(&counted->rig);
    }
    expect(counted, 0, 0, 0, 0);
}

static void a_restart_counts_from_what_is_there(void **state)
{
    struct counted *counted = *state;
    struct tally_row *row = tally_claim(&counted->tally);
    tally_add(&row->hot_hits, 9);
    expect(counted, 9, 9, 0, 1);
    rig_crash(&counted->rig);
    tally_add(&row->hot_hits, 1000); // while nobody looked
    memset(counted->rig.status.items, 0, sizeof counted->rig.status.items);
    rig_open(&counted->rig);
    tally_add(&row->hot_hits, 1);
    expect(counted, 1, 1, 0, 1);
}

static void a_broken_reader_harms_nobody_else(void **state)
{
    struct counted *counted = *state;
    struct tally_row *good = tally_claim(&counted->tally);
    struct tally_row *bad = tally_claim(&counted->tally);
    tally_add(&bad->hot_hits, 10);
    expect(counted, 10, 10, 0, 2);
    atomic_store(&bad->hot_hits, 0);            // set back
    atomic_store(&bad->misses, UINT64_MAX / 2); // a leap
    atomic_store(&bad->owner, UINT64_MAX);      // nobody
    tally_add(&good->hot_hits, 1);
    expect(counted, 11, 11, 0, 2); // whose figures move lives, until they stand still
    expect(counted, 11, 11, 0, 1);
    atomic_store(&bad->hot_hits, 3);
    expect(counted, 14, 14, 0, 1);
    // The file is cut off: nothing is known, and nothing more is touched.
    close(openat(counted->directory_fd, "tally", O_WRONLY | O_TRUNC));
    expect(counted, 14, 14, 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(figures_are_added_up, setup, teardown),
        cmocka_unit_test_setup_teardown(the_dead_are_counted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(every_row_gets_its_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_counts_from_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_reader_harms_nobody_else, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
