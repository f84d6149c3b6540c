// Threads that share a processor with others wait for it, and the kernel's account shows it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/contention.h"

enum { DEADLINE_US = 60 * 1000000, WAITED_US = 20000 };

struct rivals {
    struct contention contention;
    cpu_set_t processor;
    _Atomic bool ends;
};

static void *spin(void *context)
{
    struct rivals *rivals = context;
    sched_setaffinity(0, sizeof rivals->processor, &rivals->processor);
    contention_join(&rivals->contention);
    while (!atomic_load(&rivals->ends)) {
    }
    return NULL;
}

static void choose_processor(struct rivals *rivals)
{
    cpu_set_t all;
    size_t processor = 0;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(processor, &all)) {
        processor++;
    }
    CPU_ZERO(&rivals->processor);
    CPU_SET(processor, &rivals->processor);
}

static void rivals_for_a_processor_wait(void **state)
{
    (void)state;
    struct rivals rivals = {0};
    pthread_t threads[2];
    int64_t waited_us[CONTENTION_THREADS_MAX] = {0};
    assert_int_equal(contention_read(&rivals.contention, waited_us), 0);
    choose_processor(&rivals);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, spin, &rivals), 0);
    }
    int64_t deadline_us = clock_boot_us() + DEADLINE_US;
    while (waited_us[0] < WAITED_US || waited_us[1] < WAITED_US) {
        assert_true(clock_boot_us() < deadline_us);
        contention_read(&rivals.contention, waited_us);
        sched_yield();
    }
    atomic_store(&rivals.ends, true);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(contention_read(&rivals.contention, waited_us), 2);
    assert_int_equal(waited_us[0], 0); // gone
}

static void those_beyond_are_not_looked_at(void **state)
{
    (void)state;
    struct contention contention = {0};
    int64_t waited_us[CONTENTION_THREADS_MAX];
    for (int i = 0; i < CONTENTION_THREADS_MAX + 3; i++) {
        contention_join(&contention);
    }
    assert_int_equal(contention_read(&contention, waited_us), CONTENTION_THREADS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rivals_for_a_processor_wait),
        cmocka_unit_test(those_beyond_are_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
