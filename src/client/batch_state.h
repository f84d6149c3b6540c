// Requests that are collected to be sent together. A batch keeps their frames one behind the other
// in one buffer and knows where each ends, so that after a broken connection it can tell what the
// node has received whole.
//
//      frames   | set a | get b | delete c |
//      requests   .end ^  .end ^     .end ^
//
// Of a get the key alone is kept, since what it asks the node depends on what the handle was told
// until the batch runs.
//
// For the two files that make it: batch.c collects, batch_run.c has them answered. One thread at a
// time, that of the handle.
#pragma once

#include "client/handle.h"
#include "client/order.h"

enum { BATCH_BYTES_MAX = 16 * 1024 * 1024 }; // of frames, but for a single larger one

struct batch_request {
    enum request_kind kind;
    bool repeatable; // after it was received, or may have been
    bool was_sent;   // whole, at least once
    bool decided;
    uint32_t msgid;
    uint64_t hash;         // of the key, but for REQUEST_OTHER
    struct seen_told told; // of a write: what the handle was told of its key before
    size_t begin;          // of its frame in `frames`; of a get: of its key
    size_t end;
    size_t sent_bytes;          // of its frame, in the attempt that is being made
    pgnear_get_options options; // of a get
};

struct pgnear_batch {
    pgnear *handle;
    struct buffer frames;
    struct batch_request *requests; // heap
    size_t count;
    size_t capacity;
    struct arena results; // of the last run
    struct order order;
    // While it runs:
    pgnear_reply *replies; // in `results`
    size_t undecided;
    const char *why; // there is no answer
};

// The bytes of a request in `frames`.
static inline struct slice batch_bytes(const pgnear_batch *batch,
                                       const struct batch_request *request)
{
    return slice_of(buffer_slice(&batch->frames).at + request->begin,
                    request->end - request->begin);
}
