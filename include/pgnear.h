// libpgnear: a client of pgneard, the near cache for PostgreSQL that runs beside the application.
//
//      pgnear *node;
//      pgnear_error error;
//      if (pgnear_open(NULL, NULL, &node, &error) != PGNEAR_OK) {
//          fprintf(stderr, "%s\n", error.message);
//          return 1;
//      }
//      pgnear_item item;
//      if (pgnear_get(node, pgnear_text("greeting"), NULL, &item, &error) == PGNEAR_OK &&
//          item.present) {
//          ... item.value holds MessagePack ...
//      }
//      pgnear_close(node);
//
// Threads: a handle is for one thread at a time; threads that work at once open one each, and need
// no lock of their own for it. After fork() the child opens its own: with an inherited handle every
// call but pgnear_close answers PGNEAR_FORKED, and the parent's goes on undisturbed.
//
// Direct reads: pgnear_get and its like, pgnear_mget and the gets of a batch look straight into the
// node's cache, which the library maps into the process for reading, without a system call. They
// ask the node where the key is not held there, has to be revalidated or has expired, where the
// options of the call need PostgreSQL, or where the node is not alive; the answer is the same
// either way. A write that was acknowledged to anybody before the call is seen; what was read is
// never older than what the same handle was told before of that key (the last thousand keys are
// remembered). Where the node has died or stands still, what was current at most its
// cache.max_stale ago is served, and then no more. The process needs the right to the cache's
// directory (docs/operations.md); without it, in another namespace of pids, or with
// options.socket_only, every read asks the node.
//
// Memory: what goes in is read before the call returns and stays the caller's. What comes out
// through pgnear_item, pgnear_page and pgnear_bytes belongs to the handle and is valid until the
// next call with that handle; copy what is to be kept, or use pgnear_get_into or pgnear_lend. The
// results of the JSON helpers alone are the caller's, to be freed with pgnear_free. Where memory
// runs out the process is ended.
//
// Values are MessagePack: nil, bool, int, float, str, array, map with str keys, and ext type 1, a
// decimal number in text for what neither an int nor a float holds exactly. pgnear_from_json and
// pgnear_to_json convert without a loss. Keys are 1 to 511 bytes of UTF-8 without NUL.
//
// Every call blocks until it is answered or its deadline passes, and returns PGNEAR_OK or the code
// that it also writes, with the particulars, to `error`, which may be NULL. Results are written
// with PGNEAR_OK only, and may be NULL where the caller does not want them. `options` may be NULL;
// else start from the initializer of its type, which makes programs and libraries of different
// ages understand each other.
//
// Broken connections are made anew by the next call. A call that only reads is repeated by itself;
// so is a write that the node cannot have received whole, or that has an `id`. Any other write
// whose answer was lost ends as PGNEAR_OUTCOME_UNKNOWN: it may have been done or not.
//
// What the methods mean is said in docs/protocol.md; here is what they take and give. The comment
// of each function ends with what holds of it, in one form, which scripts/check-header reads:
//
//      [thread: handle; blocks: deadline; memory: lent; errors: node]
//
//      thread   handle   one thread at a time for each handle
//               any      any thread at any time
//               loop     the thread of the event loop (pgnear/async.h)
//      blocks   deadline until it is answered or its deadline has passed
//               connect  no longer than connect_timeout_ms
//               no       never
//      memory   lent     what it hands out is the library's, until the next call with the handle,
//                        or as the comment says
//               caller   what it hands out is the caller's, to be given back as the comment says
//               static   what it hands out lives as long as the program
//               none     it hands out nothing that points anywhere
//      errors   node     those of the node and those of this library
//               local    those of this library alone
//               none     it cannot fail
#ifndef PGNEAR_H
#define PGNEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PGNEAR_API __attribute__((visibility("default")))

// A connection to one node. Opaque.
typedef struct pgnear pgnear;

