// One look at the cache, for the files that make up direct reads (direct.h): the control page
// before and after, and the judgement of a record that was found. One thread at a time.
#pragma once

#include "cachefile/record.h"
#include "client/direct.h"

// What is looked at from now on is judged by a page and a time that are no older. False while the
// page is being changed.
bool look_begin(struct direct *direct, const struct mapping *mapping);

// The daemon that served when the look began serves the same files still.
bool look_holds(const struct direct *direct, const struct mapping *mapping);

// Whether the record answers the wish; `item` is what it says then, and the key is hot. `cut_off`:
// the daemon is not there to be asked about what is suspect or expired.
bool look_judge(struct direct *direct, const struct mapping *mapping, struct slice key,
                uint64_t hash, const struct record *record, bool cut_off,
                const struct direct_wish *wish, pgnear_item *item);

// Copies the key's record to `room` where the memtable has one; what is not there, was not there at
// some moment of the call. `place` is as memtable_find has it.
enum memtable_found look_aside(const struct mapping *mapping, struct slice key, uint64_t hash,
                               uint64_t *room, struct record *record, uint64_t *place);

// The same of the record in the reader's snapshot, which the value points into; false where there
// is none.
bool look_into(struct direct *direct, const struct direct_reader *reader, struct slice key,
               uint64_t hash, bool cut_off, const struct direct_wish *wish, pgnear_item *item);
