// What the tests of the SQL have in common: running the scripts, and hearing what the triggers
// announce. Each test includes it once; main thread only.
#pragma once

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "pg/schema.h"
#include "system/harness/deadline.h"
#include "system/harness/pg.h"

typedef void (*schema_text)(const struct schema_options *options, struct buffer *out);

static struct schema_options options_of(const char *table)
{
    struct schema_options options = {.partitions = 0};
    struct failure failure;
    if (table_name_parse(table, &options.table, &failure) != ERROR_NONE) {
        scenario_fail("%s: %s", table, failure.message);
    }
    if (options.table.schema[0] == '\0') {
        memcpy(options.table.schema, "public", sizeof "public");
    }
    return options;
}

static const char *sql_of(struct scenario *scenario, schema_text text,
                          const struct schema_options *options)
{
    struct buffer out = {0};
    text(options, &out);
    struct slice slice = buffer_slice(&out);
    const char *sql = scenario_text(scenario, "%.*s", SLICE_FORMAT(slice));
    buffer_deinit(&out);
    return sql;
}

static void run_script(struct pg *pg, const char *sql)
{
    pg_exec(pg, "BEGIN ISOLATION LEVEL READ COMMITTED;%s;COMMIT", sql);
}

static inline void create_schema(struct pg *pg, const struct schema_options *options)
{
    run_script(pg, sql_of(pg->scenario, schema_create_sql, options));
}

static inline void drop_schema(struct pg *pg, const struct schema_options *options)
{
    run_script(pg, sql_of(pg->scenario, schema_drop_sql, options));
}

// What the check complains of, one "item: message" a line, without the cure that follows some;
// NULL where all is in order.
static inline const char *complaints(struct pg *pg, const struct schema_options *options)
{
    return pg_value(pg,
                    "SELECT string_agg(item || ': ' || regexp_replace(message,"
                    " '; what `pgnear schema` prints mends it$', ''), E'\\n')"
                    " FROM (%s) c WHERE NOT ok",
                    sql_of(pg->scenario, schema_check_sql, options));
}

static inline void assert_complaints(struct pg *pg, const struct schema_options *options,
                                     const char *expected)
{
    const char *found = complaints(pg, options);
    if (expected == NULL || found == NULL ? expected != found : strcmp(expected, found) != 0) {
        scenario_fail("check: %s", found == NULL ? "all in order" : found);
    }
}

// A session that listens, and puts what it hears into tables where SQL can look at it:
//   heard (place, payload jsonb)
//   changes (origin, key, version, is_delete): the entries of all payloads in `heard`
struct listener {
    struct pg *pg;
    PGconn *conn;
    const char *channel;
};

static inline struct listener listen_to(struct pg *pg, const struct schema_options *options)
{
    struct schema_names names;
    schema_names_of(&options->table, &names);
    struct listener listener = {.pg = pg, .conn = pg_connect(pg)};
    listener.channel = scenario_text(pg->scenario, "%s", names.channel);
    PQclear(PQexec(listener.conn, scenario_text(pg->scenario, "LISTEN %s", names.channel)));
    pg_exec(pg,
            "CREATE TABLE heard (place serial, bytes int, payload jsonb);"
            "CREATE VIEW changes AS"
            " SELECT payload ->> 0 AS origin, entry ->> 0 AS key,"
            "  (entry ->> 1)::bigint AS version, coalesce(entry ->> 2 = '1', false) AS is_delete"
            " FROM heard, jsonb_array_elements(CASE WHEN jsonb_typeof(payload -> 1) = 'array'"
            "  THEN payload -> 1 ELSE '[]' END) entry");
    return listener;
}

static inline void listener_deinit(struct listener *listener)
{
    PQfinish(listener->conn);
}

static inline void keep_payload(struct listener *listener, const char *payload)
{
    const char *values[] = {payload};
    PGresult *result = PQexecParams(
        listener->conn, "INSERT INTO heard (bytes, payload) VALUES (octet_length($1), $1::jsonb)",
        1, (const Oid[]){25}, values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        scenario_fail("payload %.200s: %s", payload, PQerrorMessage(listener->conn));
    }
    PQclear(result);
}

static inline void await_bytes(struct listener *listener, const struct deadline *deadline)
{
    struct pollfd waiting = {.fd = PQsocket(listener->conn), .events = POLLIN};
    if (poll(&waiting, 1, deadline_left_ms(deadline)) <= 0) {
        scenario_fail("the end of the notifications is not heard");
    }
    if (!PQconsumeInput(listener->conn)) {
        scenario_fail("listener: %s", PQerrorMessage(listener->conn));
    }
}

// Forgets what was heard before, and hears all that was committed before the call; PostgreSQL
// delivers in the order of commits, so the notification sent here comes last.
static inline void hear(struct listener *listener)
{
    pg_exec(listener->pg, "TRUNCATE heard; SELECT pg_notify('%s', 'the end')", listener->channel);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    for (bool ended = false; !ended;) {
        PGnotify *notification = PQnotifies(listener->conn);
        if (notification == NULL) {
            await_bytes(listener, &deadline);
            continue;
        }
        ended = strcmp(notification->extra, "the end") == 0;
        if (!ended) {
            keep_payload(listener, notification->extra);
        }
        PQfreemem(notification);
    }
}

// Hears, and expects these changes as "key" or "key deleted", in order of the keys.
static inline void assert_heard(struct listener *listener, const char *expected)
{
    hear(listener);
    assert_pg_value(listener->pg, expected,
                    "SELECT string_agg(key || CASE WHEN is_delete THEN ' deleted' ELSE '' END, ', '"
                    " ORDER BY key COLLATE \"C\") FROM changes");
}
