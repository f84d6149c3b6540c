// The page of a scan while it is put together: rows of PostgreSQL and this node's pending writes,
// merged in byte order of the keys; then what was flushed meanwhile, fetched again; then the reply.
//
//      rows     a=1      c=3  d=4                     page    a=1  b=7  d=4
//      overlay       b=7 c deleted                            (c is kept, invisible: it may come
//                                                             back when it is fetched again)
//
// Pure; one thread at a time.
#pragma once

#include "base/request.h"
#include "pg/overlay.h"
#include "pg/table_row.h"

struct page_entry {
    struct slice key;
    bool is_visible;
    bool has_version;
    int64_t version;
    int64_t expires_at_us; // 0: never
    struct slice value;
    uint64_t seq; // of the pending write that decided it; 0: a row did
};

struct scan_page {
    struct arena *arena;    // of the reply; everything the page points to
    size_t items_max;       // SIZE_MAX: as many as there are
    size_t bytes_max;       // of what is visible, but for the first item
    size_t value_bytes_max; // of a row that is not skipped
    int64_t now_us;         // PostgreSQL's clock: what has expired is invisible
    struct slice after;     // all keys up to here have been looked at
    bool is_complete;       // there are none after that
    size_t visible_count;
    size_t bytes; // of what is visible
    size_t entries_count;
    size_t entries_capacity;
    struct page_entry *entries; // by key; heap
    size_t skipped_count;
    size_t skipped_capacity;
    struct slice *skipped; // heap
};

// What a page ends at, and what the keys of others that are skipped are cut to: longer than any
// that an index holds uncompressed, so that what is named can be looked up.
enum { SKIPPED_NAME_BYTES_MAX = 4096, SKIPPED_NAMES_MAX = 1000 };

void scan_page_deinit(struct scan_page *page);

// One more than is wanted has been seen: the page ends within what it holds.
bool scan_page_is_full(const struct scan_page *page);

// Merges the rows that follow page->after, by key, with the overlay, and moves `after`. A row whose
// key is beyond our limit is skipped by the first bytes of its key. `is_end`:
// there are no rows behind them. With rows_count 0 and not is_end nothing happens. Stops early once
// the page is full.
void scan_page_merge(struct scan_page *page, const struct table_row *rows, size_t rows_count,
                     bool is_end, const struct overlay *overlay);

// Whether the entry was decided by a write that is in PostgreSQL by now, and so is to be fetched
// again.
static inline bool page_entry_is_flushed(const struct page_entry *entry, uint64_t applied_seq)
{
    return entry->seq != 0 && entry->seq <= applied_seq;
}

// What PostgreSQL holds of the flushed entries, by key. Where the answer was cut off after the last
// row (`is_cut`), the entries behind it stay as they are.
void scan_page_refresh(struct scan_page *page, const struct table_row *rows, size_t rows_count,
                       bool is_cut, uint64_t applied_seq);

// Fills items, next and skipped of the reply that owns page->arena.
void scan_page_finish(struct scan_page *page, struct reply *reply);
