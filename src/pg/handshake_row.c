// The second half of the handshake: whose outbox is this, how far did we get? The outbox is bound
// to what was found, the node's row is compared with it, and claimed. Ends in handshake_finish.
#include "pg/handshake_state.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/flusher.h"

static void judge_row(struct handshake *handshake);
static void claim_row(struct handshake *handshake);

// ---- The binding

static struct outbox_binding binding_found(const struct handshake *handshake)
{
    struct outbox_binding binding = {0};
    memcpy(binding.system_identifier, handshake->server.system_identifier,
           sizeof binding.system_identifier);
    memcpy(binding.database, handshake->database, sizeof binding.database);
    snprintf(binding.table, sizeof binding.table, "%.*s", (int)sizeof binding.table - 1,
             handshake->worker->names.table);
    return binding;
}

static void bind_outbox(struct handshake *handshake, const struct outbox_binding *binding)
{
    struct bind_message *message = message_create(MESSAGE_BIND, sizeof *message);
    message->binding = *binding;
    message->server = handshake->server.start;
    handshake->waiting = WAITING_BOUND;
    worker_post(handshake->worker, &message->message);
}

static void refuse_binding(struct handshake *handshake, const struct outbox_binding *found)
{
    struct worker *worker = handshake->worker;
    const struct outbox_binding *bound = &worker->identity.binding;
    LOG_ERROR("outbox belongs elsewhere", LOG_TEXT("bound_system", bound->system_identifier),
              LOG_TEXT("bound_database", bound->database), LOG_TEXT("bound_table", bound->table),
              LOG_TEXT("found_system", found->system_identifier),
              LOG_TEXT("found_database", found->database), LOG_TEXT("found_table", found->table),
              LOG_TEXT("remedy", "point postgres.* at the former server until the outbox is"
                                 " drained, or give writes.dir a new directory"));
    worker->stop.stop(worker->stop.context, 1);
    handshake_give_up_words(handshake, "",
                            "the outbox holds writes for another cluster, database or table");
}

// The newest write that may be for what the outbox is bound to: before a daemon has met its first
// server, those that it began with, since what has come to it is for where it was told to go.
static uint64_t owed_seq(const struct handshake *handshake)
{
    const struct worker *worker = handshake->worker;
    bool has_met_one = worker->server.start.started_us != 0;
    return has_met_one ? (uint64_t)status_get(worker->status, STATUS_OUTBOX_LAST_SEQ)
                       : handshake->inherited_seq;
}

void handshake_compare_binding(struct handshake *handshake)
{
    handshake->step = "outbox";
    struct worker *worker = handshake->worker;
    struct outbox_binding found = binding_found(handshake);
    const struct outbox_binding *bound = &worker->identity.binding;
    bool is_bound = bound->system_identifier[0] != '\0';
    if (is_bound && outbox_binding_is_same(bound, &found)) {
        handshake_read_row(handshake);
        return;
    }
    if (is_bound && owed_seq(handshake) > worker->applied_seq) {
        refuse_binding(handshake, &found);
        return;
    }
    handshake->is_rebound = is_bound;
    bind_outbox(handshake, &found);
}

// ---- The row

static void take_row(struct handshake *handshake, const PGresult *result)
{
    if (PQnfields(result) == 1) {
        handshake->row_inserted = PQntuples(result) == 1;
    } else {
        node_row_take(&handshake->row, result);
    }
}

static void read_row(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    // A row that is made on another server than before vouches for nothing but what is never to be
    // applied again: it is committed before it is judged, and this daemon may end in between.
    bool has_lost = handshake_is_replaced(handshake);
    uint64_t vouched_seq = has_lost ? worker->identity.former_seq : worker->applied_seq;
    char applied[24];
    snprintf(applied, sizeof applied, "%llu", (unsigned long long)vouched_seq);
    struct buffer insert = {0}, select = {0};
    buffer_printf(&insert,
                  "INSERT INTO %s (node, table_name, incarnation, applied_seq)"
                  " VALUES ($1, $2, $3, $4) ON CONFLICT (node) DO NOTHING RETURNING 1",
                  worker->names.node_table);
    node_row_sql(&worker->names, &select);
    const char *insert_values[] = {worker->identity.node, worker->names.table,
                                   worker->identity.incarnation, applied};
    const char *select_values[] = {worker->identity.node};
    struct query queries[] = {
        {.sql = buffer_text(&insert), .params_count = 4, .values = insert_values},
        {.sql = buffer_text(&select), .params_count = 1, .values = select_values},
    };
    handshake->row_inserted = false;
    (void)FAULT_POINT(NODE_LOOK);
    struct unit unit = handshake_unit(handshake, take_row, judge_row, NULL);
    unit.queries = queries;
    unit.queries_count = 2;
    conn_send(handshake->conn, &unit);
    buffer_deinit(&insert);
    buffer_deinit(&select);
}

static void note_freed(struct handshake *handshake, const PGresult *result)
{
    (void)handshake;
    node_row_note_freed(result);
}

void handshake_read_row(struct handshake *handshake)
{
    handshake->step = "row";
    struct worker *worker = handshake->worker;
    if (!flusher_is_quiet(worker->flusher)) {
        // What is with the writer moves applied_seq, against which the row is judged.
        handshake->waiting = WAITING_QUIET;
        return;
    }
    struct buffer sql = {0};
    const char *values[] = {worker->identity.node, NULL};
    node_row_free_sql(&worker->names, &sql);
    handshake_ask(handshake, buffer_text(&sql), values,
                  handshake_unit(handshake, note_freed, read_row, read_row));
    buffer_deinit(&sql);
}

