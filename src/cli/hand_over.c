// A command that needs no node is run by pgnear-offline. libpq and what it brings along take longer
// to load than any other command takes in all, and nearly all are asked of a node.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

// The directory of this program, with the slash at its end. False where it cannot be told.
static bool own_directory(char *path, size_t size)
{
    ssize_t len = readlink("/proc/self/exe", path, size - 1);
    if (len < 0) {
        return false;
    }
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return false;
    }
    slash[1] = '\0';
    return true;
}

enum exit_status hand_over(const struct invocation *invocation)
{
    // Where it is installed, and where it is built: beside this one.
    static const char *const PLACES[] = {PGNEAR_BIN_TO_LIBEXEC "/", ""};
    char directory[PATH_MAX], path[PATH_MAX + sizeof PGNEAR_BIN_TO_LIBEXEC + 32];
    if (!own_directory(directory, sizeof directory)) {
        return complain(EXIT_REFUSED, "where this program lies cannot be told: %s",
                        strerrordesc_np(errno));
    }
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        snprintf(path, sizeof path, "%s%spgnear-offline", directory, PLACES[i]);
        execv(path, invocation->words);
    }
    return complain(EXIT_REFUSED, "pgnear-offline, which runs \"%s\" without a node: %s",
                    invocation->command->name, strerrordesc_np(errno));
}

enum exit_status run_schema(struct invocation *invocation)
{
    return hand_over(invocation);
}
