// How both kinds of `check` print what they find.
#pragma once

#include "cli/command.h"

// One item, as a line for people or, with --json, as a JSON object. Returns its exit status:
// EXIT_DONE where it is in order, else EXIT_REFUSED.
enum exit_status print_check_item(const struct invocation *invocation,
                                  const pgnear_check_item *item);
