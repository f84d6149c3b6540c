// A socket file outlives the process that made it, so one that is found says nothing: only
// connect() tells a live server from the file of a dead one. Two daemons that start at the same
// instant are kept apart before this, by the locks of their directories.

#include "server/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/slice.h"

static enum error fail(struct failure *failure, const char *path, const char *what)
{
    return failure_set(failure, ERROR_SYSTEM, "Failed to listen on \"%s\": %s", path, what);
}

static enum error make_address(const char *path, struct sockaddr_un *address,
                               struct failure *failure)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) {
        return failure_set(failure, ERROR_SYSTEM,
                           "Failed to listen on \"%s\": a socket's path has at most %zu bytes",
                           path, sizeof address->sun_path - 1);
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return ERROR_NONE;
}

// What stands in front of the last slash; to be freed.
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return memory_string(slice_of_string("."));
    }
    return memory_string(slice_of(path, slash == path ? 1 : (size_t)(slash - path)));
}

static enum error check_directory(const char *path, struct failure *failure)
{
    char *directory = directory_of(path);
    struct stat status;
    enum error error = ERROR_NONE;
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) {
        error = failure_set(failure, ERROR_SYSTEM,
                            "Failed to listen on \"%s\": there is no directory \"%s\"", path,
                            directory);
    }
    free(directory);
    return error;
}

// Whether somebody accepts connections at the address. A full backlog is a life sign too.
static bool is_answered(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    bool answered = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                    errno == EAGAIN || errno == EPROTOTYPE;
    close(fd);
    return answered;
}

static enum error clear_path(const struct sockaddr_un *address, struct failure *failure)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? ERROR_NONE : fail(failure, path, strerrordesc_np(errno));
    }
    if (!S_ISSOCK(status.st_mode)) {
        return fail(failure, path, "the file is there and is no socket");
    }
    if (is_answered(address)) {
        return failure_set(failure, ERROR_IN_USE,
                           "Failed to listen on \"%s\": another server answers there", path);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return fail(failure, path, strerrordesc_np(errno));
    }
    LOG_INFO("stale socket removed", LOG_TEXT("path", path));
    return ERROR_NONE;
}

// The mode is set between bind and listen: until then every connect is refused.
static enum error bind_and_listen(int fd, const struct sockaddr_un *address, mode_t mode)
{
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        return ERROR_SYSTEM;
    }
    if (chmod(address->sun_path, mode) != 0 || listen(fd, SOMAXCONN) != 0) {
        int saved = errno;
        unlink(address->sun_path);
        errno = saved;
        return ERROR_SYSTEM;
    }
    return ERROR_NONE;
}

enum error listener_open(struct listener *listener, const char *path, mode_t mode,
                         struct failure *failure)
{
    struct sockaddr_un address;
    struct stat status;
    enum error error = make_address(path, &address, failure);
    if (error == ERROR_NONE) {
        error = check_directory(path, failure);
    }
    if (error == ERROR_NONE) {
        error = clear_path(&address, failure);
    }
    if (error != ERROR_NONE) {
        return error;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail(failure, path, strerrordesc_np(errno));
    }
    if (bind_and_listen(fd, &address, mode) != ERROR_NONE || lstat(path, &status) != 0) {
        error = fail(failure, path, strerrordesc_np(errno));
        close(fd);
        return error;
    }
    *listener = (struct listener){
        .fd = fd,
        .path = memory_string(slice_of_string(path)),
        .device = status.st_dev,
        .inode = status.st_ino,
    };
    return ERROR_NONE;
}

void listener_close(struct listener *listener)
{
    struct stat status;
    if (listener->fd < 0) {
        return;
    }
    if (lstat(listener->path, &status) == 0 && status.st_dev == listener->device &&
        status.st_ino == listener->inode) {
        unlink(listener->path);
    }
    close(listener->fd);
    free(listener->path);
    *listener = (struct listener){.fd = -1};
}
