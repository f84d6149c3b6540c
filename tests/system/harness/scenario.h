// One system test: a body that is given a private directory, and owns every process it starts, all
// memory that the harness hands out and every thread. When the body returns, everything is stopped
// and removed; when it fails, the logs of its processes are printed and the directory is kept.
//
//      static void a_write_reaches_postgresql(struct scenario *scenario)
//      {
//          struct pg *pg = pg_start(scenario, NULL);
//          struct node *node = node_start(scenario, pg, NULL);
//          assert_rpc(node, "set", "[\"k\", 1]", "{\"seq\":\"*\"}");
//          ...
//      }
//
//      int main(void)
//      {
//          const struct CMUnitTest tests[] = {SCENARIO(a_write_reaches_postgresql)};
//          return cmocka_run_group_tests(tests, NULL, NULL);
//      }
#pragma once

// cmocka wants these four before itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>

#include "base/arena.h"

struct process;
struct pg;
struct rpc;
struct workers;

enum { SCENARIO_PATH_BYTES = 128 }; // a Unix socket's path has 107 at most

struct scenario {
    void (*body)(struct scenario *scenario);
    char directory[SCENARIO_PATH_BYTES];
    bool passed;
    struct process *processes; // the newest first
    struct pg *servers;
    struct workers *workers; // not joined yet
    pthread_mutex_t mutex;
    // Shared, under mutex:
    struct arena arena;
    struct rpc *connections;
};

#define SCENARIO(function)                                                                         \
    (struct CMUnitTest)                                                                            \
    {                                                                                              \
#function, scenario_run, scenario_set_up, scenario_tear_down, (void *)(function)           \
    }

// For SCENARIO() only.
int scenario_set_up(void **state);
void scenario_run(void **state);
int scenario_tear_down(void **state);

// Memory, formatted text and paths inside the private directory; valid until the scenario ends.
// Any thread.
void *scenario_alloc(struct scenario *scenario, size_t size);
const char *scenario_text(struct scenario *scenario, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *scenario_path(struct scenario *scenario, const char *name);

// Ends the test with the message. In a worker thread it ends the worker, and workers_join ends the
// test. Does not return.
_Noreturn void scenario_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Runs `work` in `count` threads, with index 0 to count - 1, and waits for all of them; the first
// failure in any of them is the test's.
void workers_run(struct scenario *scenario, int count, void (*work)(void *context, int index),
                 void *context);

// The same in two steps, for a test that does something meanwhile. Where the test ends before they
// are joined, they are told to stop and waited for: a failed assertion has left the test's function
// by then, so the context must not be on its stack (scenario_alloc).
struct workers *workers_start(struct scenario *scenario, int count,
                              void (*work)(void *context, int index), void *context);
void workers_join(struct workers *workers);

// Ends the test where one of them has failed; for a test that waits for what they do.
void workers_check(struct workers *workers);

// Asks the workers to end soon, and whether the calling worker has been asked.
void workers_stop(struct workers *workers);
bool worker_is_stopping(void);
