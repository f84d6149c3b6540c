// The sequence is written as a chain: `ask` sends one query, `take` reads its rows, `next` goes on.
// A query that PostgreSQL refuses ends the chain in give_up, unless the asker said otherwise.
#include "pg/handshake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/flusher.h"
#include "pg/node_row.h"
#include "pg/worker.h"

enum { SERVER_VERSION_MIN = 120000, HANDSHAKE_PARAMS_MAX = 8 };

typedef void (*take_function)(struct handshake *handshake, const PGresult *result);
typedef void (*next_function)(struct handshake *handshake);

// What the chain waits for besides PostgreSQL.
enum waiting { WAITING_NOTHING, WAITING_QUIET, WAITING_SETTLED, WAITING_BOUND, WAITING_REWOUND };

struct handshake {
    struct worker *worker;
    struct conn *conn;
    unsigned connects;
    // The chain:
    take_function take;
    next_function next;
    next_function refused;  // instead of give_up; NULL
    struct failure refusal; // for `refused`
    enum waiting waiting;
    struct failure failure; // what was found wrong; for on_lost to report
    bool has_failure;
    char last_logged[FAILURE_MESSAGE_BYTES];
    // What was found:
    struct server_identity server;
    struct server_identity known; // of the time before; started_us == 0: none
    bool crashed;                 // a server told a client of ours that it crashed
    bool in_recovery;
    bool is_found;   // schema = "require"
    bool is_rebound; // to another database: its row says nothing of us
    char database[DATABASE_BYTES];
    char schema[IDENTIFIER_BYTES_MAX + 1];
    struct node_row row;
    bool row_inserted;
    bool row_claimed;
    uint64_t row_seq; // what the claim makes of applied_seq
};

static void find_server(struct handshake *handshake);
static void find_system(struct handshake *handshake);
static void find_system_fallback(struct handshake *handshake);
static void find_table(struct handshake *handshake);
static void make_schema(struct handshake *handshake);
static void require_schema(struct handshake *handshake);
static void check_required(struct handshake *handshake);
static void open_pairs(struct handshake *handshake);
static void compare_binding(struct handshake *handshake);
static void read_row(struct handshake *handshake);
static void judge_row(struct handshake *handshake);
static void lift_versions(struct handshake *handshake);
static void claim_row(struct handshake *handshake);
static void finish(struct handshake *handshake);

// ---- The chain

// Ends it: `failure` is what keeps the worker from being ready until the next attempt.
static void give_up(struct handshake *handshake, const struct failure *failure)
{
    handshake->failure = *failure;
    handshake->has_failure = true;
    conn_fail(handshake->conn, failure->message);
}

static void give_up_words(struct handshake *handshake, const char *sqlstate, const char *message)
{
    struct failure failure = {0};
    failure_set(&failure, ERROR_UNAVAILABLE, "%s", message);
    snprintf(failure.sqlstate, sizeof failure.sqlstate, "%s", sqlstate);
    give_up(handshake, &failure);
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
        give_up(handshake, failure);
    }
}

static struct unit unit_of(struct handshake *handshake, take_function take, next_function next,
                           next_function refused)
{
    handshake->take = take;
    handshake->next = next;
    handshake->refused = refused;
    return (struct unit){.context = handshake, .on_result = on_result, .on_done = on_done};
}

// Up to HANDSHAKE_PARAMS_MAX texts as parameters, NULL after the last.
static void ask(struct handshake *handshake, const char *sql, const char *const *values,
                struct unit unit)
{
    int count = 0;
    while (values != NULL && values[count] != NULL) {
        count++;
    }
    CHECK(count <= HANDSHAKE_PARAMS_MAX);
    struct query query = {.sql = sql, .params_count = count, .values = values};
    unit.queries = &query;
    unit.queries_count = 1;
    conn_send(handshake->conn, &unit);
}

static void copy_field(char *out, size_t out_bytes, const PGresult *result, int column)
{
    CHECK(PQntuples(result) == 1);
    snprintf(out, out_bytes, "%s", PQgetvalue(result, 0, column));
}

