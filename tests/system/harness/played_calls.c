#include "system/harness/played_calls.h"

#include <string.h>

#include "system/harness/deadline.h"
#include "system/harness/json_text.h"

// ---- Calls

struct call call_on_key(enum method method, struct pair *pair, const char *key)
{
    *pair = (struct pair){.key = slice_of_string(key)};
    return (struct call){.method = method, .pairs_count = 1, .pairs = pair};
}

struct request *daemon_request(struct daemon *daemon, const struct call *call)
{
    struct call timed = *call;
    timed.timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : DAEMON_TIMEOUT_MS;
    struct request *request = request_create(&timed, &daemon->home);
    request->deadline_boot_us = clock_boot_us() + timed.timeout_ms * CLOCK_US_PER_MS;
    return request;
}

static uint64_t journal_call(struct daemon *daemon, const struct call *call)
{
    struct buffer pairs = {0};
    struct entry entry;
    entry_of_call(call, &entry, &pairs);
    entry.seq = ++daemon->last_seq;
    entry.accepted_us = clock_real_us();
    entry.expires_at_us = call->has_ttl ? clock_real_us() + call->ttl_ms * CLOCK_US_PER_MS : 0;
    pthread_mutex_lock(&daemon->mutex);
    assert_true(daemon->entries_count < DAEMON_ENTRIES_MAX);
    entry_encode(&entry, &daemon->entries[daemon->entries_count++].bytes);
    pthread_mutex_unlock(&daemon->mutex);
    buffer_deinit(&pairs);
    status_set(&daemon->status, STATUS_OUTBOX_LAST_SEQ, (int64_t)entry.seq);
    return entry.seq;
}

struct request *daemon_send(struct daemon *daemon, const struct call *call)
{
    struct request *request = daemon_request(daemon, call);
    bool writes = method_class(call->method) == METHOD_WRITE;
    bool flushes = call->method == METHOD_FLUSH;
    if (writes) {
        request->seq = journal_call(daemon, call);
    }
    if (flushes) {
        request->after_seq = daemon->last_seq;
    }
    mailbox_push(worker_mailbox(daemon->worker), &request->message);
    if (writes || flushes) {
        daemon_publish(daemon);
    }
    return request;
}

struct request *daemon_send_get(struct daemon *daemon, const char *key)
{
    struct pair pair;
    struct call call = call_on_key(METHOD_GET, &pair, key);
    return daemon_send(daemon, &call);
}

struct request *daemon_send_fresh(struct daemon *daemon, const char *key)
{
    struct pair pair;
    struct call call = call_on_key(METHOD_GET, &pair, key);
    call.fresh = true;
    return daemon_send(daemon, &call);
}

// Where it is linked in; NULL where it is not home yet.
static struct message **find_home(struct daemon *daemon, const struct request *request)
{
    struct message **link = &daemon->kept;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = mailbox_take(&daemon->home);
    for (link = &daemon->kept; *link != NULL; link = &(*link)->next) {
        if (*link == &request->message) {
            return link;
        }
    }
    return NULL;
}

bool daemon_is_home(struct daemon *daemon, const struct request *request)
{
    return find_home(daemon, request) != NULL;
}

struct request *daemon_await_reply(struct daemon *daemon, struct request *request)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    struct message **link;
    while ((link = find_home(daemon, request)) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s is not answered", method_name(request->call.method));
        }
    }
    *link = request->message.next;
    return request;
}

const char *daemon_item(struct daemon *daemon, const struct item *item)
{
    if (!item->present) {
        return "absent";
    }
    const char *version =
        item->has_version ? scenario_text(daemon->scenario, "%lld", (long long)item->version) : "-";
    return scenario_text(daemon->scenario, "%s v%s", daemon_json(daemon, item->value), version);
}

