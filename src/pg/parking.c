#include "pg/parking.h"

#include <stdlib.h>

#include "base/check.h"
#include "pg/pg_array.h"

enum { PG_OID_TEXT_ARRAY = 1009 };

void parking_send(struct parking *parking, const char *table, const struct batch_entry *entry,
                  struct conn *conn, struct unit unit)
{
    struct buffer sql = {0}, keys = {0};
    struct pg_array array;
    pg_array_begin(&array, &keys, PG_OID_TEXT);
    for (size_t i = 0; i < entry->ops_count; i++) {
        pg_array_text(&array, entry->ops[i]->key);
    }
    pg_array_end(&array);
    buffer_printf(&sql,
                  "SELECT t.version::int8 FROM unnest($1) WITH ORDINALITY AS i (key, place)"
                  " LEFT JOIN %s AS t ON t.key = i.key ORDER BY i.place",
                  table);
    const struct query query = {
        .sql = buffer_text(&sql),
        .params_count = 1,
        .types = (const Oid[]){PG_OID_TEXT_ARRAY},
        .values = (const char *const[]){(const char *)buffer_slice(&keys).at},
        .lengths = (const int[]){(int)buffer_len(&keys)},
        .formats = (const int[]){1},
        .result_format = 1,
    };
    buffer_clear(&parking->guards, SIZE_MAX);
    conn_send_one(conn, &query, &unit);
    buffer_deinit(&keys);
    buffer_deinit(&sql);
}

void parking_take_rows(struct parking *parking, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++) {
        struct guard guard = {.present = !PQgetisnull(result, row, 0)};
        if (guard.present) {
            guard.version = pg_read_int8(PQgetvalue(result, row, 0));
        }
        entry_append_guard(&parking->guards, &guard);
    }
}

static void set_state(const struct buffer *guards, struct retire_message *message)
{
    message->has_state = true;
    message->state = arena_copy(&message->arena, buffer_slice(guards));
    message->message.bytes += message->arena.bytes;
}

void parking_take_state(const struct parking *parking, struct retire_message *message)
{
    set_state(&parking->guards, message);
}

void parking_deinit(struct parking *parking)
{
    buffer_deinit(&parking->guards);
}

void parking_state_of_conflict(const struct batch_entry *entry, struct retire_message *message)
{
    CHECK_VALUES(entry->ops_count == 1, "%zu writes", entry->ops_count);
    const struct batch_op *op = entry->ops[0];
    const struct guard guard = {.present = op->has_version, .version = op->version};
    struct buffer guards = {0};
    entry_append_guard(&guards, &guard);
    set_state(&guards, message);
    buffer_deinit(&guards);
}

struct failure parking_conflict(const struct failure *failure)
{
    static const char BEFORE_VERSION[] = ", to version ";
    struct failure conflict = {0};
    failure_note(&conflict, ERROR_CONFLICT, "%s", failure->message);
    // The last one: a key may hold these words as well.
    const char *found = NULL;
    for (const char *at = failure->message; (at = strstr(at, BEFORE_VERSION)) != NULL; at++) {
        found = at;
    }
    if (found != NULL) {
        conflict.has_version = true;
        conflict.version = strtoll(found + strlen(BEFORE_VERSION), NULL, 10);
    }
    return conflict;
}
