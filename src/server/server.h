// The server wing as main sees it: clients over Unix sockets, served by event loops of their own.
//
//   server_create, server_mailboxes -> (the writer and the worker learn them) -> server_start
//   server_stop_accepting -> server_drain -> server_stop -> (writer, worker stop) -> server_destroy
//
// What a loop sends to the writer and the worker comes home to the loop's mailbox, even after
// server_stop; so the server is destroyed last.
#pragma once

#include "base/ports.h"
#include "base/settings.h"
#include "base/status.h"

struct server;

struct server_options {
    const struct settings *settings; // outlives the server
    struct status *status;           // outlives the server
    struct cache_port cache;
    struct mailbox *writer;
    struct mailbox *pg;
    struct fetch_port fetch;    // .worker NULL: all that the cache misses goes to `pg`
    size_t not_taken_bytes_max; // of answers, for each loop; 0: DESK_OUT_MAX
    // What hello says; the strings outlive the server:
    const char *version;
    const char *node; // UUID
    const char *table;
    const char *cache_dir;
};

// Makes the loops; no socket and no thread yet. ERROR_SYSTEM where file descriptors run out.
enum error server_create(const struct server_options *options, struct server **server,
                         struct failure *failure);

// The home of each loop, for the writer to announce changes to: a CHANGES message of its own for
// each, which the loop frees. Constant from server_create to server_destroy.
struct mailbox *const *server_mailboxes(const struct server *server, size_t *count);

// Listens and starts the threads. ERROR_IN_USE where another server answers on a socket,
// ERROR_SYSTEM with the reason for all else; then nothing runs.
enum error server_start(struct server *server, struct failure *failure);

// No new clients; the socket files are removed. The connections stay.
void server_stop_accepting(struct server *server);

// Reads what clients have sent by now and nothing after it, answers it, and closes each
// connection that has its answers. True once all are closed, false at the deadline.
bool server_drain(struct server *server, int64_t deadline_boot_us);

// Ends the threads and closes what connections are left, and the cache's readers.
void server_stop(struct server *server);

// After server_stop, or without a start, when nobody can send to the mailboxes any more.
void server_destroy(struct server *server);

// server.allow_uids: for the connections to come; none is whoever the socket's mode lets in. Any
// thread.
void server_set_allow_uids(struct server *server, const uid_t *uids, size_t count);
