// bench_echo SOCKET REQUEST-BYTES REPLY-BYTES: an epoll server that answers so many bytes with so
// many others and does nothing else. What it does is the floor of any server's work on this
// machine: one read and one write for each batch that came.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EVENTS_MAX = 128, READ_BYTES = 64 << 10, CONNECTIONS_MAX = 4096 };

static size_t request_bytes;
static size_t reply_bytes;
static size_t left_over[CONNECTIONS_MAX]; // by fd: bytes of a request that is not whole
static char in[READ_BYTES];
static char *out;

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        give_up("bench_echo");
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        give_up("bench_echo");
    }
    return fd;
}

static void welcome(int epoll_fd, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || fd >= CONNECTIONS_MAX) {
        give_up("bench_echo: accept");
    }
    left_over[fd] = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        give_up("bench_echo: epoll");
    }
}

static void answer(int fd)
{
    ssize_t len = recv(fd, in, sizeof in, 0);
    if (len <= 0) {
        close(fd);
        return;
    }
    size_t requests = (left_over[fd] + (size_t)len) / request_bytes;
    left_over[fd] = (left_over[fd] + (size_t)len) % request_bytes;
    if (requests > 0 && send(fd, out, requests * reply_bytes, MSG_NOSIGNAL) < 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_echo SOCKET REQUEST-BYTES REPLY-BYTES\n");
        return 2;
    }
    request_bytes = strtoul(argv[2], NULL, 10);
    reply_bytes = strtoul(argv[3], NULL, 10);
    if (request_bytes == 0 || reply_bytes == 0) {
        return 2;
    }
    out = calloc(READ_BYTES / request_bytes + 1, reply_bytes);
    int listener = listen_at(argv[1]);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (out == NULL || epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) != 0) {
        give_up("bench_echo: epoll");
    }
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                welcome(epoll_fd, listener);
            } else {
                answer(events[i].data.fd);
            }
        }
    }
}
