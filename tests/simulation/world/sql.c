// The statements of handshake, feed, flusher, fetcher, sweeper and the rest, as the model carries
// them out. Each is one step, or as many as it has to wait.
#include "simulation/world/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "pg/schema_sql.h"
#include "simulation/world/machine.h"
#include "simulation/world/results.h"
#include "simulation/world/statements.h"
#include "simulation/world/wire.h"

enum { FORGOTTEN_PER_MILLE = 50 };

size_t value_padding_bytes = 0;

// ---- values

size_t value_json(int key, int64_t token, char text[VALUE_BYTES])
{
    if (key >= COUNTERS_FROM) {
        return (size_t)snprintf(text, VALUE_BYTES, "%lld", (long long)token);
    }
    int used = snprintf(text, VALUE_BYTES, "\"%lld", (long long)token);
    size_t padding = token % 4 == 0 ? value_padding_bytes : 0;
    CHECK(padding < VALUE_BYTES - 32);
    memset(text + used, 'x', padding);
    text[(size_t)used + padding] = '"';
    text[(size_t)used + padding + 1] = '\0';
    return (size_t)used + padding + 1;
}

int64_t value_token(struct slice json)
{
    size_t i = json.len > 0 && (json.at[0] == '"' || json.at[0] == '-');
    int64_t token = 0;
    while (i < json.len && json.at[i] >= '0' && json.at[i] <= '9') {
        token = token * 10 + (json.at[i++] - '0');
    }
    return json.len > 0 && json.at[0] == '-' ? -token : token;
}

// ---- the server's identity and the node's row

static void tell_start(PGresult *result, int column)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)server.started_us);
    result_text(result, 0, column, text);
}

static void tell_timeline(PGresult *result, int column)
{
    char text[32];
    snprintf(text, sizeof text, "%08d", server.timeline);
    result_text(result, 0, column, text);
}

static enum outcome find_server(struct session *session, const struct sent_query *query)
{
    (void)query;
    PGresult *result = result_create(4);
    result_text(result, 0, 0, "app");
    result_text(result, 0, 1, "f");
    tell_start(result, 2);
    tell_timeline(result, 3);
    return answer_with(session, result);
}

static enum outcome see_server(struct session *session, const struct sent_query *query)
{
    (void)query;
    PGresult *result = result_create(2);
    tell_start(result, 0);
    tell_timeline(result, 1);
    return answer_with(session, result);
}

static enum outcome answer_text(struct session *session, const char *text)
{
    PGresult *result = result_create(1);
    result_text(result, 0, 0, text);
    return answer_with(session, result);
}

static enum outcome find_system(struct session *session, const struct sent_query *query)
{
    (void)query;
    char text[SYSTEM_IDENTIFIER_BYTES];
    server_system(text);
    return answer_text(session, text);
}

static enum outcome find_schema(struct session *session, const struct sent_query *query)
{
    (void)query;
    return answer_text(session, "public");
}

static enum outcome require_schema(struct session *session, const struct sent_query *query)
{
    (void)query;
    return answer_text(session, "t");
}

static enum outcome insert_node(struct session *session, const struct sent_query *query)
{
    PGresult *result = result_create(1);
    if (server_node_place(query->params[0]) == NOBODY) {
        int place = server_new_node_place(query->params[0]);
        struct node_row *row = &session->txn.node_row;
        CHECK(place != NOBODY);
        if (session_lock(session, KEYS_COUNT + place) != LOCK_TAKEN) {
            PQclear(result);
            return OUTCOME_WAITS;
        }
        *row = (struct node_row){.applied_seq = (uint64_t)param_number(query->params[3])};
        memcpy(row->node, query->params[0].at, sizeof row->node - 1);
        memcpy(row->incarnation, query->params[2].at, sizeof row->incarnation - 1);
        strcpy(row->results, "[]");
        session->txn.node_changed = place;
        result_text(result, 0, 0, "1");
    }
    return answer_with(session, result);
}

// The session's own view of its node's row.
static const struct node_row *row_of(const struct session *session, int place)
{
    return session->txn.node_changed == place ? &session->txn.node_row : &server.node_rows[place];
}

// The place of the row, which may be the session's own new one.
static int place_of(const struct session *session, struct slice node)
{
    const struct txn *txn = &session->txn;
    bool own =
        txn->node_changed != NOBODY && slice_equal(slice_of_string(txn->node_row.node), node);
    return own ? txn->node_changed : server_node_place(node);
}

// A batch whose rest does not come ends with its connection here.
static enum outcome free_node(struct session *session, const struct sent_query *query)
{
    (void)query;
    return answer_with(session, result_create(2));
}

