// pgnear: the command line of the near cache. One command a run; what it prints is JSON on standard
// output, what goes wrong is said on standard error, and the exit status says which kind it was.

#include <stdlib.h>

#include "base/memory.h"
#include "base/streams.h"
#include "cli/command.h"

static enum exit_status run(int argc, char **argv)
{
    struct invocation *invocation = memory_zeroed(1, sizeof *invocation);
    enum exit_status status;
    if (command_parse(argc, argv, invocation, &status)) {
        status = invocation->command->run(invocation);
    }
    pgnear_close(invocation->node);
    free(invocation);
    return status;
}

int main(int argc, char **argv)
{
    streams_hold();
    return (int)end_output(run(argc, argv));
}
