// The pg worker: one thread with one event loop that does all talking to PostgreSQL. It owns the
// connections, flushes the outbox, hears notifications, asks for what the cache misses and sweeps
// what it holds. Other threads reach it through its mailbox only.
//
//   control   node row, heartbeats, sync tokens, checks of the server's identity       worker, feed
//   listen    LISTEN                                                                   feed
//   flush     one transaction a batch                                                  flusher
//   backup    one for each job, while it runs                                          backup_task
//   read      `postgres.connections` of them: misses, scans, sweeps, table size,       fetcher, ...
//             history; the removal of what has expired
//
// The life of a connection to PostgreSQL, in this order (rule 14: no answer is used before):
// control connects, the schema and the outbox's binding are checked, the node's row is compared
// with the outbox and lost entries are pending again; then `ready` is set, fetcher_on_connected and
// the flusher may begin, LISTEN is committed, FEED_STARTED is posted, the sweep begins.
#pragma once

#include <event2/event.h>
#include <pthread.h>

#include "base/messages.h"
#include "base/ports.h"
#include "base/settings.h"
#include "base/status.h"
#include "pg/conn.h"
#include "pg/helm.h"
#include "pg/layout.h"

struct auditor;
struct backup;
struct checker;
struct feed;
struct fetcher;
struct flusher;
struct handshake;
struct historian;
struct janitor;
struct preloader;
struct read_pool;
struct scanner;
struct sweeper;
struct table_stats;

// Which server answers. Versions can be drawn again after a crash or a promotion, so where any of
// it changed nothing that is held can be told good by its version (rule 8).
struct server_identity {
    char system_identifier[SYSTEM_IDENTIFIER_BYTES];
    struct server_start start;
};

struct worker_options {
    const struct settings *settings; // outlives the worker
    struct status *status;
    struct cache_port cache;
    struct outbox_port outbox;
    struct stop_port stop;
    struct mailbox *writer;
    struct outbox_identity identity; // copied
};

struct worker {
    // Constant from worker_create on:
    struct event_base *base;
    const struct settings *settings;
    struct status *status;
    struct cache_port cache;
    struct outbox_port outbox;
    struct stop_port stop;
    struct mailbox *writer;
    struct outbox_identity identity;
    struct mailbox mailbox; // any thread pushes
    struct helm helm;       // who holds it is the pg worker (helm.h)

    // Written by worker, node, feed and flusher; the other modules read them:
    bool ready;           // the node's row was compared: answers may be used, units may be sent
    bool feed_live;       // the last heartbeat came back in time
    uint64_t epoch;       // of the feed's present life; counts FEED_STARTED and FEED_REPLACED
    uint64_t applied_seq; // this node's writes up to here are in PostgreSQL, and the writer knows
    char table[QUALIFIED_NAME_BYTES]; // names.pairs: what reads select from, ready to stand in SQL;
                                      // "" until it was first `ready`
    struct schema_options schema;     // with its schema, from when it was first `ready`
    struct table_name table_name;     // schema.table
    struct schema_names names;        // the same
    struct table_name implied_name;   // of the layout's home, where the settings name no schema
    struct server_identity server;    // of the control connection, while `ready`
    bool server_replaced;  // it is another than before, and the cache has not been told yet
    bool foreign_triggers; // there may be triggers of others on the table: what our own batches
                           // announce is then treated as written by others
    struct failure last_failure; // why it is not ready; .error == ERROR_NONE where it is
    bool is_swept;               // the sweep of `epoch` has come to its end
    int64_t swept_boot_us;       // when the last sweep did; 0: none yet
    int64_t notified_boot_us;    // when the last notification came; 0: none yet
    uint64_t reapply_seq;        // reads wait until the writes up to here are applied: a failover
                                 // lost some, or what the cache holds of them is not to be believed
    uint64_t catch_up_seq;       // what was journaled when it became ready

    // The modules, each made by x_create(worker) and freed by x_destroy, on the worker's thread:
    struct read_pool *read_pool; // made before and freed after the modules that use it: fetcher,
                                 // sweeper, scanner, checker, table_stats, historian, janitor,
                                 // auditor, preloader
    struct handshake *handshake;
    struct feed *feed;
    struct flusher *flusher;
    struct fetcher *fetcher;
    struct sweeper *sweeper;
    struct scanner *scanner;
    struct checker *checker;
    struct table_stats *table_stats;
    struct backup *backup;
    struct historian *historian;
    struct janitor *janitor;
    struct auditor *auditor;
    struct preloader *preloader;

    // Of the worker itself:
    struct cache_reader *reader; // shared by the modules; one begin ... end at a time, no callback
                                 // between them
    struct event *mailbox_event;
    struct event *drain_timer;
    struct event *lazy_timer; // then the writer is nudged
    size_t lazy_count;        // posted lazily since
    pthread_t thread;
    bool is_started;
    bool is_stopping;
    bool admits_guests;                    // the modules are there
    _Atomic bool is_handed_over;           // any thread: guests leave what has come to the loop
    _Atomic int audit_rate;                // any thread
    _Atomic int64_t stop_deadline_boot_us; // any thread; 0: go on
};

