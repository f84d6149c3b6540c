// A reading end of the cache: a mapping, LMDB's transaction over it, which is renewed for each
// snapshot, and a row of what is counted (cachefile/tally.h). One thread at a time; the memory of
// all zeroes is not open and valid.
#pragma once

#include "client/mapping.h"

struct direct_reader {
    struct mapping *mapping; // NULL: not open
    MDB_txn *txn;            // reset unless is_reading
    struct tally_row *row;   // NULL: nothing is counted
    bool is_reading;
};

// Takes over a use of the mapping, in any case. False where LMDB has no slot left.
bool reader_open(struct direct_reader *reader, struct mapping *mapping);
// Ends a snapshot as well. Accepts one that is not open.
void reader_close(struct direct_reader *reader);

// Counts its reads from now on, where there is a row left.
void reader_count(struct direct_reader *reader);

// A snapshot of now, to be ended; false where the cache cannot be read: the reader is closed then.
bool reader_begin(struct direct_reader *reader);
void reader_end(struct direct_reader *reader);
