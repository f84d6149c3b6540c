// Writes one value in canonical form (see json.h) from the events of a reader, in a single pass
// into the caller's buffer. Memory: a fixed stack of JSON_DEPTH_MAX levels, 24 bytes for each pair
// of the objects that are open, and a copy of an object whose keys have to be sorted.
//
// Life: builder_init, the events, builder_finish, builder_deinit.
#pragma once

#include "json/complaint.h"
#include "json/events.h"
#include "json/json.h"
#include "json/number.h"
#include "json/pair.h"

struct builder_level {
    bool is_map;
    bool is_sorted;      // so far, the keys are unique and in order
    uint32_t header_at;  // offset of the header
    uint32_t header_len; // as guessed when it was opened
    uint32_t count;      // values so far
    uint32_t first_pair; // in builder.pairs
};

struct builder {
    struct buffer *out; // the caller's; it has no part of the value before the end
    size_t origin;      // readable bytes that were in it before
    uint8_t *begin;     // of the value
    uint8_t *end;       // of what there is of it
    uint8_t *stop;      // up to here there is room, and some behind it
    uint64_t expanded_bytes;
    uint64_t expanded_bytes_max;
    size_t value_bytes_max;
    struct buffer pairs;                             // of struct pair, those of the open objects
    struct buffer scratch;                           // an object being sorted, the text of a number
    struct builder_level *level;                     // that is open
    struct builder_level levels[JSON_DEPTH_MAX + 1]; // the first is around the value
    struct complaint complaint;
};

// Owns nothing of `out`, which must outlive it and be left alone until builder_finish.
void builder_init(struct builder *builder, const struct json_limits *limits, struct buffer *out);
void builder_deinit(struct builder *builder);

// As the events of events.h, for a number already read.
bool builder_number(struct builder *builder, const struct number *number);

// Checks the size of what was built: the last event has been. On true it is appended to the buffer;
// else, and where an event was false, the buffer's length stays.
bool builder_finish(struct builder *builder);
