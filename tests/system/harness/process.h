// Processes of a scenario: started with their output in a file, signalled, waited for with a
// deadline. They die with the test's process, even if that is killed. Start them on the main
// thread: the kernel ties a child to the thread that made it.
#pragma once

#include "system/harness/scenario.h"

#include <sys/types.h>

struct process {
    struct process *next;
    const char *name;
    const char *log_path; // standard error, and standard output unless it goes elsewhere; appended
    pid_t pid;            // 0: not running
    int status;           // of waitpid(), once it ended
    int end_signal;       // what ends it when the test's process dies
    bool quiet;           // its log does not explain a failure
};

struct process_options {
    const char *const *environment; // "NAME=VALUE" to set, NULL at the end; may be NULL
    const char *input_path;         // standard input; NULL: nothing
    const char *output_path;        // standard output, made anew; NULL: the log
    bool unprivileged;              // where the test runs as root: as the user of process_user
    int end_signal;                 // 0: SIGKILL
};

// The user that PostgreSQL runs as: "postgres" or "nobody" where the test runs as root.
void process_user(uid_t *uid, gid_t *gid);

// A process of the scenario that does not run yet. `name` is for its log and for messages.
struct process *process_create(struct scenario *scenario, const char *name);

// Starts it, or starts it again. `arguments` ends with NULL; [0] is looked up in PATH.
void process_start(struct process *process, const char *const *arguments,
                   const struct process_options *options);

bool process_is_running(struct process *process);
void process_signal(struct process *process, int signal_number);

// Waits for its end: the exit status, or 128 + the signal that ended it. Fails the test at the
// deadline.
int process_wait(struct process *process);

// Starts a program, waits for its end and fails the test where its exit status is not 0.
void process_run(struct scenario *scenario, const char *const *arguments,
                 const struct process_options *options);

// For the scenario's end.
void process_end_all(struct scenario *scenario);
void process_print_logs(struct scenario *scenario);
