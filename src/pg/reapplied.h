// What a failover lost of this node's writes, while it is applied again. A condition may have named
// a version that the lost server drew for a write of this node's own. That write has been applied
// again, and the row has another version now, which is kept here: the condition asks for that
// instead. A change by anybody else meanwhile still fails it.
//
// It does so where the state that it named came of the node's write before it on the key. That is
// sure of an entry up to `decided_seq`, since it held. Any other up to `to_seq` may have been
// decided or not, and held or not, when the daemon ended: a caller may well have named a version
// from before that write. There it is sure only if the node held the named version when it took the
// entry on, and that write was applied by then (held_seq, base/entry.h). Where it is not, the
// condition stays as it is. The pg worker's thread; as many keys as were written by lost entries.
#pragma once

#include "pg/batch.h"

struct reapplied_key;

struct reapplied {
    uint64_t to_seq;            // entries up to here may have been applied before a failover
    uint64_t decided_seq;       // and up to here surely were; what failed of them is retired
    struct reapplied_key *keys; // a uthash: those written since the last rewind
};

void reapplied_deinit(struct reapplied *reapplied);

// Entries up to `to_seq` are to be applied again.
void reapplied_begin(struct reapplied *reapplied, uint64_t decided_seq, uint64_t to_seq);

// The same, where the server has all that was noted so far, with the versions that it drew.
void reapplied_extend(struct reapplied *reapplied, uint64_t decided_seq, uint64_t to_seq);

// As batch_add, of an entry up to to_seq too: false where it has to wait for what the batch makes
// of its key.
bool reapplied_add(const struct reapplied *reapplied, struct batch *batch,
                   const struct entry *entry);

// The batch is in PostgreSQL, with the results that are known. Answers how many of its entries were
// applied again.
size_t reapplied_note(struct reapplied *reapplied, const struct batch *batch);