typedef enum pgnear_code {
    PGNEAR_OK = 0,
    // Of the node, as on the wire:
    PGNEAR_BAD_REQUEST = 1,
    PGNEAR_UNKNOWN_METHOD = 2,
    PGNEAR_INVALID_KEY = 3,
    PGNEAR_INVALID_VALUE = 4,
    PGNEAR_TOO_LARGE = 5,
    PGNEAR_CONFLICT = 6,        // a condition failed; error.version is the current one
    PGNEAR_UNAVAILABLE = 7,     // needs PostgreSQL, which the node does not reach; nothing was done
    PGNEAR_TIMEOUT = 8,         // nothing was done
    PGNEAR_OUTCOME_UNKNOWN = 9, // error.seq, where there is one, can be waited for by pgnear_flush
    PGNEAR_OVERLOADED = 10,     // the outbox or the disk is full
    PGNEAR_REJECTED = 11,       // PostgreSQL refused the write, and it is withdrawn
    PGNEAR_DENIED = 12,
    PGNEAR_INTERNAL = 13,
    // Of this library:
    PGNEAR_UNREACHABLE = 100, // no connection to the node; nothing was done
    PGNEAR_PROTOCOL = 101,    // the peer's answer is not one of pgneard's
    PGNEAR_FORKED = 102,      // the handle was opened by another process
    PGNEAR_OTHER = 103        // a code that this library does not know; error.name has it
} pgnear_code;

// Why a call failed. In the caller's memory, filled by the call.
typedef struct pgnear_error {
    pgnear_code code;
    bool retryable; // the same call may succeed later
    bool has_version;
    bool has_seq;
    int64_t version;   // PGNEAR_CONFLICT: the current version, where has_version
    uint64_t seq;      // PGNEAR_OUTCOME_UNKNOWN: the write to wait for, where has_seq
    char name[32];     // the code as text, "CONFLICT"
    char sqlstate[8];  // PostgreSQL's, or ""
    char message[512]; // for people
    uint64_t reserved[4];
} pgnear_error;

// Borrowed bytes.
typedef struct pgnear_bytes {
    const void *at;
    size_t len;
} pgnear_bytes;

// The bytes of a C string, without its NUL.
// [thread: any; blocks: no; memory: lent; errors: none]
static inline pgnear_bytes pgnear_text(const char *text)
{
    pgnear_bytes bytes = {text, strlen(text)};
    return bytes;
}

// A key and what the node answered about it.
typedef struct pgnear_item {
    pgnear_bytes key;   // pgnear_scan and pgnear_all
    pgnear_bytes value; // MessagePack; empty where absent
    bool present;
    bool has_version; // false while this node's write is still on its way to PostgreSQL
    int64_t version;
    int64_t expires_at_us; // pgnear_scan and pgnear_all that ask for it: since 1970; 0: never
} pgnear_item;

typedef struct pgnear_pair {
    pgnear_bytes key;
    pgnear_bytes value; // MessagePack
} pgnear_pair;

// What a write came to. `version` and `deleted` are known with PGNEAR_ACK_POSTGRES or a condition.
typedef struct pgnear_written {
    uint64_t seq; // for pgnear_flush
    bool has_version;
    bool has_deleted;
    int64_t version;
    uint64_t deleted; // pgnear_delete: keys that existed
} pgnear_written;

typedef struct pgnear_page {
    const pgnear_item *items; // in byte order of keys, all present
    size_t items_count;
    const pgnear_bytes *skipped; // keys whose rows are beyond the node's limits
    size_t skipped_count;
    bool has_next;
    pgnear_bytes next; // where has_next: `after` of the next page
} pgnear_page;

typedef struct pgnear_check_item {
    pgnear_bytes item; // text
    pgnear_bytes message;
    bool ok;
} pgnear_check_item;

// One version of a key.
typedef struct pgnear_revision {
    int64_t version;
    bool deleted;
    pgnear_bytes value; // MessagePack; empty where deleted
    int64_t at_us;      // when it was made, in microseconds since 1970
} pgnear_revision;

