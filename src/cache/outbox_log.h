// The log in front of the outbox: `outbox.log` beside `outbox.mdb`, a file of a fixed size whose
// blocks are all written once, so that a group of writes is on the disk with one sync of a few
// blocks. What is in it lies in the cache's `memory` as well and moves to the outbox from there;
// the commit that takes it over ends the log's generation, and the next group begins at the front
// again.
//
//   | file header | group | group | ... | what is left of earlier generations |
//
// Each of them begins at a block of 4096 bytes, so that no write ever touches a block that holds
// what was acknowledged. A group:
//
//   magic 8 | checksum 8 | id of the log 40 | generation 8 | place in the file 8 | bytes of the
//   entries 8 | their count 8 | entries, each as in cache/rows.h
//
// The checksum is of all that follows it. What counts at a start is the groups from the front that
// are whole and of the generation that the outbox names: the first that is not was never
// acknowledged, and nothing of that generation was written after it.
//
// The writer's thread; the start's before.
#pragma once

#include "base/entry.h"
#include "base/error.h"
#include "cachefile/directory.h"

#define OUTBOX_LOG_FILE "outbox.log"

enum { OUTBOX_LOG_ID_BYTES = BOOT_ID_BYTES };

struct outbox_log {
    int fd;                       // -1: there is none, every group goes to the outbox itself
    char id[OUTBOX_LOG_ID_BYTES]; // random, of this file
    size_t capacity_bytes;        // of the file
    uint64_t generation;
    bool is_touched;     // something of this generation may be on the disk
    bool has_failed;     // a write to it: nothing more is written, whatever a later sync would say
    size_t end_bytes;    // of the groups of this generation that were synced
    uint64_t last_seq;   // of their entries; 0: none
    size_t count;        // of their entries
    struct buffer group; // that is being made
    uint64_t group_last_seq;
    size_t group_count;
};

#define OUTBOX_LOG_NONE ((struct outbox_log){.fd = -1})

// Makes it anew, in place of another: on the disk, its name included, when it returns. ERROR_FULL,
// ERROR_SYSTEM with errno.
enum error outbox_log_make(struct outbox_log *log, const struct directory *directory, size_t bytes);
// Opens the one with that id. ERROR_NOT_FOUND; ERROR_CORRUPT where it is damaged or another one;
// ERROR_SYSTEM with errno.
enum error outbox_log_open(struct outbox_log *log, const struct directory *directory,
                           const char *id);
// Accepts one of which opening failed.
void outbox_log_close(struct outbox_log *log);

enum outbox_log_damage {
    OUTBOX_LOG_WHOLE,
    OUTBOX_LOG_DAMAGED,    // a group is not whole, and a later one is there
    OUTBOX_LOG_NEWER,      // there is a group of a later generation than the outbox's
    OUTBOX_LOG_UNREADABLE, // the disk does not give it back, or an entry is none
};

// Passes on the entries of a group, in order of seq from the first greater than `*last_seq`, which
// goes on to the last that was passed on. ERROR_CORRUPT where they are not `count` such entries;
// else the first error of `visit`.
enum error outbox_log_visit_group(struct slice entries, uint64_t count, uint64_t *last_seq,
                                  enum error (*visit)(void *context, const struct entry *entry),
                                  void *context);

// Looks over one of which nothing counts, at the generation of the outbox: NEWER, UNREADABLE or
// WHOLE.
enum outbox_log_damage outbox_log_look(struct outbox_log *log, uint64_t generation);

// Passes on the entries of the groups that count, in order. Stops with the first error of `visit`,
// which is returned; ERROR_CORRUPT with `damage`.
enum error outbox_log_replay(struct outbox_log *log, uint64_t generation,
                             enum error (*visit)(void *context, const struct entry *entry),
                             void *context, enum outbox_log_damage *damage);

// The outbox has taken over all that is in it: the next group is of `generation`, at the front.
void outbox_log_begin(struct outbox_log *log, uint64_t generation);

// Whether groups may be written to it.
static inline bool outbox_log_is_in_use(const struct outbox_log *log)
{
    return log->fd >= 0 && !log->has_failed;
}

// A group: begun, entries in order of seq added, written and synced.
void outbox_log_group(struct outbox_log *log);
void outbox_log_add_encoded(struct outbox_log *log, uint64_t seq, struct slice bytes);
// ERROR_FULL: it does not fit, and nothing was written. ERROR_SYSTEM: the disk failed; whether the
// group is on it is not known, and the log takes no other: logged.
enum error outbox_log_write(struct outbox_log *log);
