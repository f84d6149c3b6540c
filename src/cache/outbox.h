// The outbox: `outbox.mdb` in a directory of its own, the durable queue of this node's writes on
// their way to PostgreSQL; the log in front of it (cache/outbox_log.h), and the ring of what is
// acknowledged in memory alone (cache/outbox_ring.h). Default sync, never written through the map.
// Databases:
//
//   entries    seq -> entry (base/entry.h), appended; applied ones stay for writes.retain
//   meta       the node, its starts, whose outbox it is, what PostgreSQL confirmed, ...
//   ids        opts.id -> the write it named and its answer, for ten minutes
//   id_order   seq -> opts.id, oldest first
//   letters    seq -> dead letter
//
// The writer thread alone changes it, between outbox_begin and outbox_commit; every commit is on
// the disk when it returns. Or the mover (cache/mover.h) does, from an order until it is taken
// back. Any other thread may outbox_visit.
#pragma once

#include "base/messages.h"
#include "base/ports.h"
#include "cache/outbox_log.h"
#include "cache/outbox_ring.h"
#include "cache/rows.h"
#include "cachefile/directory.h"
#include "cachefile/environment.h"

enum { OUTBOX_INCARNATIONS_MAX = 256, UUID_BYTES = 37, OUTBOX_SEQ_CHUNK = 1 << 20 };

#define ID_LIFE_US (600 * (int64_t)1000000)

// What counts beside it. A release that does not know a layout does not open the outbox, so that
// nothing that is in the log or in the ring alone is passed over. APART is of earlier releases:
// nothing that is in the log and counts there is in the outbox. With LOGGED it may be in both.
enum {
    OUTBOX_LAYOUT_ALONE = 1,
    OUTBOX_LAYOUT_APART = 2,
    OUTBOX_LAYOUT_LOGGED = 3,
    OUTBOX_LAYOUT_RINGED = 4, // no log
    OUTBOX_LAYOUT_LOGGED_AND_RINGED = 5,
    OUTBOX_LAYOUT_MAX = OUTBOX_LAYOUT_LOGGED_AND_RINGED
};

static inline bool outbox_layout_logs(uint64_t layout)
{
    return layout != OUTBOX_LAYOUT_ALONE && layout != OUTBOX_LAYOUT_RINGED;
}

static inline bool outbox_layout_rings(uint64_t layout)
{
    return layout == OUTBOX_LAYOUT_RINGED || layout == OUTBOX_LAYOUT_LOGGED_AND_RINGED;
}

// Changed by the writer within a transaction, restored where that comes to nothing.
struct outbox_state {
    uint64_t layout;            // where acknowledged entries may be beside it
    uint64_t ceiling;           // numbers up to here may have been used
    uint64_t last_seq;          // the newest entry there has been
    uint64_t trimmed_seq;       // the newest entry that is no longer retained
    uint64_t applied_seq;       // known to be in PostgreSQL
    uint64_t reapply_seq;       // entries up to here may have been, before a failover; 0: none
    uint64_t former_seq;        // and up to here are, in what the outbox was bound to before
    uint64_t generation;        // of the log: groups of any other one are in the outbox
    struct server_start server; // that took what is applied; .started_us == 0: not known
};

struct outbox {
    struct directory directory;
    MDB_env *env;
    MDB_dbi entries;
    MDB_dbi meta;
    MDB_dbi ids;
    MDB_dbi id_order;
    MDB_dbi letters;
    size_t page_bytes;
    size_t capacity_pages;  // of entries and dead letters
    size_t id_pages_max;    // of ids
    size_t allocated_bytes; // of the file, on the disk
    // Constant once open:
    char incarnations[OUTBOX_INCARNATIONS_MAX][UUID_BYTES]; // of earlier starts
    size_t incarnations_count;
    struct outbox_identity identity;
    char boot_id[BOOT_ID_BYTES]; // for which it counts
    uint64_t lost_count;         // memory-acknowledged writes that the start found to be lost
    // The writer's:
    uint64_t next_seq;
    struct outbox_state state;
    struct outbox_state committed;
    struct outbox_log log;
    struct outbox_ring ring;
    bool puts_ring_aside; // the start found it to be of no use, and somebody may want to look at it
    char log_id[OUTBOX_LOG_ID_BYTES]; // of the log that it names; "": none
    size_t moved;      // entries of the log that earlier commits of its generation have taken over
    size_t taken_over; // and that the transaction has appended
    MDB_txn *txn;      // NULL: none is open
    struct buffer encoding; // of the entry that is appended
};