// A write that PostgreSQL refuses for good, kept aside by the node.
typedef struct pgnear_dead_letter {
    uint64_t seq;     // its name for pgnear_retry_dead_letter and pgnear_discard_dead_letter
    pgnear_bytes key; // the first of its keys
    uint64_t keys;    // how many they are: 1 but for an mset or a delete of several
    pgnear_bytes op;  // the method that made it: "set", "mset", "delete", ...
    pgnear_bytes sqlstate;
    pgnear_bytes message; // PostgreSQL's words
    int64_t at_us;        // when it was refused, in microseconds since 1970
} pgnear_dead_letter;

// A copy of the table in PostgreSQL.
typedef struct pgnear_backup_item {
    pgnear_bytes table; // its name, in the schema of the table
    uint64_t rows;
    pgnear_bytes created_at; // pgnear_backups: "2025-11-01T16:35:00Z" (RFC 3339, UTC); else empty
} pgnear_backup_item;

typedef enum pgnear_event_kind {
    PGNEAR_EVENT_SET = 1,
    PGNEAR_EVENT_DELETE = 2,
    PGNEAR_EVENT_RESYNC = 3 // events were missed, or too much changed to name: read again
} pgnear_event_kind;

typedef struct pgnear_event {
    pgnear_event_kind kind;
    pgnear_bytes key; // empty for PGNEAR_EVENT_RESYNC
    bool has_version;
    int64_t version;
} pgnear_event;

// ---- Options. Zero is the default of every member.

typedef struct pgnear_options {
    size_t size;
    const char *client_name; // told to the node; "libpgnear"
    int64_t timeout_ms; // of a call that sets none; 0: the node's writes.timeout, and 30 s here
    int64_t connect_timeout_ms; // 3000
    bool socket_only;           // no direct reads: every call asks the node
} pgnear_options;
#define PGNEAR_OPTIONS_INIT                                                                        \
    {                                                                                              \
        sizeof(pgnear_options), NULL, 0, 0, false                                                  \
    }

// Of calls that take nothing else. A deadline counts from the call; the node answers at it, and
// half a second later the library does where the node has not. A negative timeout is
// PGNEAR_BAD_REQUEST, so that a deadline that has passed is none of 30 s.
typedef struct pgnear_call_options {
    size_t size;
    int64_t timeout_ms; // 0: that of the handle
} pgnear_call_options;
#define PGNEAR_CALL_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(pgnear_call_options), 0                                                             \
    }

typedef struct pgnear_get_options {
    size_t size;
    int64_t timeout_ms;
    bool fresh;           // read PostgreSQL
    bool has_max_age;     // take what was known current at most max_age_ms ago
    bool has_min_version; // where the cache holds a lower version, read PostgreSQL once
    int64_t max_age_ms;
    int64_t min_version;
    bool has_at_version; // the value that the key had at exactly at_version, from the history;
    int64_t at_version;  // absent where that was a deletion, or is not known
} pgnear_get_options;
#define PGNEAR_GET_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(pgnear_get_options), 0, false, false, false, 0, 0, false, 0                         \
    }

typedef enum pgnear_ack {
    PGNEAR_ACK_DEFAULT = 0, // the node's writes.ack
    PGNEAR_ACK_MEMORY = 1,
    PGNEAR_ACK_JOURNAL = 2,
    PGNEAR_ACK_POSTGRES = 3
} pgnear_ack;

// Each write says which of these it takes; another one set is PGNEAR_BAD_REQUEST.
typedef struct pgnear_write_options {
    size_t size;
    int64_t timeout_ms;
    pgnear_bytes id; // makes a repeat of the write get the first answer; at most 64 bytes, and
                     // of one write: by another method or to other keys it is a bad request
    pgnear_ack ack;
    bool has_ttl;
    bool has_if_version; // only where the key has version if_version
    bool if_absent;      // only where the key does not exist
    int64_t ttl_ms;
    int64_t if_version;
    bool has_expires_at; // instead of ttl: when the key expires, by PostgreSQL's clock
    int64_t expires_at_us;
} pgnear_write_options;
#define PGNEAR_WRITE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(pgnear_write_options), 0, {NULL, 0}, PGNEAR_ACK_DEFAULT, false, false, false, 0, 0, \
            false, 0                                                                               \
    }

