// Threads of a test. cmocka's assertions end a test by longjmp on the main thread only, so a worker
// reports with scenario_fail, which ends that worker and leaves the message for the main thread.

#include "system/harness/workers.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "system/harness/scenario.h"

enum { MESSAGE_BYTES = 4096 };

struct worker {
    struct workers *workers;
    pthread_t thread;
    int index;
};

struct workers {
    struct workers *next; // of the scenario's list
    struct scenario *scenario;
    atomic_bool stopping;
    void (*work)(void *context, int index);
    void *context;
    int count;
    pthread_mutex_t mutex;
    char failure[MESSAGE_BYTES]; // shared, under mutex; "": none
    struct worker each[];
};

static _Thread_local struct worker *self;

bool worker_is_self(void)
{
    return self != NULL;
}

void worker_fail(const char *message)
{
    struct workers *workers = self->workers;
    pthread_mutex_lock(&workers->mutex);
    if (workers->failure[0] == '\0') {
        snprintf(workers->failure, sizeof workers->failure, "worker %d: %s", self->index, message);
    }
    pthread_mutex_unlock(&workers->mutex);
    pthread_exit(NULL);
}

static void *run(void *argument)
{
    self = argument;
    self->workers->work(self->workers->context, self->index);
    return NULL;
}

static void start(struct workers *workers)
{
    pthread_mutex_init(&workers->mutex, NULL);
    for (int i = 0; i < workers->count; i++) {
        workers->each[i] = (struct worker){.workers = workers, .index = i};
        if (pthread_create(&workers->each[i].thread, NULL, run, &workers->each[i]) != 0) {
            scenario_fail("cannot start thread %d", i);
        }
    }
}

// The calling thread's.
static bool is_on_stack(const void *address)
{
    pthread_attr_t attributes;
    void *lowest;
    size_t bytes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
        return false;
    }
    pthread_attr_getstack(&attributes, &lowest, &bytes);
    pthread_attr_destroy(&attributes);
    return (uintptr_t)address - (uintptr_t)lowest < bytes;
}

static struct workers *create(struct scenario *scenario, int count,
                              void (*work)(void *context, int index), void *context)
{
    struct workers *workers =
        scenario_alloc(scenario, sizeof *workers + (size_t)count * sizeof(struct worker));
    *workers = (struct workers){.work = work, .context = context, .count = count};
    workers->scenario = scenario;
    workers->next = scenario->workers;
    scenario->workers = workers;
    start(workers);
    return workers;
}

struct workers *workers_start(struct scenario *scenario, int count,
                              void (*work)(void *context, int index), void *context)
{
    if (is_on_stack(context)) {
        scenario_fail("the workers may outlive their context");
    }
    return create(scenario, count, work, context);
}

void workers_stop(struct workers *workers)
{
    atomic_store(&workers->stopping, true);
}

bool worker_is_stopping(void)
{
    return self != NULL && atomic_load(&self->workers->stopping);
}

static void await_end(struct workers *workers)
{
    for (int i = 0; i < workers->count; i++) {
        pthread_join(workers->each[i].thread, NULL);
    }
    pthread_mutex_destroy(&workers->mutex);
    struct workers **link = &workers->scenario->workers;
    while (*link != workers) {
        link = &(*link)->next;
    }
    *link = workers->next;
}

void workers_end_all(struct scenario *scenario)
{
    while (scenario->workers != NULL) {
        workers_stop(scenario->workers);
        await_end(scenario->workers);
    }
}

void workers_join(struct workers *workers)
{
    await_end(workers);
    if (workers->failure[0] != '\0') {
        scenario_fail("%s", workers->failure);
    }
}

void workers_check(struct workers *workers)
{
    pthread_mutex_lock(&workers->mutex);
    bool has_failed = workers->failure[0] != '\0';
    pthread_mutex_unlock(&workers->mutex);
    if (has_failed) {
        workers_stop(workers);
        workers_join(workers);
    }
}

void workers_run(struct scenario *scenario, int count, void (*work)(void *context, int index),
                 void *context)
{
    workers_join(create(scenario, count, work, context));
}
