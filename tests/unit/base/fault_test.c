// The fault points: how they are armed, when they fire and what they do.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"

static void arm(const char *list)
{
    struct failure failure;
    if (fault_arm(list, &failure) != ERROR_NONE) {
        fail_msg("%s", failure.message);
    }
}

static int disarm(void **state)
{
    (void)state;
    arm("");
    return 0;
}

static void every_point_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < FAULT_COUNT; i++) {
        assert_true(strlen(fault_name((enum fault)i)) > 0);
        assert_null(strpbrk(fault_name((enum fault)i), "=:, "));
        for (int other = 0; other < i; other++) {
            assert_string_not_equal(fault_name((enum fault)i), fault_name((enum fault)other));
        }
    }
}

static void what_is_not_armed_goes_on(void **state)
{
    (void)state;
    arm("outbox.begin=fail");
    assert_false(FAULT_POINT(OUTBOX_PUT));
    assert_true(FAULT_POINT(OUTBOX_BEGIN));
    assert_true(FAULT_POINT(OUTBOX_BEGIN));
    arm("outbox.put=fail");
    assert_false(FAULT_POINT(OUTBOX_BEGIN));
    assert_true(FAULT_POINT(OUTBOX_PUT));
}

static void a_number_is_counted_from_the_arming(void **state)
{
    (void)state;
    FAULT_POINT(READ);
    arm("server.write=fail,server.read=fail:3");
    for (int pass = 1; pass <= 5; pass++) {
        assert_int_equal(FAULT_POINT(READ), pass == 3);
        assert_true(FAULT_POINT(WRITE));
    }
}

static void a_share_of_the_passes_fires(void **state)
{
    (void)state;
    arm("server.read=fail:20%");
    int fired = 0;
    for (int pass = 0; pass < 10000; pass++) {
        fired += FAULT_POINT(READ);
    }
    assert_in_range(fired, 1700, 2300);
}

static void what_is_not_understood_is_an_error(void **state)
{
    (void)state;
    static const char *const LISTS[] = {
        "outbox.begn=fail",
        "outbox.begin",
        "outbox.begin=",
        "outbox.begin=fall",
        "outbox.begin=fail:",
        "outbox.begin=fail:0",
        "outbox.begin=fail:x",
        "outbox.begin=fail:20ms",
        "outbox.begin=fail:200%",
        "=fail",
        "outbox.before_sync=fail",
        "outbox.begin=fail,nowhere=crash",
        ",",
        "outbox.begin=delay:3m",
        "outbox.begin=fail:99999999999999999999",
    };
    for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0]; i++) {
        struct failure failure = {0};
        if (fault_arm(LISTS[i], &failure) != ERROR_CONFIG) {
            fail_msg("\"%s\" is taken", LISTS[i]);
        }
        assert_non_null(strstr(failure.message, "PGNEAR_FAULT: "));
    }
}

// The wait status of a child that passes the point.
static int end_of_child(const char *list)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        arm(list);
        FAULT_POINT(BETWEEN_COMMITS);
        _exit(7);
    }
    int status;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    if (WIFSTOPPED(status)) {
        assert_int_equal(kill(child, SIGCONT), 0);
        int end;
        assert_int_equal(waitpid(child, &end, 0), child);
        assert_true(WIFEXITED(end) && WEXITSTATUS(end) == 7);
    }
    return status;
}

static void the_process_ends_or_stands_still(void **state)
{
    (void)state;
    int status = end_of_child("writer.between_commits=crash");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = end_of_child("writer.between_commits=stop");
    assert_true(WIFSTOPPED(status));
    status = end_of_child("writer.between_commits=crash:2");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void a_delay_lasts_its_time(void **state)
{
    (void)state;
    arm("writer.between_commits=delay:30ms");
    int64_t before_us = clock_boot_us();
    FAULT_POINT(BETWEEN_COMMITS);
    assert_true(clock_boot_us() - before_us >= 30 * CLOCK_US_PER_MS);
}

static void *pass_slowly(void *context)
{
    FAULT_POINT(BETWEEN_COMMITS);
    atomic_store((atomic_bool *)context, true);
    return NULL;
}

// In the page that another process shares: it sees the pass, and ends the delay.
static void a_page_arms_and_counts(void **state)
{
    (void)state;
    char path[] = "/tmp/pgnear-fault-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(setenv("PGNEAR_FAULT_PAGE", path, 1), 0);
    struct failure failure;
    assert_int_equal(fault_start(&failure), ERROR_CONFIG); // too short
    assert_int_equal(ftruncate(fd, sizeof(struct fault_page)), 0);
    assert_int_equal(fault_start(&failure), ERROR_NONE);
    struct fault_page *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    struct fault_order order = {.fault = FAULT_BETWEEN_COMMITS, .action = FAULT_DELAY, .pass = 2};
    fault_slot_arm(page, &order);
    FAULT_POINT(BETWEEN_COMMITS);
    struct fault_slot *slot = &page->slots[FAULT_BETWEEN_COMMITS];
    assert_int_equal(atomic_load(&slot->passes), 1);
    assert_int_equal(atomic_load(&slot->fired), 0);
    atomic_bool passed = false;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pass_slowly, &passed), 0);
    while (atomic_load(&slot->fired) == 0) {
        usleep(100);
    }
    assert_false(atomic_load(&passed));
    fault_slot_arm(page, &(struct fault_order){.fault = FAULT_BETWEEN_COMMITS});
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(atomic_load(&passed));
    close(fd);
    unlink(path);
    unsetenv("PGNEAR_FAULT_PAGE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_point_has_a_name_of_its_own, disarm),
        cmocka_unit_test_teardown(what_is_not_armed_goes_on, disarm),
        cmocka_unit_test_teardown(a_number_is_counted_from_the_arming, disarm),
        cmocka_unit_test_teardown(a_share_of_the_passes_fires, disarm),
        cmocka_unit_test_teardown(what_is_not_understood_is_an_error, disarm),
        cmocka_unit_test_teardown(the_process_ends_or_stands_still, disarm),
        cmocka_unit_test_teardown(a_delay_lasts_its_time, disarm),
        cmocka_unit_test_teardown(a_page_arms_and_counts, disarm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