typedef struct pgnear_scan_options {
    size_t size;
    int64_t timeout_ms;
    pgnear_bytes prefix;
    pgnear_bytes after; // only keys greater than this
    uint32_t limit;     // at most 1000; 0: the node's default
    bool expires;       // say when each key expires
} pgnear_scan_options;
#define PGNEAR_SCAN_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(pgnear_scan_options), 0, {NULL, 0}, {NULL, 0}, 0, false                             \
    }

typedef struct pgnear_restore_options {
    size_t size;
    int64_t timeout_ms; // 0: that of the handle; where that is 0 too, as long as it takes
    bool replace;       // delete the keys that are not in the backup
} pgnear_restore_options;
#define PGNEAR_RESTORE_OPTIONS_INIT                                                                \
    {                                                                                              \
        sizeof(pgnear_restore_options), 0, false                                                   \
    }

typedef struct pgnear_history_options {
    size_t size;
    int64_t timeout_ms;
    bool has_before; // only versions lower than `before`
    int64_t before;
    uint32_t limit; // at most 1000; 0: the node's default
} pgnear_history_options;
#define PGNEAR_HISTORY_OPTIONS_INIT                                                                \
    {                                                                                              \
        sizeof(pgnear_history_options), 0, false, 0, 0                                             \
    }

typedef struct pgnear_dead_letters_options {
    size_t size;
    int64_t timeout_ms;
    uint64_t after_seq; // only letters with a greater seq
    uint32_t limit;     // at most 1000; 0: the node's default
} pgnear_dead_letters_options;
#define PGNEAR_DEAD_LETTERS_OPTIONS_INIT                                                           \
    {                                                                                              \
        sizeof(pgnear_dead_letters_options), 0, 0, 0                                               \
    }

// What one request of a batch came to.
typedef struct pgnear_reply {
    pgnear_code code;
    const pgnear_error *error; // where the code is not PGNEAR_OK, else NULL
    pgnear_item item;          // of pgnear_batch_get
    pgnear_written written;    // of pgnear_batch_set and pgnear_batch_delete
    pgnear_bytes result;       // of any: what the node answered, MessagePack
} pgnear_reply;

// ---- The handle

// Connects to the node at `socket_path`; NULL is $PGNEAR_SOCKET, or /run/pgnear/pgnear.sock where
// that is not set (no other thread may change the environment meanwhile). *handle is the caller's,
// to be closed. PGNEAR_UNREACHABLE where nobody answers, PGNEAR_PROTOCOL where the peer is not a
// pgneard that this library understands.
// [thread: any; blocks: connect; memory: caller; errors: node]
PGNEAR_API pgnear_code pgnear_open(const char *socket_path, const pgnear_options *options,
                                   pgnear **handle, pgnear_error *error);

// Closes the connection and frees everything of the handle; NULL is nothing to do. Acknowledged
// writes do not depend on it. Any thread, also in a child after fork().
// [thread: any; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_close(pgnear *handle);

// ---- Reads

// The value of a key; item->present is false where it does not exist.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_get(pgnear *handle, pgnear_bytes key,
                                  const pgnear_get_options *options, pgnear_item *item,
                                  pgnear_error *error);

// The same with the value copied to `room`, where item->value then lies: the caller's, for as long
// as the caller wants. PGNEAR_TOO_LARGE where `room_bytes` are not enough; item->value.len says
// what is needed.
// [thread: handle; blocks: deadline; memory: caller; errors: node]
PGNEAR_API pgnear_code pgnear_get_into(pgnear *handle, pgnear_bytes key,
                                       const pgnear_get_options *options, void *room,
                                       size_t room_bytes, pgnear_item *item, pgnear_error *error);

// The same with the value lent: it lies in the node's cache where it was read directly, is not
// copied, and is valid until pgnear_release or the next pgnear_lend, whatever else the handle is
// used for. Give it back within a second: pages that somebody reads cannot be used again, and a
// node that needs the room leaves a reader that holds them for longer behind, in the files of
// before, with a line in its log that names the process.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_lend(pgnear *handle, pgnear_bytes key,
                                   const pgnear_get_options *options, pgnear_item *item,
                                   pgnear_error *error);
