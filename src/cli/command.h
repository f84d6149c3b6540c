// The commands of `pgnear` as one table, from which usage checks and --help come, and the command
// line as it was given.
#pragma once

#include <pgnear.h>

#include <stdio.h>

#include "base/buffer.h"

// The exit statuses of the public contract.
enum exit_status {
    EXIT_DONE = 0,
    EXIT_ABSENT = 1, // or a condition failed
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3,
    EXIT_REFUSED = 4, // or failed
    EXIT_OUTCOME_UNKNOWN = 5,
};

// Which options there are, and which command takes them.
// X(name, option, argument or NULL, commands that take it or "" for all, help)
#define OPTION_TABLE(X)                                                                            \
    X(SOCKET, "socket", "PATH", "", "the node's socket [$PGNEAR_SOCKET, /run/pgnear/pgnear.sock]") \
    X(TIMEOUT, "timeout", "TIME", "", "give up after TIME, such as 500ms or 10s")                  \
    X(PRETTY, "pretty", NULL, "", "print JSON over several lines")                                 \
    X(HELP, "help", NULL, "", "print this and exit")                                               \
    X(VERSION, "version", NULL, "", "print the version and exit")                                  \
    X(BASH_COMPLETION, "bash-completion", NULL, "", "print what completes these in bash and exit") \
    X(STRING, "string", "TEXT", "set", "the value is the string TEXT")                             \
    X(TTL, "ttl", "TIME", "set", "the key expires after TIME")                                     \
    X(EXPIRES_AT, "expires-at", "TIME", "set touch", "it expires at TIME: 2030-01-31T12:00:00Z")   \
    X(ACK, "ack", "LEVEL", "set delete import", "answer at memory, journal or postgres")           \
    X(IF_VERSION, "if-version", "N", "set delete", "only where the key has version N")             \
    X(IF_ABSENT, "if-absent", NULL, "set", "only where the key does not exist")                    \
    X(ID, "id", "TEXT", "set delete incr merge touch", "a repeat with the same id is done once")   \
    X(PREFIX, "prefix", "P", "scan export", "only keys that begin with P")                         \
    X(LIMIT, "limit", "N", "scan history", "at most N keys, or versions")                          \
    X(BEFORE, "before", "N", "history", "only versions lower than N")                              \
    X(AT_VERSION, "at-version", "N", "get", "the value that the key had at version N")             \
    X(FORCE, "force", NULL, "dead-letters", "retry although the key has changed since")            \
    X(MODE, "mode", "MODE", "restore", "merge [merge], or replace: delete what is not in it")      \
    X(DAYS, "days", "N", "cleanup-backups", "drop backups that are N days old [30]")               \
    X(JSON, "json", NULL, "stats check", "print JSON instead of lines for people")                 \
    X(PROMETHEUS, "prometheus", NULL, "stats", "print the text format of Prometheus")              \
    X(SNAPSHOTS, "count", "N", "top", "end after N snapshots")                                     \
    X(CONFIG, "config", "FILE", "schema check", "work without a daemon, as FILE says")             \
    X(OBJECT, "object", NULL, "export import", "one JSON object of all pairs, not JSON lines")     \
    X(LINES, "lines", NULL, "export import", "JSON lines, whatever the file is called")            \
    X(DRY_RUN, "dry-run", NULL, "import", "read and check everything, write nothing")              \
    X(ON_CONFLICT, "on-conflict", "HOW", "import", "a key that exists: replace it, skip, or fail") \
    X(STRICT, "strict", NULL, "import", "import nothing where anything is wrong")                  \
    X(RESUME, "resume", "FILE", "import", "keep the place in FILE, and go on from there")          \
    X(DROP, "drop", NULL, "schema", "print what takes everything of ours but the data away")

enum option_name {
#define OPTION_ENUM(name, option, argument, commands, help) OPTION_##name,
    OPTION_TABLE(OPTION_ENUM)
#undef OPTION_ENUM
        OPTION_COUNT
};

