// What a client asks and what it is answered, in no wire format: the protocol decoders make a
// `struct call`, the threads pass it on inside a `struct request`, the encoders print its
// `struct reply`.
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/mailbox.h"
#include "base/pool.h"

enum { CLEANUP_DAYS_DEFAULT = 30, CLEANUP_DAYS_MAX = 36500 };

// Who answers: the server loop itself, the cache first and PostgreSQL on a miss, the writer
// (through the outbox), or PostgreSQL.
enum method_class { METHOD_LOCAL, METHOD_READ, METHOD_WRITE, METHOD_CONTROL, METHOD_ASK };

// X(name, wire name, class)
#define METHOD_TABLE(X)                                                                            \
    X(HELLO, "hello", METHOD_LOCAL)                                                                \
    X(PING, "ping", METHOD_LOCAL)                                                                  \
    X(GET, "get", METHOD_READ)                                                                     \
    X(MGET, "mget", METHOD_READ)                                                                   \
    X(TTL, "ttl", METHOD_READ)                                                                     \
    X(HISTORY, "history", METHOD_READ)                                                             \
    X(SET, "set", METHOD_WRITE)                                                                    \
    X(MSET, "mset", METHOD_WRITE)                                                                  \
    X(DELETE, "delete", METHOD_WRITE)                                                              \
    X(INCR, "incr", METHOD_WRITE)                                                                  \
    X(MERGE, "merge", METHOD_WRITE)                                                                \
    X(TOUCH, "touch", METHOD_WRITE)                                                                \
    X(RETRY_DEAD_LETTER, "retry_dead_letter", METHOD_WRITE)                                        \
    X(DEAD_LETTERS, "dead_letters", METHOD_CONTROL)                                                \
    X(DISCARD_DEAD_LETTER, "discard_dead_letter", METHOD_CONTROL)                                  \
    X(INVALIDATE, "invalidate", METHOD_CONTROL)                                                    \
    X(FLUSH, "flush", METHOD_CONTROL)                                                              \
    X(SYNC, "sync", METHOD_ASK)                                                                    \
    X(SCAN, "scan", METHOD_ASK)                                                                    \
    X(ALL, "all", METHOD_ASK)                                                                      \
    X(CHECK, "check", METHOD_ASK)                                                                  \
    X(BACKUP, "backup", METHOD_CONTROL)                                                            \
    X(BACKUPS, "backups", METHOD_ASK)                                                              \
    X(RESTORE, "restore", METHOD_CONTROL)                                                          \
    X(CLEANUP_BACKUPS, "cleanup_backups", METHOD_ASK)                                              \
    X(WATCH, "watch", METHOD_LOCAL)                                                                \
    X(UNWATCH, "unwatch", METHOD_LOCAL)                                                            \
    X(STATS, "stats", METHOD_LOCAL)

enum method {
#define METHOD_ENUM(name, wire, class) METHOD_##name,
    METHOD_TABLE(METHOD_ENUM)
#undef METHOD_ENUM
        METHOD_COUNT
};

const char *method_name(enum method method);
enum method_class method_class(enum method method);
// Whether it waits until the writes accepted before it are in PostgreSQL: flush, and what begins
// with one.
bool method_flushes(enum method method);
// METHOD_COUNT where there is none of that name.
enum method method_of_name(struct slice name);

enum ack { ACK_MEMORY, ACK_JOURNAL, ACK_POSTGRES };
enum condition { CONDITION_NONE, CONDITION_IF_VERSION, CONDITION_IF_ABSENT };

struct pair {
    struct slice key;
    struct slice value; // canonical msgpack; empty where the method has no value
};

