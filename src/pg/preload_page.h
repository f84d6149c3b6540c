// A page of the preload: rows that are asked for and are turned into fills as they come, some at a
// time. It is a fetch that nobody waits for (docs/architecture.md, "Rules of coherence", 4 and 7):
// what is heard from its question until its fills are posted marks it. The pg worker's thread; the
// memory of all zeroes is an empty one.
#pragma once

#include "base/buffer.h"
#include "base/messages.h"
#include "base/request.h"
#include "pg/copy_rows.h"
#include "pg/marks.h"

struct preload_limits {
    size_t rows_asked;
    size_t text_max;  // a row whose text is not shorter may be cut off, where several are asked for
    size_t bytes_max; // of keys and texts of several rows; what comes after these is left out
    size_t value_bytes_max;
    size_t step_rows;  // of one message
    size_t step_bytes; // the same, about
};

struct preload_page {
    struct preload_limits limits;
    uint64_t epoch;     // when it was asked for
    struct marks marks; // heard of since then
    struct buffer rest; // of a row whose end has not come
    bool has_begun;     // the header has come
    bool has_ended;     // so has what stands behind the last row
    bool is_bad;        // it is not what was asked for
    bool is_cut;        // behind the rows taken is one that is too large for this page
    bool is_full;       // behind them may be more
    bool is_void;       // it cannot be used any more
    size_t rows_count;  // taken so far
    size_t text_bytes;  // of these
    size_t skipped;     // of these, beyond pgnear's limits
    struct buffer value;
    struct fills_message *fills; // those of the rows that are not posted; NULL: none
    size_t step_rows;            // taken since the last ones were
    size_t step_bytes;
    uint8_t last[KEY_BYTES_MAX]; // the key of the last row taken
    size_t last_bytes;
};

// It is asked for.
void preload_page_ask(struct preload_page *page, const struct preload_limits *limits,
                      uint64_t epoch);

// Takes rows of the next bytes, which may end anywhere. True where there are enough for a message,
// and there may be more: to be called again, after preload_page_fills, with what it left of
// `bytes`.
bool preload_page_take(struct preload_page *page, struct slice *bytes);

// The fills of what was taken since the last time, but for those that were heard of; the caller's.
// NULL: none.
struct fills_message *preload_page_fills(struct preload_page *page);

// All of it has come. Whether it is what was asked for, up to where it was left.
bool preload_page_is_whole(const struct preload_page *page);
// Whole, and behind its rows there are none.
bool preload_page_is_last(const struct preload_page *page);

// Empty again.
void preload_page_drop(struct preload_page *page);
// The same, and its memory is freed.
void preload_page_deinit(struct preload_page *page);
