// The hot tier: a hash table in the file `tier` beside the cache, which holds copies of the records
// that are read most, so that a direct reader or a server loop finds one in two or three cache
// misses where the walk down LMDB's tree takes a dozen. Written by the daemon's writer thread
// alone; the file's group may read it.
//
// What makes it simple: an entry is taken out before the commit that changes or drops its record in
// LMDB, and put in after a commit only. So an entry that is there equals what LMDB has committed,
// the record's whole header included, and a read of one key may be answered from it wherever a
// snapshot begun at that moment could answer. Reads of several keys are of one moment where nothing
// was committed from the first to the last, which the meta pages of LMDB tell.
// An entry that is missing says nothing.
//
// A bucket is a page:
//
//      0         8      16     24                64                  144
//      | sequence | life | ends | 40 tags, a byte | 40 places, 16 bit | entries, side by side ... |
//
// The lines of a page are turned by one from bucket to bucket: with all heads at the same place of
// their pages, a few sets of the processor's caches would have to hold them all.
//
// An entry is a word of lengths and hash, the key, and the record, each filled up to whole words.
// `sequence` is odd while the bucket is changed. A bucket counts only while its `life` is that of
// the control page (tier_life): a new life, which every start, wipe and new generation begins,
// empties all of them at once. So what the file held before a start is never believed, and a reader
// that has an older file mapped finds nothing in it.
//
// The low bits of a life say how often the number of buckets is halved: few entries in many pages
// would cost a miss of the processor's table of pages for each read.
//
// Any content is valid: what is not an entry is not found, and no length is believed beyond its
// bucket.
#pragma once

#include <stdatomic.h>

#include "base/slice.h"
#include "cachefile/directory.h"

enum { TIER_BUCKET_BYTES = 4096, TIER_WAYS = 40 };
// Key and record with their fillings and the word before them; what is larger stays out.
enum { TIER_ENTRY_BYTES_MAX = 1280 };
enum { TIER_HALVINGS_MAX = 31 };

// Words of a bucket.
enum {
    TIER_AT_SEQUENCE = 0,
    TIER_AT_LIFE = 1,
    TIER_AT_ENDS = 2, // entries in the low half, words of them in use in the high half
    TIER_AT_TAGS = 3,
    TIER_TAG_WORDS = TIER_WAYS / 8,
    TIER_AT_PLACES = TIER_AT_TAGS + TIER_TAG_WORDS, // first words of the entries, rising
    TIER_PLACE_WORDS = TIER_WAYS / 4,
    TIER_AT_ENTRIES = TIER_AT_PLACES + TIER_PLACE_WORDS,
    TIER_BUCKET_WORDS = TIER_BUCKET_BYTES / 8,
    TIER_ENTRY_WORDS = TIER_BUCKET_WORDS - TIER_AT_ENTRIES,
    TIER_LINE_WORDS = 8,
};

struct tier_bucket {
    _Atomic uint64_t *words;
    size_t turn; // where the page's first word is
};

struct tier {
    _Atomic uint64_t *words; // mapped; NULL: there is none
    size_t buckets_count;
};

// ---- any process

// Maps for reading what is there. False, and an empty tier, where there is none or no right to it.
bool tier_map(struct tier *tier, int directory_fd);
void tier_close(struct tier *tier);

// Of a tier that there is.
static inline struct tier_bucket tier_bucket_of(const struct tier *tier, uint64_t life,
                                                uint64_t hash)
{
    size_t count = tier->buckets_count >> (life & TIER_HALVINGS_MAX);
    size_t number = (size_t)(((unsigned __int128)hash * count) >> 64);
    return (struct tier_bucket){
        .words = tier->words + number * TIER_BUCKET_WORDS,
        .turn = number * TIER_LINE_WORDS % TIER_BUCKET_WORDS,
    };
}

static inline _Atomic uint64_t *tier_word(struct tier_bucket bucket, size_t at)
{
    return &bucket.words[(at + bucket.turn) % TIER_BUCKET_WORDS];
}

// Has the bucket fetched while something else is done.
static inline void tier_prefetch(const struct tier *tier, uint64_t life, uint64_t hash)
{
    if (tier->buckets_count > 0) {
        struct tier_bucket bucket = tier_bucket_of(tier, life, hash);
        __builtin_prefetch((const void *)tier_word(bucket, 0));
        __builtin_prefetch((const void *)tier_word(bucket, TIER_LINE_WORDS));
    }
}

// The same for the entry, once the bucket has come.
void tier_prefetch_entry(const struct tier *tier, uint64_t life, uint64_t hash);

// Copies the bytes of the key's record to `room`, which has TIER_ENTRY_BYTES_MAX bytes and is
// aligned for words; their number, or 0 where there is no such entry of that life, or where the
// bucket is being changed. `hash` is the sketch_hash of the key. No system call, no wait.
size_t tier_find(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key,
                 uint64_t *room);

// ---- the writer thread

// Maps the file of `bytes`, made anew where it has another size, with all its room on the disk.
// Begin a life before anything is put in.
enum error tier_open(struct tier *tier, const struct directory *directory, size_t bytes,
                     struct failure *failure);

// Has the kernel make the pages of these buckets, as far as they are not in memory yet: whoever
// touches one first waits for that, which is longer than a look into LMDB takes.
void tier_populate(const struct tier *tier, size_t first, size_t count);

// Whether such an entry is not too large.
static inline bool tier_takes(size_t key_bytes, size_t record_bytes)
{
    return 8 + (key_bytes + 7) / 8 * 8 + (record_bytes + 7) / 8 * 8 <= TIER_ENTRY_BYTES_MAX;
}

bool tier_holds(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key);

// Whether one may be put out for the sake of another.
typedef bool tier_may_leave(void *context, struct slice key);

// Puts in a record in its encoded form, in place of what is there of the key. Where the bucket is
// full, entries that `may_leave` leave it, the oldest first. `left` is the number of those that are
// gone. False where it is too large, or where there is no
// room all the same.
bool tier_put(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key,
              struct slice record, tier_may_leave *may_leave, void *context, size_t *left);

// True where there was such an entry.
bool tier_remove(const struct tier *tier, uint64_t life, uint64_t hash, struct slice key);
