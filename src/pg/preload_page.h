// A page of the preload: rows that are asked for, have come, and are turned into fills step by
// step. It is a fetch that nobody waits for (docs/architecture.md, "Rules of coherence", 4 and 7):
// what is heard meanwhile marks it. The pg worker's thread; the memory of all zeroes is an empty
// one.
#pragma once

#include "base/buffer.h"
#include "base/messages.h"
#include "base/request.h"
#include "pg/copy_rows.h"
#include "pg/marks.h"

struct preload_page {
    struct buffer bytes; // as COPY sends them
    bool is_full;        // what came after these is left out
    bool has_come;
    struct copy_rows rows;
    size_t rows_count;           // of those that are taken
    size_t row;                  // the first that is not converted yet
    struct slice last_key;       // of those that are taken
    uint64_t epoch;              // when it was asked for
    bool is_void;                // it follows one that could not be used
    struct marks marks;          // heard of since then
    uint8_t from[KEY_BYTES_MAX]; // the last key before `row`
    size_t from_bytes;
};

// It is asked for: the rows behind the key `after`.
void preload_page_ask(struct preload_page *page, struct slice after, uint64_t epoch);

// The next bytes of its rows. A page of several takes no more than `bytes_max` of them.
void preload_page_add(struct preload_page *page, struct slice bytes, size_t bytes_max);

// What has come of it.
struct preload_extent {
    size_t text_bytes; // of the rows that are taken
    bool is_cut;       // behind them is one that is too large for this page
    bool is_last;      // behind them is none
};

// All of its bytes have come, of `rows_asked` rows, and are the page's until it is dropped. Takes
// its rows up to the first with a text of `text_max` bytes or more; the one that was asked for
// alone in any case. False where they are not what was asked for; nothing is taken then.
bool preload_page_take(struct preload_page *page, size_t rows_asked, size_t text_max,
                       struct preload_extent *extent);

bool preload_page_is_converted(const struct preload_page *page);

// The next rows, at most `rows_max`, as fills, but for those that were heard of. `value` is
// scratch. The number of rows beyond pgnear's limits, which are left out.
size_t preload_page_convert(struct preload_page *page, size_t rows_max, size_t value_bytes_max,
                            struct buffer *value, struct fills_message *fills);

// Empty again; `from` stays.
void preload_page_drop(struct preload_page *page);
// The same, and its memory is freed.
void preload_page_deinit(struct preload_page *page);
