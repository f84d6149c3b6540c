// When the flush gives way to the clients. A batch costs processor time here and, where PostgreSQL
// runs on the same machine, a multiple of it there; while the threads that clients wait for want
// for a processor, what they write can wait in the outbox, which is what it is for: it is
// acknowledged faster, and flushed in fewer and larger batches, with more writes of one key in one.
//
// Without it the threads may hardly want for anything, while the writes still come: so it goes on
// giving way for a while after it has seen one of them wait. In all it gives way for a second at
// most, whether at a stretch or not, then everything that was journaled by then is flushed before
// it does so again; and never beyond a quarter of the outbox. Pure: no clock, no I/O.
#pragma once

#include <stdbool.h>

#include "base/contention.h"

enum { FLUSH_PACE_LOOK_US = 10000, FLUSH_PACE_YIELD_MAX_US = 1000000 };

struct flush_pace {
    // Contention:
    int64_t looked_boot_us;
    int64_t waited_us[CONTENTION_THREADS_MAX];
    uint64_t looked_seq;       // the newest write accepted by then
    int64_t contended_boot_us; // when it was last seen; 0: never
    bool is_unknown;           // what was seen last is where to count from, and no more
    bool writes_come;          // between the last two looks
    bool is_resting;           // there was nothing to flush since the last look
    // Giving way:
    int64_t since_boot_us; // 0: it has not since all that waited for it was flushed
    uint64_t since_seq;    // journaled when it last gave way
    uint64_t due_seq;      // flushed first
    // What waits, at most, in bytes: all that was accepted since base_bytes were.
    int64_t base_bytes;
    int64_t mark_bytes;
    uint64_t mark_seq;
};

// What the node has done so far.
struct flush_backlog {
    uint64_t applied_seq;
    uint64_t journaled_seq;
    uint64_t last_seq;      // accepted
    int64_t accepted_bytes; // of writes up to last_seq, read before it
    int64_t outbox_bytes;   // writes.outbox_size
};

// Whether it is time to look at the threads again.
bool flush_pace_is_due(const struct flush_pace *pace, int64_t now_boot_us);
// How long each of `count` threads has waited for a processor until now, and the newest write that
// was accepted.
void flush_pace_look(struct flush_pace *pace, const int64_t *waited_us, size_t count,
                     uint64_t last_seq, int64_t now_boot_us);

// Nothing is left to flush.
void flush_pace_rest(struct flush_pace *pace);

// Whether the flush, which could go on, is to give way now.
bool flush_pace_yields(struct flush_pace *pace, const struct flush_backlog *backlog,
                       int64_t now_boot_us);
