// What direct readers count of their reads: a table in the file `tally` beside the cache, one row
// for each handle that reads, so that the daemon can add up what happens without it. A row is
// written by its owner alone, one plain store a read, and lies on cache lines of its own.
//
//      row 0      | magic | layout, rows | ...
//      row 1..    | owner | hot hits | other hits | misses | ...
//
// The owner is the id of its process in the low half and in the high half when that began, in ticks
// since the boot, as far as 32 bits hold it: another process with the same id is another owner.
// Figures are never set back. Who gives its row back leaves them there and the next owner goes on
// from them, so a look at the table misses nothing of what came between two looks, and nothing has
// to be put right after a process that died: its row is taken over by who finds no free one.
//
// The daemon makes the file and then only reads it, by read(2): whatever a reader does to it, its
// content or its size, costs the daemon nothing but these figures.
#pragma once

#include <stdatomic.h>

#include "base/slice.h"
#include "cachefile/directory.h"

// As many as LMDB has slots for readers. A row takes two lines, since processors fetch them in
// pairs.
enum { TALLY_ROWS = 1024, TALLY_ROW_BYTES = 128, TALLY_LAYOUT = 1 };
enum { TALLY_BYTES = (1 + TALLY_ROWS) * TALLY_ROW_BYTES };

#define TALLY_MAGIC 0x00796c6c61746370ull // "pctally"

struct tally_row {
    _Atomic uint64_t owner;      // 0: nobody
    _Atomic uint64_t hot_hits;   // in the hot tier
    _Atomic uint64_t other_hits; // in LMDB
    _Atomic uint64_t misses;     // what the daemon had to be asked for
    uint64_t reserved[12];
};

struct tally {
    struct tally_row *rows; // mapped; NULL: there is none
};

// ---- a direct reader

// Maps what is there. False, and an empty tally, where there is none or no right to it.
bool tally_map(struct tally *tally, int directory_fd);
void tally_unmap(struct tally *tally);

// A row of the caller's until tally_release; NULL where there is none: nothing is counted then. Any
// thread. Costs a look at /proc, and where none is free one for each row.
struct tally_row *tally_claim(const struct tally *tally);
void tally_release(struct tally_row *row);

// By the owner only. NULL is nothing to do.
static inline void tally_add(_Atomic uint64_t *figure, uint64_t more)
{
    uint64_t before = atomic_load_explicit(figure, memory_order_relaxed);
    atomic_store_explicit(figure, before + more, memory_order_relaxed);
}

// ---- the daemon

// Makes the file where there is none of this layout, with all its room on the disk, and opens it
// for reading: the descriptor, the caller's to close, or -1 with errno.
int tally_open(const struct directory *directory);

// What the file holds now; the caller's to read as it likes. False where it cannot be read whole.
bool tally_read(int fd, struct tally_row rows[TALLY_ROWS]);

// Whether the process that an owner names is gone. One that cannot be looked at is there.
// `thorough`: or its id is another's by now, which takes a look at /proc.
bool tally_is_gone(uint64_t owner, bool thorough);
