// The ring: `outbox.ring` beside `outbox.mdb`, which holds what is acknowledged in memory alone
// until the outbox has it, so that it survives a crash of the process whatever becomes of the
// cache. A file of a fixed size, mapped, of which the header is synced as it begins to be used, and
// nothing else: what was stored there is in the kernel's page cache when the process is gone, and
// counts at the next start of the same boot of the machine; after another one it is dropped.
//
//   | header 4096 | record | record | ... | room, or what is left of earlier laps |
//
// A record begins at 8 bytes, and never goes on at the front:
//
//   checksum 8 | place 8 | seq 8 | seq of the write accepted before it 8 | bytes 4 | checksum of
//   the entry 4 | entry
//
// Places go on from lap to lap, so that what is left of an earlier lap is none of the present one.
// The header says where the oldest record is that counts and which was the newest that was added;
// it is raised once the records are whole, and before anybody is answered. So a record behind that
// one which is not whole was never acknowledged, and one before it that is not whole is damage.
//
// All of the file has room on the disk from the start: a page without would be a SIGBUS.
//
// The writer's thread; the start's before.
#pragma once

#include "base/error.h"
#include "cache/rows.h"
#include "cachefile/directory.h"

#define OUTBOX_RING_FILE "outbox.ring"

enum { RING_HEADER_BYTES = 4096 };

struct ring_header;

struct outbox_ring {
    struct ring_header *header; // the map; NULL: there is none
    int fd;
    size_t capacity_bytes; // of the records
    uint64_t begin;        // place of the oldest record that counts
    uint64_t end;          // of the next one
    size_t count;          // of those in between
    uint64_t moving_end;   // those before are on their way to the outbox
    size_t moving_count;
};

#define OUTBOX_RING_NONE ((struct outbox_ring){.fd = -1})

// Whose it is: what is in it counts for that outbox and in that boot.
struct outbox_ring_owner {
    const char *node;
    const char *boot_id;
};

// Makes the file anew, in place of another, with nothing in it. ERROR_FULL, ERROR_SYSTEM with
// errno.
enum error outbox_ring_make(struct outbox_ring *ring, const struct directory *directory,
                            size_t bytes);
// Opens the one that is there, as it is. ERROR_NOT_FOUND, also where it is larger than that or of
// no size that one has; ERROR_FULL or ERROR_SYSTEM with errno.
enum error outbox_ring_open(struct outbox_ring *ring, const struct directory *directory,
                            size_t bytes_max);
// Accepts one of which opening failed.
void outbox_ring_close(struct outbox_ring *ring);

// What a start finds in it.
enum outbox_ring_state {
    OUTBOX_RING_BLANK,   // nothing was ever in it
    OUTBOX_RING_PRESENT, // of this outbox and this boot
    OUTBOX_RING_PAST,    // of this outbox and an earlier boot
    OUTBOX_RING_FOREIGN, // of another outbox
    OUTBOX_RING_DAMAGED,
};

struct outbox_ring_found {
    enum outbox_ring_state state;
    uint64_t last_seq; // the newest that was added; of PRESENT and PAST
    uint64_t count; // how many at most were in no outbox; of PAST, when the header was written out
};

// The file of that name, of whatever size. ERROR_NOT_FOUND; ERROR_SYSTEM with errno.
enum error outbox_ring_look(const struct directory *directory,
                            const struct outbox_ring_owner *owner, struct outbox_ring_found *found);
// Passes on the records that count and are whole, in order; `before_seq` is that of the write
// accepted before. Where the file was cut or made longer, those that are there. Stops with the
// first error of `visit`, which is returned.
enum error outbox_ring_replay(const struct directory *directory,
                              enum error (*visit)(void *context, uint64_t before_seq, uint64_t seq,
                                                  struct slice entry),
                              void *context);

// From now on nothing is in it, and it is of that owner. Waits for the disk, so that another boot
// finds whose it was.
void outbox_ring_begin(struct outbox_ring *ring, const struct outbox_ring_owner *owner);

// Adds rows, all of them or none: ERROR_FULL. `before_seq` is the newest that was accepted before.
enum error outbox_ring_add(struct outbox_ring *ring, uint64_t before_seq, struct rows_cursor rows);

// What is in it now is on its way to the outbox, and there, or not.
void outbox_ring_note_moving(struct outbox_ring *ring);
void outbox_ring_note_moved(struct outbox_ring *ring, bool are_there);
// The outbox has all that is in it.
void outbox_ring_clear(struct outbox_ring *ring);
