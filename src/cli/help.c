// What --help says, from the tables.

#include <ctype.h>
#include <stdio.h>

#include "cli/command.h"

enum { COLUMN = 38 };

static void print_option(const struct option_row *option, bool names_commands)
{
    bool is_config = option == option_at(OPTION_CONFIG);
    const char *argument = option->argument;
    int len = printf("  %s--%s%s%s", is_config ? "-c, " : "", option->name,
                     argument != NULL ? " " : "", argument != NULL ? argument : "");
    printf("%*s ", len < COLUMN ? COLUMN - len : 0, "");
    if (names_commands && option->commands[0] != '\0') {
        printf("%s: ", option->commands);
    }
    puts(option->help);
}

// `of_all`: those that every command takes.
static void print_options(const char *command, bool of_all)
{
    const struct option_row *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        bool is_of_all = option->commands[0] == '\0';
        if (is_of_all == of_all && option_goes_with(option, command)) {
            print_option(option, false);
        }
    }
}

static void print_command(const struct command *command)
{
    const char *help = command->help;
    printf("usage: pgnear [OPTION...] %s%s%s\n\n%c%s.\n\n", command->name,
           command->operands[0] != '\0' ? " " : "", command->operands,
           toupper((unsigned char)help[0]), help + 1);
    print_options(command->name, false);
    print_options(command->name, true);
}

static void print_all(void)
{
    const struct command *command;
    const struct option_row *option;
    puts("usage: pgnear [OPTION...] COMMAND\n\nAsks pgneard, the near cache for PostgreSQL.\n");
    for (size_t i = 0; (command = command_at(i)) != NULL; i++) {
        int len = printf("  %s %s", command->name, command->operands);
        printf("%*s %s\n", len < COLUMN ? COLUMN - len : 0, "", command->help);
    }
    puts("");
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        print_option(option, true);
    }
}

void help_print(const struct command *command)
{
    if (command != NULL) {
        print_command(command);
    } else {
        print_all();
    }
    puts(
        "\nExit status: 0 done, 1 absent or condition failed, 2 usage, 3 cannot reach the daemon,\n"
        "4 refused or failed, 5 outcome unknown.");
}

enum exit_status run_help(struct invocation *invocation)
{
    const char *name = invocation->operands_count == 1 ? invocation->operands[0] : NULL;
    const struct command *command = name != NULL ? command_find(name) : NULL;
    if (name != NULL && command == NULL) {
        return complain_usage("there is no command %s", name);
    }
    help_print(command);
    return EXIT_DONE;
}
