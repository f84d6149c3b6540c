// The memtable: a hash table in the file `memtable` beside the cache, which holds pending writes of
// this node that are not in LMDB yet. Once PostgreSQL has them, LMDB gets the record that is known
// then, and the entry goes. Written by the daemon's writer thread alone; the file's group may read.
//
// What it holds lies over LMDB: whoever looks for a key looks here first, and in LMDB only where
// there is no entry, in a snapshot that was begun after that, or in an older one as long as no
// entry has gone since before it was begun (`changes`): an entry goes after the commit of LMDB that
// makes it needless. An entry hides a record of LMDB of which nothing is true any more but what
// becomes of it when the entry goes: it is replaced or dropped by that commit.
//
//   | header | heads: the newest entry of each chain | ring of entries ...                    |
//
// Entries are added to the ring one after another and never changed but for the link to the next of
// their chain, which is always an older one. Places are words counted from the beginning of time,
// so that none is used twice: an entry below `begin` is not there any more, whatever its place
// holds now. An entry at `end` or behind it is not there yet: a turn's entries come into sight
// together. So a reader needs no lock, and whatever instruction the writer dies at, the table is
// whole.
//
// It counts only where its life is the one on the control page (memtable_life); 0 there: there is
// none, and LMDB holds it all.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/slice.h"
#include "cachefile/directory.h"

#define MEMTABLE_FILE "memtable"

// Records that are larger are not put in.
enum { MEMTABLE_RECORD_BYTES_MAX = 1280 };
enum { MEMTABLE_HEADER_BYTES = 4096 };

struct memtable_header {
    uint64_t magic;
    uint64_t heads_count; // a power of two
    uint64_t ring_words;
    _Atomic uint64_t life;
    uint64_t unused[4]; // what follows changes with every turn
    _Atomic uint64_t begin;
    _Atomic uint64_t end;
    _Atomic uint64_t changes; // odd while entries go, or come together with a commit of LMDB
    _Atomic uint64_t count;   // entries; 0: nobody need look
};

// The file as it is mapped; all zeroes are none.
struct memtable {
    struct memtable_header *header;
    _Atomic uint64_t *heads;
    _Atomic uint64_t *ring;
    uint64_t heads_mask;
    uint64_t ring_words;
    size_t file_bytes;
};

// ---- any process

// Maps for reading what is there; false, and none, where there is no whole one or no right to it.
bool memtable_map(struct memtable *table, int directory_fd);
void memtable_unmap(struct memtable *table);

// Whether it is the one of that life, where there is to be one.
static inline bool memtable_is_of(const struct memtable *table, uint64_t life)
{
    return life == 0 || (table->header != NULL &&
                         atomic_load_explicit(&table->header->life, memory_order_acquire) == life);
}

// Whether anything is in it: false only where there was nothing at some moment of the call.
static inline bool memtable_has_entries(const struct memtable *table)
{
    return table->header != NULL &&
           atomic_load_explicit(&table->header->count, memory_order_acquire) > 0;
}

// A moment, for reads of more than one key.
struct memtable_moment {
    uint64_t end;
    uint64_t changes;
};

static inline struct memtable_moment memtable_now(const struct memtable *table)
{
    struct memtable_moment now = {0};
    if (table->header != NULL) {
        now.changes = atomic_load_explicit(&table->header->changes, memory_order_acquire);
        now.end = atomic_load_explicit(&table->header->end, memory_order_acquire);
    }
    return now;
}

// Whether nothing has come or gone since, and a snapshot of LMDB that was begun in between is of
// the same moment.
static inline bool memtable_is_still(const struct memtable *table, struct memtable_moment since)
{
    struct memtable_moment now = memtable_now(table);
    return since.changes % 2 == 0 && now.changes == since.changes && now.end == since.end;
}

// Whether a key of which there is no entry may have had one when a snapshot of LMDB was begun
// after that moment was taken.
static inline bool memtable_has_lost(const struct memtable *table, struct memtable_moment since)
{
    return table->header != NULL &&
           (since.changes % 2 != 0 ||
            atomic_load_explicit(&table->header->changes, memory_order_acquire) != since.changes);
}