// ---- The server

static void take_server(struct handshake *handshake, const PGresult *result)
{
    copy_field(handshake->database, sizeof handshake->database, result, 0);
    handshake->in_recovery = *PQgetvalue(result, 0, 1) == 't';
    handshake->server.started_us = strtoll(PQgetvalue(result, 0, 2), NULL, 10);
    copy_field(handshake->server.timeline, sizeof handshake->server.timeline, result, 3);
}

static void find_server(struct handshake *handshake)
{
    if (conn_server_version(handshake->conn) < SERVER_VERSION_MIN) {
        give_up_words(handshake, "0A000", "PostgreSQL 12 or later is needed");
        return;
    }
    ask(handshake,
        "SELECT current_database(), pg_is_in_recovery(),"
        " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"
        " CASE WHEN pg_is_in_recovery() THEN ''"
        " ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
        NULL, unit_of(handshake, take_server, find_system, NULL));
}

static void take_system(struct handshake *handshake, const PGresult *result)
{
    copy_field(handshake->server.system_identifier, sizeof handshake->server.system_identifier,
               result, 0);
}

static void find_system(struct handshake *handshake)
{
    if (handshake->in_recovery) {
        give_up_words(handshake, "25006",
                      "the server is a standby (name all servers in postgres.url and add"
                      " target_session_attrs=read-write)");
        return;
    }
    ask(handshake, "SELECT system_identifier::text FROM pg_control_system()", NULL,
        unit_of(handshake, take_system, find_table, find_system_fallback));
}

// Where pg_control_system() is not for us, the database's own number has to do.
static void find_system_fallback(struct handshake *handshake)
{
    ask(handshake,
        "SELECT 'database ' || oid::text FROM pg_database WHERE datname = current_database()", NULL,
        unit_of(handshake, take_system, find_table, NULL));
}

// ---- The table

static void take_schema(struct handshake *handshake, const PGresult *result)
{
    handshake->schema[0] = '\0';
    if (PQntuples(result) == 1 && !PQgetisnull(result, 0, 0)) {
        copy_field(handshake->schema, sizeof handshake->schema, result, 0);
    }
}

static void name_table(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    if (handshake->schema[0] == '\0') {
        give_up_words(handshake, "3F000", "the search_path names no schema that exists");
        return;
    }
    const struct layout *layout = layout_of(&worker->schema);
    bool is_implied = layout->home(&worker->schema)->schema[0] == '\0';
    layout_settle(&worker->schema, handshake->schema);
    worker->table_name = worker->schema.table;
    worker->implied_name =
        is_implied ? *layout->home(&worker->schema) : (struct table_name){.schema = ""};
    layout->names(&worker->schema, &worker->names);
    memcpy(worker->table, worker->names.pairs, sizeof worker->table);
    if (worker->settings->postgres.create_schema) {
        make_schema(handshake);
    } else {
        require_schema(handshake);
    }
}

static void find_table(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    struct failure failure;
    if (layout_options(&worker->settings->postgres, &worker->schema, &failure) != ERROR_NONE) {
        give_up(handshake, &failure);
        return;
    }
    struct buffer sql = {0};
    schema_resolve_sql(layout_of(&worker->schema)->home(&worker->schema), &sql);
    buffer_append(&sql, "", 1);
    ask(handshake, (const char *)buffer_slice(&sql).at, NULL,
        unit_of(handshake, take_schema, name_table, NULL));
    buffer_deinit(&sql);
}

static void make_schema(struct handshake *handshake)
{
    const struct schema_options *options = &handshake->worker->schema;
    struct buffer script = {0};
    buffer_printf(&script, "BEGIN ISOLATION LEVEL READ COMMITTED;\n");
    layout_of(options)->create_sql(options, &script);
    buffer_printf(&script, "\nCOMMIT");
    buffer_append(&script, "", 1);
    struct unit unit = unit_of(handshake, NULL, open_pairs, NULL);
    conn_run_script(handshake->conn, (const char *)buffer_slice(&script).at, &unit);
    buffer_deinit(&script);
}

