// What clients ask of a daemon that is played (played_daemon.h): calls, which reach the pg worker
// as a server loop or the writer would send them, and plain writes. Main thread.
#pragma once

#include "system/harness/played_daemon.h"

// ---- Calls

// One on a key, which is `pair`'s; both are the caller's.
struct call call_on_key(enum method method, struct pair *pair, const char *key);

// A request of the call that nobody has been given yet; where it sets no timeout it has
// DAEMON_TIMEOUT_MS.
struct request *daemon_request(struct daemon *daemon, const struct call *call);

// Sends a call; one that writes is journaled. The request is only a name for daemon_await_reply.
struct request *daemon_send(struct daemon *daemon, const struct call *call);
struct request *daemon_send_get(struct daemon *daemon, const char *key);
struct request *daemon_send_fresh(struct daemon *daemon, const char *key);

// The request, finished, for the caller to destroy.
struct request *daemon_await_reply(struct daemon *daemon, struct request *request);
// Whether it has been finished.
bool daemon_is_home(struct daemon *daemon, const struct request *request);

// The only item of a reply as "<json> v<version>" ("v-" where there is none), "absent", or
// "<CODE>: <message>".
const char *daemon_outcome(struct daemon *daemon, struct request *request);
const char *daemon_item(struct daemon *daemon, const struct item *item);
const char *daemon_get(struct daemon *daemon, const char *key);

// A sync, after which all that was posted before is noted.
void daemon_sync(struct daemon *daemon);

// ---- Writes

// Journals one plain write, which the worker hears of with daemon_publish; its seq. `json` NULL has
// no value.
uint64_t daemon_journal(struct daemon *daemon, enum method method, const char *key,
                        const char *json);
void daemon_publish(struct daemon *daemon);

// A write of one key, which the test may change before it is made. Owns its value until then.
struct written {
    struct call call;
    struct pair pair;
    struct buffer value;
};
struct written call_of(enum method method, const char *key, const char *json);

// Makes it without waiting for its answer.
void daemon_write(struct daemon *daemon, struct written written);
void daemon_set(struct daemon *daemon, const char *key, const char *json);

// Makes it; the request is only a name for daemon_await_reply.
struct request *daemon_send_written(struct daemon *daemon, struct written written);
// Makes it and waits for its answer, for the caller to destroy.
struct request *daemon_call(struct daemon *daemon, struct written written);

// What it was answered. assert_value and assert_failed destroy the request.
void assert_done(const struct request *request);
void assert_value(struct daemon *daemon, struct request *request, const char *json);
void assert_failed(struct request *request, enum error error, const char *words);

// ---- Sessions of others

void session_run(PGconn *conn, const char *sql);

// A session in whose transaction nobody reads the table, until session_commit.
PGconn *session_lock_table(struct daemon *daemon);
void session_commit(PGconn *conn);

// Until so many of the worker's sessions wait for a lock.
void daemon_await_blocked(struct daemon *daemon, const char *count);