enum memtable_found { MEMTABLE_ABSENT, MEMTABLE_FOUND, MEMTABLE_UNKNOWN };

// The newest entry of the key: its record is copied to `room`, which has MEMTABLE_RECORD_BYTES_MAX
// bytes and is aligned for words. `place` is the entry's, below the `end` of a moment at which it
// was there already. UNKNOWN where the writer is faster, or the table is not what it should be.
// `hash` is the sketch_hash of the key. No system call.
enum memtable_found memtable_find(const struct memtable *table, uint64_t hash, struct slice key,
                                  uint64_t *room, size_t *bytes, uint64_t *place);

// Has what a look begins with come from memory while something else is done.
static inline void memtable_prefetch(const struct memtable *table, uint64_t hash)
{
    if (memtable_has_entries(table)) {
        __builtin_prefetch((const void *)&table->heads[hash & table->heads_mask]);
    }
}

// ---- the writer thread

// The writer's side of it.
struct memtable_writer {
    struct memtable table;
    uint64_t next;          // where the next entry goes; from the table's end on: of this turn
    uint64_t cleared;       // what is older is gone, or goes with this turn
    uint64_t allowance;     // words that may be carried
    uint64_t staying_words; // of the entries of earlier turns
    int64_t turn_words;     // what this turn adds to them
    size_t puts_count;      // of this turn
    bool has_removed;       // this turn, other than to replace
    bool is_changing;       // `changes` is odd
    bool is_committing;     // `still` is held
    bool is_used;           // since memtable_begin
    uint64_t *leaving;      // places of entries that go with this turn
    size_t leaving_count;
    size_t leaving_capacity;
    // Held while anything comes into sight or goes, and by a thread of the daemon that needs it to
    // stand still.
    pthread_mutex_t still;
};

// Maps the file that is there, or a new one of about so many bytes, with all its room on the disk.
// A reader has it as long as it has the records: it is not made anew but with those (store.c). What
// is in it stays as it is until memtable_begin, for those who read while nobody serves.
enum error memtable_open(struct memtable_writer *writer, const struct directory *directory,
                         size_t bytes, struct failure *failure);
// Accepts all zeroes.
void memtable_close(struct memtable_writer *writer);

// Empties it; from then on it is of `life`. On the control page there is none meanwhile.
void memtable_begin(struct memtable_writer *writer, uint64_t life);

static inline size_t memtable_count(const struct memtable_writer *writer)
{
    return writer->is_used ? (size_t)atomic_load(&writer->table.header->count) : 0;
}

// Whether it has entries, of the turn that is under way or before.
static inline bool memtable_is_in_use(const struct memtable_writer *writer)
{
    return writer->puts_count > 0 || memtable_count(writer) > 0;
}

// What follows belongs to the turn that is under way: nobody else sees it before its commit, and
// an abort undoes it.

// The record of the key in its encoded form, valid until the turn's end. False: there is none.
bool memtable_get(const struct memtable_writer *writer, uint64_t hash, struct slice key,
                  struct slice *record);

// Puts the encoded record in place of what is there of the key, and carries old entries to the end
// where room gets short. False where it is too large or the ring is full: what is there of the key
// is as it was.
bool memtable_put(struct memtable_writer *writer, uint64_t hash, struct slice key,
                  struct slice record);

// The entry of the key goes. False: there is none.
bool memtable_remove(struct memtable_writer *writer, uint64_t hash, struct slice key);

// Has what memtable_get and memtable_put of a key will look at come from memory while something
// else is done: its chain's newest entry, whose place memtable_prefetch has had brought.
void memtable_prefetch_entry(const struct memtable_writer *writer, uint64_t hash);

// Before and after the commit of LMDB that belongs to it, which changes something where
// `with_commit`.
void memtable_commit_begin(struct memtable_writer *writer, bool with_commit);
void memtable_commit_end(struct memtable_writer *writer);
// In place of both, or of the second where the commit of LMDB has failed.
void memtable_abort(struct memtable_writer *writer);
