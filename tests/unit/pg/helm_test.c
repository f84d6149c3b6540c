// Who holds the helm: the worker's own thread while a callback runs, or one guest, who never waits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/thread.h>
#include <pthread.h>
#include <sched.h>

#include "pg/helm.h"
#include "pg/timer.h"

enum { TURNS = 20000, VISITS = 20000 };

struct shared {
    struct helm helm;
    struct event_base *base;
    struct event *timer;
    pthread_t thread;
    _Atomic bool is_over;
    // Under the helm:
    int turns;
    int visits;
    bool is_at_work;
};

static void on_turn(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct shared *shared = context;
    assert_false(shared->is_at_work);
    shared->is_at_work = true;
    shared->turns++;
    if (shared->turns < TURNS || !shared->is_over) {
        timer_arm(shared->timer, 0);
    } else {
        event_base_loopbreak(shared->base);
    }
    shared->is_at_work = false;
}

static void *run(void *context)
{
    struct shared *shared = context;
    helm_join(&shared->helm);
    shared->timer = timer_new(shared->base, on_turn, shared);
    timer_arm(shared->timer, 0);
    assert_int_equal(event_base_loop(shared->base, EVLOOP_NO_EXIT_ON_EMPTY), 0);
    timer_free(shared->timer);
    helm_join(NULL);
    return NULL;
}

static void begin(struct shared *shared)
{
    *shared = (struct shared){0};
    assert_int_equal(evthread_use_pthreads(), 0);
    helm_init(&shared->helm);
    shared->base = event_base_new();
    assert_non_null(shared->base);
}

static void end(struct shared *shared)
{
    event_base_free(shared->base);
    helm_deinit(&shared->helm);
}

// A guest between callbacks, who arms the loop's timer as well.
static void guests_come_between_callbacks(void **state)
{
    (void)state;
    struct shared shared;
    begin(&shared);
    assert_int_equal(pthread_create(&shared.thread, NULL, run, &shared), 0);
    int visits = 0;
    while (visits < VISITS) {
        if (!helm_visit(&shared.helm)) {
            assert_false(helm_is_visited());
            sched_yield();
            continue;
        }
        assert_true(helm_is_visited());
        assert_false(shared.is_at_work);
        shared.is_at_work = true;
        shared.visits = ++visits;
        if (shared.turns > 0) {
            timer_disarm(shared.timer);
            timer_arm(shared.timer, 0);
        }
        shared.is_at_work = false;
        helm_end_visit(&shared.helm);
    }
    shared.is_over = true;
    assert_int_equal(pthread_join(shared.thread, NULL), 0);
    assert_int_equal(shared.visits, VISITS);
    assert_true(shared.turns >= TURNS);
    end(&shared);
}

static void *visit_twice(void *context)
{
    struct shared *shared = context;
    assert_false(helm_visit(&shared->helm));
    assert_false(helm_is_visited());
    shared->is_over = true;
    return NULL;
}

static void a_guest_does_not_wait(void **state)
{
    (void)state;
    struct shared shared;
    begin(&shared);
    helm_take(&shared.helm);
    assert_int_equal(pthread_create(&shared.thread, NULL, visit_twice, &shared), 0);
    assert_int_equal(pthread_join(shared.thread, NULL), 0);
    assert_true(shared.is_over);
    helm_leave(&shared.helm);
    end(&shared);
}

static void *take(void *context)
{
    struct shared *shared = context;
    helm_take(&shared->helm);
    shared->turns = shared->visits + 1;
    helm_leave(&shared->helm);
    return NULL;
}

// However often guests come, the worker's own thread is next.
static void the_worker_comes_before_the_next_guest(void **state)
{
    (void)state;
    struct shared shared;
    begin(&shared);
    assert_true(helm_visit(&shared.helm));
    assert_int_equal(pthread_create(&shared.thread, NULL, take, &shared), 0);
    while (!atomic_load(&shared.helm.is_wanted)) {
        sched_yield();
    }
    shared.visits = 1;
    helm_end_visit(&shared.helm);
    while (!helm_visit(&shared.helm)) {
        sched_yield();
    }
    assert_int_equal(shared.turns, 2);
    helm_end_visit(&shared.helm);
    assert_int_equal(pthread_join(shared.thread, NULL), 0);
    end(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guests_come_between_callbacks),
        cmocka_unit_test(a_guest_does_not_wait),
        cmocka_unit_test(the_worker_comes_before_the_next_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
