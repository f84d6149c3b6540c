// The writer may wait for a slow disk for as long as it likes: being killed would not make the disk
// faster, so it is no concern of the watchdog's.

#include "server/supervisor.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef PGNEAR_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/log.h"

enum { ANSWER_MS = 1000, NOTICE_BYTES = 256 };

static void notify(const char *state)
{
#ifdef PGNEAR_SYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

void supervisor_ready(const char *status)
{
    char state[NOTICE_BYTES];
    snprintf(state, sizeof state, "READY=1\nSTATUS=%s", status);
    notify(state);
}

void supervisor_stopping(void)
{
    notify("STOPPING=1\nSTATUS=draining the outbox");
}

int64_t supervisor_watchdog_us(void)
{
    uint64_t period_us = 0;
#ifdef PGNEAR_SYSTEMD
    if (sd_watchdog_enabled(0, &period_us) <= 0) {
        return 0;
    }
#endif
    return (int64_t)(period_us / 2);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// Whether the peer says anything, or closes, in time.
static bool is_answered(int fd)
{
    static const uint8_t PING[] = "\x94\x00\x01\xa4ping\x90"; // [0, 1, "ping", []]
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    (void)!send(fd, PING, sizeof PING - 1, MSG_NOSIGNAL);
    return poll(&entry, 1, ANSWER_MS) == 1;
}

void supervisor_feed_watchdog(const char *socket_path)
{
    int fd = connect_to(socket_path);
    bool alive = fd >= 0 && is_answered(fd);
    if (fd >= 0) {
        close(fd);
    }
    if (alive) {
        notify("WATCHDOG=1");
    } else {
        LOG_WARNING("no sign of life", LOG_TEXT("socket", socket_path));
    }
}
