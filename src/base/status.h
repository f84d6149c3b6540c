// What the node knows about itself, shared by all threads: counters and gauges as atomics, each
// written by the one wing named in its row, and the words of the last error. `stats`, `hello`,
// `check` and the documents print them from this table.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/contention.h"
#include "base/error.h"
#include "base/histogram.h"
#include "base/rate.h"

// X(name, kind, group, wire name, written by, help); a GAUGE goes up and down, a COUNTER counts up
// from the start
#define STATUS_TABLE(X)                                                                            \
    X(CACHE_HITS, COUNTER, "cache", "hits", "server", "reads answered from the cache")             \
    X(CACHE_HOT_HITS, COUNTER, "cache", "hot_hits", "server", "hits that the hot tier answered")   \
    X(CACHE_DIRECT_HITS, COUNTER, "cache", "direct_hits", "cache",                                 \
      "direct reads answered from the cache")                                                      \
    X(CACHE_DIRECT_HOT_HITS, COUNTER, "cache", "direct_hot_hits", "cache",                         \
      "those that the hot tier answered")                                                          \
    X(CACHE_DIRECT_MISSES, COUNTER, "cache", "direct_misses", "cache",                             \
      "direct reads that asked the node")                                                          \
    X(CACHE_DIRECT_READERS, GAUGE, "cache", "direct_readers", "cache",                             \
      "handles that read directly")                                                                \
    X(CACHE_NEGATIVE_HITS, COUNTER, "cache", "negative_hits", "server", "hits on a known absence") \
    X(CACHE_MISSES, COUNTER, "cache", "misses", "server", "reads that asked PostgreSQL")           \
    X(CACHE_LATE_HITS, COUNTER, "cache", "late_hits", "pg",                                        \
      "misses that the cache had by the next look")                                                \
    X(CACHE_SUSPECT_READS, COUNTER, "cache", "suspect", "server",                                  \
      "misses on a record not yet swept")                                                          \
    X(CACHE_ENTRIES, GAUGE, "cache", "entries", "cache", "records held")                           \
    X(CACHE_BYTES, GAUGE, "cache", "bytes", "cache", "bytes of the pages in use")                  \
    X(CACHE_HOT_ENTRIES, GAUGE, "cache", "hot_entries", "cache", "records in the hot tier")        \
    X(CACHE_HOT_BYTES, GAUGE, "cache", "hot_bytes", "cache", "bytes of the hot tier's file")       \
    X(CACHE_PENDING, GAUGE, "cache", "pending", "cache", "records whose write is on its way")      \
    X(CACHE_FILLS, COUNTER, "cache", "fills", "cache", "answers of PostgreSQL stored")             \
    X(CACHE_INVALIDATIONS, COUNTER, "cache", "invalidations", "cache",                             \
      "records dropped by a notify")                                                               \
    X(CACHE_EVICTIONS, COUNTER, "cache", "evictions", "cache", "records evicted for room")         \
    X(CACHE_EPOCH, GAUGE, "cache", "epoch", "cache", "number of the feed's present life")          \
    X(CACHE_AUDIT_COMPARED, COUNTER, "cache", "audit_compared", "pg",                              \
      "records compared with PostgreSQL")                                                          \
    X(CACHE_AUDIT_PASSING, COUNTER, "cache", "audit_passing", "pg",                                \
      "differences that were on their way")                                                        \
    X(CACHE_AUDIT_STALE, COUNTER, "cache", "audit_stale", "pg",                                    \
      "records that the audit found stale")                                                        \
    X(CACHE_AUDIT_STALE_US, COUNTER, "cache", "audit_stale_us", "pg",                              \
      "for how long, at most, in all")                                                             \
    X(CACHE_AUDIT_STALE_AT_US, GAUGE, "cache", "audit_stale_at_us", "pg",                          \
      "when the last one was found")                                                               \
    X(CACHE_AUDIT_REPAIRED, COUNTER, "cache", "audit_repaired", "cache",                           \
      "stale records dropped for it")                                                              \
    X(CACHE_PRELOADING, GAUGE, "cache", "preloading", "pg", "1 while the preload is under way")    \
    X(CACHE_PRELOADED, COUNTER, "cache", "preloaded", "pg", "rows that the preload brought")       \
    X(OUTBOX_DEPTH, GAUGE, "outbox", "depth", "cache", "entries not yet in PostgreSQL")            \
    X(OUTBOX_BYTES, GAUGE, "outbox", "bytes", "cache", "bytes of the pages in use")                \
    X(OUTBOX_LAST_SEQ, GAUGE, "outbox", "last_seq", "cache",                                       \
      "number of the newest accepted write")                                                       \
    X(OUTBOX_JOURNALED_SEQ, GAUGE, "outbox", "journaled_seq", "cache",                             \
      "newest write that may be flushed")                                                          \
    X(OUTBOX_APPLIED_SEQ, GAUGE, "outbox", "applied_seq", "pg",                                    \
      "newest write known to be in PostgreSQL")                                                    \
    X(OUTBOX_DEAD_LETTERS, GAUGE, "outbox", "dead_letters", "cache", "writes parked as refused")   \
    X(OUTBOX_OLDEST_US, GAUGE, "outbox", "oldest_us", "pg",                                        \
      "when the oldest unflushed write came")                                                      \
    X(OUTBOX_ACCEPTED_BYTES, COUNTER, "outbox", "accepted_bytes", "cache",                         \
      "bytes of accepted writes")                                                                  \
    X(OUTBOX_COMMITS, COUNTER, "outbox", "commits", "cache", "synced commits")                     \
    X(OUTBOX_LOG, GAUGE, "outbox", "log", "cache", "1 while the log in front of it is in use")     \
    X(OUTBOX_LOG_GROUPS, COUNTER, "outbox", "log_groups", "cache",                                 \
      "groups of writes synced to the log")                                                        \
    X(OUTBOX_RING, GAUGE, "outbox", "ring", "cache", "1 while memory acks are kept in its ring")   \
    X(OUTBOX_LOST, COUNTER, "outbox", "lost", "cache",                                             \
      "memory-acknowledged writes lost with the machine")                                          \
    X(OUTBOX_REWINDS, COUNTER, "outbox", "rewinds", "pg", "failovers that lost applied writes")    \
    X(OUTBOX_REAPPLIED, COUNTER, "outbox", "reapplied", "pg",                                      \
      "lost writes that were applied again")                                                       \
    X(OUTBOX_REWINDS_SHORT, COUNTER, "outbox", "rewinds_short", "pg",                              \
      "rewinds beyond what is retained")                                                           \
    X(PG_STATE, GAUGE, "postgres", "state", "pg", "enum node_state")                               \
    X(PG_FLUSHABLE, GAUGE, "postgres", "flushing", "pg", "1 while the flush connection works")     \
    X(PG_REFUSED, GAUGE, "postgres", "refused", "pg",                                              \
      "1 while it says no for an operator to mend")                                                \
    X(PG_BATCHES, COUNTER, "postgres", "batches", "pg", "batches committed")                       \
    X(PG_ROWS, COUNTER, "postgres", "rows", "pg", "writes flushed, after coalescing")              \
    X(PG_FLUSH_YIELDS, COUNTER, "postgres", "flush_yields", "pg",                                  \
      "times the flush gave way to clients")                                                       \
    X(PG_FETCHES, COUNTER, "postgres", "fetches", "pg", "SELECTs sent for misses")                 \
    X(PG_LOOP_FETCHES, COUNTER, "postgres", "loop_fetches", "pg",                                  \
      "those of them that a server loop sent by itself")                                           \
    X(PG_FETCHED_KEYS, COUNTER, "postgres", "fetched_keys", "pg", "keys asked for by them")        \
    X(PG_NOTIFICATIONS, COUNTER, "postgres", "notifications", "pg", "notifications heard")         \
    X(PG_GAPS, COUNTER, "postgres", "gaps", "pg", "times the feed was lost")                       \
    X(PG_SWEPT, COUNTER, "postgres", "swept", "pg", "records revalidated by sweeps")               \
    X(PG_SWEEP_DROPS, COUNTER, "postgres", "sweep_drops", "pg",                                    \
      "records that sweeps found changed")                                                         \
    X(PG_RECONNECTS, COUNTER, "postgres", "reconnects", "pg", "connections made anew")             \
    X(PG_ROUND_TRIP_US, GAUGE, "postgres", "round_trip_us", "pg", "last heartbeat, out and back")  \
    X(PG_NOTIFY_QUEUE, GAUGE, "postgres", "notify_queue_percent", "pg",                            \
      "of the cluster's NOTIFY queue in use, -1: unknown")                                         \
    X(PG_BACKUPS_MADE, COUNTER, "postgres", "backups_made", "pg", "backups made by this node")     \
    X(PG_BACKUP_FAILURES, COUNTER, "postgres", "backup_failures", "pg", "backup jobs that failed") \
    X(PG_BACKUP_JOBS, GAUGE, "postgres", "backup_jobs", "pg", "backups and restores being done")   \
    X(PG_BACKUP_ROWS, GAUGE, "postgres", "backup_rows", "pg", "rows that they have copied so far") \
    X(PG_REAPED, COUNTER, "postgres", "reaped", "pg", "expired rows removed by this node")         \
    X(PG_UNREAPED, GAUGE, "postgres", "unreaped", "pg",                                            \
      "expired rows that PostgreSQL refuses to delete")                                            \
    X(PG_TRIMMED, COUNTER, "postgres", "history_removed", "pg",                                    \
      "old history rows removed by this node")                                                     \
    X(PG_TABLE_ROWS, GAUGE, "table", "count", "pg", "rows of the table, -1 where unknown")         \
    X(PG_TABLE_BYTES, GAUGE, "table", "size_bytes", "pg", "size of the table, -1 where unknown")   \
    X(TABLE_BACKUPS, GAUGE, "table", "backups", "pg", "backups of the table, at most 10 s old")    \
    X(SERVER_CONNECTIONS, GAUGE, "server", "connections", "server", "clients connected")           \
    X(SERVER_REQUESTS, COUNTER, "server", "requests", "server", "requests decoded")                \
    X(SERVER_ERRORS, COUNTER, "server", "errors", "server", "requests answered with an error")     \
    X(SERVER_REFUSED, COUNTER, "server", "refused", "server", "connections turned away")           \
    X(SERVER_WATCHERS, GAUGE, "server", "watchers", "server", "prefixes watched")