static void take_required(struct handshake *handshake, const PGresult *result)
{
    handshake->is_found = *PQgetvalue(result, 0, 0) == 't';
}

static void require_schema(struct handshake *handshake)
{
    const struct schema_names *names = &handshake->worker->names;
    // With versioning the history is wanted as well, and the function that keeps it.
    bool versioning = handshake->worker->settings->postgres.versioning;
    const char *values[] = {names->table,
                            names->node_table,
                            names->sequence,
                            names->advance,
                            names->conflict,
                            versioning ? names->history : names->table,
                            names->notify_function,
                            versioning ? "%pgnear history%" : "%",
                            NULL};
    ask(handshake,
        "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL"
        " AND to_regclass($3) IS NOT NULL AND to_regproc($4) IS NOT NULL"
        " AND to_regproc($5) IS NOT NULL AND to_regclass($6) IS NOT NULL"
        " AND (SELECT prosrc LIKE $8 FROM pg_catalog.pg_proc WHERE oid = to_regproc($7)) IS TRUE",
        values, unit_of(handshake, take_required, check_required, NULL));
}

static void check_required(struct handshake *handshake)
{
    if (handshake->is_found) {
        open_pairs(handshake);
        return;
    }
    char words[FAILURE_MESSAGE_BYTES];
    snprintf(words, sizeof words,
             "relation %s or what belongs to it does not exist, and postgres.schema is"
             " \"require\": run what `pgnear schema` prints",
             handshake->worker->names.table);
    give_up_words(handshake, "42P01", words);
}

// A layout may have to see, before anything is read or written, that its pairs can be.
//
// Somebody may have the row locked, for long. What was seen of the document before is then as good
// as what a trigger brings; where nothing was, reads are refused until it is
// (document_functions.c).
static void open_refused(struct handshake *handshake)
{
    static const char LOCK_NOT_AVAILABLE[] = "55P03";
    if (strcmp(handshake->refusal.sqlstate, LOCK_NOT_AVAILABLE) == 0) {
        compare_binding(handshake);
    } else {
        give_up(handshake, &handshake->refusal);
    }
}

static void open_pairs(struct handshake *handshake)
{
    const char *open = handshake->worker->names.open;
    if (open[0] == '\0') {
        compare_binding(handshake);
        return;
    }
    struct buffer sql = {0};
    buffer_printf(&sql, "SELECT set_config('lock_timeout', '1s', true), %s()", open);
    buffer_append(&sql, "", 1);
    ask(handshake, (const char *)buffer_slice(&sql).at, NULL,
        unit_of(handshake, NULL, compare_binding, open_refused));
    buffer_deinit(&sql);
}

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

static bool is_same_binding(const struct outbox_binding *a, const struct outbox_binding *b)
{
    return strcmp(a->system_identifier, b->system_identifier) == 0 &&
           strcmp(a->database, b->database) == 0 && strcmp(a->table, b->table) == 0;
}

static void bind_outbox(struct handshake *handshake, const struct outbox_binding *binding)
{
    struct bind_message *message = message_create(MESSAGE_BIND, sizeof *message);
    message->binding = *binding;
    message->server.started_us = handshake->server.started_us;
    memcpy(message->server.timeline, handshake->server.timeline, sizeof message->server.timeline);
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
    give_up_words(handshake, "", "the outbox holds writes for another cluster, database or table");
}