struct outbox_options {
    const char *dir;
    size_t capacity_bytes;
    const char *boot_id; // NULL: the kernel's
    bool goes_without_log;
};

// Makes it where there is none. ERROR_CORRUPT (with the remedy), ERROR_IN_USE, ERROR_CONFIG,
// ERROR_SYSTEM. Journals a new incarnation and a range of seqs never used before, and what the last
// run left in the log. Before the process has threads.
enum error outbox_open(struct outbox *outbox, const struct outbox_options *options,
                       struct failure *failure);
// Whether `outbox.mdb` was deleted, moved away or replaced, or its directory was, so that no start
// would find it. The writer's.
bool outbox_is_lost(const struct outbox *outbox);
// Writes nothing more to the log where its file was; logged. True then: the next commit takes over
// what is in it, and tells the next start to do without.
bool outbox_leave_lost_log(struct outbox *outbox);
// The log and the ring have nothing that is not in the outbox, and take nothing more: the next
// start needs none, and a release that knows none opens it. The writer's last words; none may
// follow.
void outbox_rest(struct outbox *outbox);
// Accepts an outbox of which outbox_open failed.
void outbox_close(struct outbox *outbox);

// ---- a transaction of the writer's. ERROR_FULL from any of these spoils it: abort.

// `bytes` is about what it will append, for which the file gets room now, so that a full disk is
// met here (ERROR_FULL) and not in the commit; 0 asks for none, for what makes room itself.
enum error outbox_begin(struct outbox *outbox, size_t bytes);
// Makes sure, ahead of need, that the file has room for so many bytes more. ERROR_FULL.
enum error outbox_make_room(struct outbox *outbox, size_t bytes);

// All entries of the log must have been appended, or none: with the commit, the log is empty.
// ERROR_FULL: the disk is full and nothing of the transaction happened. Others: the outbox cannot
// be relied on; the node must stop.
enum error outbox_commit(struct outbox *outbox);
void outbox_abort(struct outbox *outbox);

// The second half of a commit, whoever does it: ends the transaction, and says nothing of it to
// `committed` and the log. Nothing of it is there where that fails.
enum error outbox_write_out(struct outbox *outbox);
// What a commit makes of the layout, by whether the log and the ring are in use.
uint64_t outbox_layout(const struct outbox *outbox);

// Whether writes may be acknowledged from the ring: it is there, and a start knows of it.
static inline bool outbox_rings(const struct outbox *outbox)
{
    return outbox->ring.header != NULL && outbox_layout_rings(outbox->committed.layout);
}

// The next number. Within a transaction always; outside only while outbox_has_seq.
uint64_t outbox_take_seq(struct outbox *outbox);
bool outbox_has_seq(const struct outbox *outbox);

// Makes sure that an entry of `bytes` stays within writes.outbox_size, giving up entries up to
// `trimmable_seq` for it where it must. ERROR_OVERLOADED; ERROR_TOO_LARGE where it never fits.
enum error outbox_make_capacity(struct outbox *outbox, size_t bytes, uint64_t trimmable_seq);

// Appends an entry with a seq greater than all before; `bytes` are its encoding, where there is
// one.
enum error outbox_append(struct outbox *outbox, const struct entry *entry);
enum error outbox_append_encoded(struct outbox *outbox, uint64_t seq, struct slice bytes);

// The same of one that was acknowledged before and is moved from `memory`, without an account of
// what the log has of it.
enum error outbox_append_moved(struct outbox *outbox, uint64_t seq, struct slice bytes);