enum status_kind { STATUS_COUNTER, STATUS_GAUGE };

enum status_item {
#define STATUS_ENUM(name, kind, group, wire, writer, help) STATUS_##name,
    STATUS_TABLE(STATUS_ENUM)
#undef STATUS_ENUM
        STATUS_COUNT
};

// Which part of the work it is that an error keeps from being done, in the order in which they are
// told: without the first none of the others is done.
enum trouble {
    TROUBLE_SERVER, // nothing goes on
    TROUBLE_FLUSH,  // writes wait
    TROUBLE_FEED,   // what is held becomes stale
    TROUBLE_READ,   // what is not held cannot be read
    TROUBLE_COUNT
};

enum node_state { NODE_DISCONNECTED, NODE_CATCHING_UP, NODE_LIVE };

struct status {
    _Atomic int64_t items[STATUS_COUNT];
    struct histogram lag; // written by cache: from the sending of a heartbeat until the cache has
                          // applied it and all that was heard before
    struct contention serving; // the threads that clients wait for; joined by cache and server
    struct rate flush_rate;    // written by pg: writes flushed, after coalescing
    pthread_mutex_t mutex;
    // Shared, under mutex:
    struct failure errors[TROUBLE_COUNT]; // .error == ERROR_NONE where there is none
};