// Nothing to do where nothing is lent.
// [thread: handle; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_release(pgnear *handle);

// The part of the value that `path` leads to, as pgnear_path says; item->present is false where the
// key does not exist or the path leads nowhere. Of a direct read nothing but that part is copied.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_get_path(pgnear *handle, pgnear_bytes key, const char *path,
                                       const pgnear_get_options *options, pgnear_item *item,
                                       pgnear_error *error);

// The values of `count` keys, up to 10,000: (*items)[i] answers keys[i]; PGNEAR_TOO_LARGE beyond.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_mget(pgnear *handle, const pgnear_bytes *keys, size_t count,
                                   const pgnear_get_options *options, const pgnear_item **items,
                                   pgnear_error *error);

// Milliseconds until the key expires; -1 where it does not expire or does not exist.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_ttl(pgnear *handle, pgnear_bytes key,
                                  const pgnear_call_options *options, int64_t *ttl_ms,
                                  pgnear_error *error);

// The versions of a key, newest first; PGNEAR_BAD_REQUEST where the node keeps no history. There
// may be more: ask again with the last version as `before` until none come.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_history(pgnear *handle, pgnear_bytes key,
                                      const pgnear_history_options *options,
                                      const pgnear_revision **revisions, size_t *count,
                                      pgnear_error *error);

// One page of the table, from PostgreSQL, with this node's pending writes laid over.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_scan(pgnear *handle, const pgnear_scan_options *options,
                                   pgnear_page *page, pgnear_error *error);

// Everything whose key begins with `prefix`, at once; PGNEAR_TOO_LARGE beyond 8 MiB.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_all(pgnear *handle, pgnear_bytes prefix,
                                  const pgnear_call_options *options, pgnear_page *page,
                                  pgnear_error *error);

// Everything there is, of whatever size, a pair at a time; pages are fetched as they are needed.
//
//      pgnear_iterator *all;
//      pgnear_item item;
//      pgnear_iterator_create(node, NULL, &all, NULL);
//      while (pgnear_iterator_next(all, &item, &error) == PGNEAR_OK && item.present) {
//          ... item.key, item.value ...
//      }
//      pgnear_iterator_destroy(all);
//
// Each page is of its own moment, as those of pgnear_scan.
typedef struct pgnear_iterator pgnear_iterator;

// An iterator over what `options` choose: prefix, after, expires, and as `limit` the pairs of a
// page. *iterator is the caller's, to be destroyed before its handle is closed.
// [thread: handle; blocks: no; memory: caller; errors: local]
PGNEAR_API pgnear_code pgnear_iterator_create(pgnear *handle, const pgnear_scan_options *options,
                                              pgnear_iterator **iterator, pgnear_error *error);

// The next pair, in byte order of keys; item->present is false at the end. What it points to lives
// until the next step, whatever else is done with the handle. After an error the same step can be
// tried again.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_iterator_next(pgnear_iterator *iterator, pgnear_item *item,
                                            pgnear_error *error);

// How many rows so far were left out, since they are beyond the node's limits.
// [thread: handle; blocks: no; memory: none; errors: none]
PGNEAR_API uint64_t pgnear_iterator_skipped(const pgnear_iterator *iterator);

// Frees the iterator; NULL is nothing to do.
// [thread: handle; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_iterator_destroy(pgnear_iterator *iterator);

// ---- Writes

// Sets a key. Takes ack, ttl, expires_at, if_version, if_absent. Without a ttl or an expires_at the
// expiry is cleared.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_set(pgnear *handle, pgnear_bytes key, pgnear_bytes value,
                                  const pgnear_write_options *options, pgnear_written *written,
                                  pgnear_error *error);

// Sets up to 10,000 keys, all or none of them. Takes ack, ttl, expires_at.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_mset(pgnear *handle, const pgnear_pair *pairs, size_t count,
                                   const pgnear_write_options *options, pgnear_written *written,
                                   pgnear_error *error);