// Gives up entries up to `seq`, oldest first, at most `count_max`.
enum error outbox_trim(struct outbox *outbox, uint64_t seq, size_t count_max);

// One entry, copied into `bytes`, which it points into. ERROR_NOT_FOUND.
enum error outbox_get(struct outbox *outbox, uint64_t seq, struct buffer *bytes,
                      struct entry *entry);

// Makes an entry of outbox_get flush as nothing, and parks it as a dead letter first where
// `letter` is not NULL. Nothing where it is retired already.
enum error outbox_retire(struct outbox *outbox, const struct entry *entry,
                         const struct retire_message *letter, int64_t now_us);

// Bytes of the pages of entries and dead letters, within the transaction.
size_t outbox_used_bytes(const struct outbox *outbox, MDB_txn *txn);
// About how many of these cannot make way for new writes, where `waiting` entries are not applied
// yet: those that are retained can. Exact where none is. The writer's.
size_t outbox_held_bytes(struct outbox *outbox, size_t waiting);

// ---- a commit while the log goes on; any one thread, and the writer's between two transactions
//
// The generation of the log stays what it is: what is in it goes on to count, and a start passes
// over what the outbox has of it. So neither has to be on the disk before the other.

struct outbox_move {
    struct rows rows;           // to be appended
    uint64_t applied_seq;       // to be written down
    struct server_start server; // the same; .started_us == 0: not known
    uint64_t trim_seq;          // up to which entries are given up, at most `trim_count_max`
    size_t trim_count_max;
    size_t expire_count_max; // ids
    int64_t now_us;
    uint64_t layout;
};

// Within a transaction: what is to be written down and given up of it.
enum error outbox_confirm(struct outbox *outbox, const struct outbox_move *move);
// The commit: begun, done and on the disk, or nothing of it. The file has room for it
// (outbox_make_room). Errors as of outbox_commit.
enum error outbox_move(struct outbox *outbox, const struct outbox_move *move);
// The writer: it came to that, and was of those rows.
void outbox_note_move(struct outbox *outbox, enum error error, const struct rows *rows);

// ---- reading, any one thread

// In order of seq from the first greater than `after_seq` up to `up_to_seq`, while `visit` answers
// true. Slices live during the visit. ERROR_CORRUPT where an entry cannot be decoded.
enum error outbox_visit(struct outbox *outbox, uint64_t after_seq, uint64_t up_to_seq,
                        bool (*visit)(void *context, const struct entry *entry), void *context);

// How many entries have a seq greater than `after_seq` and up to `up_to_seq`.
size_t outbox_count(struct outbox *outbox, uint64_t after_seq, uint64_t up_to_seq);

// ---- dead letters; outbox_letters.c

struct outbox_letter {
    uint64_t seq;
    uint64_t retry_seq; // the newest entry that tries it again; 0: none
    int64_t at_us;      // when it was parked, or refused again
    struct slice sqlstate;
    struct slice text;
    bool has_state;     // what PostgreSQL held of the keys when it was parked is known:
    struct slice state; // guards (base/entry.h)
    struct entry entry;
    struct slice encoded; // the entry
};

// Within a transaction; slices of a letter that was found live until something is written.
// ERROR_NOT_FOUND where there is none of that number.
enum error outbox_park(struct outbox *outbox, const struct entry *entry,
                       const struct retire_message *reason, int64_t now_us);
enum error outbox_find_letter(struct outbox *outbox, uint64_t seq, struct outbox_letter *letter);
// Writes back one that was found, with what was changed of it but its entry.
enum error outbox_change_letter(struct outbox *outbox, const struct outbox_letter *letter);
enum error outbox_forget_letter(struct outbox *outbox, uint64_t seq);

// Any one thread: in order of seq from the first greater than `after_seq`, while `visit` answers
// true and not much more than `bytes_max` have been read. Slices live during the visit.
enum error outbox_visit_letters(struct outbox *outbox, uint64_t after_seq, size_t bytes_max,
                                bool (*visit)(void *context, const struct outbox_letter *letter),
                                void *context);

