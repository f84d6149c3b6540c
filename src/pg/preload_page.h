// A page of the preload: rows that are asked for, have come, and are turned into fills step by
// step. It is a fetch that nobody waits for (docs/architecture.md, "Rules of coherence", 4 and 7):
// what is heard meanwhile marks it. The pg worker's thread; the memory of all zeroes is an empty
// one.
#pragma once

#include <libpq-fe.h>

#include "base/buffer.h"
#include "base/messages.h"
#include "base/request.h"
#include "pg/marks.h"

struct preload_page {
    PGresult *result;            // NULL until it has come
    size_t rows_count;           // of those that are taken
    size_t row;                  // the first that is not converted yet
    uint64_t epoch;              // when it was asked for
    bool is_void;                // it follows one that could not be used
    struct marks marks;          // heard of since then
    uint8_t from[KEY_BYTES_MAX]; // the last key before `row`
    size_t from_bytes;
};

// It is asked for: the rows behind the key `after`.
void preload_page_ask(struct preload_page *page, struct slice after, uint64_t epoch);

// What has come of it.
struct preload_extent {
    size_t text_bytes; // of the rows that are taken
    bool is_cut;       // behind them is one that is too large for this page
};

// Its rows have come, and are the page's until it is dropped. Takes them up to the first that came
// without its text; where one was asked for alone, that one too.
struct preload_extent preload_page_take(struct preload_page *page, PGresult *result, bool is_alone);

// Of the rows that were taken, of which there must be one; lives as long as the page's result.
struct slice preload_page_last_key(const struct preload_page *page);

bool preload_page_is_converted(const struct preload_page *page);

// The next rows, at most `rows_max`, as fills, but for those that were heard of. `value` is
// scratch. The number of rows beyond pgnear's limits, which are left out.
size_t preload_page_convert(struct preload_page *page, size_t rows_max, size_t value_bytes_max,
                            struct buffer *value, struct fills_message *fills);

// Empty again; `from` stays.
void preload_page_drop(struct preload_page *page);
