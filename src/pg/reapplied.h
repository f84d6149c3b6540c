// What a failover lost of this node's writes, while it is applied again. An entry up to `to_seq`
// was decided once; its condition named a version that the lost server drew. Where that version was
// of a write of this node's own which has been applied again, the row has another one now, which is
// kept here: the condition asks for that instead. A change by anybody else meanwhile still fails
// it. Of two conditions on the same version one at most has held, so the later one stays as it is
// (nobody had decided it yet), as does one on an older version. The pg worker's thread; as many
// keys as were written by lost entries.
#pragma once

#include "pg/batch.h"

struct reapplied_key;

struct reapplied {
    uint64_t to_seq;            // entries up to here were applied before a failover; 0: none
    struct reapplied_key *keys; // a uthash: those written since the last rewind
};

void reapplied_deinit(struct reapplied *reapplied);

// Entries up to `to_seq` are to be applied again.
void reapplied_begin(struct reapplied *reapplied, uint64_t to_seq);

// The same, where the server has all that was noted so far, with the versions that it drew.
void reapplied_extend(struct reapplied *reapplied, uint64_t to_seq);

// As batch_add, of an entry up to to_seq too: false where it has to wait for what the batch makes
// of its key.
bool reapplied_add(const struct reapplied *reapplied, struct batch *batch,
                   const struct entry *entry);

// The batch is in PostgreSQL, with the results that are known. Answers how many of its entries were
// applied again.
size_t reapplied_note(struct reapplied *reapplied, const struct batch *batch);
