// The table of commands, and the reading of a command line against it.

#include "cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "config/units.h"

static const struct command COMMANDS[] = {
    {"get", "KEY", 1, 1, "print the value of a key", run_get},
    {"set", "KEY JSON|-|--string TEXT", 1, 2, "set a key; - reads standard input", run_set},
    {"delete", "KEY...", 1, OPERANDS_MAX, "delete keys", run_delete},
    {"incr", "KEY [BY]", 1, 2, "add to a number, print the sum", run_incr},
    {"merge", "KEY JSON|-", 2, 2, "apply a JSON merge patch, print the result", run_merge},
    {"touch", "KEY TIME|none|--expires-at TIME", 1, 2, "let a key expire after TIME, or never",
     run_touch},
    {"ttl", "KEY", 1, 1, "print the milliseconds until a key expires", run_ttl},
    {"scan", "", 0, 0, "print keys and values in order, a JSON object a line", run_scan},
    {"history", "KEY", 1, 1, "print the versions of a key, newest first, a JSON object a line",
     run_history},
    {"watch", "[PREFIX]", 0, 1, "print changes as they come, a JSON object a line", run_watch},
    {"flush", "", 0, 0, "wait until all acknowledged writes are in PostgreSQL", run_flush},
    {"sync", "", 0, 0, "wait until the cache has all that is committed", run_sync},
    {"invalidate", "[KEY]", 0, 1, "drop a key, or all, from the cache", run_invalidate},
    {"dead-letters", "[list|retry SEQ|discard SEQ]", 0, 2,
     "list the writes that PostgreSQL refuses, or deal with one", run_dead_letters},
    {"backup", "", 0, 0, "copy the table to a new one in PostgreSQL", run_backup},
    {"backups", "", 0, 0, "list the backups of the table", run_backups},
    {"restore", "NAME", 1, 1, "bring a backup back into the table", run_restore},
    {"cleanup-backups", "", 0, 0, "drop old backups of the table", run_cleanup_backups},
    {"stats", "", 0, 0, "print the counters of the node", run_stats},
    {"top", "", 0, 0, "show what the node does, each second anew", run_top},
    {"check", "", 0, 0, "examine the node and its PostgreSQL", run_check},
    {"schema", "", 0, 0, "print the SQL that makes the table", run_schema},
    {"ping", "", 0, 0, "ask the node for a sign of life", run_ping},
    {"help", "[COMMAND]", 0, 1, "tell of the commands, or of one", run_help},
    {"export", "[FILE]", 0, 1, "write all pairs to a file or standard output", run_export},
    {"import", "FILE|-", 1, 1, "write the pairs of a file", run_import},
};

enum { COMMANDS_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static const struct option_row OPTIONS[OPTION_COUNT] = {
#define OPTION_ROW(name, option, argument, commands, help) {option, argument, commands, help},
    OPTION_TABLE(OPTION_ROW)
#undef OPTION_ROW
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) {
            return &COMMANDS[i];
        }
    }
    return NULL;
}

const struct command *command_at(size_t place)
{
    return place < COMMANDS_COUNT ? &COMMANDS[place] : NULL;
}

const struct option_row *option_at(size_t place)
{
    return place < OPTION_COUNT ? &OPTIONS[place] : NULL;
}

static void complain_to(const char *format, va_list values)
{
    fflush(stdout);
    fputs("pgnear: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
}

enum exit_status complain(enum exit_status status, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    complain_to(format, values);
    va_end(values);
    return status;
}

enum exit_status complain_usage(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    complain_to(format, values);
    va_end(values);
    fputs("Try 'pgnear --help', or --help behind a command.\n", stderr);
    return EXIT_USAGE;
}

enum exit_status complain_of_call(const pgnear_error *error)
{
    complain(EXIT_REFUSED, "%s", error->message);
    switch (error->code) {
    case PGNEAR_CONFLICT:
        return EXIT_ABSENT;
    case PGNEAR_UNREACHABLE:
        return EXIT_UNREACHABLE;
    case PGNEAR_OUTCOME_UNKNOWN:
        return EXIT_OUTCOME_UNKNOWN;
    default:
        return EXIT_REFUSED;
    }
}

// Whether `word` is one of the blank-separated `words`; an empty one is none.
static bool is_among(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = words; len > 0 && (at = strstr(at, word)) != NULL; at += len) {
        bool begins = at == words || at[-1] == ' ';
        if (begins && (at[len] == '\0' || at[len] == ' ')) {
            return true;
        }
    }
    return false;
}

bool option_goes_with(const struct option_row *option, const char *command)
{
    return option->commands[0] == '\0' || is_among(option->commands, command);
}

// The first operand is the command.
static bool take_operand(struct invocation *invocation, const char *operand)
{
    if (invocation->command == NULL) {
        invocation->command = command_find(operand);
        if (invocation->command == NULL) {
            complain_usage("there is no command %s", operand);
        }
        return invocation->command != NULL;
    }
    if (invocation->operands_count == OPERANDS_MAX) {
        complain_usage("more than %d operands", OPERANDS_MAX);
        return false;
    }
    invocation->operands[invocation->operands_count++] = operand;
    return true;
}