const char *daemon_outcome(struct daemon *daemon, struct request *request)
{
    daemon_await_reply(daemon, request);
    const struct failure *failure = &request->reply.failure;
    const char *text = failure->error != ERROR_NONE
                           ? scenario_text(daemon->scenario, "%s: %s",
                                           error_wire_code(failure->error), failure->message)
                           : daemon_item(daemon, &request->reply.items[0]);
    request_destroy(request);
    return text;
}

const char *daemon_get(struct daemon *daemon, const char *key)
{
    return daemon_outcome(daemon, daemon_send_get(daemon, key));
}

void daemon_sync(struct daemon *daemon)
{
    struct call call = {.method = METHOD_SYNC};
    struct request *request = daemon_await_reply(daemon, daemon_send(daemon, &call));
    assert_done(request);
    request_destroy(request);
}

// ---- Writes

struct written call_of(enum method method, const char *key, const char *json)
{
    struct written written = {.call = {.method = method, .pairs_count = 1}};
    written.pair.key = slice_of_string(key);
    if (json != NULL) {
        json_text_to_msgpack(json, &written.value);
    }
    return written;
}

// Its call, which is valid as long as it is.
static const struct call *whole_call(struct written *written)
{
    written->pair.value = buffer_slice(&written->value);
    written->call.pairs = &written->pair;
    return &written->call;
}

uint64_t daemon_journal(struct daemon *daemon, enum method method, const char *key,
                        const char *json)
{
    struct written written = call_of(method, key, json);
    uint64_t seq = journal_call(daemon, whole_call(&written));
    buffer_deinit(&written.value);
    return seq;
}

void daemon_publish(struct daemon *daemon)
{
    status_set(&daemon->status, STATUS_OUTBOX_JOURNALED_SEQ, (int64_t)daemon->last_seq);
    mailbox_wake(worker_mailbox(daemon->worker));
}

void daemon_write(struct daemon *daemon, struct written written)
{
    journal_call(daemon, whole_call(&written));
    buffer_deinit(&written.value);
    daemon_publish(daemon);
}

void daemon_set(struct daemon *daemon, const char *key, const char *json)
{
    daemon_write(daemon, call_of(METHOD_SET, key, json));
}

struct request *daemon_send_written(struct daemon *daemon, struct written written)
{
    struct request *request = daemon_send(daemon, whole_call(&written));
    buffer_deinit(&written.value);
    return request;
}

struct request *daemon_call(struct daemon *daemon, struct written written)
{
    return daemon_await_reply(daemon, daemon_send_written(daemon, written));
}

void assert_done(const struct request *request)
{
    const struct failure *failure = &request->reply.failure;
    if (failure->error != ERROR_NONE) {
        scenario_fail("%s: %s", error_wire_code(failure->error), failure->message);
    }
}

void assert_value(struct daemon *daemon, struct request *request, const char *json)
{
    assert_done(request);
    assert_int_equal(request->reply.items_count, 1);
    assert_json(daemon_json(daemon, request->reply.items[0].value), json);
    assert_true(request->reply.items[0].has_version);
    request_destroy(request);
}

void assert_failed(struct request *request, enum error error, const char *words)
{
    const struct failure *failure = &request->reply.failure;
    if (failure->error != error || strstr(failure->message, words) == NULL) {
        scenario_fail("%s: %s", error_wire_code(failure->error), failure->message);
    }
    request_destroy(request);
}

// ---- Sessions of others

void session_run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        scenario_fail("%s: %s", sql, PQerrorMessage(conn));
    }
    PQclear(result);
}

PGconn *session_lock_table(struct daemon *daemon)
{
    PGconn *conn = pg_connect(daemon->pg);
    session_run(conn, "BEGIN; LOCK TABLE kv_store IN ACCESS EXCLUSIVE MODE");
    return conn;
}

void session_commit(PGconn *conn)
{
    session_run(conn, "COMMIT");
    PQfinish(conn);
}

void daemon_await_blocked(struct daemon *daemon, const char *count)
{
    pg_await_value(daemon->pg, count,
                   "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                   " AND application_name = 'pgnear' AND query LIKE 'SELECT key%%'");
}
