// A disk that loses power: what this process does to the files of one directory is written down,
// and the files are made again as any moment of that record may leave them behind.
//
// The calls that change files (write, fallocate, rename, fdatasync, ...) are taken over from the C
// library, for liblmdb as well. They do what they do, but that nothing is ever synced in truth:
// what a sync promises is part of the record. One thread; changes through a memory map are not
// seen.
//
// What a power loss leaves of a file: what was synced; of all else each sector as it was at the
// sync or after any write since, whatever became of its neighbours and of the order of writes; the
// length of the sync or any since. A write through O_DSYNC is synced when it returns, alone. A
// sector is 512 bytes or 4096. A name that was made, changed or taken away is so for certain once
// the directory it is in was synced, and before that may be or not, in the order in which it was
// done.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "system/harness/random.h"

enum { DISK_SECTOR_BYTES = 512, DISK_BLOCK_BYTES = 4096 };

// Begins a record of `dir`, which need not exist; the one before is forgotten.
void disk_record(const char *dir);
// Nothing is written down any more; the record stays.
void disk_stop(void);

// Files of that name are written as if they were not opened with O_DSYNC; NULL: all as they are.
void disk_be_lazy(const char *name);

// How much has happened: a moment of the record. What came of it before is what the process knew.
size_t disk_now(void);

// The record from its beginning on.
struct disk_replay;
struct disk_replay *disk_replay_create(void);
void disk_replay_destroy(struct disk_replay *replay);
// Goes on to a moment that is not before the present one.
void disk_replay_to(struct disk_replay *replay, size_t moment);
// Makes the directory `dir`, which must not exist, as it may be found after power was lost at this
// moment, in the middle of what was done next.
void disk_replay_lose_power(const struct disk_replay *replay, struct random *random,
                            const char *dir);
