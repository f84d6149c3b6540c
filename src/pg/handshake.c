// The chain itself, its end, what comes back from the writer, and the life of the control
// connection. The links of the chain are in handshake_server.c and handshake_row.c.
#include "pg/handshake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/flusher.h"
#include "pg/handshake_state.h"

enum { HANDSHAKE_PARAMS_MAX = 8 };

// ---- The chain

void handshake_give_up(struct handshake *handshake, const struct failure *failure)
{
    handshake->failure = *failure;
    handshake->has_failure = true;
    conn_fail_quietly(handshake->conn, failure->message); // on_lost says it
}

void handshake_give_up_words(struct handshake *handshake, const char *sqlstate, const char *message)
{
    struct failure failure = {0};
    failure_note(&failure, ERROR_UNAVAILABLE, "%s", message);
    snprintf(failure.sqlstate, sizeof failure.sqlstate, "%s", sqlstate);
    handshake_give_up(handshake, &failure);
}

static void on_result(void *context, size_t index, const PGresult *result)
{
    (void)index;
    struct handshake *handshake = context;
    if (handshake->take != NULL && PQresultStatus(result) == PGRES_TUPLES_OK) {
        handshake->take(handshake, result);
    }
}

static void on_done(void *context, enum unit_outcome outcome, const struct failure *failure)
{
    struct handshake *handshake = context;
    if (outcome == UNIT_OK) {
        handshake->next(handshake);
    } else if (outcome == UNIT_REFUSED && handshake->refused != NULL) {
        handshake->refusal = *failure;
        handshake->refused(handshake);
    } else if (outcome == UNIT_REFUSED) {
        handshake_give_up(handshake, failure);
    }
}

struct unit handshake_unit(struct handshake *handshake, take_function take, next_function next,
                           next_function refused)
{
    handshake->take = take;
    handshake->next = next;
    handshake->refused = refused;
    return (struct unit){.context = handshake, .on_result = on_result, .on_done = on_done};
}

void handshake_ask(struct handshake *handshake, const char *sql, const char *const *values,
                   struct unit unit)
{
    int count = 0;
    while (values != NULL && values[count] != NULL) {
        count++;
    }
    CHECK(count <= HANDSHAKE_PARAMS_MAX);
    struct query query = {.sql = sql, .params_count = count, .values = values};
    conn_send_one(handshake->conn, &query, &unit);
}

bool handshake_is_replaced(const struct handshake *handshake)
{
    const struct server_identity *known = &handshake->known, *found = &handshake->server;
    return handshake->crashed ||
           (known->start.started_us != 0 &&
            (!server_start_is_same(&known->start, &found->start) ||
             strcmp(known->system_identifier, found->system_identifier) != 0));
}

bool handshake_has_failed_over(const struct handshake *handshake)
{
    const struct server_identity *known = &handshake->known, *found = &handshake->server;
    return known->start.started_us != 0 &&
           (strcmp(known->start.timeline, found->start.timeline) != 0 ||
            strcmp(known->system_identifier, found->system_identifier) != 0);
}

uint64_t handshake_decided_to_seq(const struct handshake *handshake)
{
    uint64_t applied_seq = handshake->worker->applied_seq;
    return applied_seq > handshake->inherited_seq ? applied_seq : handshake->inherited_seq;
}

static void hold_reads_to(struct worker *worker, uint64_t seq)
{
    if (seq > worker->reapply_seq) {
        worker->reapply_seq = seq;
    }
}

void handshake_finish(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    if (!handshake->row_claimed) {
        handshake_give_up_words(handshake, "", "the node's row changed while it was claimed");
        return;
    }
    if (handshake_is_replaced(handshake)) {
        hold_reads_to(worker, handshake->inherited_seq);
    }
    // Of keys with such a write not even what is pending is held any more (coherence_overtaken).
    hold_reads_to(worker, worker->identity.decided_seq);
    handshake->inherited_seq = 0;
    worker->server_replaced |= handshake_is_replaced(handshake) || handshake->is_rebound;
    worker->server = handshake->server;
    handshake->known = handshake->server;
    handshake->crashed = false;
    handshake->is_rebound = false;
    handshake->last_logged[0] = '\0';
    worker_become_ready(worker);
}

// ---- What comes back

void handshake_on_settled(struct handshake *handshake)
{
    if (!flusher_is_quiet(handshake->worker->flusher)) {
        return;
    }
    if (handshake->waiting == WAITING_QUIET) {
        handshake->waiting = WAITING_NOTHING;
        handshake_read_row(handshake);
    } else if (handshake->waiting == WAITING_SETTLED) {
        handshake->waiting = WAITING_NOTHING;
        handshake_keep_decided(handshake);
    }
}

