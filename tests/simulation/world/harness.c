// A run lives in a child with a directory of its own on a memory file system; its verdict comes
// through a pipe. Shortening leaves out ever smaller parts of the steps, as long as the run still
// breaks the same promise (Zeller and Hildebrandt 2002).
#include "simulation/world/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "remove_tree.h"
#include "simulation/world/machine.h"

enum { RUN_SECONDS_MAX = 120, SHORTEN_SECONDS_MAX = 40 };

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// ---- one run

static _Noreturn void run_in_child(const struct run *run, const char *directory, int report_fd)
{
    alarm(RUN_SECONDS_MAX);
    machine.report_fd = report_fd;
    run_once(run, directory);
    _exit(EXIT_SUCCESS);
}

static void describe_end(int status, char verdict[VERDICT_BYTES])
{
    if (WIFSIGNALED(status)) {
        snprintf(verdict, VERDICT_BYTES, "0 signal: the run ended by signal %d", WTERMSIG(status));
    } else {
        snprintf(verdict, VERDICT_BYTES, "0 exit: the run ended with status %d",
                 WEXITSTATUS(status));
    }
}

// True where every promise was kept.
static bool run_passes(const struct run *run, char verdict[VERDICT_BYTES])
{
    char directory[] = "/dev/shm/pgnear-simulation-XXXXXX";
    int ends[2];
    if (mkdtemp(directory) == NULL || pipe(ends) != 0) {
        abort();
    }
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        run_in_child(run, directory, ends[1]);
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t got;
    while (len < VERDICT_BYTES - 1 &&
           (got = read(ends[0], verdict + len, VERDICT_BYTES - 1 - len)) > 0) {
        len += (size_t)got;
    }
    verdict[len] = '\0';
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    remove_tree(directory);
    bool passes = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
    if (!passes && len == 0) {
        describe_end(status, verdict);
    }
    return passes;
}

// ---- shortening

// The word behind the step's number.
static bool same_kind(const char *a, const char *b)
{
    a = strchr(a, ' ');
    b = strchr(b, ' ');
    if (a == NULL || b == NULL) {
        return false;
    }
    size_t len = strcspn(a, ":");
    return len == strcspn(b, ":") && strncmp(a, b, len) == 0;
}

struct shortening {
    struct run run;
    bool *skipped;
    const char *verdict;
    double until;
};

static uint32_t count_kept(const struct shortening *shortening)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < shortening->run.steps; i++) {
        kept += !shortening->skipped[i];
    }
    return kept;
}

// Leaves the kept steps of place `from` to `to` out, if the run fails all the same.
static bool try_without(struct shortening *shortening, uint32_t from, uint32_t to)
{
    uint32_t steps = shortening->run.steps, place = 0;
    bool *before = malloc(steps);
    memcpy(before, shortening->skipped, steps);
    for (uint32_t i = 0; i < steps; i++) {
        if (!before[i]) {
            shortening->skipped[i] = place >= from && place < to;
            place++;
        }
    }
    char verdict[VERDICT_BYTES];
    bool fails = !run_passes(&shortening->run, verdict) && same_kind(verdict, shortening->verdict);
    if (!fails) {
        memcpy(shortening->skipped, before, steps);
    }
    free(before);
    return fails;
}

static void shorten(struct shortening *shortening)
{
    uint32_t kept = count_kept(shortening);
    for (uint32_t part = (kept + 1) / 2; part >= 1 && seconds_now() < shortening->until;) {
        bool gone = false;
        for (uint32_t from = 0; from < kept && seconds_now() < shortening->until;) {
            if (try_without(shortening, from, from + part)) {
                kept = count_kept(shortening);
                gone = true;
            } else {
                from += part;
            }
        }
        if (part == 1 && !gone) {
            break;
        }
        part = part == 1 ? 1 : part / 2;
    }
}

static void print_shortened(const struct run *run, const char *verdict)
{
    struct shortening shortening = {
        .run = *run,
        .skipped = calloc(run->steps, sizeof(bool)),
        .verdict = verdict,
        .until = seconds_now() + SHORTEN_SECONDS_MAX,
    };
    uint32_t failing = (uint32_t)strtoul(verdict, NULL, 10);
    for (uint32_t i = 0; failing > 0 && i < run->steps; i++) {
        shortening.skipped[i] = i >= failing;
    }
    shortening.run.skipped = shortening.skipped;
    char last[VERDICT_BYTES];
    if (run_passes(&shortening.run, last)) {
        memset(shortening.skipped, 0, run->steps);
    }
    shorten(&shortening);
    fprintf(stderr, "%u of %u steps are left:\n", count_kept(&shortening), run->steps);
    shortening.run.traces = true;
    run_passes(&shortening.run, last);
    free(shortening.skipped);
}

// ---- many runs

struct harness_result harness_run(const struct harness_options *options, bool shortens)
{
    struct harness_result result = {0};
    double began = seconds_now();
    for (uint32_t i = 0; i < options->seeds_max && !result.failed; i++) {
        const struct run run = {
            .seed = options->first_seed + i,
            .faults = options->faults,
            .insists = options->insists,
            .nodes_max = options->nodes_max,
            .steps = options->steps,
        };
        if (seconds_now() - began > options->seconds_max) {
            break;
        }
        result.failed = !run_passes(&run, result.verdict);
        result.seed = run.seed;
        result.runs++;
        result.steps += options->steps;
        if (result.failed && shortens) {
            fprintf(stderr, "%s: seed %llu: %s\n", options->name, (unsigned long long)run.seed,
                    result.verdict);
            print_shortened(&run, result.verdict);
        }
    }
    result.seconds = seconds_now() - began;
    return result;
}
