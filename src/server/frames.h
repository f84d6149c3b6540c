// Finding MessagePack-RPC messages in a stream of bytes: pure, the same answer wherever the stream
// is cut. The published spec: request [0, msgid, method, params], notification [2, method, params].
#pragma once

#include "base/error.h"
#include "base/mpack.h"

enum frame_kind { FRAME_REQUEST, FRAME_NOTIFICATION };

// Slices point into the bytes it was found in.
struct frame {
    enum frame_kind kind;
    uint32_t msgid;
    struct slice method;
    struct slice params; // a whole MessagePack array
};

// Why the stream cannot go on, and whom to tell: the request whose msgid could be read, if any.
struct frame_fault {
    bool has_msgid;
    uint32_t msgid;
    struct failure failure;
};

// How far a message that is not whole yet has been looked at. All zeroes but for the limit.
struct frame_reader {
    size_t frame_bytes_max;
    struct mpack_scan scan;
};

// `bytes` begins where a message begins and, after NEED_MORE, is given again with more behind it.
// OK: the frame, and how many bytes it took. BAD: the fault; nothing after it can be understood.
enum decode frame_next(struct frame_reader *reader, struct slice bytes, size_t *consumed,
                       struct frame *frame, struct frame_fault *fault);

// A shortcut to the commonest request there is: a get of one key, without options or with none in
// them, at the front of `bytes`, whole. False says nothing: ask frame_next.
bool frame_next_get(const struct frame_reader *reader, struct slice bytes, size_t *consumed,
                    uint32_t *msgid, struct slice *key);

// The msgid of a request whose message may be unfinished or malformed behind it. False where there
// is none to be read.
bool frame_msgid(struct slice bytes, uint32_t *msgid);
