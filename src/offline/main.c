// pgnear-offline: what pgnear does without a node. pgnear becomes this program (cli/hand_over.c),
// which takes the same command line and answers in the same way; it is not for users.

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/streams.h"
#include "cli/command.h"
#include "offline/offline.h"

static enum exit_status check(const struct invocation *invocation)
{
    struct offline offline;
    enum exit_status status;
    if (!offline_open(&offline, invocation, true, &status)) {
        return status;
    }
    status = offline_check(&offline, invocation);
    offline_close(&offline);
    return status;
}

static enum exit_status run(int argc, char **argv)
{
    struct invocation *invocation = memory_zeroed(1, sizeof *invocation);
    enum exit_status status;
    if (command_parse(argc, argv, invocation, &status)) {
        const char *name = invocation->command->name;
        if (strcmp(name, "schema") == 0) {
            status = offline_schema(invocation);
        } else if (strcmp(name, "check") == 0) {
            status = check(invocation);
        } else {
            status = complain(EXIT_USAGE, "%s needs a node", name);
        }
    }
    free(invocation);
    return status;
}

int main(int argc, char **argv)
{
    streams_hold();
    return (int)end_output(run(argc, argv));
}
