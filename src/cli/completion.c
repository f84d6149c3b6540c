// Completion for bash, as a script made of the tables, so that it knows what the program knows.
// `eval "$(pgnear --bash-completion)"` puts it in force.

#include <ctype.h>
#include <string.h>

#include "cli/command.h"

// What may stand as the argument of an option, by how --help shows it.
static const struct {
    const char *argument;
    const char *words; // NULL: a file
} ARGUMENTS[] = {
    {"PATH", NULL},
    {"FILE", NULL},
    {"LEVEL", "memory journal postgres"},
    {"HOW", "replace skip fail"},
};

static void print_option_words(FILE *out, const char *command)
{
    const struct option_row *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        if (option_goes_with(option, command)) {
            fprintf(out, " --%s", option->name);
        }
    }
}

// The words of "[list|retry SEQ|discard SEQ]" that are written as they stand: in lower case.
static void print_operand_words(FILE *out, const char *operands)
{
    for (const char *at = operands; *at != '\0';) {
        size_t len = strcspn(at, "[] |.");
        size_t lower = 0;
        while (lower < len && islower((unsigned char)at[lower]) != 0) {
            lower++;
        }
        if (len > 0 && lower == len) {
            fprintf(out, " %.*s", (int)len, at);
        }
        at += len;
        at += strspn(at, "[] |.");
    }
}

static void print_arguments(FILE *out)
{
    const struct option_row *option;
    fputs("    case $previous in\n", out);
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        if (option->argument == NULL) {
            continue;
        }
        fprintf(out, "    --%s%s)", option->name, strcmp(option->name, "config") == 0 ? "|-c" : "");
        for (size_t j = 0; j < sizeof ARGUMENTS / sizeof ARGUMENTS[0]; j++) {
            if (strcmp(option->argument, ARGUMENTS[j].argument) != 0) {
                continue;
            }
            if (ARGUMENTS[j].words == NULL) {
                fputs(" COMPREPLY=($(compgen -f -- \"$current\"));", out);
            } else {
                fprintf(out, " COMPREPLY=($(compgen -W \"%s\" -- \"$current\"));",
                        ARGUMENTS[j].words);
            }
        }
        fputs(" return ;;\n", out);
    }
    fputs("    esac\n", out);
}

// Finds the command among the words: the first that is no option and no argument of one.
static void print_search(FILE *out)
{
    const struct option_row *option;
    fputs("    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n        -c",
          out);
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        if (option->argument != NULL) {
            fprintf(out, "|--%s", option->name);
        }
    }
    fputs(") i=$((i + 1)) ;;\n"
          "        -*) ;;\n"
          "        *) command=${COMP_WORDS[i]}; break ;;\n"
          "        esac\n"
          "    done\n",
          out);
}

static void print_commands(FILE *out)
{
    const struct command *command;
    fputs("    case $command in\n    '') words=\"", out);
    for (size_t i = 0; (command = command_at(i)) != NULL; i++) {
        fprintf(out, "%s ", command->name);
    }
    print_option_words(out, "");
    fputs("\" ;;\n", out);
    for (size_t i = 0; (command = command_at(i)) != NULL; i++) {
        fprintf(out, "    %s) words=\"", command->name);
        print_option_words(out, command->name);
        print_operand_words(out, command->operands);
        fprintf(out, "\"%s ;;\n", strstr(command->operands, "FILE") != NULL ? "; files=1" : "");
    }
    fputs("    esac\n", out);
}

void completion_print(FILE *out)
{
    fputs("# Completion of pgnear for bash, made by pgnear --bash-completion.\n"
          "_pgnear() {\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
          "    local command= words= files= i\n"
          "    COMPREPLY=()\n",
          out);
    print_arguments(out);
    print_search(out);
    print_commands(out);
    fputs("    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
          "    if [[ -n $files && $current != -* ]]; then\n"
          "        COMPREPLY+=($(compgen -f -- \"$current\"))\n"
          "    fi\n"
          "}\n"
          "complete -o filenames -F _pgnear pgnear\n",
          out);
}