static enum outcome read_node(struct session *session, const struct sent_query *query)
{
    PGresult *result = result_create(3);
    int place = place_of(session, query->params[0]);
    if (place != NOBODY) {
        bool locks = strstr(query->sql, "FOR UPDATE") != NULL;
        enum outcome outcome = locks ? wait_for(session, KEYS_COUNT + place) : OUTCOME_DONE;
        if (outcome != OUTCOME_DONE) {
            PQclear(result);
            return outcome;
        }
        const struct node_row *row = row_of(session, place);
        char seq[24];
        snprintf(seq, sizeof seq, "%llu", (unsigned long long)row->applied_seq);
        result_text(result, 0, 0, seq);
        result_text(result, 0, 1, row->incarnation);
        result_text(result, 0, 2, row->results);
    }
    return answer_with(session, result);
}

static enum outcome claim_node(struct session *session, const struct sent_query *query)
{
    PGresult *result = result_create(1);
    int place = server_node_place(query->params[0]);
    enum outcome outcome = place == NOBODY ? OUTCOME_DONE : wait_for(session, KEYS_COUNT + place);
    if (outcome != OUTCOME_DONE) {
        PQclear(result);
        return outcome;
    }
    struct node_row row = place == NOBODY ? (struct node_row){0} : *row_of(session, place);
    if (place != NOBODY && slice_equal(slice_of_string(row.incarnation), query->params[3]) &&
        (row.applied_seq == (uint64_t)param_number(query->params[4]) ||
         strstr(query->sql, "AND applied_seq = $5") == NULL)) {
        memcpy(row.incarnation, query->params[1].at, sizeof row.incarnation - 1);
        row.applied_seq = (uint64_t)param_number(query->params[2]);
        session->txn.node_row = row;
        session->txn.node_changed = place;
        result_text(result, 0, 0, "1");
    }
    return answer_with(session, result);
}

static enum outcome lift_versions(struct session *session, const struct sent_query *query)
{
    (void)query;
    int64_t beyond = clock_real_us();
    server.sequence = server.sequence < beyond ? beyond : server.sequence;
    return answer_text(session, "1");
}

// ---- the feed

static enum outcome listen_to(struct session *session, const struct sent_query *query)
{
    char *name = strstr(query->sql, "pgnear_node_");
    session->txn.listens |= name == NULL;
    if (name != NULL) {
        session->txn.listens_own = true;
        size_t len = strcspn(name, "\"");
        CHECK(len < sizeof session->wants_channel);
        memcpy(session->wants_channel, name, len);
        session->wants_channel[len] = '\0';
    }
    return answer_with(session, result_create_done());
}

static enum outcome beat(struct session *session, const struct sent_query *query)
{
    PGresult *result = result_create(4);
    char now[24];
    snprintf(now, sizeof now, "%lld", (long long)clock_real_us());
    result_text(result, 0, 0, now);
    tell_start(result, 1);
    result_text(result, 0, 2, "f");
    result_text(result, 0, 3, "");
    session_note(session, (const char *)query->params[0].at, (const char *)query->params[1].at);
    return answer_with(session, result);
}

static enum outcome tell_shape(struct session *session, const struct sent_query *query)
{
    (void)query;
    PGresult *result = result_create(9);
    result_text(result, 0, 0, "nobody alters the table");
    result_text(result, 0, 1, "5"); // triggers
    for (int i = 2; i < 6; i++) {
        result_text(result, 0, i, "-1"); // no partitions, no document, no such trigger
    }
    result_text(result, 0, 6, "f"); // subscribed
    result_text(result, 0, 7, "AAAAA");
    result_text(result, 0, 8, "0"); // bare partitions
    return answer_with(session, result);
}

// ---- reading

// `updated_at`: a fifth column, for the audit.
static void tell_rows(const struct slice *keys, size_t count, bool updated_at, PGresult *result)
{
    int row = 0;
    for (size_t i = 0; i < count; i++) {
        int key = key_number(keys[i]);
        char json[VALUE_BYTES];
        ledger_selected(key);
        if (!server.rows[key].present) {
            continue;
        }
        size_t len = value_json(key, server.rows[key].token, json);
        result_bytes(result, row, 0, keys[i].at, keys[i].len);
        result_bytes(result, row, 1, json, len);
        result_int8(result, row, 2, server.rows[key].version);
        result_null(result, row, 3);
        if (updated_at) {
            result_null(result, row, 4);
        }
        row++;
    }
}

static enum outcome fetch_rows(struct session *session, const struct sent_query *query)
{
    struct slice keys[KEYS_COUNT];
    size_t count = array_read(query->params[0], keys, KEYS_COUNT);
    bool updated_at = strstr(query->sql, "updated_at") != NULL;
    PGresult *result = result_create(updated_at ? 5 : 4);
    tell_rows(keys, count, updated_at, result);
    return answer_with(session, result);
}

