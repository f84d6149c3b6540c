// What one wing may call of another, on its own thread: small interfaces of function pointers that
// main connects, so that the wings know each other only by what stands here and in messages.h, and
// a test or a simulation can stand in for any of them.
#pragma once

#include "base/mailbox.h"
#include "base/messages.h"

// What the cache knows of a key. Slices live until the reader's next begin or end.
struct cached {
    bool present;         // false: known to be absent (or expired)
    bool pending;         // this node's write is on its way: no version yet
    uint64_t pending_seq; // of that write
    int64_t version;
    int64_t expires_at_us;   // by PostgreSQL's clock; 0: none
    int64_t current_boot_us; // last time it was known to be current
    struct slice value;
};

enum lookup {
    LOOKUP_HIT,
    LOOKUP_MISS,    // nothing held: ask PostgreSQL
    LOOKUP_SUSPECT, // held, but may have missed a change: ask PostgreSQL
};

// One clean record as a sweep sees it.
struct swept_record {
    struct slice key;
    int64_t version; // of an absent record: 0
    bool absent;
};

// One record as it is held, for whoever compares it with PostgreSQL.
struct held_record {
    struct slice key;
    bool is_believed; // clean, and a read would be answered with it without asking PostgreSQL
    bool absent;
    int64_t version;
    uint64_t epoch;          // of the feed, when it was stored
    int64_t expires_at_us;   // by PostgreSQL's clock; 0: none
    int64_t current_boot_us; // last time it was known to be current
    int64_t stored_at_us;    // by PostgreSQL's clock, to the hundredth of a second; 0: not known
    const char *origin;      // what made it clean, in a word; static
    struct slice value;      // canonical msgpack; empty where absent
};

struct cache_reader; // one thread's reading end of the cache

// Reading the cache. A read sees one snapshot between begin and end; nothing blocks in between.
struct cache_port {
    void *cache;
    // ERROR_FULL where no reader slot is left. Each thread has its own.
    enum error (*reader_open)(void *cache, struct cache_reader **reader);
    void (*reader_close)(struct cache_reader *reader);
    void (*begin)(struct cache_reader *reader);
    enum lookup (*lookup)(struct cache_reader *reader, struct slice key, struct cached *cached);
    // One key as a snapshot begun now would show it, without one: between begin and end or not,
    // since a snapshot that is open may be older. False says nothing of the key. The value lives
    // until the next call. `hash`: what prefetch told of the key, or 0. `now_boot_us`: the clock,
    // read since the question came or shortly before (server/loop.c): what expired meanwhile may
    // still be answered.
    bool (*look_up_hot)(struct cache_reader *reader, struct slice key, uint64_t hash,
                        int64_t now_boot_us, enum lookup *found, struct cached *cached);
    // The key is about to be looked up so: what that looks at first begins to come from memory,
    // while the caller does something else. The key's hash.
    uint64_t (*prefetch)(struct cache_reader *reader, struct slice key);
    // And what it looks at next, which the first tells: to be called once that has come.
    void (*prefetch_record)(struct cache_reader *reader, uint64_t hash);
    // Between begin and end: whether a begin now would see the very same. Cheap: whoever reads on
    // asks this instead of ending and beginning again.
    bool (*is_current)(struct cache_reader *reader);
    // Between begin and end: whether something that was looked up is not of the snapshot's moment
    // any more, so that what the lookups said means nothing: to be ended and begun again, which
    // will do in the end.
    bool (*is_torn)(struct cache_reader *reader);
    void (*end)(struct cache_reader *reader);
    // Visits, in byte order from the first key greater than `after`, at most `count_max` clean
    // records of epochs before the present one; between begin and end. False of `visit` ends it.
    enum error (*visit_suspects)(struct cache_reader *reader, struct slice after, size_t count_max,
                                 bool (*visit)(void *context, const struct swept_record *record),
                                 void *context);
    // Visits, in byte order from the first key greater than `after`, at most `count_max` records;
    // between begin and end. Nothing becomes warm by it. False of `visit` ends it.
    enum error (*visit_held)(struct cache_reader *reader, struct slice after, size_t count_max,
                             bool (*visit)(void *context, const struct held_record *held),
                             void *context);
    // The record of the key, found in the same way; false where there is none.
    bool (*find_held)(struct cache_reader *reader, struct slice key, struct held_record *held);
    // PostgreSQL's clock now, as this node estimates it.
    int64_t (*now_us)(void *cache);
    // The items of `check` that are about directories, disk, file system and reader slots.
    void (*check)(void *cache, struct reply *reply);
};

struct outbox_identity {
    char node[37];        // UUIDs in text
    char incarnation[37]; // of this start of the daemon, journaled before it is used
    struct outbox_binding binding;
    uint64_t applied_seq; // confirmed before; PostgreSQL may be further
    uint64_t reapply_seq; // entries up to here may have been applied before a failover; 0: none
    uint64_t decided_seq; // the newest of the entries beyond it whose result PostgreSQL decides;
                          // 0: none
    uint64_t former_seq;  // entries up to here are in what the outbox was bound to before, and
                          // never to be applied again; 0: none
    struct server_start server; // that the last run knew
};

// Reading the outbox, in order of seq: what is synced to disk.
struct outbox_port {
    void *outbox;
    // Whether `incarnation` is of an earlier start on this very outbox.
    bool (*knows_incarnation)(void *outbox, const char *incarnation);
    // Visits the entries with a seq greater than `after_seq`, retained ones included, while
    // `visit` answers true. Slices live during the visit. One thread at a time.
    enum error (*visit)(void *outbox, uint64_t after_seq,
                        bool (*visit)(void *context, const struct entry *entry), void *context);
    // As visit, and those acknowledged in memory only, too: every write that
    // STATUS_OUTBOX_LAST_SEQ has reached before the call, and perhaps newer ones.
    enum error (*visit_accepted)(void *outbox, uint64_t after_seq,
                                 bool (*visit)(void *context, const struct entry *entry),
                                 void *context);
};

// Asking PostgreSQL for one key on the caller's own thread, without a mailbox in between.
struct fetch_port {
    void *worker;
    // Takes the request, whose answer comes home as ever, and sends its question. False, and
    // nothing is done, where that cannot be done at once: the request is for the worker's mailbox
    // then. The answer makes `epoll` readable, which is the caller's and stays open as long as the
    // worker.
    bool (*ask)(void *worker, struct request *request, int epoll);
    // `epoll` is readable: answers go home. False: the worker itself sees to it, in a moment, and
    // the caller need not look at it until it has asked again.
    bool (*on_ready)(void *worker, int epoll);
};

// How the wings reach main when the node cannot go on (SPEC section 2's exit statuses): logged
// already; main stops everything and exits. Any thread.
struct stop_port {
    void *context;
    void (*stop)(void *context, int exit_status);
};
