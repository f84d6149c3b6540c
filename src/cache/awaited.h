// The keys of writes whose result PostgreSQL decides and that are not flushed yet. Such a write
// leaves no pending record that could remember a foreign notify, so it is remembered here (rule
// 3): a result enters the cache only if none came. Of the writer thread; as many keys as there are
// such writes in the outbox.
#pragma once

#include "base/slice.h"

struct awaited_key;

struct awaited {
    struct awaited_key *keys; // a uthash
    size_t left_count;        // keys whose newest write was taken back
    uint64_t distrusted_seq;  // results of writes up to here are not believed
};

void awaited_deinit(struct awaited *awaited);

// A write `seq` to the key waits for its result.
void awaited_add(struct awaited *awaited, struct slice key, uint64_t seq);

// A foreign notify of the key.
void awaited_taint(struct awaited *awaited, struct slice key);
// Every result that is under way, of writes up to `last_seq`.
void awaited_taint_all(struct awaited *awaited, uint64_t last_seq);

// The write `seq` to the key is decided. Whether its result may be believed.
bool awaited_settle(struct awaited *awaited, struct slice key, uint64_t seq);

// The write `seq` to the key is taken back. Earlier ones may still be waiting, and what was heard
// of the key counts for them.
void awaited_take_back(struct awaited *awaited, struct slice key, uint64_t seq);
// All writes up to `applied_seq` are decided or taken back.
void awaited_pass(struct awaited *awaited, uint64_t applied_seq);
