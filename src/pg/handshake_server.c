// The first half of the handshake: what server is this, where is the table? Ends in
// handshake_compare_binding.
#include "pg/handshake_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { SERVER_VERSION_MIN = 120000 };

static void find_system(struct handshake *handshake);
static void find_system_fallback(struct handshake *handshake);
static void find_table(struct handshake *handshake);
static void make_schema(struct handshake *handshake);
static void require_schema(struct handshake *handshake);
static void check_required(struct handshake *handshake);
static void open_pairs(struct handshake *handshake);

// ---- The server

static void copy_field(char *out, size_t out_bytes, const PGresult *result, int column)
{
    CHECK(PQntuples(result) == 1);
    snprintf(out, out_bytes, "%s", PQgetvalue(result, 0, column));
}

static void take_server(struct handshake *handshake, const PGresult *result)
{
    copy_field(handshake->database, sizeof handshake->database, result, 0);
    handshake->in_recovery = *PQgetvalue(result, 0, 1) == 't';
    handshake->server.start.started_us = strtoll(PQgetvalue(result, 0, 2), NULL, 10);
    copy_field(handshake->server.start.timeline, sizeof handshake->server.start.timeline, result,
               3);
}

void handshake_find_server(struct handshake *handshake)
{
    handshake->step = "server";
    if (conn_server_version(handshake->conn) < SERVER_VERSION_MIN) {
        handshake_give_up_words(handshake, "0A000", "PostgreSQL 12 or later is needed");
        return;
    }
    handshake_ask(handshake,
                  "SELECT current_database(), pg_is_in_recovery(),"
                  " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"
                  " CASE WHEN pg_is_in_recovery() THEN ''"
                  " ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
                  NULL, handshake_unit(handshake, take_server, find_system, NULL));
}

static void take_system(struct handshake *handshake, const PGresult *result)
{
    copy_field(handshake->server.system_identifier, sizeof handshake->server.system_identifier,
               result, 0);
}

static void find_system(struct handshake *handshake)
{
    if (handshake->in_recovery) {
        handshake_give_up_words(handshake, "25006",
                                "the server is a standby (name all servers in postgres.url and add"
                                " target_session_attrs=read-write)");
        return;
    }
    handshake_ask(handshake, "SELECT system_identifier::text FROM pg_control_system()", NULL,
                  handshake_unit(handshake, take_system, find_table, find_system_fallback));
}

// Where pg_control_system() is not for us, the database's own number has to do.
static void find_system_fallback(struct handshake *handshake)
{
    handshake_ask(
        handshake,
        "SELECT 'database ' || oid::text FROM pg_database WHERE datname = current_database()", NULL,
        handshake_unit(handshake, take_system, find_table, NULL));
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
        handshake_give_up_words(handshake, "3F000", "the search_path names no schema that exists");
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
    handshake->step = "schema";
    struct worker *worker = handshake->worker;
    struct failure failure;
    if (layout_options(&worker->settings->postgres, &worker->schema, &failure) != ERROR_NONE) {
        handshake_give_up(handshake, &failure);
        return;
    }
    struct buffer sql = {0};
    schema_resolve_sql(layout_of(&worker->schema)->home(&worker->schema), &sql);
    handshake_ask(handshake, buffer_text(&sql), NULL,
                  handshake_unit(handshake, take_schema, name_table, NULL));
    buffer_deinit(&sql);
}

static void make_schema(struct handshake *handshake)
{
    struct buffer script = {0};
    layout_create_script(&handshake->worker->schema, &script);
    struct unit unit = handshake_unit(handshake, NULL, open_pairs, NULL);
    conn_run_script(handshake->conn, buffer_text(&script), &unit);
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
    handshake_ask(
        handshake,
        "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL"
        " AND to_regclass($3) IS NOT NULL AND to_regproc($4) IS NOT NULL"
        " AND to_regproc($5) IS NOT NULL AND to_regclass($6) IS NOT NULL"
        " AND (SELECT prosrc LIKE $8 FROM pg_catalog.pg_proc WHERE oid = to_regproc($7)) IS TRUE",
        values, handshake_unit(handshake, take_required, check_required, NULL));
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
    handshake_give_up_words(handshake, "42P01", words);
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
        handshake_compare_binding(handshake);
    } else {
        handshake_give_up(handshake, &handshake->refusal);
    }
}

static void open_pairs(struct handshake *handshake)
{
    const char *open = handshake->worker->names.open;
    handshake->step = "document";
    if (open[0] == '\0') {
        handshake_compare_binding(handshake);
        return;
    }
    struct buffer sql = {0};
    buffer_printf(&sql, "SELECT set_config('lock_timeout', '1s', true), %s()", open);
    handshake_ask(handshake, buffer_text(&sql), NULL,
                  handshake_unit(handshake, NULL, handshake_compare_binding, open_refused));
    buffer_deinit(&sql);
}
