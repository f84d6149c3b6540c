// What keeps the hot tier (cachefile/tier.h): records leave it before a commit that changes them
// and come back after it, and a hand that walks over the records in the order of keys puts in what
// is read. Of the writer thread.
//
// Nothing is put in while no other process has the cache open and the server loops read little:
// nobody would gain by it.
#pragma once

#include <lmdb.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "cachefile/control.h"
#include "cachefile/sketch.h"
#include "cachefile/tier.h"

struct hot {
    struct tier tier; // empty where there was no room for it
    struct control_page *page;
    const struct sketch *sketch;
    uint64_t life;     // as on the page
    unsigned halvings; // of the buckets, of this life
    bool grows;        // and of the next, whose pages are being made
    unsigned next_halvings;
    size_t populated;      // buckets, from the first, whose pages were made
    size_t crowded;        // entries that found no room, or took that of others, in this life
    bool fills_up;         // the round puts in what was hot before the tier grew
    size_t entries;        // that are in it
    bool is_read;          // by direct readers, or much by the server loops
    struct buffer again;   // keys to be put in after the commit: a length of 16 bits and the bytes
    size_t hand_bytes;     // of the last key that was passed; 0: the walk begins at the first
    int64_t due_boot_us;   // when the walk goes on
    int64_t begun_boot_us; // the round; 0: none
    size_t visited;        // in the round
    unsigned vain_rounds;  // one after another, up to VAIN_ROUNDS_MAX
    int64_t grown;
    uint8_t hand[KEY_BYTES_MAX];
};

// Maps the tier of about `bytes` in the directory, empty. Where there is no room for it there is
// none, which is logged and costs time only. `page` and `sketch` outlive it.
void hot_open(struct hot *hot, const struct directory *directory, size_t bytes,
              struct control_page *page, const struct sketch *sketch);
void hot_close(struct hot *hot);

// ---- before a commit

// The record of the key is changed by the commit to come; a hot one comes back after it.
void hot_change(struct hot *hot, struct slice key);
// It is dropped.
void hot_drop(struct hot *hot, struct slice key);
// All of them may be.
void hot_drop_all(struct hot *hot);

// ---- between commits

// Whether it is worth its keep.
void hot_set_read(struct hot *hot, bool is_read);

// Puts in what has been changed as it is committed now. `env` and `records` are the present files.
void hot_catch_up(struct hot *hot, MDB_env *env, MDB_dbi records);

// Goes on with the walk over at most `records_max` records, where that is due.
void hot_walk(struct hot *hot, MDB_env *env, MDB_dbi records, int64_t now_boot_us,
              size_t records_max);

// When the walk goes on; INT64_MAX where it does not.
static inline int64_t hot_due_boot_us(const struct hot *hot)
{
    return hot->is_read ? hot->due_boot_us : INT64_MAX;
}
