// pgnear: the command line of the near cache. One command a run; what it prints is JSON on standard
// output, what goes wrong is said on standard error, and the exit status says which kind it was.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    enum exit_status status = run(argc, argv);
    errno = 0; // what was written before may have failed long ago, and has then left its mark only
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && status == EXIT_DONE) {
        status =
            complain(EXIT_REFUSED, "cannot write: %s",
                     errno != 0 ? strerrordesc_np(errno) : "standard output is closed or full");
    }
    return (int)status;
}
