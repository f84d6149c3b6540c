// What direct readers say that they have read (cachefile/tally.h), added up for `stats`. The writer
// thread's.
//
// The figures are the readers' own: a hostile one, which may write all of the table, can make these
// numbers wrong and nothing else, and no faster than any reader can read.
#pragma once

#include "base/status.h"
#include "cache/store.h"

struct tallies {
    int fd;                  // -1: there is no table
    struct tally_row *rows;  // as last read
    struct tally_seen *seen; // a row each
    int64_t looked_boot_us;
    size_t thorough; // the row where the thorough looks go on
};

// Opens the table in the store's directory, made where it is missing; counting begins with what it
// holds now. Where there is no room for it there is none, which is logged.
void tallies_open(struct tallies *tallies, const struct store *store, int64_t now_boot_us);
// Accepts the memory of all zeroes.
void tallies_close(struct tallies *tallies);

// Adds what has come since the last look.
void tallies_look(struct tallies *tallies, struct status *status, int64_t now_boot_us);
