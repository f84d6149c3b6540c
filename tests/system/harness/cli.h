// Runs the command `pgnear`, as a user does, and gives back what it printed.
#pragma once

#include "system/harness/node.h"

struct cli {
    int status;      // of its exit
    const char *out; // what it printed; valid until the scenario ends
    const char *err;
};

// Runs it with the arguments, NULL at the end, and `input` (may be NULL) on standard input. `node`
// (may be NULL) is whose socket it finds in $PGNEAR_SOCKET. Waits for its end.
struct cli cli_run(struct scenario *scenario, const struct node *node, const char *input,
                   const char *const *arguments);

#define CLI(node, ...)                                                                             \
    cli_run((node)->scenario, (node), NULL, (const char *const[]){__VA_ARGS__, NULL})

// Starts it and lets it run; what it prints goes to `output_path`.
struct process *cli_start(const struct node *node, const char *output_path,
                          const char *const *arguments);

// It ended with that status, having printed that (a text, or JSON as json_matches compares it).
void assert_cli(struct cli cli, int status, const char *out);
void assert_cli_json(struct cli cli, int status, const char *out);

// The text of a file; "" where there is none. Valid until the scenario ends.
const char *read_text_file(struct scenario *scenario, const char *path);