// But not beyond what is never to be applied again.
static void rewind_to(struct handshake *handshake, uint64_t row_seq)
{
    struct worker *worker = handshake->worker;
    uint64_t former_seq = worker->identity.former_seq;
    uint64_t applied_seq = row_seq > former_seq ? row_seq : former_seq;
    if (applied_seq < worker->applied_seq) {
        LOG_WARNING("rewind", LOG_INT("from_seq", worker->applied_seq),
                    LOG_INT("to_seq", applied_seq));
    }
    struct rewind_message *message = message_create(MESSAGE_REWIND, sizeof *message);
    message->applied_seq = applied_seq;
    message->decided_to_seq = handshake_decided_to_seq(handshake);
    handshake->row_seq = applied_seq;
    handshake->waiting = WAITING_REWOUND;
    worker_post(worker, &message->message);
}

static void judge_row(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    handshake->row_seq = worker->applied_seq;
    (void)FAULT_POINT(NODE_ROW);
    if (handshake->is_rebound) {
        handshake_lift_versions(handshake);
        return;
    }
    // Left from an earlier stay of the outbox in this database, whoever has started since.
    if (handshake->row.is_found && handshake->row.applied_seq < worker->identity.former_seq) {
        rewind_to(handshake, handshake->row.applied_seq);
        return;
    }
    // A row that was there before and is gone went with the writes that the failover lost.
    if (handshake->row_inserted && worker->applied_seq > 0 && handshake_is_replaced(handshake)) {
        rewind_to(handshake, 0);
        return;
    }
    if (handshake->row_inserted && worker->applied_seq > 0) {
        LOG_WARNING("node row made anew", LOG_INT("applied_seq", worker->applied_seq));
    }
    switch (
        node_row_judge(&handshake->row, &worker->identity, &worker->outbox, worker->applied_seq)) {
    case NODE_ROW_SAME:
        handshake_keep_decided(handshake);
        break;
    case NODE_ROW_AHEAD:
        handshake->row_seq = handshake->row.applied_seq;
        handshake->waiting = WAITING_SETTLED;
        flusher_settle(worker->flusher, handshake->row.applied_seq,
                       buffer_slice(&handshake->row.results));
        break;
    case NODE_ROW_BEHIND:
        rewind_to(handshake, handshake->row.applied_seq);
        break;
    case NODE_ROW_MISSING:
        handshake_give_up_words(handshake, "", "the node's row vanished while it was read");
        break;
    case NODE_ROW_STRANGER:
        handshake_give_up_words(
            handshake, "",
            "two daemons with one identity: the node's row belongs to a daemon that"
            " this outbox does not know (a copied writes.dir?); give one of them a new"
            " writes.dir");
        break;
    }
}

// What the last run left beyond the row may all have been applied, and acknowledged as such, by a
// server that is no more. The outbox has to know before this one is known. What the same server
// does not hold after a restart was never decided: it is not applied again but for the first time,
// and its conditions hold as they stand.
void handshake_keep_decided(struct handshake *handshake)
{
    if (handshake_has_failed_over(handshake) && handshake->inherited_seq > handshake->row_seq) {
        rewind_to(handshake, handshake->row_seq);
    } else {
        handshake_lift_versions(handshake);
    }
}

void handshake_lift_versions(struct handshake *handshake)
{
    if (!handshake_is_replaced(handshake) && !handshake->is_rebound) {
        claim_row(handshake);
        return;
    }
    struct buffer sql = {0};
    buffer_printf(&sql, "SELECT %s($1::regclass)", handshake->worker->names.lift_versions);
    const char *values[] = {handshake->worker->names.sequence, NULL};
    handshake_ask(handshake, buffer_text(&sql), values,
                  handshake_unit(handshake, NULL, claim_row, NULL));
    buffer_deinit(&sql);
}

static void take_claim(struct handshake *handshake, const PGresult *result)
{
    handshake->row_claimed = PQntuples(result) == 1;
}

// Only the row that was judged may be claimed: a batch of an earlier life may have come between.
static void claim_row(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    char to[24], from[24];
    snprintf(to, sizeof to, "%llu", (unsigned long long)handshake->row_seq);
    snprintf(from, sizeof from, "%llu", (unsigned long long)handshake->row.applied_seq);
    struct buffer sql = {0};
    buffer_printf(&sql,
                  "UPDATE %s SET incarnation = $2, applied_seq = $3, seen_at = clock_timestamp()"
                  " WHERE node = $1 AND incarnation = $4 AND applied_seq = $5 RETURNING 1",
                  worker->names.node_table);
    const char *values[] = {worker->identity.node, worker->identity.incarnation, to,
                            handshake->row.incarnation, from};
    handshake->row_claimed = false;
    (void)FAULT_POINT(NODE_CLAIM);
    struct query query = {.sql = buffer_text(&sql), .params_count = 5, .values = values};
    struct unit unit = handshake_unit(handshake, take_claim, handshake_finish, NULL);
    conn_send_one(handshake->conn, &query, &unit);
    buffer_deinit(&sql);
}