static void compare_binding(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    struct outbox_binding found = binding_found(handshake);
    const struct outbox_binding *bound = &worker->identity.binding;
    bool is_bound = bound->system_identifier[0] != '\0';
    if (is_bound && is_same_binding(bound, &found)) {
        read_row(handshake);
        return;
    }
    uint64_t journaled = (uint64_t)status_get(worker->status, STATUS_OUTBOX_JOURNALED_SEQ);
    if (is_bound && journaled > worker->applied_seq) {
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

// The server is another than the one that this process, or the one before it, knew.
static bool is_replaced(const struct handshake *handshake)
{
    return handshake->crashed ||
           (handshake->known.started_us != 0 &&
            (handshake->known.started_us != handshake->server.started_us ||
             strcmp(handshake->known.timeline, handshake->server.timeline) != 0 ||
             strcmp(handshake->known.system_identifier, handshake->server.system_identifier) != 0));
}

// The row is made where it is missing, and read; both in one implicit transaction.
static void read_row(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    if (!flusher_is_quiet(worker->flusher)) {
        // What is with the writer moves applied_seq, against which the row is judged.
        handshake->waiting = WAITING_QUIET;
        return;
    }
    // A row that is made on another server than before vouches for nothing: it is committed before
    // it is judged, and this daemon may end in between.
    uint64_t vouched_seq = is_replaced(handshake) ? 0 : worker->applied_seq;
    char applied[24];
    snprintf(applied, sizeof applied, "%llu", (unsigned long long)vouched_seq);
    struct buffer insert = {0}, select = {0};
    buffer_printf(&insert,
                  "INSERT INTO %s (node, table_name, incarnation, applied_seq)"
                  " VALUES ($1, $2, $3, $4) ON CONFLICT (node) DO NOTHING RETURNING 1",
                  worker->names.node_table);
    buffer_append(&insert, "", 1);
    node_row_sql(&worker->names, &select);
    const char *insert_values[] = {worker->identity.node, worker->names.table,
                                   worker->identity.incarnation, applied};
    const char *select_values[] = {worker->identity.node};
    struct query queries[] = {
        {.sql = (const char *)buffer_slice(&insert).at, .params_count = 4, .values = insert_values},
        {.sql = (const char *)buffer_slice(&select).at, .params_count = 1, .values = select_values},
    };
    handshake->row_inserted = false;
    struct unit unit = unit_of(handshake, take_row, judge_row, NULL);
    unit.queries = queries;
    unit.queries_count = 2;
    conn_send(handshake->conn, &unit);
    buffer_deinit(&insert);
    buffer_deinit(&select);
}

static void rewind_to(struct handshake *handshake, uint64_t applied_seq)
{
    struct worker *worker = handshake->worker;
    LOG_WARNING("rewind", LOG_INT("from_seq", worker->applied_seq), LOG_INT("to_seq", applied_seq));
    struct rewind_message *message = message_create(MESSAGE_REWIND, sizeof *message);
    message->applied_seq = applied_seq;
    handshake->row_seq = applied_seq;
    handshake->waiting = WAITING_REWOUND;
    worker_post(worker, &message->message);
}

static void judge_row(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    handshake->row_seq = worker->applied_seq;
    if (handshake->is_rebound) {
        lift_versions(handshake);
        return;
    }
    // A row that was there before and is gone went with the writes that the failover lost.
    if (handshake->row_inserted && worker->applied_seq > 0 && is_replaced(handshake)) {
        rewind_to(handshake, 0);
        return;
    }
    if (handshake->row_inserted && worker->applied_seq > 0) {
        LOG_WARNING("node row made anew", LOG_INT("applied_seq", worker->applied_seq));
    }
    switch (
        node_row_judge(&handshake->row, &worker->identity, &worker->outbox, worker->applied_seq)) {
    case NODE_ROW_SAME:
        lift_versions(handshake);
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
        give_up_words(handshake, "", "the node's row vanished while it was read");
        break;
    case NODE_ROW_STRANGER:
        give_up_words(handshake, "",
                      "two daemons with one identity: the node's row belongs to a daemon that"
                      " this outbox does not know (a copied writes.dir?); give one of them a new"
                      " writes.dir");
        break;
    }
}

// Versions that a lost server drew are never drawn again.
static void lift_versions(struct handshake *handshake)
{
    if (!is_replaced(handshake) && !handshake->is_rebound) {
        claim_row(handshake);
        return;
    }
    struct buffer sql = {0};
    buffer_printf(&sql, "SELECT %s($1::regclass)", handshake->worker->names.lift_versions);
    buffer_append(&sql, "", 1);
    const char *values[] = {handshake->worker->names.sequence, NULL};
    ask(handshake, (const char *)buffer_slice(&sql).at, values,
        unit_of(handshake, NULL, claim_row, NULL));
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
    buffer_append(&sql, "", 1);
    const char *values[] = {worker->identity.node, worker->identity.incarnation, to,
                            handshake->row.incarnation, from};
    handshake->row_claimed = false;
    struct query query = {
        .sql = (const char *)buffer_slice(&sql).at, .params_count = 5, .values = values};
    struct unit unit = unit_of(handshake, take_claim, finish, NULL);
    unit.queries = &query;
    unit.queries_count = 1;
    conn_send(handshake->conn, &unit);
    buffer_deinit(&sql);
}

static void finish(struct handshake *handshake)
{
    struct worker *worker = handshake->worker;
    if (!handshake->row_claimed) {
        give_up_words(handshake, "", "the node's row changed while it was claimed");
        return;
    }
    worker->server_replaced |= is_replaced(handshake) || handshake->is_rebound;
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
        read_row(handshake);
    } else if (handshake->waiting == WAITING_SETTLED) {
        handshake->waiting = WAITING_NOTHING;
        lift_versions(handshake);
    }
}

static void on_bound(struct handshake *handshake, const struct bind_message *message)
{
    handshake->worker->identity.binding = message->binding;
    if (handshake->waiting == WAITING_BOUND) {
        handshake->waiting = WAITING_NOTHING;
        read_row(handshake);
    }
}

static void on_rewound(struct handshake *handshake, const struct rewind_message *message)
{
    struct worker *worker = handshake->worker;
    uint64_t lost_to_seq = worker->applied_seq;
    if (message->lost_from != 0) {
        LOG_ERROR("writes lost in failover", LOG_INT("from_seq", message->lost_from),
                  LOG_INT("to_seq", message->lost_to),
                  LOG_TEXT("remedy", "a longer writes.retain keeps more"));
    }
    worker->applied_seq = message->applied_seq;
    status_set(worker->status, STATUS_OUTBOX_APPLIED_SEQ, (int64_t)worker->applied_seq);
    if (lost_to_seq > worker->reapply_seq) {
        worker->reapply_seq = lost_to_seq;
    }
    flusher_on_rewound(worker->flusher, lost_to_seq);
    if (handshake->waiting == WAITING_REWOUND) {
        handshake->waiting = WAITING_NOTHING;
        lift_versions(handshake);
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
    find_server(handshake);
}

static void on_lost(void *context, const struct failure *failure)
{
    struct handshake *handshake = context;
    // A BIND or REWIND that is with the writer comes back all the same; nobody waits for it then.
    handshake->waiting = WAITING_NOTHING;
    worker_on_server_lost(handshake->worker, failure);
    const struct failure *reason = handshake->has_failure ? &handshake->failure : failure;
    if (handshake->has_failure && strcmp(handshake->last_logged, reason->message) != 0) {
        LOG_ERROR("not ready", LOG_TEXT("sqlstate", reason->sqlstate),
                  LOG_TEXT("error", reason->message));
        snprintf(handshake->last_logged, sizeof handshake->last_logged, "%s", reason->message);
    }
    worker_become_unready(handshake->worker, reason);
}

struct handshake *handshake_create(struct worker *worker)
{
    struct handshake *handshake = memory_zeroed(1, sizeof *handshake);
    handshake->worker = worker;
    // What happened while no daemon ran is to be noticed as well.
    const struct outbox_identity *identity = &worker->identity;
    handshake->known.started_us = identity->server.started_us;
    memcpy(handshake->known.timeline, identity->server.timeline, sizeof handshake->known.timeline);
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
