// The life of a system test. The body runs on the main thread, which alone starts and stops
// processes. cmocka leaves a failed body by longjmp, so nothing that must be undone is left to the
// body: the scenario lists it, and the teardown, which cmocka runs in any case, undoes it.

#include "system/harness/scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "remove_tree.h"
#include "system/harness/pg.h"
#include "system/harness/process.h"
#include "system/harness/proxy.h"
#include "system/harness/rpc.h"
#include "system/harness/workers.h"

enum { MESSAGE_BYTES = 4096 };

int scenario_set_up(void **state)
{
    struct scenario *scenario = memory_zeroed(1, sizeof *scenario);
    scenario->body = (void (*)(struct scenario *)) * state;
    pthread_mutex_init(&scenario->mutex, NULL);
    *state = scenario;
    return 0;
}

// Processes of other users (PostgreSQL's) must be able to pass through it to what is theirs.
static void make_directory(struct scenario *scenario)
{
    const char *parent = getenv("TMPDIR");
    snprintf(scenario->directory, sizeof scenario->directory, "%s/pgnear-XXXXXX",
             parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
    if (mkdtemp(scenario->directory) == NULL || chmod(scenario->directory, 0755) != 0) {
        scenario_fail("cannot make %s: %s", scenario->directory, strerror(errno));
    }
}

void scenario_run(void **state)
{
    struct scenario *scenario = *state;
    make_directory(scenario);
    scenario->body(scenario);
    scenario->passed = true;
}

int scenario_tear_down(void **state)
{
    struct scenario *scenario = *state;
    workers_end_all(scenario);
    rpc_close_all(scenario);
    pg_release_all(scenario);
    process_end_all(scenario);
    proxy_stop_all(scenario);
    if (scenario->passed) {
        pg_retire_all(scenario);
        remove_tree(scenario->directory);
    } else {
        process_print_logs(scenario);
        fprintf(stderr, "the files of the failed test are in %s\n", scenario->directory);
    }
    arena_deinit(&scenario->arena);
    pthread_mutex_destroy(&scenario->mutex);
    free(scenario);
    return 0;
}

void *scenario_alloc(struct scenario *scenario, size_t size)
{
    pthread_mutex_lock(&scenario->mutex);
    void *memory = arena_alloc(&scenario->arena, size);
    pthread_mutex_unlock(&scenario->mutex);
    return memory;
}

const char *scenario_text(struct scenario *scenario, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    va_list again;
    va_copy(again, values);
    size_t size = (size_t)vsnprintf(NULL, 0, format, values) + 1;
    va_end(values);
    char *text = scenario_alloc(scenario, size);
    vsnprintf(text, size, format, again);
    va_end(again);
    return text;
}

const char *scenario_path(struct scenario *scenario, const char *name)
{
    return scenario_text(scenario, "%s/%s", scenario->directory, name);
}

void scenario_fail(const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    if (worker_is_self()) {
        worker_fail(message);
    }
    fail_msg("%s", message);
    abort(); // fail_msg does not return, but does not say so
}
