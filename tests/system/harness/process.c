// fork, exec and waitpid. Between fork and exec only calls that are safe in a child of a process
// with threads.

#include "system/harness/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/harness/deadline.h"

enum { ENVIRONMENT_MAX = 512, EXEC_FAILED_STATUS = 127, LOG_PRINTED_BYTES_MAX = 128 * 1024 };

void process_user(uid_t *uid, gid_t *gid)
{
    *uid = geteuid();
    *gid = getegid();
    if (*uid != 0) {
        return;
    }
    const char *names[] = {"postgres", "nobody"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct passwd entry;
        struct passwd *found = NULL;
        char room[4096];
        if (getpwnam_r(names[i], &entry, room, sizeof room, &found) == 0 && found != NULL) {
            *uid = found->pw_uid;
            *gid = found->pw_gid;
            return;
        }
    }
    scenario_fail("there is neither a user postgres nor a user nobody to run PostgreSQL as");
}

struct process *process_create(struct scenario *scenario, const char *name)
{
    struct process *process = scenario_alloc(scenario, sizeof *process);
    process->name = scenario_text(scenario, "%s", name);
    process->log_path = scenario_text(scenario, "%s/%s.log", scenario->directory, name);
    process->next = scenario->processes;
    scenario->processes = process;
    return process;
}

// The environment of the child: that of the test, with the settings of `extra` in front, where
// getenv() finds them first.
static void child_environment(const char *const *extra, char *environment[ENVIRONMENT_MAX])
{
    size_t count = 0;
    for (; extra != NULL && *extra != NULL && count < ENVIRONMENT_MAX - 1; extra++) {
        environment[count++] = (char *)(uintptr_t)*extra;
    }
    for (char **own = environ; *own != NULL && count < ENVIRONMENT_MAX - 1; own++) {
        environment[count++] = *own;
    }
    environment[count] = NULL;
}

struct child {
    const char *const *arguments;
    char **environment;
    const char *log_path;
    const char *input_path;
    const char *output_path; // NULL: the log
    bool changes_user;
    uid_t uid;
    gid_t gid;
    int end_signal;
    pid_t parent;
};

_Noreturn static void become(const struct child *child)
{
    int log_fd = open(child->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int input_fd = open(child->input_path, O_RDONLY | O_CLOEXEC);
    int output_fd = log_fd;
    if (child->output_path != NULL) {
        output_fd = open(child->output_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    }
    bool ready = dup2(input_fd, STDIN_FILENO) >= 0 && dup2(output_fd, STDOUT_FILENO) >= 0 &&
                 dup2(log_fd, STDERR_FILENO) >= 0;
    if (ready && child->changes_user) {
        ready =
            setgroups(1, &child->gid) == 0 && setgid(child->gid) == 0 && setuid(child->uid) == 0;
    }
    // After the change of the user, which clears it. The parent may have died before.
    ready = ready && prctl(PR_SET_PDEATHSIG, child->end_signal) == 0 && getppid() == child->parent;
    if (ready) {
        execvpe(child->arguments[0], (char *const *)(uintptr_t)child->arguments,
                child->environment);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", child->arguments[0], strerror(errno));
    }
    _exit(EXEC_FAILED_STATUS);
}

void process_start(struct process *process, const char *const *arguments,
                   const struct process_options *options)
{
    const struct process_options defaults = {0};
    options = options != NULL ? options : &defaults;
    if (process->pid != 0) {
        scenario_fail("%s is already running", process->name);
    }
    char *environment[ENVIRONMENT_MAX];
    child_environment(options->environment, environment);
    process->end_signal = options->end_signal != 0 ? options->end_signal : SIGKILL;
    struct child child = {.arguments = arguments,
                          .environment = environment,
                          .log_path = process->log_path,
                          .input_path =
                              options->input_path != NULL ? options->input_path : "/dev/null",
                          .output_path = options->output_path,
                          .changes_user = options->unprivileged && geteuid() == 0,
                          .end_signal = process->end_signal,
                          .parent = getpid()};
    if (child.changes_user) {
        process_user(&child.uid, &child.gid);
    }
    pid_t pid = fork();
    if (pid < 0) {
        scenario_fail("cannot fork for %s: %s", process->name, strerror(errno));
    }
    if (pid == 0) {
        become(&child);
    }
    process->pid = pid;
}

bool process_is_running(struct process *process)
{
    if (process->pid != 0 && waitpid(process->pid, &process->status, WNOHANG) == process->pid) {
        process->pid = 0;
    }
    return process->pid != 0;
}

void process_signal(struct process *process, int signal_number)
{
    if (!process_is_running(process)) {
        scenario_fail("%s is not running", process->name);
    }
    kill(process->pid, signal_number);
}

static bool await_end(struct process *process, int64_t deadline_ms)
{
    struct deadline deadline = deadline_in(deadline_ms);
    while (process_is_running(process)) {
        if (!deadline_again(&deadline)) {
            return false;
        }
    }
    return true;
}

int process_wait(struct process *process)
{
    if (!await_end(process, DEADLINE_MS)) {
        scenario_fail("%s does not end", process->name);
    }
    return WIFEXITED(process->status) ? WEXITSTATUS(process->status)
                                      : 128 + WTERMSIG(process->status);
}

void process_run(struct scenario *scenario, const char *const *arguments,
                 const struct process_options *options)
{
    const char *slash = strrchr(arguments[0], '/');
    struct process *process = process_create(scenario, slash != NULL ? slash + 1 : arguments[0]);
    process_start(process, arguments, options);
    int status = process_wait(process);
    if (status != 0) {
        scenario_fail("%s ended with status %d", arguments[0], status);
    }
    process->quiet = true;
}

void process_end_all(struct scenario *scenario)
{
    for (struct process *process = scenario->processes; process != NULL; process = process->next) {
        if (!process_is_running(process)) {
            continue;
        }
        kill(process->pid, process->end_signal);
        if (!await_end(process, DEADLINE_MS)) {
            kill(process->pid, SIGKILL);
            waitpid(process->pid, &process->status, 0);
            process->pid = 0;
        }
    }
}

void process_print_logs(struct scenario *scenario)
{
    for (struct process *process = scenario->processes; process != NULL; process = process->next) {
        FILE *log = process->quiet ? NULL : fopen(process->log_path, "re");
        if (log == NULL) {
            continue;
        }
        if (fgetc(log) != EOF) {
            fprintf(stderr, "---- the log of %s\n", process->name);
        }
        if (fseek(log, -LOG_PRINTED_BYTES_MAX, SEEK_END) != 0) {
            rewind(log);
        }
        char block[8192];
        size_t len;
        while ((len = fread(block, 1, sizeof block, log)) > 0) {
            fwrite(block, 1, len, stderr);
        }
        fclose(log);
    }
}