size_t outbox_letters(struct outbox *outbox);

// ---- the log at the start; outbox_takeover.c

// Within the transaction of the start: appends what the last run left in the log, which stays open
// where it is of use. ERROR_CORRUPT with the remedy.
enum error outbox_take_over_log(struct outbox *outbox, const struct outbox_options *options,
                                struct failure *failure);
// After its commit: makes a log, in place of one that counts no more; goes without where that
// cannot be, since it is a matter of speed: logged. Errors are those of the transaction that names
// it.
enum error outbox_make_log(struct outbox *outbox, size_t capacity_bytes);
// Last: what an operator said of a lost log was said of that one.
void outbox_forget_lost_log(const struct outbox *outbox);

// ---- the ring at the start, and while it runs; outbox_take_ring.c

// Within the transaction of the start, the log taken over: appends what the last run of this boot
// left in the ring and counts what is lost of it (`lost_count`, where another boot's was not synced
// less than that): a memory acknowledgement is no
// reason to stop the start. Opens the ring where it is of use. ERROR_SYSTEM with words.
enum error outbox_take_over_ring(struct outbox *outbox, struct failure *failure);
// After the start's commit, or whenever there is none and nothing is in memory alone: makes it
// where it was not opened, in place of one that was judged. Goes without where that cannot be:
// logged unless `is_quiet`. It is in use once a commit has written the layout.
void outbox_make_ring(struct outbox *outbox, bool is_quiet);
// Gives it up where its file was deleted or moved away: logged. True then.
bool outbox_leave_lost_ring(struct outbox *outbox);

// ---- meta records; outbox_meta.c

// Within the transaction of the start: reads them all, makes what is missing, journals this start.
enum error outbox_load_meta(struct outbox *outbox);
// Within the transaction: the log is that one from now on.
enum error outbox_put_log_id(struct outbox *outbox, const char *id);
// Within a transaction: what it changed of the state.
enum error outbox_put_state(struct outbox *outbox);
// Within a transaction. `server` is noted where none is; where it was bound to something else, what
// is applied so far is.
enum error outbox_bind(struct outbox *outbox, const struct outbox_binding *binding,
                       const struct server_start *server);
bool outbox_is_bound_elsewhere(const struct outbox *outbox, const struct outbox_binding *binding);
// Any thread: whether the incarnation is of an earlier start.
bool outbox_knows_incarnation(const struct outbox *outbox, const char *incarnation);

// ---- ids, within a transaction; outbox_ids.c

enum { OUTBOX_ID_SUBJECT_MAX = (1 << 24) - 1 };

struct outbox_id {
    uint64_t seq;
    int64_t accepted_us;
    bool returns_result;
    bool answered;
    uint32_t subject;   // what the write was, as its caller hashes it; 0: not known
    struct slice reply; // reply_encode; of the transaction
};

// At the start: ERROR_CORRUPT where one of them is not what was written.
enum error outbox_check_ids(struct outbox *outbox);
// ERROR_NOT_FOUND where there is none younger than ten minutes.
enum error outbox_find_id(struct outbox *outbox, struct slice id, int64_t now_us,
                          struct outbox_id *found);
// ERROR_OVERLOADED where too many are remembered.
enum error outbox_bind_id(struct outbox *outbox, const struct entry *entry, uint32_t subject,
                          int64_t now_us);
// Whether there is no room for another. Within a transaction.
bool outbox_ids_are_full(struct outbox *outbox);
// Nothing where the id is unknown, names another write or has its answer.
enum error outbox_answer_id(struct outbox *outbox, const struct id_answer *answer);
enum error outbox_forget_id(struct outbox *outbox, struct slice id, uint64_t seq);
// At most `count_max`; `more` says whether there may be others.
enum error outbox_expire_ids(struct outbox *outbox, int64_t now_us, size_t count_max, bool *more);