// A decoded request. Its slices belong to the input buffer, or to the request that owns the call.
// Keys, values and limits have been checked.
struct call {
    enum method method;
    enum ack ack;
    enum condition condition;
    bool fresh;
    bool has_ttl;         // touch: false takes the expiry away, unless has_expires_at
    bool has_expires_at;  // set, mset, touch
    bool has_seq;         // flush
    bool has_max_age;     // get
    bool has_min_version; // get
    bool has_at_version;  // get, mget
    bool has_before;      // history
    bool has_key;         // invalidate: false is everything
    bool all;             // scan without a limit
    bool force;           // retry_dead_letter: whatever the keys hold now
    bool has_timeout;     // timeout_ms is the client's own
    bool replaces;        // restore
    uint32_t limit;       // scan, history, dead_letters
    bool expires;         // scan, all: say when each key expires
    int64_t ttl_ms;
    int64_t expires_at_us; // by PostgreSQL's clock
    int64_t timeout_ms;
    int64_t max_age_ms;
    int64_t min_version;
    int64_t at_version;
    int64_t before; // a version
    int64_t if_version;
    int64_t days;        // cleanup_backups
    uint64_t seq;        // flush; retry_dead_letter, discard_dead_letter: of the letter
    uint64_t after_seq;  // dead_letters: letters with a greater seq
    uint64_t key_hash;   // get: by cache_port's prefetch; 0: not known
    struct slice id;     // empty: none
    struct slice table;  // restore
    struct slice prefix; // scan, all, watch
    struct slice after;  // scan: keys greater than this; empty: from the start
    size_t pairs_count;  // keys of get, mget, delete, ...; pairs of mset
    struct pair *pairs;  // set: value; incr: a msgpack number; merge: the patch
};

// One value of an answer.
struct item {
    struct slice key;
    struct slice value;
    bool present;
    bool has_version;
    int64_t version;
    int64_t expires_at_us; // scan, all; 0: never
    int64_t at_us;         // history: when it was made
};

struct check_item {
    struct slice item;
    struct slice message;
    bool ok;
};

// A dead letter: a write that PostgreSQL refused for good.
struct letter {
    uint64_t seq;
    const char *op;      // the method that made it, such as "mset"; static
    uint32_t keys_count; // of an mset or of a delete: as many keys
    struct slice key;    // the first of them
    struct slice sqlstate;
    struct slice message; // PostgreSQL's words
    int64_t at_us;        // when it was parked, or refused again
};

// A backup that was made, listed or dropped.
struct backup_item {
    struct slice table;
    struct slice created_at; // RFC 3339 in UTC
    int64_t rows;
};

// The answer, filled by whoever decides it. Slices belong to `arena`.
struct reply {
    struct failure failure; // .error == ERROR_NONE: the fields below that the method speaks of
    struct arena arena;
    bool boolean;     // touch, discard_dead_letter
    bool has_integer; // ttl: false is nil
    bool has_version; // set, delete with a condition or ack postgres
    bool has_deleted; // delete
    uint64_t seq;     // writes, flush
    int64_t version;
    int64_t integer;    // ttl in ms, deleted, invalidated
    size_t items_count; // get, mget, incr, merge, scan, all, history
    struct item *items;
    struct slice next; // scan: "" where complete
    size_t skipped_count;
    struct slice *skipped; // scan: keys beyond our limits
    size_t checks_count;
    struct check_item *checks;
    size_t letters_count; // dead_letters
    struct letter *letters;
    size_t backups_count; // backup and restore: one
    struct backup_item *backups;
};

// A call on its way through the threads: made by a server loop, owned by one thread at a time,
// sent home with request_finish exactly once.
struct request {
    struct message message; // first: a request is a message
    struct mailbox *home;
    void *flight;            // the server loop's note of who waits for it; nobody else looks
    struct request *sibling; // a list of the owner of the moment
    // Of the whole way:
    struct call call;
    struct arena arena;         // what the call points into
    struct slice encoded_pairs; // of a write: call.pairs as they stand in its entry (base/entry.h)
    int64_t deadline_boot_us;
    uint64_t after_seq; // answer only once this node's writes up to here are in PostgreSQL
    uint64_t seq;       // of the outbox entry, set by the writer
    bool is_flushed;    // restore: done, and with the writer only as a barrier on its way home
    struct reply reply;
};

// A heap copy of the call with everything it points to. `kind` of the message is MESSAGE_REQUEST.
struct request *request_create(const struct call *call, struct mailbox *home);
void request_destroy(struct request *request);

// The same in a block of a pool of requests. Either may be ended either way.
struct request *request_create_in(struct pool *pool, const struct call *call, struct mailbox *home);
void request_return(struct pool *pool, struct request *request);

// Sends it home with the reply it holds. The caller no longer owns it.
void request_finish(struct request *request);
// The same with an error. The seq that OUTCOME_UNKNOWN carries and the sqlstate may have
// been set before, and stay.
void request_fail(struct request *request, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Places for `count` items in the reply, all zeroes, owned by the reply.
struct item *reply_items(struct reply *reply, size_t count);
void reply_deinit(struct reply *reply);
