#include "base/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/check.h"

void streams_hold(void)
{
    // Each in the direction in which it is of no use.
    static const int MODES[] = {
        [STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            int held = open("/dev/null", MODES[fd]);
            CHECK_VALUES(held == fd, "%d in place of %d, errno %d", held, fd, errno);
        }
    }
}
