// The machine that a simulation runs on: one virtual clock, one source of chance, and one way to
// report that a promise was broken. The daemon's clock, its randomness and its failed CHECKs end
// here, since this file stands in for base/clock.c and base/check.c at link time.
//
// There is one simulation in a process, so its state is global; a run that has failed leaves the
// process.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine {
    int64_t now_us;  // CLOCK_BOOTTIME of every node
    uint64_t step;   // steps taken
    uint64_t chance; // state of the present step's randomness
    bool traces;     // print what happens
    int report_fd;   // where a violation is told; -1: stderr
};

extern struct machine machine;

// The randomness of the step is a function of `seed` and nothing before it, so that a step does the
// same when others are taken out of the run.
void machine_seed(uint64_t seed);
uint64_t machine_mix(uint64_t a, uint64_t b);
uint64_t machine_random(void);
// 0 to count - 1; 0 where count is 0.
uint32_t machine_below(uint32_t count);
// True in `per_mille` of 1000 cases.
bool machine_chance(uint32_t per_mille);

// What a run that broke a promise ends with. `kind` is a word: a shortened run must fail by the
// same one.
enum { MACHINE_EXIT_VIOLATION = 3 };
_Noreturn void violation(const char *kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// One line of the trace; nothing where nobody traces.
#define trace(...) (machine.traces ? machine_trace(__VA_ARGS__) : (void)0)
void machine_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
