// Encoded entries one after another, in order of seq, in memory: what is on its way to the outbox.
//
//   | seq 8 | bytes 4 | base/entry.h | seq 8 | bytes 4 | base/entry.h | ...
//
// One owner; not for two threads at once. All zeroes are none.
#pragma once

#include "base/entry.h"

struct rows {
    struct buffer bytes;
    size_t count;
    uint64_t last_seq; // 0: there is none
    // Where rows_cursor_after has been, so that what is looked through again and again is not:
    size_t passed_bytes;
    uint64_t passed_seq;
};

// A state that rows_cut goes back to.
struct rows_mark {
    size_t bytes;
    size_t count;
    uint64_t last_seq;
};

enum { ROW_HEADER_BYTES = 12 }; // before the entry

void rows_deinit(struct rows *rows);
void rows_clear(struct rows *rows);

// The encoding, until the rows are next changed. A seq greater than all before.
struct slice rows_add(struct rows *rows, const struct entry *entry);

struct rows_mark rows_mark(const struct rows *rows);
// Takes away what was added since.
void rows_cut(struct rows *rows, struct rows_mark mark);

// Puts `before`, all of which are older, in front; it is empty then.
void rows_precede(struct rows *rows, struct rows *before);

struct rows_cursor {
    struct slice rest;
};

static inline struct rows_cursor rows_cursor_of(const struct rows *rows)
{
    return (struct rows_cursor){.rest = buffer_slice(&rows->bytes)};
}

// Before what was added since.
struct rows_cursor rows_cursor_from(const struct rows *rows, struct rows_mark mark);

// Before the first with a greater seq.
struct rows_cursor rows_cursor_after(struct rows *rows, uint64_t seq);

// False at the end.
bool rows_next(struct rows_cursor *cursor, uint64_t *seq, struct slice *entry);

// As outbox_visit, of those that the cursor is before: in order from the first with a seq greater
// than `after_seq` to the last up to `up_to_seq`, while `visit` answers true. ERROR_CORRUPT where
// one cannot be decoded.
enum error rows_visit(struct rows_cursor cursor, uint64_t after_seq, uint64_t up_to_seq,
                      bool (*visit)(void *context, const struct entry *entry), void *context);

// The first of them; 0: there is none.
uint64_t rows_first_seq(const struct rows *rows);
// How many have a seq up to that.
size_t rows_count_up_to(const struct rows *rows, uint64_t seq);
