// What the kernel is told of a thread.

#include "base/thread.h"

#include <string.h>

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"

enum { COMM_BYTES = 16, NICENESS_MAX = 19, SHORT_TURN_NS = 100000 };

static struct sched_attr attr_of_this_thread(void)
{
    struct sched_attr attr = {.size = sizeof attr};
    assert_int_equal(syscall(SYS_sched_getattr, 0, &attr, (unsigned)sizeof attr, 0U), 0);
    return attr;
}

static void it_has_its_name(void **state)
{
    (void)state;
    char comm[COMM_BYTES];
    thread_name("the name of a thread");
    assert_int_equal(prctl(PR_GET_NAME, comm), 0);
    assert_string_equal(comm, "the name of a t");
}

static void an_operators_policy_is_left_alone(void **state)
{
    (void)state;
    struct sched_attr attr = attr_of_this_thread();
    attr.sched_policy = SCHED_BATCH;
    assert_int_equal(syscall(SYS_sched_setattr, 0, &attr, 0U), 0);
    struct sched_attr before = attr_of_this_thread();
    thread_ask_short_turns();
    struct sched_attr after = attr_of_this_thread();
    assert_memory_equal(&after, &before, sizeof after);
    attr.sched_policy = SCHED_NORMAL;
    assert_int_equal(syscall(SYS_sched_setattr, 0, &attr, 0U), 0);
}

static void turns_are_short_and_nothing_else_changes(void **state)
{
    (void)state;
    int niceness = attr_of_this_thread().sched_nice;
    (void)!nice(1);
    struct sched_attr before = attr_of_this_thread();
    assert_int_equal(before.sched_nice, niceness < NICENESS_MAX ? niceness + 1 : NICENESS_MAX);
    thread_ask_short_turns();
    struct sched_attr after = attr_of_this_thread();
    if (kernel_knows_turns()) {
        assert_true(before.sched_runtime > SHORT_TURN_NS);
        before.sched_runtime = SHORT_TURN_NS;
    }
    assert_memory_equal(&after, &before, sizeof after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_its_name),
        cmocka_unit_test(an_operators_policy_is_left_alone),
        cmocka_unit_test(turns_are_short_and_nothing_else_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