enum { OPERANDS_MAX = 4096 };

struct invocation;

struct command {
    const char *name;
    const char *operands; // as --help shows them
    int operands_min;
    int operands_max;
    const char *help;
    enum exit_status (*run)(struct invocation *invocation);
};

struct invocation {
    const struct command *command;
    const char
        *options[OPTION_COUNT]; // the argument, or "" of one that takes none; NULL: not given
    const char *operands[OPERANDS_MAX];
    int operands_count;
    char **words;       // of the command line, as they were given
    int64_t timeout_ms; // 0: not given
    pgnear *node;       // NULL until command_connect
};

struct option_row {
    const char *name;
    const char *argument; // NULL: it takes none
    const char *commands; // that take it, "" for all
    const char *help;
};

// The tables row by row: NULL behind the last one.
const struct command *command_at(size_t place);
const struct option_row *option_at(size_t place);

// Whether the command takes the option; "" for none: whether every command does.
bool option_goes_with(const struct option_row *option, const char *command);

// NULL where there is no such command.
const struct command *command_find(const char *name);

// Reads the command line. Where false, *status is how to exit at once: everything has been said.
bool command_parse(int argc, char **argv, struct invocation *invocation, enum exit_status *status);

// Connects to the node. False with *status where that fails; it has been said then.
bool command_connect(struct invocation *invocation, enum exit_status *status);

static inline bool option_is_given(const struct invocation *invocation, enum option_name option)
{
    return invocation->options[option] != NULL;
}

// Prints what --help says: of that command and the options that go with it, or of all where NULL.
void help_print(const struct command *command);

// Prints the script that completes commands and options in bash, from the tables.
void completion_print(FILE *out);

// "pgnear: " and the message on standard error; returns `status`.
enum exit_status complain(enum exit_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The same with "try --help" behind it, EXIT_USAGE.
enum exit_status complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Says the error of a call, and which exit status it means.
enum exit_status complain_of_call(const pgnear_error *error);

// The last thing a program does: what it has printed is written, or the failure is said; how it
// exits.
enum exit_status end_output(enum exit_status status);

// What needs no node is another program's, which has the libraries that it takes: becomes that one,
// with the same command line. Returns only where it cannot be run, which has been said then.
enum exit_status hand_over(const struct invocation *invocation);

// The commands, each in the file of its kind.
enum exit_status run_get(struct invocation *invocation);
enum exit_status run_set(struct invocation *invocation);
enum exit_status run_delete(struct invocation *invocation);
enum exit_status run_incr(struct invocation *invocation);
enum exit_status run_merge(struct invocation *invocation);
enum exit_status run_touch(struct invocation *invocation);
enum exit_status run_ttl(struct invocation *invocation);
enum exit_status run_scan(struct invocation *invocation);
enum exit_status run_history(struct invocation *invocation);
enum exit_status run_watch(struct invocation *invocation);
enum exit_status run_flush(struct invocation *invocation);
enum exit_status run_sync(struct invocation *invocation);
enum exit_status run_invalidate(struct invocation *invocation);
enum exit_status run_backup(struct invocation *invocation);
enum exit_status run_backups(struct invocation *invocation);
enum exit_status run_restore(struct invocation *invocation);
enum exit_status run_cleanup_backups(struct invocation *invocation);
enum exit_status run_top(struct invocation *invocation);
enum exit_status run_stats(struct invocation *invocation);
enum exit_status run_check(struct invocation *invocation);
enum exit_status run_schema(struct invocation *invocation);
enum exit_status run_dead_letters(struct invocation *invocation);
enum exit_status run_export(struct invocation *invocation);
enum exit_status run_import(struct invocation *invocation);
enum exit_status run_ping(struct invocation *invocation);
enum exit_status run_help(struct invocation *invocation);