static void on_bound(struct handshake *handshake, const struct bind_message *message)
{
    handshake->worker->identity.binding = message->binding;
    handshake->worker->identity.former_seq = message->former_seq;
    if (handshake->waiting == WAITING_BOUND) {
        handshake->waiting = WAITING_NOTHING;
        handshake_read_row(handshake);
    }
}

static void on_rewound(struct handshake *handshake, const struct rewind_message *message)
{
    struct worker *worker = handshake->worker;
    uint64_t decided_seq = worker->applied_seq;
    uint64_t lost_to_seq = handshake_decided_to_seq(handshake);
    bool is_row_behind = message->applied_seq < worker->applied_seq;
    status_add(worker->status, STATUS_OUTBOX_REWINDS, is_row_behind);
    if (message->lost_from != 0) {
        status_add(worker->status, STATUS_OUTBOX_REWINDS_SHORT, 1);
        LOG_ERROR("writes lost in failover", LOG_INT("from_seq", message->lost_from),
                  LOG_INT("to_seq", message->lost_to),
                  LOG_TEXT("remedy", "a longer writes.retain keeps more"));
    }
    worker->applied_seq = message->applied_seq;
    status_set(worker->status, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)worker->applied_seq);
    hold_reads_to(worker, lost_to_seq);
    flusher_on_rewound(worker->flusher, decided_seq, lost_to_seq, is_row_behind);
    // The writer has laid all that is journaled over the cache again, and did not keep what is
    // pending where a later write has a result that PostgreSQL decides.
    hold_reads_to(worker, (uint64_t)status_get(worker->status, STATUS_OUTBOX_JOURNALED_SEQ));
    if (handshake->waiting == WAITING_REWOUND) {
        handshake->waiting = WAITING_NOTHING;
        handshake_lift_versions(handshake);
    }
}

void handshake_on_returned(struct handshake *handshake, struct message *message)
{
    if (message->kind == MESSAGE_BIND) {
        on_bound(handshake, (struct bind_message *)message);
    } else {
        CHECK_VALUES(message->kind == MESSAGE_REWIND, "message %d", message->kind);
        on_rewound(handshake, (struct rewind_message *)message);
    }
    message_destroy(message);
}

// ---- The connection

static void on_connected(void *context)
{
    struct handshake *handshake = context;
    if (handshake->connects++ > 0) {
        status_add(handshake->worker->status, STATUS_PG_RECONNECTS, 1);
    }
    handshake->has_failure = false;
    handshake_find_server(handshake);
}

static void on_lost(void *context, const struct failure *failure)
{
    struct handshake *handshake = context;
    // A BIND or REWIND that is with the writer comes back all the same; nobody waits for it then.
    handshake->waiting = WAITING_NOTHING;
    worker_on_server_lost(handshake->worker, failure);
    const struct failure *reason = handshake->has_failure ? &handshake->failure : failure;
    if (handshake->has_failure && strcmp(handshake->last_logged, reason->message) != 0) {
        LOG_ERROR("not ready", LOG_TEXT("step", handshake->step),
                  LOG_TEXT("sqlstate", reason->sqlstate), LOG_TEXT("error", reason->message));
        snprintf(handshake->last_logged, sizeof handshake->last_logged, "%s", reason->message);
    }
    worker_become_unready(handshake->worker, reason);
}

struct handshake *handshake_create(struct worker *worker)
{
    struct handshake *handshake = memory_zeroed(1, sizeof *handshake);
    handshake->worker = worker;
    handshake->inherited_seq = (uint64_t)status_get(worker->status, STATUS_OUTBOX_JOURNALED_SEQ);
    // What happened while no daemon ran is to be noticed as well.
    const struct outbox_identity *identity = &worker->identity;
    handshake->known.start = identity->server;
    memcpy(handshake->known.system_identifier, identity->binding.system_identifier,
           sizeof handshake->known.system_identifier);
    struct conn_options options = worker_conn_options(worker, "control");
    options.context = handshake;
    options.on_connected = on_connected;
    options.on_lost = on_lost;
    handshake->conn = conn_create(&options);
    return handshake;
}

void handshake_destroy(struct handshake *handshake)
{
    if (handshake == NULL) {
        return;
    }
    conn_destroy(handshake->conn);
    node_row_deinit(&handshake->row);
    free(handshake);
}

void handshake_start(struct handshake *handshake)
{
    conn_open(handshake->conn);
}

void handshake_stop(struct handshake *handshake)
{
    conn_close(handshake->conn);
}

struct conn *handshake_conn(struct handshake *handshake)
{
    return handshake->conn;
}

void handshake_restart(struct handshake *handshake, const char *reason)
{
    conn_fail(handshake->conn, reason);
}

void handshake_on_crash(struct handshake *handshake)
{
    handshake->crashed = true;
}
