// What the three wings tell each other. Every message is a heap object that owns what it points
// to (an arena) and begins with a `struct message`; message_destroy frees any of them.
//
//   server -> writer    REQUEST: writes, flush, invalidate
//   server -> pg        REQUEST: misses, fresh reads, scan, sync, check
//   writer -> pg        REQUEST: a journaled write whose answer comes from PostgreSQL; flush
//                       FLUSHED, RETIRE, BIND, REWIND: the same object back, now durable
//   pg -> writer        one FIFO, so nothing overtakes: FEED, FILLS, CHANGES, SWEPT, FLUSHED,
//                       RETIRE, BIND, REWIND, REQUEST (sync: a barrier)
//   writer -> server    CHANGES: for watchers; REQUEST: home
#pragma once

#include <string.h>

#include "base/entry.h"

enum message_kind {
    MESSAGE_REQUEST = 1,
    MESSAGE_FEED,
    MESSAGE_FILLS,
    MESSAGE_CHANGES,
    MESSAGE_SWEPT,
    MESSAGE_FLUSHED,
    MESSAGE_RETIRE,
    MESSAGE_BIND,
    MESSAGE_REWIND,
};

// The state of the notification feed. The writer alone applies it to the control page, in the
// order of the FIFO: a heartbeat on the page means that all that was heard before it is applied.
enum feed_event {
    FEED_STARTED, // LISTEN is committed: a new epoch, everything held is suspect until swept
    FEED_HEARTBEAT,
    FEED_LOST,
    FEED_REPLACED, // another server answers (identity changed): drop every clean record; also
                   // starts an epoch
};

// One start of one server, as far as the system identifier does not tell (rule 8).
struct server_start {
    int64_t started_us; // the postmaster; 0: not known
    char timeline[16];
};

static inline bool server_start_is_same(const struct server_start *a, const struct server_start *b)
{
    return a->started_us == b->started_us && strcmp(a->timeline, b->timeline) == 0;
}

struct feed_message {
    struct message message;
    enum feed_event event;
    struct server_start server; // STARTED, REPLACED: whose rows are held from now on
    int64_t heartbeat_boot_us;  // when the heartbeat that came back was sent
    bool has_clock_offset;
    int64_t clock_offset_us; // PostgreSQL's clock minus CLOCK_BOOTTIME, measured with the heartbeat
};

// One answer of PostgreSQL that may enter the cache, if the feed was live when its query was sent
// and the epoch is still the same.
struct fill {
    struct slice key;
    bool present;
    struct slice value; // canonical msgpack
    int64_t version;
    int64_t expires_at_us;
};

struct fills_message {
    struct message message;
    struct arena arena;
    uint64_t epoch;  // at the sending of the query
    uint64_t number; // counts up; the message comes back once applied. 0: it need not
    bool preloads;   // nobody asked for them yet; in byte order of keys
    size_t fills_count;
    struct fill *fills;
};

enum change_op { CHANGE_SET, CHANGE_DELETE };

struct change {
    struct slice key;
    int64_t version;
    enum change_op op;
};

// One notification payload.
struct changes_message {
    struct message message;
    struct arena arena;
    bool own;       // this node's flush made it: nothing to invalidate, only to announce
    bool truncated; // everything clean is dropped; watchers resync
    bool resync;    // watchers resync (a gap, a bulk change); the cache follows by FEED and SWEPT
    bool is_repair; // an audit found them, not the feed: dropped whatever version is held
    size_t changes_count;
    struct change *changes;
};

// The sweep went on to `hand`: the suspect records up to there are good again, but for `drops`.
struct swept_message {
    struct message message;
    struct arena arena;
    uint64_t epoch;
    struct slice hand;
    bool done; // nothing is left behind `hand`
    size_t drops_count;
    struct slice *drops;
};

// What became of one key in a flushed batch: the last state that the batch gave it.
struct flushed_key {
    struct slice key;
    uint64_t seq;   // of the last write to the key in the batch
    bool drop;      // not known well enough to be kept (result lost, changed by a trigger, ...)
    bool present;   // false: deleted
    bool has_value; // the value is new to the cache (incr, merge); otherwise the pending one stays
    struct slice value;
    int64_t version;
    int64_t expires_at_us;
};

