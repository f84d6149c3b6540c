// The side of the worker threads that scenario.c needs; tests use workers_run of scenario.h.
#pragma once

#include <stdbool.h>

// Whether the calling thread is a worker.
bool worker_is_self(void);

// Ends the calling worker; workers_join ends the test with the first such message.
_Noreturn void worker_fail(const char *message);

struct scenario;

// For the scenario's end.
void workers_end_all(struct scenario *scenario);