// Deletes up to 10,000 keys; one that does not exist is no error. Takes ack, and if_version with
// one key.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_delete(pgnear *handle, const pgnear_bytes *keys, size_t count,
                                     const pgnear_write_options *options, pgnear_written *written,
                                     pgnear_error *error);

// Adds `by`, a number in MessagePack (empty: 1), to the number that the key holds; an absent key
// counts as 0. item->value is the sum. Takes nothing but id and timeout.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_incr(pgnear *handle, pgnear_bytes key, pgnear_bytes by,
                                   const pgnear_write_options *options, pgnear_item *item,
                                   pgnear_error *error);

// Applies a JSON merge patch (RFC 7396). item->value is the result. Takes nothing but id and
// timeout.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_merge(pgnear *handle, pgnear_bytes key, pgnear_bytes patch,
                                    const pgnear_write_options *options, pgnear_item *item,
                                    pgnear_error *error);

// Makes the key expire `ttl_ms` from now; -1 takes its expiry away, or sets it to the expires_at of
// the options; 0 and all else below it is PGNEAR_BAD_REQUEST. *existed is false where there is no
// such key. Takes nothing else but id and timeout.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_touch(pgnear *handle, pgnear_bytes key, int64_t ttl_ms,
                                    const pgnear_write_options *options, bool *existed,
                                    pgnear_error *error);

// ---- Batches
//
// Requests that go out together and are answered together, which costs one round trip instead of
// one each. Nothing else joins them: each succeeds or fails by itself (pgnear_mset is all or
// nothing). Requests on one key are done in their order. A get that no earlier request of the batch
// on the same key, or of pgnear_batch_call, comes before is a direct read, made when the batch
// runs; where that leaves nothing to ask for, nothing is sent.
//
//      pgnear_batch *batch = pgnear_batch_create(node);
//      pgnear_batch_set(batch, pgnear_text("a"), value, NULL, NULL);
//      pgnear_batch_get(batch, pgnear_text("b"), NULL, NULL);
//      const pgnear_reply *replies;
//      size_t count;
//      if (pgnear_batch_run(batch, NULL, &replies, &count, &error) == PGNEAR_OK) {
//          ... replies[0].written.seq, replies[1].item ...
//      }
//      pgnear_batch_destroy(batch);

// A batch of one handle. Opaque.
typedef struct pgnear_batch pgnear_batch;

// An empty batch, the caller's, to be destroyed before its handle is closed.
// [thread: handle; blocks: no; memory: caller; errors: none]
PGNEAR_API pgnear_batch *pgnear_batch_create(pgnear *handle);

// Frees the batch and what its last run handed out; NULL is nothing to do.
// [thread: handle; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_batch_destroy(pgnear_batch *batch);

// Each adds one request to the batch and sends nothing; what goes in is copied. The timeout of
// their options is the node's; the library's own is that of the run. PGNEAR_TOO_LARGE beyond 10,000
// requests or 16 MiB of them: run the batch first. A request that was refused is not in the batch.
// [thread: handle; blocks: no; memory: none; errors: local]
PGNEAR_API pgnear_code pgnear_batch_get(pgnear_batch *batch, pgnear_bytes key,
                                        const pgnear_get_options *options, pgnear_error *error);
PGNEAR_API pgnear_code pgnear_batch_set(pgnear_batch *batch, pgnear_bytes key, pgnear_bytes value,
                                        const pgnear_write_options *options, pgnear_error *error);
PGNEAR_API pgnear_code pgnear_batch_delete(pgnear_batch *batch, pgnear_bytes key,
                                           const pgnear_write_options *options,
                                           pgnear_error *error);
// Any method, as pgnear_call.
// [thread: handle; blocks: no; memory: none; errors: local]
PGNEAR_API pgnear_code pgnear_batch_call(pgnear_batch *batch, const char *method,
                                         pgnear_bytes params, bool writes, pgnear_error *error);

