// The cache wing as main sees it: the two environments, and the one thread that writes them.
//
// A turn of the writer takes what is in its mailbox and
//   1. journals the turn's writes in one synced group of the outbox's log, or one commit of the
//      outbox,
//   2. applies them, and what PostgreSQL's side reports, in one commit of the cache, in mailbox
//      order,
//   3. raises the control page, answers the requests that are done and passes on the others.
// Nothing is answered before it is as safe as its ack says, and nothing that was answered is
// unseen by a later read.
#pragma once

#include "base/ports.h"
#include "base/settings.h"
#include "base/status.h"
#include "cache/store.h"

struct writer;

struct writer_options {
    const struct settings *settings; // outlives the writer
    struct status *status;           // outlives the writer
    struct stop_port stop;           // for what the node cannot go on after
    const char *boot_id;             // NULL: the machine's
    const struct cache_clock *clock; // NULL: the machine's; outlives the writer
    bool has_readers;                // direct ones, even where no other process is seen: for tests
    bool goes_without_log;           // in front of the outbox: for tests
    bool moves_by_hand;              // writer_move in place of a thread: for tests, simulations
};

// Opens both environments and recovers: what was acknowledged is in the outbox, what PostgreSQL
// may not have yet lies over the cache. Must be called before the process has threads. Errors come
// with words: ERROR_CONFIG (exit status 2), ERROR_IN_USE (3), ERROR_CORRUPT (the outbox), others.
enum error writer_open(const struct writer_options *options, struct writer **writer,
                       struct failure *failure);

// Before the start: where requests go that PostgreSQL answers, and who hears of changes for
// watchers. The mailboxes outlive the writer's stop.
void writer_connect(struct writer *writer, struct mailbox *pg, struct mailbox *const *servers,
                    size_t servers_count);

enum error writer_start(struct writer *writer);

// One turn without a thread, for tests and simulations: never together with writer_start. Returns
// how long the next may wait for a message, in milliseconds; 0: there is more to do.
int writer_turn(struct writer *writer);

// What another thread does meanwhile, for who has none: commits what a turn has left to be moved to
// the outbox, of which the next turn takes note. False where nothing is.
bool writer_move(struct writer *writer);

// Ends the thread, does what is left in the mailbox and closes the files in order, so that the
// next start is warm. The server loops and the pg worker have stopped, their readers are closed.
void writer_stop(struct writer *writer);

// Frees it, stopped or not; not stopped is as a crash.
void writer_close(struct writer *writer);

// ---- what the other wings are given

struct mailbox *writer_mailbox(struct writer *writer);
struct cache_port writer_cache_port(struct writer *writer);
struct outbox_port writer_outbox_port(struct writer *writer);
// Constant after writer_open, but for the binding that a BIND message changes.
const struct outbox_identity *writer_identity(const struct writer *writer);

// cache.max_stale, re-read on SIGHUP. Any thread.
void writer_set_max_stale(struct writer *writer, int64_t max_stale_us);
