// One read() takes what is there, so that events and answers that came together cost one system
// call. The socket never blocks; poll() does, until the deadline.

#include "client/link.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum {
    READ_BYTES_MIN = 16 * 1024,
    KEEP_BYTES_MAX = 256 * 1024, // of the buffer between frames
    CONNECT_PAUSE_NS = 1000000,
};

void link_init(struct link *link)
{
    *link = (struct link){.fd = -1};
}

void link_deinit(struct link *link)
{
    link_break(link);
    buffer_deinit(&link->in);
}

static int left_ms(int64_t deadline_us)
{
    if (deadline_us == INT64_MAX) {
        return -1;
    }
    int64_t left = clock_us_to_ms(deadline_us - clock_boot_us());
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

// Waits for one of `events`; what is ready, 0 at the deadline.
static short await(const struct link *link, short events, int64_t deadline_us)
{
    struct pollfd entry = {.fd = link->fd, .events = events};
    int left;
    do {
        left = left_ms(deadline_us);
    } while (poll(&entry, 1, left) <= 0 && left != 0);
    return entry.revents;
}

enum link_result link_connect(struct link *link, const char *path, int64_t deadline_us)
{
    CHECK(!link_is_open(link));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return LINK_BROKEN;
    }
    memcpy(address.sun_path, path, len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return LINK_BROKEN;
    }
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        // EAGAIN: the node's queue of connections is full (unix(7)); there is nothing to poll for.
        bool may_wait = errno == EAGAIN || errno == EINTR;
        if (!may_wait || left_ms(deadline_us) == 0) {
            int error = errno;
            close(fd);
            errno = error;
            return may_wait ? LINK_LATE : LINK_BROKEN;
        }
        nanosleep(&(struct timespec){.tv_nsec = CONNECT_PAUSE_NS}, NULL);
    }
    link->fd = fd;
    return LINK_OK;
}

void link_break(struct link *link)
{
    if (link_is_open(link)) {
        close(link->fd);
    }
    link->fd = -1;
    link->scan = (struct mpack_scan){0};
    link->lent_bytes = 0;
    buffer_clear(&link->in, KEEP_BYTES_MAX);
}

bool link_is_hung_up(const struct link *link)
{
    uint8_t byte;
    ssize_t len = recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR);
}

// Takes what the socket holds into the buffer. LINK_LATE where it holds nothing.
static enum link_result fill(struct link *link)
{
    if (buffer_len(&link->in) >= LINK_FRAME_BYTES_MAX) {
        return LINK_BAD;
    }
    uint8_t *room = buffer_reserve(&link->in, READ_BYTES_MIN);
    ssize_t len = recv(link->fd, room, link->in.capacity - link->in.end, MSG_DONTWAIT);
    if (len > 0) {
        buffer_commit(&link->in, (size_t)len);
        return LINK_OK;
    }
    return len < 0 && (errno == EAGAIN || errno == EINTR) ? LINK_LATE : LINK_BROKEN;
}

// Gives the frame that was handed out back to the buffer.
static void take_back(struct link *link)
{
    if (link->lent_bytes > 0) {
        buffer_consume(&link->in, link->lent_bytes);
        link->lent_bytes = 0;
        if (buffer_len(&link->in) == 0) {
            buffer_clear(&link->in, KEEP_BYTES_MAX);
        }
    }
}

// A node that waits for us to read may not read from us, so reading goes on while we send.
enum link_result link_send(struct link *link, struct slice bytes, int64_t deadline_us, size_t *sent)
{
    take_back(link);
    *sent = 0;
    while (*sent < bytes.len) {
        ssize_t len = send(link->fd, bytes.at + *sent, bytes.len - *sent, MSG_NOSIGNAL);
        if (len >= 0) {
            *sent += (size_t)len;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return LINK_BROKEN;
        }
        short ready = await(link, POLLIN | POLLOUT, deadline_us);
        if (ready == 0) {
            return LINK_LATE;
        }
        enum link_result filled = (ready & POLLIN) != 0 ? fill(link) : LINK_OK;
        if (filled == LINK_BROKEN || filled == LINK_BAD) {
            return filled;
        }
    }
    return LINK_OK;
}

enum link_result link_receive(struct link *link, int64_t deadline_us, struct slice *frame)
{
    take_back(link);
    for (;;) {
        switch (mpack_scan_more(&link->scan, buffer_slice(&link->in))) {
        case DECODE_OK:
            link->lent_bytes = link->scan.scanned;
            link->scan = (struct mpack_scan){0};
            *frame = slice_of(buffer_slice(&link->in).at, link->lent_bytes);
            return LINK_OK;
        case DECODE_BAD:
            return LINK_BAD;
        case DECODE_NEED_MORE:
            break;
        }
        if (await(link, POLLIN, deadline_us) == 0) {
            return LINK_LATE;
        }
        enum link_result filled = fill(link);
        if (filled == LINK_BROKEN || filled == LINK_BAD) {
            return filled;
        }
    }
}