// Now and then a server does not know the statement that it was to keep.
static enum outcome fetch_row(struct session *session, const struct sent_query *query)
{
    if (query->is_named && machine_chance(FORGOTTEN_PER_MILLE)) {
        session_fail(session, "26000", "the prepared statement does not exist");
        return OUTCOME_FAILED;
    }
    PGresult *result = result_create(4);
    tell_rows(&query->params[0], 1, false, result);
    return answer_with(session, result);
}

static enum outcome sweep_rows(struct session *session, bool wanted[KEYS_COUNT])
{
    PGresult *result = result_create(2);
    int row = 0;
    for (int key = 0; key < KEYS_COUNT; key++) {
        char name[16];
        if (wanted[key] && server.rows[key].present) {
            snprintf(name, sizeof name, "k%d", key);
            result_text(result, row, 0, name);
            result_int8(result, row, 1, server.rows[key].version);
            row++;
        }
    }
    return answer_with(session, result);
}

static enum outcome sweep_keys(struct session *session, const struct sent_query *query)
{
    struct slice keys[KEYS_COUNT];
    bool wanted[KEYS_COUNT] = {0};
    size_t count = array_read(query->params[0], keys, KEYS_COUNT);
    for (size_t i = 0; i < count; i++) {
        wanted[key_number(keys[i])] = true;
    }
    return sweep_rows(session, wanted);
}

static enum outcome sweep_range(struct session *session, const struct sent_query *query)
{
    bool wanted[KEYS_COUNT] = {0};
    for (int key = key_number(query->params[0]); key <= key_number(query->params[1]); key++) {
        wanted[key] = true;
    }
    return sweep_rows(session, wanted);
}

// The key of which a COPY says the digits; its length.
static size_t unhex(const char *digits, char *key, size_t size)
{
    size_t len = 0;
    unsigned byte;
    while (*digits != '\'' && sscanf(digits, "%2x", &byte) == 1) {
        CHECK(len < size);
        key[len++] = (char)byte;
        digits += 2;
    }
    return len;
}

// What stands behind the words.
static const char *behind(const char *sql, const char *words)
{
    const char *found = strstr(sql, words);
    CHECK_VALUES(found != NULL, "%s", sql);
    return found + strlen(words);
}

// The preload's page: the rows behind a key, as many as fit.
static enum outcome page_rows(struct session *session, const struct sent_query *query)
{
    char after[16];
    size_t after_len = unhex(behind(query->sql, "decode('"), after, sizeof after);
    int from = after_len == 0 ? 0 : key_number(slice_of(after, after_len)) + 1;
    int64_t rows_max = strtoll(behind(query->sql, "LIMIT "), NULL, 10);
    PGresult *result = result_create(4);
    int row = 0;
    for (int key = from; key < KEYS_COUNT && row < rows_max; key++) {
        char json[VALUE_BYTES], name[16];
        if (!server.rows[key].present) {
            continue;
        }
        size_t len = value_json(key, server.rows[key].token, json);
        snprintf(name, sizeof name, "k%d", key);
        result_text(result, row, 0, name);
        result_bytes(result, row, 1, json, len);
        result_int8(result, row, 2, server.rows[key].version);
        result_null(result, row, 3);
        row++;
    }
    return answer_with(session, result);
}

static enum outcome measure_table(struct session *session, const struct sent_query *query)
{
    (void)query;
    PGresult *result = result_create(4);
    result_text(result, 0, 0, "8192");
    result_text(result, 0, 1, "8");
    result_text(result, 0, 2, "0"); // backups
    result_text(result, 0, 3, "0"); // of the NOTIFY queue
    return answer_with(session, result);
}

static enum outcome count_rows(struct session *session, const struct sent_query *query)
{
    (void)query;
    int count = 0;
    for (int key = 0; key < KEYS_COUNT; key++) {
        count += server.rows[key].present;
    }
    char text[16];
    snprintf(text, sizeof text, "%d", count);
    return answer_text(session, text);
}

static enum outcome set_timeout(struct session *session, const struct sent_query *query)
{
    (void)query;
    return answer_text(session, "1000");
}

// ---- the table of statements