// Reads directly what can be, sends the rest and waits until each request is decided; (*replies)[i]
// is the i-th one's, and lives until the next run or the end of the batch. The batch is empty
// afterwards. PGNEAR_OK says that there are replies, not that they are good. Where a connection
// breaks, each request is treated as a single one would be: PGNEAR_OUTCOME_UNKNOWN is a reply's
// code then. Any other code than PGNEAR_OK: nothing was sent, and the batch is as it was.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_batch_run(pgnear_batch *batch, const pgnear_call_options *options,
                                        const pgnear_reply **replies, size_t *count,
                                        pgnear_error *error);

// ---- Control

// A sign of life of the node.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_ping(pgnear *handle, const pgnear_call_options *options,
                                   pgnear_error *error);

// Who the node is and how it is: a MessagePack map.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_hello(pgnear *handle, const pgnear_call_options *options,
                                    pgnear_bytes *hello, pgnear_error *error);

// Waits until the writes up to `up_to_seq` (0: all acknowledged ones) are in PostgreSQL or dead
// letters. *seq is the last of them.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_flush(pgnear *handle, uint64_t up_to_seq,
                                    const pgnear_call_options *options, uint64_t *seq,
                                    pgnear_error *error);

// Waits until every change committed in PostgreSQL before the call is in the node's cache.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_sync(pgnear *handle, const pgnear_call_options *options,
                                   pgnear_error *error);

// Drops a key, or everything where `key` is empty, from the node's cache.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_invalidate(pgnear *handle, pgnear_bytes key,
                                         const pgnear_call_options *options, uint64_t *dropped,
                                         pgnear_error *error);

// Examines the node and its PostgreSQL.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_check(pgnear *handle, const pgnear_call_options *options,
                                    const pgnear_check_item **items, size_t *count,
                                    pgnear_error *error);

// The counters: a MessagePack map.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_stats(pgnear *handle, const pgnear_call_options *options,
                                    pgnear_bytes *stats, pgnear_error *error);

// ---- Dead letters

// The node's dead letters in order of seq. There may be more after the last one: ask again with its
// seq as after_seq until none come.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_dead_letters(pgnear *handle,
                                           const pgnear_dead_letters_options *options,
                                           const pgnear_dead_letter **letters, size_t *count,
                                           pgnear_error *error);

// Writes a dead letter again, as a new write, and waits until it is in PostgreSQL; the letter is
// gone then. PGNEAR_CONFLICT where one of its keys has changed since it was parked, unless `force`;
// PGNEAR_REJECTED where PostgreSQL refuses it again: the letter stays in both cases. Takes nothing
// but id and timeout.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_retry_dead_letter(pgnear *handle, uint64_t seq, bool force,
                                                const pgnear_write_options *options,
                                                pgnear_written *written, pgnear_error *error);

// Forgets a dead letter; *existed is false where there is none of that seq.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_discard_dead_letter(pgnear *handle, uint64_t seq,
                                                  const pgnear_call_options *options, bool *existed,
                                                  pgnear_error *error);

// ---- Backups. Without a timeout, of the options or of the handle, a backup, a restore and a
// clean-up take as long as they take in PostgreSQL; with one, PGNEAR_TIMEOUT says that nothing was
// done. PGNEAR_REJECTED carries PostgreSQL's words, such as a missing right.

// Copies the table, with every write acknowledged before the call, into a new table beside it.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_backup(pgnear *handle, const pgnear_call_options *options,
                                     pgnear_backup_item *backup, pgnear_error *error);

// The backups of the table, the oldest first.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_backups(pgnear *handle, const pgnear_call_options *options,
                                      const pgnear_backup_item **backups, size_t *count,
                                      pgnear_error *error);

// Brings the rows of the backup `table` back, all at once; the node's later reads see them. *rows
// is how many. PGNEAR_REJECTED where it is not a backup of the node's table.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_restore(pgnear *handle, pgnear_bytes table,
                                      const pgnear_restore_options *options, uint64_t *rows,
                                      pgnear_error *error);

// Drops the backups that are `days` days old or older (0: all of them; at most 36500). *names are
// the tables dropped.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_cleanup_backups(pgnear *handle, uint32_t days,
                                              const pgnear_call_options *options,
                                              const pgnear_bytes **names, size_t *count,
                                              pgnear_error *error);

