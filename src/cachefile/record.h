// One key's state in the cache as bytes: a fixed header in the machine's byte order (the files
// never leave the machine), then the value as canonical msgpack.
//
//   0        1       2        3           8         16      20      24              32
//   | layout | flags | origin | stored_at | version | epoch | check | expires_at_us | pending_seq
//   40
//   | value ...
//
// stored_at counts hundredths of a second since 1970 in 40 bits. `check` is of the key and of all
// else, in 32 bits. It is for the start, which looks at every record before the first is served
// (record_is_whole); a read goes without.
//
// The layout is part of what direct readers rely on. Pure; any thread.
#pragma once

#include "base/error.h"
#include "base/slice.h"

enum { RECORD_LAYOUT = 2, RECORD_HEADER_BYTES = 40 };

enum { RECORD_STORED_STEP_US = 10000 };

// What made a record clean, for whoever has to explain it.
enum record_origin {
    RECORD_ORIGIN_UNKNOWN,
    RECORD_ORIGIN_FILL,  // PostgreSQL's answer to a miss
    RECORD_ORIGIN_FLUSH, // this node's own write
    RECORD_ORIGIN_PRELOAD,
    RECORD_ORIGINS_COUNT
};

struct record {
    bool
        pending; // a write of this node is on its way: no version yet, never overwritten or evicted
    bool absent; // known not to exist
    bool tainted; // pending, and a foreign notify came meanwhile: dropped once flushed
    bool stacked; // pending over an earlier write that was pending itself
    int64_t version;
    uint64_t epoch;        // of the feed, when it was stored as clean; at most UINT32_MAX
    int64_t expires_at_us; // by PostgreSQL's clock; 0: never
    uint64_t pending_seq;  // of the write that is on its way; 0: clean
    int64_t stored_at_us;  // when it became clean, by PostgreSQL's clock, in RECORD_STORED_STEP_US;
                           // 0: not known
    enum record_origin origin;
    struct slice value; // empty where absent
};

static inline size_t record_bytes(const struct record *record)
{
    return RECORD_HEADER_BYTES + record->value.len;
}

// "fill" and the like; static.
const char *record_origin_name(enum record_origin origin);

// Writes record_bytes() bytes at `out`, which need not be aligned.
void record_encode(const struct record *record, struct slice key, uint8_t *out);

// Whether these are the bytes that were written for the key.
bool record_is_whole(struct slice bytes, struct slice key);

// The value points into `bytes`. ERROR_CORRUPT where the bytes are not a record of this layout.
enum error record_decode(struct slice bytes, struct record *record);