// "-3" is a number, not an option.
static bool is_negative_number(const char *word)
{
    return word[0] == '-' && word[1] >= '0' && word[1] <= '9';
}

// Sorts the command line into options and operands, which may stand in any order.
static bool sort_words(int argc, char **argv, struct invocation *invocation)
{
    enum { LONG_OPTIONS = 256 }; // beyond every character
    static char name[] = "pgnear";
    argv[0] = name; // which getopt's own complaints begin with
    struct option long_options[OPTION_COUNT + 1] = {0};
    for (int i = 0; i < OPTION_COUNT; i++) {
        long_options[i] = (struct option){
            .name = OPTIONS[i].name,
            .has_arg = OPTIONS[i].argument != NULL ? required_argument : no_argument,
            .val = LONG_OPTIONS + i,
        };
    }
    for (;;) {
        if (optind < argc && is_negative_number(argv[optind])) {
            if (!take_operand(invocation, argv[optind++])) {
                return false;
            }
            continue;
        }
        // "-": operands are handed out in order, as option 1.
        // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
        int option = getopt_long(argc, argv, "-c:h", long_options, NULL);
        if (option == -1) {
            break;
        }
        bool taken = true;
        if (option == 1) {
            taken = take_operand(invocation, optarg);
        } else if (option == '?') {
            taken = false; // getopt has said why
            fputs("Try 'pgnear --help'; behind -- nothing is taken for an option.\n", stderr);
        } else {
            int given = option == 'c'   ? OPTION_CONFIG
                        : option == 'h' ? OPTION_HELP
                                        : option - LONG_OPTIONS;
            invocation->options[given] = optarg != NULL ? optarg : "";
        }
        if (!taken) {
            return false;
        }
    }
    while (optind < argc) {
        if (!take_operand(invocation, argv[optind++])) {
            return false;
        }
    }
    return true;
}

static bool check_usage(struct invocation *invocation)
{
    const struct command *command = invocation->command;
    if (command == NULL) {
        complain_usage("which command?");
        return false;
    }
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (invocation->options[i] != NULL && !option_goes_with(&OPTIONS[i], command->name)) {
            complain_usage("%s does not take --%s", command->name, OPTIONS[i].name);
            return false;
        }
    }
    if (invocation->operands_count < command->operands_min ||
        invocation->operands_count > command->operands_max) {
        complain_usage("usage: pgnear %s%s%s", command->name,
                       command->operands[0] != '\0' ? " " : "", command->operands);
        return false;
    }
    return true;
}

static bool check_socket(const struct invocation *invocation)
{
    const char *path = invocation->options[OPTION_SOCKET];
    if (path != NULL && path[0] == '\0') {
        complain_usage("--socket takes the path of a socket");
        return false;
    }
    return true;
}

static bool read_timeout(struct invocation *invocation)
{
    const char *text = invocation->options[OPTION_TIMEOUT];
    int64_t timeout_us;
    if (text == NULL) {
        return true;
    }
    if (!units_duration_us(slice_of_string(text), &timeout_us) || timeout_us < CLOCK_US_PER_MS) {
        complain_usage("--timeout %s: not a time such as 500ms or 10s", text);
        return false;
    }
    invocation->timeout_ms = timeout_us / CLOCK_US_PER_MS;
    return true;
}

bool command_parse(int argc, char **argv, struct invocation *invocation, enum exit_status *status)
{
    *status = EXIT_USAGE;
    invocation->words = argv;
    if (!sort_words(argc, argv, invocation)) {
        return false;
    }
    if (option_is_given(invocation, OPTION_HELP)) {
        help_print(invocation->command);
        *status = EXIT_DONE;
        return false;
    }
    if (option_is_given(invocation, OPTION_VERSION)) {
        printf("pgnear %s\n", pgnear_version());
        *status = EXIT_DONE;
        return false;
    }
    if (option_is_given(invocation, OPTION_BASH_COMPLETION)) {
        completion_print(stdout);
        *status = EXIT_DONE;
        return false;
    }
    return check_usage(invocation) && check_socket(invocation) && read_timeout(invocation);
}

bool command_connect(struct invocation *invocation, enum exit_status *status)
{
    pgnear_options options = PGNEAR_OPTIONS_INIT;
    options.client_name = "pgnear";
    options.timeout_ms = invocation->timeout_ms;
    options.connect_timeout_ms = invocation->timeout_ms;
    pgnear_error error;
    if (pgnear_open(invocation->options[OPTION_SOCKET], &options, &invocation->node, &error) ==
        PGNEAR_OK) {
        return true;
    }
    // Whatever the peer is, it is not a node that answers.
    complain_of_call(&error);
    if (error.code == PGNEAR_UNREACHABLE) {
        fputs("Is it running? --socket or $PGNEAR_SOCKET says where it listens.\n", stderr);
    }
    *status = EXIT_UNREACHABLE;
    return false;
}

enum exit_status end_output(enum exit_status status)
{
    errno = 0; // what was written before may have failed long ago, and has then left its mark only
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && status == EXIT_DONE) {
        status =
            complain(EXIT_REFUSED, "cannot write: %s",
                     errno != 0 ? strerrordesc_np(errno) : "standard output is closed or full");
    }
    return status;
}
