// What goes in and comes out lies in files, so that no pipe can fill.

#include "system/harness/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MAX = 64 };

static const char *program(void)
{
    const char *chosen = getenv("PGNEAR");
    return chosen != NULL && chosen[0] != '\0' ? chosen : PGNEAR_PROGRAM;
}

const char *read_text_file(struct scenario *scenario, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return "";
    }
    struct buffer text = {0};
    size_t len;
    while ((len = fread(buffer_reserve(&text, 8192), 1, 8192, file)) > 0) {
        buffer_commit(&text, len);
    }
    fclose(file);
    const char *copy = scenario_text(scenario, "%.*s", SLICE_FORMAT(buffer_slice(&text)));
    buffer_deinit(&text);
    return copy;
}

static const char *write_input(struct scenario *scenario, const char *input)
{
    const char *path = scenario_path(scenario, "cli.input");
    FILE *file = fopen(path, "we");
    if (file == NULL || fputs(input, file) < 0 || fclose(file) != 0) {
        scenario_fail("cannot write %s: %s", path, strerror(errno));
    }
    return path;
}

static void start(struct process *process, const struct node *node, const char *const *arguments,
                  struct process_options options)
{
    const char *command[ARGUMENTS_MAX] = {program()};
    for (size_t i = 0; arguments[i] != NULL; i++) {
        if (i + 2 >= ARGUMENTS_MAX) {
            scenario_fail("more than ARGUMENTS_MAX arguments");
        }
        command[i + 1] = arguments[i];
    }
    const char *const environment[] = {
        node == NULL ? NULL : scenario_text(node->scenario, "PGNEAR_SOCKET=%s", node->socket_path),
        NULL};
    options.environment = environment;
    process_start(process, command, &options);
}

struct cli cli_run(struct scenario *scenario, const struct node *node, const char *input,
                   const char *const *arguments)
{
    const char *out_path = scenario_path(scenario, "cli.out");
    struct process *process = process_create(scenario, "cli");
    remove(process->log_path);
    struct process_options options = {.output_path = out_path};
    options.input_path = input == NULL ? NULL : write_input(scenario, input);
    start(process, node, arguments, options);
    struct cli cli = {.status = process_wait(process)};
    cli.out = read_text_file(scenario, out_path);
    cli.err = read_text_file(scenario, process->log_path);
    process->quiet = true; // what it said is the test's to judge
    return cli;
}

struct process *cli_start(const struct node *node, const char *output_path,
                          const char *const *arguments)
{
    struct process *process = process_create(node->scenario, "cli-background");
    start(process, node, arguments, (struct process_options){.output_path = output_path});
    return process;
}

void assert_cli(struct cli cli, int status, const char *out)
{
    if (cli.status != status || strcmp(cli.out, out) != 0) {
        scenario_fail("status %d and \"%s\" instead of status %d and \"%s\"; it said: %s",
                      cli.status, cli.out, status, out, cli.err);
    }
}

void assert_cli_json(struct cli cli, int status, const char *out)
{
    if (cli.status != status || !json_matches(cli.out, out)) {
        scenario_fail("status %d and \"%s\" instead of status %d and \"%s\"; it said: %s",
                      cli.status, cli.out, status, out, cli.err);
    }
}
