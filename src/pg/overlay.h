// This node's writes that PostgreSQL may not have yet, as a scan lays them over what PostgreSQL
// answers: of each key in a range, the state that the last plain set or delete gives it. Writes
// whose result PostgreSQL decides are not known here; a scan waits for those acknowledged before it
// came.
//
// Bounded: where the writes of a range take too much memory, the overlay keeps the first keys in
// byte order, and says with its horizon how far it knows. Pure; one thread at a time.
#pragma once

#include "base/arena.h"
#include "base/entry.h"
#include "pg/key_range.h"

struct overlay_write {
    struct slice key;
    struct slice value; // canonical msgpack
    bool is_present;    // false: a delete
    int64_t expires_at_us;
    uint64_t seq;
};

struct overlay_key;

struct overlay {
    struct key_range range; // the caller's slices, which outlive it
    size_t bytes_max;
    struct arena arena;
    struct overlay_key *keys; // uthash
    uint64_t undecided_seq;   // the newest write in the range whose result PostgreSQL decides; 0
    bool has_horizon;         // nothing is known of keys greater than:
    struct slice horizon;
    // After overlay_seal, by key in byte order:
    size_t writes_count;
    struct overlay_write *writes;
};

void overlay_init(struct overlay *overlay, const struct key_range *range, size_t bytes_max);
void overlay_deinit(struct overlay *overlay);

// Entries come in the order of seq; copied.
void overlay_add(struct overlay *overlay, const struct entry *entry);
// No overlay_add afterwards.
void overlay_seal(struct overlay *overlay);
