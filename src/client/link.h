// The stream to the node: a Unix socket that sends whole frames and hands out whole frames, each
// wait bounded by a deadline (CLOCK_BOOTTIME in microseconds, INT64_MAX for none). Knows nothing of
// what the frames mean. One thread at a time; the memory of all zeroes is not a link, link_init is.
#pragma once

#include "base/mpack.h"

// What a node may send in one frame; what claims to be longer is not from a pgneard.
enum { LINK_FRAME_BYTES_MAX = 256 * 1024 * 1024 };

enum link_result {
    LINK_OK,
    LINK_LATE,   // the deadline has passed; the link goes on where it is
    LINK_BROKEN, // the peer is gone: only link_break is left
    LINK_BAD,    // the peer sent what is not MessagePack or too long: only link_break is left
};

struct link {
    int fd; // -1: not connected
    struct buffer in;
    struct mpack_scan scan; // of the frame at the front of `in`
    size_t lent_bytes;      // of the frame that was handed out last
};

void link_init(struct link *link);
void link_deinit(struct link *link);

// Connects; LINK_BROKEN, with errno, where nobody listens there.
enum link_result link_connect(struct link *link, const char *path, int64_t deadline_us);
// Closes the socket and forgets what came in.
void link_break(struct link *link);

static inline bool link_is_open(const struct link *link)
{
    return link->fd >= 0;
}

// Whether the peer has closed the connection since.
bool link_is_hung_up(const struct link *link);

// Sends the bytes; *sent counts those that went out, whatever the result.
enum link_result link_send(struct link *link, struct slice bytes, int64_t deadline_us,
                           size_t *sent);

// The next frame, valid until the next call with the link.
enum link_result link_receive(struct link *link, int64_t deadline_us, struct slice *frame);