void status_init(struct status *status);
void status_deinit(struct status *status);

static inline void status_add(struct status *status, enum status_item item, int64_t delta)
{
    atomic_fetch_add_explicit(&status->items[item], delta, memory_order_relaxed);
}

// Release and acquire: a thread that sees the value sees what was done before it was set.
static inline void status_set(struct status *status, enum status_item item, int64_t value)
{
    atomic_store_explicit(&status->items[item], value, memory_order_release);
}

static inline int64_t status_get(struct status *status, enum status_item item)
{
    return atomic_load_explicit(&status->items[item], memory_order_acquire);
}

enum status_kind status_kind(enum status_item item);
const char *status_group(enum status_item item);
const char *status_name(enum status_item item);
const char *status_help(enum status_item item);

// "disconnected", "catching_up", "live".
const char *node_state_name(enum node_state state);

// The text of the error that stops that part of the work; NULL clears it. Any thread.
void status_set_error(struct status *status, enum trouble trouble, const char *sqlstate,
                      const char *text);
void status_clear_errors(struct status *status);
// Copies the first one; false where there is none. Any thread.
bool status_get_error(struct status *status, struct failure *failure);
// The same of those that keep writes from PostgreSQL alone, and of one part alone.
bool status_get_flush_error(struct status *status, struct failure *failure);
bool status_get_error_of(struct status *status, enum trouble trouble, struct failure *failure);
