// What direct readers count: rows have one owner each, outlive it, and whatever is done to the file
// costs the daemon nothing.

#include "cachefile/tally.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "remove_tree.h"

struct place {
    char path[64];
    struct directory directory;
    int fd; // the daemon's
    struct tally tally;
    struct tally_row read[TALLY_ROWS];
};

static int setup(void **state)
{
    struct place *place = memory_zeroed(1, sizeof *place);
    strcpy(place->path, "/var/tmp/pgnear-tally-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    struct failure failure;
    assert_int_equal(directory_open(&place->directory, place->path, DIRECTORY_DISPOSABLE, &failure),
                     ERROR_NONE);
    place->fd = tally_open(&place->directory);
    assert_true(place->fd >= 0);
    assert_true(tally_map(&place->tally, place->directory.fd));
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    tally_unmap(&place->tally);
    close(place->fd);
    directory_close(&place->directory);
    remove_tree(place->path);
    free(place);
    return 0;
}

static uint64_t hot_hits_of(struct place *place, const struct tally_row *row)
{
    assert_true(tally_read(place->fd, place->read));
    return atomic_load(&place->read[row - place->tally.rows].hot_hits);
}

static void a_row_is_its_owners_and_keeps_its_figures(void **state)
{
    struct place *place = *state;
    struct tally_row *first = tally_claim(&place->tally);
    struct tally_row *second = tally_claim(&place->tally);
    assert_true(first != NULL && second != NULL && first != second);
    assert_int_equal((uintptr_t)first % TALLY_ROW_BYTES, 0);
    assert_false(tally_is_gone(atomic_load(&first->owner), true));
    tally_add(&first->hot_hits, 3);
    tally_add(&first->hot_hits, 4);
    assert_int_equal(hot_hits_of(place, first), 7);
    assert_int_equal(hot_hits_of(place, second), 0);
    tally_release(first);
    // Who comes next goes on from what is there.
    assert_ptr_equal(tally_claim(&place->tally), first);
    assert_int_equal(hot_hits_of(place, first), 7);
    tally_release(NULL);
}

static void a_full_table_has_no_row(void **state)
{
    struct place *place = *state;
    struct tally_row *last = NULL;
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        last = tally_claim(&place->tally);
        assert_non_null(last);
    }
    assert_null(tally_claim(&place->tally));
    tally_release(last);
    assert_ptr_equal(tally_claim(&place->tally), last);
    assert_null(tally_claim(&(struct tally){0}));
}

// In a child that dies without giving anything back.
static void take_all(struct place *place)
{
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < TALLY_ROWS; i++) {
            tally_add(&tally_claim(&place->tally)->hot_hits, 1);
        }
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void the_rows_of_the_dead_are_taken_over(void **state)
{
    struct place *place = *state;
    take_all(place);
    uint64_t dead = atomic_load(&place->tally.rows[0].owner);
    assert_true(tally_is_gone(dead, false));
    for (size_t i = 0; i < TALLY_ROWS; i++) {
        struct tally_row *row = tally_claim(&place->tally);
        assert_non_null(row);
        assert_int_not_equal(atomic_load(&row->owner), dead);
        assert_int_equal(hot_hits_of(place, row), 1);
    }
    assert_null(tally_claim(&place->tally));
}

static void a_process_with_the_same_id_is_another(void **state)
{
    struct place *place = *state;
    struct tally_row *row = tally_claim(&place->tally);
    uint64_t other = atomic_load(&row->owner) + (UINT64_C(1) << 32);
    assert_false(tally_is_gone(other, false));
    assert_true(tally_is_gone(other, true));
    assert_true(tally_is_gone(UINT64_C(1) << 31, true)); // no process has such an id
}

static void put_file(const struct place *place, const void *bytes, size_t len)
{
    int fd = openat(place->directory.fd, "tally", O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void what_is_not_a_tally_is_made_anew(void **state)
{
    struct place *place = *state;
    struct tally tally;
    struct stat status;
    static const char FOREIGN[TALLY_BYTES] = "something else";
    static const size_t LENGTHS[] = {0, 100, TALLY_BYTES};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        put_file(place, FOREIGN, LENGTHS[i]);
        assert_false(tally_map(&tally, place->directory.fd));
        assert_null(tally.rows);
        assert_int_equal(tally_read(place->fd, place->read), LENGTHS[i] == TALLY_BYTES);
        close(place->fd);
        place->fd = tally_open(&place->directory);
        assert_true(tally_map(&tally, place->directory.fd));
        assert_int_equal(fstat(place->fd, &status), 0);
        assert_true(status.st_blocks * 512 >= TALLY_BYTES);
        tally_unmap(&tally);
    }
    assert_int_equal(unlinkat(place->directory.fd, "tally", 0), 0);
    assert_false(tally_map(&tally, place->directory.fd));
    assert_int_equal(symlinkat("/dev/zero", place->directory.fd, "tally"), 0);
    assert_false(tally_map(&tally, place->directory.fd));
    close(place->fd);
    place->fd = tally_open(&place->directory);
    assert_true(tally_map(&tally, place->directory.fd));
    tally_unmap(&tally);
    assert_false(tally_read(-1, place->read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_is_its_owners_and_keeps_its_figures, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_has_no_row, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rows_of_the_dead_are_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_with_the_same_id_is_another, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_a_tally_is_made_anew, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