// A statement is known by the first row of which all words stand in it.
static const struct statement {
    const char *words[3];
    enum outcome (*run)(struct session *session, const struct sent_query *query);
} STATEMENTS[] = {
    {{"SELECT current_database(), pg_is_in_recovery()"}, find_server},
    {{"pg_control_system()"}, find_system},
    {{"SELECT 'public'::text"}, find_schema},
    {{"to_regproc($4)"}, require_schema},
    {{"(node, table_name, incarnation, applied_seq)"}, insert_node},
    {{"WITH stranded AS MATERIALIZED"}, free_node},
    {{"SELECT applied_seq::text, incarnation::text, results::text"}, read_node},
    {{"SET incarnation = $2, applied_seq = $3"}, claim_node},
    {{"pgnear_lift_versions"}, lift_versions},
    {{"LISTEN "}, listen_to},
    {{"pg_notify($1, $2)"}, beat},
    {{"AS shapes"}, tell_shape},
    {{"SELECT (extract(epoch FROM pg_postmaster_start_time())"}, see_server},
    {{"COPY (SELECT key, ", "LIMIT ", "TO STDOUT (FORMAT binary)"}, page_rows},
    {{"SELECT key, CASE WHEN octet_length(json)", "WHERE key = $1"}, fetch_row},
    {{"SELECT key, CASE WHEN octet_length(json)"}, fetch_rows},
    {{"SELECT key, version::int8 FROM", "WHERE key = ANY ($1)"}, sweep_keys},
    {{"SELECT key, version::int8 FROM", "WHERE key >= $1"}, sweep_range},
    {{"pg_total_relation_size"}, measure_table},
    {{"set_config('statement_timeout'"}, set_timeout},
    {{"set_config('lock_timeout'"}, set_timeout},
    {{"SELECT count(*) FROM \"public\".\"kv_store\""}, count_rows},
    {{"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"}, batch_begin},
    {{"COMMIT"}, batch_commit},
    {{"pgnear_advance", "($1::uuid, $2::uuid, $3::bigint, $4::bigint)"}, batch_advance},
    {{"ORDER BY key FOR UPDATE) locked"}, batch_lock},
    {{"unnest($2::text[], $3::bigint[]", "recorded AS (UPDATE"}, batch_returning},
    {{"unnest($1::text[], $2::jsonb[], $3::timestamptz[])", "ON CONFLICT (key) DO UPDATE"},
     batch_put},
    {{"DELETE FROM", "WHERE key = ANY ($1::text[])"}, batch_delete},
    {{"pg_catalog.pg_trigger"}, batch_triggers},
};

static const struct statement *statement_of(const char *sql)
{
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof STATEMENTS[0]; i++) {
        bool fits = true;
        for (size_t j = 0; j < 3 && STATEMENTS[i].words[j] != NULL; j++) {
            fits = fits && strstr(sql, STATEMENTS[i].words[j]) != NULL;
        }
        if (fits) {
            return &STATEMENTS[i];
        }
    }
    violation("model", "the model server does not know the statement: %s", sql);
}

// ---- a session's life

bool session_is_busy(const struct session *session)
{
    if (!session->used || session->is_program || session->unit == NULL) {
        return false;
    }
    return session->waits_for_key == NOBODY || server.lockers[session->waits_for_key] == NULL;
}

// The unit is over; `failure` NULL: all of it was done.
static void end_unit(struct session *session, const struct failure *failure)
{
    if (failure == NULL) {
        session_commit(session);
    } else {
        trace("    refused: %s %s", failure->sqlstate, failure->message);
        session_rollback(session);
    }
    wire_free_unit(session->unit);
    session->unit = NULL;
    session->waits_for_key = NOBODY;
    if (session->client != NULL) {
        wire_done(session->client, failure);
    } else {
        session_kill(session, "", "");
    }
}

void session_step(struct session *session)
{
    const struct sent_unit *unit = session->unit;
    if (session->query == unit->count) {
        end_unit(session, NULL);
        return;
    }
    if (session->query >= unit->arrived) {
        session_kill(session, "", ""); // the rest never came: the end of the connection did
        return;
    }
    const struct sent_query *query = &unit->queries[session->query];
    trace("session %d: %.60s", session->number, query->sql);
    switch (statement_of(query->sql)->run(session, query)) {
    case OUTCOME_DONE:
        session->query++;
        session->progress = 0;
        session->drawn = 0;
        break;
    case OUTCOME_WAITS:
        break;
    case OUTCOME_FAILED: {
        struct failure failure = session->failure;
        end_unit(session, &failure);
        break;
    }
    }
}

enum outcome answer_with(struct session *session, PGresult *result)
{
    if (session->client != NULL) {
        wire_result(session->client, session->query, result);
    } else {
        PQclear(result);
    }
    return OUTCOME_DONE;
}

enum outcome wait_for(struct session *session, int key_or_row)
{
    switch (session_lock(session, key_or_row)) {
    case LOCK_TAKEN:
        return OUTCOME_DONE;
    case LOCK_WAITS:
        return OUTCOME_WAITS;
    case LOCK_FAILED:
        break;
    }
    return OUTCOME_FAILED;
}

int key_number(struct slice key)
{
    CHECK_VALUES(key.len == 2 && key.at[0] == 'k' && key.at[1] < '0' + KEYS_COUNT, "%.*s",
                 SLICE_FORMAT(key));
    return key.at[1] - '0';
}