// ---- Everything else

// Any method by its name on the wire; `params` is a MessagePack array. `writes` says whether a
// repeat could do something twice. A timeout of `options` is only the library's own here; one for
// the node belongs in `params`.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_call(pgnear *handle, const char *method, pgnear_bytes params,
                                   bool writes, const pgnear_call_options *options,
                                   pgnear_bytes *result, pgnear_error *error);

// ---- Events

// Asks for the changes of keys that begin with `prefix` (empty: all), and for no more of them.
// Watched prefixes outlive a broken connection.
// [thread: handle; blocks: deadline; memory: none; errors: node]
PGNEAR_API pgnear_code pgnear_watch(pgnear *handle, pgnear_bytes prefix,
                                    const pgnear_call_options *options, pgnear_error *error);
PGNEAR_API pgnear_code pgnear_unwatch(pgnear *handle, pgnear_bytes prefix,
                                      const pgnear_call_options *options, pgnear_error *error);

// The next event in the order of arrival. Waits `timeout_ms` for it: 0 takes what is there, -1
// waits without an end; PGNEAR_TIMEOUT where none came. Making a broken connection anew may take
// connect_timeout_ms besides; PGNEAR_EVENT_RESYNC then says that events may have been missed.
// PGNEAR_UNREACHABLE where the node is not there; a later call tries again.
// [thread: handle; blocks: deadline; memory: lent; errors: node]
PGNEAR_API pgnear_code pgnear_next_event(pgnear *handle, int64_t timeout_ms, pgnear_event *event,
                                         pgnear_error *error);

// The socket, to be polled for input together with others before pgnear_next_event; -1 where the
// connection is broken. It changes with a reconnection, and events may also be waiting in the
// handle: take events until PGNEAR_TIMEOUT before polling.
// [thread: handle; blocks: no; memory: none; errors: none]
PGNEAR_API int pgnear_fd(const pgnear *handle);

// ---- Values. Without a handle; any thread.

// The part of one MessagePack value that the path leads to: `$` is the value, `.name` and ["name"]
// the member of a map, [n] the element of an array, from its end where n is negative:
// $.profile.names[0], $["a.b"][-1]. A name in quotes, single or double, takes \\ and its quote
// after a backslash. What is not on the way is stepped over, not decoded. *part points into
// `value`, and is empty where the path leads nowhere. PGNEAR_BAD_REQUEST where it is not such a
// path, PGNEAR_INVALID_VALUE where what lies on the way, up to the part and the part included, is
// not MessagePack of JSON; what lies behind it is not looked at.
// [thread: any; blocks: no; memory: lent; errors: local]
PGNEAR_API pgnear_code pgnear_path(pgnear_bytes value, const char *path, pgnear_bytes *part,
                                   pgnear_error *error);

// The MessagePack of one JSON text, in new memory at *msgpack. PGNEAR_INVALID_VALUE where the text
// is not JSON that PostgreSQL's jsonb stores, with the reason and the place.
// [thread: any; blocks: no; memory: caller; errors: local]
PGNEAR_API pgnear_code pgnear_from_json(pgnear_bytes json, void **msgpack, size_t *msgpack_len,
                                        pgnear_error *error);

// The JSON text of one MessagePack value, in new memory at *json with a NUL behind it that
// *json_len does not count.
// [thread: any; blocks: no; memory: caller; errors: local]
PGNEAR_API pgnear_code pgnear_to_json(pgnear_bytes msgpack, bool pretty, char **json,
                                      size_t *json_len, pgnear_error *error);

// Frees what pgnear_from_json and pgnear_to_json made; NULL is nothing to do.
// [thread: any; blocks: no; memory: none; errors: none]
PGNEAR_API void pgnear_free(void *memory);

// The version of the library, "1.2.3". Static.
// [thread: any; blocks: no; memory: static; errors: none]
PGNEAR_API const char *pgnear_version(void);

#ifdef __cplusplus
}
#endif

#endif