// Makes the mailbox and the loop; no thread yet, no connection. The settings are taken to be valid.
// ERROR_SYSTEM where file descriptors run out, ERROR_FULL where the cache has no reader slot.
enum error worker_create(const struct worker_options *options, struct worker **worker);
// Starts the thread, which starts connecting.
enum error worker_start(struct worker *worker);
// What the thread does before and after its loop, for simulations that turn the loop themselves:
// never together with worker_start. worker_begin makes the modules and starts connecting,
// worker_end answers what still waits and closes the connections.
void worker_begin(struct worker *worker);
void worker_end(struct worker *worker);
// Where requests and returning messages go. Any thread.
struct mailbox *worker_mailbox(struct worker *worker);
// Keys a second that the audit compares from now on; 0: none. Any thread.
void worker_set_audit_rate(struct worker *worker, int rate);
// Flushes until everything journaled is in PostgreSQL, or until `deadline_boot_us`; then answers
// what still waits, closes the connections and ends the thread. Returns when it has ended. The
// writer must still be running.
void worker_stop(struct worker *worker, int64_t deadline_boot_us);
// After worker_stop (or without a start). What lies in the mailbox is answered or freed.
void worker_destroy(struct worker *worker);

// What the worker calls of the reading modules (fetcher.h, sweeper.h, scanner.h, checker.h,
// table_stats.h, payload.h), all on its thread; each module opens its own read connections once
// x_on_connected was called:
//
//   struct X *x_create(struct worker *)       void x_destroy(struct X *)    NULL is allowed
//   void x_on_connected(struct X *)           `ready` became true
//   void x_on_lost(struct X *, const struct failure *)   `ready` became false, or never became true
//   void x_refuse_all(struct X *, const struct failure *)   the end: finish every request held
//   void fetcher_request(struct fetcher *, struct request *)      GET, MGET, TTL
//   void fetcher_mark(struct fetcher *, struct slice key)         rule 4
//   void fetcher_mark_all(struct fetcher *)
//   void fetcher_on_applied(struct fetcher *)                     applied_seq has moved
//   void sweeper_start(struct sweeper *, uint64_t epoch)          after FEED_STARTED
//   void sweeper_stop(struct sweeper *)                           the feed is lost
//   void scanner_request(struct scanner *, struct request *)      SCAN, ALL
//   void checker_request(struct checker *, struct request *)      CHECK
//   void backup_request(struct backup *, struct request *)        BACKUP, BACKUPS, RESTORE, ...
//   void historian_request(struct historian *, struct request *)  HISTORY; at_version
//   enum payload_kind payload_decode(struct slice bytes, struct slice *origin,
//                                    struct changes_message **changes)
//       PAYLOAD_CHANGES with *changes on the heap, PAYLOAD_TRUNCATE, PAYLOAD_SWEEP or PAYLOAD_BAD;
//       `origin` points into `bytes`, "" where foreign

// To the modules, on the worker's thread:

// The sweep of worker->epoch has come to its end: what the sweeper calls when it posted the last
// SWEPT.
void worker_on_swept(struct worker *worker);
// Between the worker and its own modules:
// The node's row was compared and claimed; the connections may be used.
void worker_become_ready(struct worker *worker);
// The control connection is lost, or what it found keeps the worker from being ready. Logged
// already.
void worker_become_unready(struct worker *worker, const struct failure *failure);
// A server said, on whatever connection, that it has crashed: what it draws now may repeat.
void worker_on_server_lost(struct worker *worker, const struct failure *failure);
// Whether the last batch met triggers of others.
void worker_set_foreign_triggers(struct worker *worker, bool met);
// feed_live, applied_seq or is_swept has changed: brings STATUS_PG_STATE up to date.
void worker_update_state(struct worker *worker);
// A failover lost writes of this node that are not all applied again: an answer of PostgreSQL would
// show a state without them. fetcher_on_applied comes when that is over.
bool worker_is_reapplying(const struct worker *worker);
// Nothing is on its way any more: ends the drain.
void worker_check_drained(struct worker *worker);
int worker_audit_rate(struct worker *worker);
// Hands a message to the writer, in order.
void worker_post(struct worker *worker, struct message *message);
// The same for what nobody waits for: the writer is woken for it a moment later, for several of its
// kind at once, or by what else comes. In order all the same.
void worker_post_lazily(struct worker *worker, struct message *message);
// Finishes a request with UNAVAILABLE, naming the connection and the last error, or REJECTED where
// an operator's error (no such table, no right) is what keeps the worker from being ready.
void worker_refuse(struct worker *worker, struct request *request);
// The options of a connection for reading: `name`, conninfo and timeouts from the settings; the
// callbacks are the caller's to fill.
struct conn_options worker_conn_options(struct worker *worker, const char *name);