// A batch is committed in PostgreSQL. The writer makes the answers to `requests` durable where
// they carry an id, settles the cache, sends the requests home, and returns the message.
struct flushed_message {
    struct message message;
    struct arena arena;
    uint64_t applied_seq; // all entries up to here are applied or retired
    uint64_t epoch;       // at the sending of the batch
    bool feed_was_live;   // at the sending of the batch
    size_t keys_count;
    struct flushed_key *keys;
    struct request *requests; // linked by sibling, replies filled
    size_t answers_count;     // for entries with opts.id whether or not a request waits
    struct id_answer *answers;
    size_t letters_count; // dead letters that were tried again and are applied: to be forgotten
    uint64_t *letters;
};

// The remembered answer to a write that carried an id.
struct id_answer {
    struct slice id;
    uint64_t seq;
    struct slice reply; // reply_encode
};

enum retire_reason { RETIRE_DEAD_LETTER, RETIRE_WITHDRAWN, RETIRE_CANCELLED };

// Take one entry out of the flushing, durably, before anything after it is flushed. The writer
// parks it as a dead letter or voids it, drops its keys from the cache unless a later write is
// pending on them, sends `request` home (its failure is filled) and returns the message.
struct retire_message {
    struct message message;
    uint64_t seq;
    enum retire_reason reason;
    struct request *requests; // linked by sibling
    char sqlstate[SQLSTATE_BYTES];
    char text[FAILURE_MESSAGE_BYTES];
    bool is_poison;   // PostgreSQL refused the write itself
    bool is_conflict; // its condition did not hold: what a repeat of it is told, with the version
    bool has_version; // that the key has, where it is there
    int64_t version;
    struct arena arena;
    bool has_state;     // of a dead letter: what PostgreSQL held of the keys when it was parked
    struct slice state; // guards, one a pair (base/entry.h)
};

enum { SYSTEM_IDENTIFIER_BYTES = 32, DATABASE_BYTES = 64, TABLE_BYTES = 260 };

// Whose writes an outbox holds (SPEC section 2). Empty strings: not bound yet.
struct outbox_binding {
    char system_identifier[SYSTEM_IDENTIFIER_BYTES]; // of pg_control_system()
    char database[DATABASE_BYTES];
    char table[TABLE_BYTES]; // schema-qualified and quoted
};

static inline bool outbox_binding_is_same(const struct outbox_binding *a,
                                          const struct outbox_binding *b)
{
    return strcmp(a->system_identifier, b->system_identifier) == 0 &&
           strcmp(a->database, b->database) == 0 && strcmp(a->table, b->table) == 0;
}

// Before the first batch: write down durably whose outbox this is, and return the message. An
// outbox that is bound to something else has nothing left to be applied there; with the new binding
// the writer writes down that what is applied so far is never to be applied again.
struct bind_message {
    struct message message;
    struct server_start server; // noted where none was
    struct outbox_binding binding;
    uint64_t former_seq; // as struct outbox_identity has it from now on
};

// PostgreSQL holds this node's writes only up to `applied_seq`, less than was confirmed (a
// failover lost them): what the outbox retains after it is pending again, in the cache as well.
// So it is for those up to `decided_to_seq`, which may have been acknowledged as done: that is
// written down, for the next start may come before they are applied again.
// The writer returns the message; `lost_from` to `lost_to` are no longer retained (0: none).
struct rewind_message {
    struct message message;
    uint64_t applied_seq;
    uint64_t decided_to_seq;
    uint64_t lost_from;
    uint64_t lost_to;
};

// Zeroed, of `size` bytes, with its kind set.
void *message_create(enum message_kind kind, size_t size);

// Frees a message of any kind with all it owns, requests included.
void message_destroy(struct message *message);

// A decided reply as bytes for the outbox, and back (into the reply's arena).
void reply_encode(const struct reply *reply, struct buffer *out);
enum error reply_decode(struct slice bytes, struct reply *reply);
