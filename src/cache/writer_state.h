// The writer's own state, shared by the files that make up the writer (writer.c, turn.c,
// journal.c, apply.c, recovery.c) and by nobody else.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cache/awaited.h"
#include "cache/eviction.h"
#include "cache/mover.h"
#include "cache/outbox.h"
#include "cache/retention.h"
#include "cache/slots.h"
#include "cache/store.h"
#include "cache/tallies.h"
#include "cache/writer.h"

enum { SERVERS_MAX = 64, MEMORY_COUNT_MAX = 8192, MEMORY_BYTES_MAX = 8 << 20 };
// Memory-acknowledged writes go to the outbox at this age, or on a slow disk after so many times
// what its last commit took: however slow it is, most of the writer's time is left for others.
enum { MEMORY_AGE_US = 10000, MEMORY_AGE_MAX_US = 250000, MEMORY_AGE_COMMITS = 10 };

// Those that are synced to the log go there as well once nothing has come for so long after their
// answers, so that PostgreSQL sees them soon where there is little to do.
enum { LOGGED_IDLE_US = 1000 };

// Writes that are not known to be in the outbox, acknowledged in memory only, which the ring holds
// as well, or from the log.
struct memory_writes {
    size_t count;
    size_t bytes;             // about what they will take in the outbox
    size_t moving_count;      // of them, the oldest, which the mover has
    size_t moving_bytes;      // of `bytes`
    struct rows rows;         // the others
    int64_t oldest_boot_us;   // when the first of those was acknowledged
    int64_t answered_boot_us; // when the last was answered
    int64_t commit_us;        // what the last commit of the outbox took
    // Held while rows, or those of the mover, are changed, and by others while they read them.
    pthread_mutex_t mutex;
};

struct writer {
    // Constant after writer_open and writer_connect:
    const struct settings *settings;
    struct status *status;
    struct stop_port stop;
    struct cache_clock clock;
    struct mailbox *pg;
    struct mailbox *servers[SERVERS_MAX];
    size_t servers_count;
    size_t turn_bytes_max;
    bool has_readers;
    // Shared:
    struct mailbox mailbox;
    struct outbox outbox;
    struct store store;
    _Atomic bool stopping;
    pthread_t thread;
    bool is_started;
    // The writer thread's:
    bool memory_is_recovered;  // of use to the start only
    int64_t files_boot_us;     // when to look after the outbox's files again
    bool outbox_is_lost;       // it was found to be deleted or moved away
    bool failed;               // stopped by an error it cannot go on after
    struct message *backlog;   // taken from the mailbox, for the next turns
    struct message *undurable; // settled in the cache, to be journaled once the disk has room
    int64_t retry_boot_us;     // when to try the undurable again; 0: nothing to try
    bool is_said_full;         // that the outbox cannot grow stands in the log
    int64_t say_full_boot_us;  // not again before
    struct page_view page;     // as published
    int64_t hits_seen;         // when the readers were last looked after
    int64_t writes_seen;
    int64_t read_until_boot_us; // the server loops are taken to read much for so long
    struct awaited awaited;
    struct retention retention;
    struct eviction eviction;
    struct memory_writes memory;
    struct mover mover;
    struct slots slots;
    struct tallies tallies;
    int64_t slots_boot_us;         // when to look at them again
    uint64_t last_seq;             // newest accepted write
    uint64_t trimmable_seq;        // entries up to here were retained long enough
    uint64_t applied_seq;          // settled in the cache; the outbox's own may lag behind
    int64_t confirm_boot_us;       // when the outbox should learn of applied_seq; 0: it knows
    int64_t upkeep_boot_us;        // when to look after readers, ids and retained entries again
    int64_t pending_count;         // records in LMDB; others are in the memtable
    bool resync_owed[SERVERS_MAX]; // a change was not passed on to that server
};

static inline int64_t writer_boot_us(const struct writer *writer)
{
    return writer->clock.boot_us(writer->clock.context);
}

// When the writes that are not on their way to the outbox yet are due there, by CLOCK_BOOTTIME;
// INT64_MAX where there are none.
static inline int64_t writer_memory_due_boot_us(const struct writer *writer)
{
    const struct memory_writes *memory = &writer->memory;
    if (memory->count == memory->moving_count) {
        return INT64_MAX;
    }
    if (memory->count - memory->moving_count >= MEMORY_COUNT_MAX ||
        memory->bytes - memory->moving_bytes >= MEMORY_BYTES_MAX) {
        return 0;
    }
    int64_t age_us = memory->commit_us * MEMORY_AGE_COMMITS;
    age_us = age_us < MEMORY_AGE_US ? MEMORY_AGE_US : age_us;
    age_us = age_us < MEMORY_AGE_MAX_US ? age_us : MEMORY_AGE_MAX_US;
    return memory->oldest_boot_us + age_us;
}

// When the log is to be emptied where nothing else is there to be done; INT64_MAX where it is.
static inline int64_t writer_idle_boot_us(const struct writer *writer)
{
    bool is_logged = writer->outbox.log.count > 0 && !writer->failed;
    return is_logged ? writer->memory.answered_boot_us + LOGGED_IDLE_US : INT64_MAX;
}

// Ends the node: logs, and tells main. `spoils_cache`: its files are to be wiped at the next start.
void writer_fail(struct writer *writer, const char *event, enum error error, bool spoils_cache);

// Goes on in new cache files, without the reader that holds pages of the old ones (0: there is
// none). False where there is no room for them: logged, and nothing has changed.
bool writer_renew_cache(struct writer *writer, int holder_pid);

// The gauges of the outbox.
void writer_measure_outbox(struct writer *writer);

// Makes the opened environments one again: pending records without an entry go, entries that
// PostgreSQL may not have are laid over the cache.
enum error writer_recover(struct writer *writer, const struct store_found *found,
                          struct failure *failure);
