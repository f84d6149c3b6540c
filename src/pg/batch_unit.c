// The parameters are arrays in PostgreSQL's binary form (pg_array.h), made in one buffer and copied
// into the batch's arena, where the queries point.
#include "pg/batch_unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/pg_array.h"
#include "json/json.h"

// ---- Parameters

enum { PARAMS_MAX = 6 };

// The parameters of one query while they are made; the query's own arrays lie in the arena.
struct params {
    struct arena *arena;
    int count;
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX];
    int formats[PARAMS_MAX];
    struct buffer bytes; // of the array that is being made
    struct pg_array array;
};

static void add_param(struct params *params, struct slice bytes, int format)
{
    CHECK(params->count < PARAMS_MAX);
    CHECK_VALUES(bytes.len <= INT32_MAX, "%zu bytes", bytes.len);
    params->values[params->count] = (const char *)arena_copy(params->arena, bytes).at;
    params->lengths[params->count] = (int)bytes.len;
    params->formats[params->count] = format;
    params->count++;
}

static void add_text(struct params *params, const char *text)
{
    add_param(params, slice_of(text, strlen(text) + 1), 0);
}

static void begin_array(struct params *params, Oid element)
{
    buffer_clear(&params->bytes, SIZE_MAX);
    pg_array_begin(&params->array, &params->bytes, element);
}

static void end_array(struct params *params)
{
    pg_array_end(&params->array);
    add_param(params, buffer_slice(&params->bytes), 1);
}

static void add_keys(struct params *params, const struct batch_group *group)
{
    begin_array(params, PG_OID_TEXT);
    for (size_t i = 0; i < group->ops_count; i++) {
        pg_array_text(&params->array, group->ops[i]->key);
    }
    end_array(params);
}

static void add_seqs(struct params *params, const struct batch_group *group)
{
    begin_array(params, PG_OID_INT8);
    for (size_t i = 0; i < group->ops_count; i++) {
        pg_array_int8(&params->array, (int64_t)group->ops[i]->entry->seq);
    }
    end_array(params);
}

// What the outbox holds was canonical when it was accepted.
static void check_value(enum error error, const struct failure *failure)
{
    CHECK_VALUES(error == ERROR_NONE, "%s", failure->message);
}

static void add_values(struct params *params, const struct batch_group *group)
{
    struct buffer json = {0};
    begin_array(params, PG_OID_JSONB);
    for (size_t i = 0; i < group->ops_count; i++) {
        struct failure failure = {0};
        buffer_clear(&json, SIZE_MAX);
        check_value(json_from_msgpack(group->ops[i]->value, false, &json, &failure), &failure);
        pg_array_jsonb(&params->array, buffer_slice(&json));
    }
    end_array(params);
    buffer_deinit(&json);
}

static void add_amounts(struct params *params, const struct batch_group *group)
{
    struct buffer text = {0};
    begin_array(params, PG_OID_TEXT);
    for (size_t i = 0; i < group->ops_count; i++) {
        struct failure failure = {0};
        buffer_clear(&text, SIZE_MAX);
        check_value(json_number_text(group->ops[i]->value, &text, &failure), &failure);
        pg_array_text(&params->array, buffer_slice(&text));
    }
    end_array(params);
    buffer_deinit(&text);
}

static void add_expiries(struct params *params, const struct batch_group *group)
{
    begin_array(params, PG_OID_TIMESTAMPTZ);
    for (size_t i = 0; i < group->ops_count; i++) {
        pg_array_timestamptz(&params->array, group->ops[i]->expires_at_us);
    }
    end_array(params);
}

static void add_if_versions(struct params *params, const struct batch_group *group)
{
    begin_array(params, PG_OID_INT8);
    for (size_t i = 0; i < group->ops_count; i++) {
        pg_array_int8(&params->array, group->ops[i]->if_version);
    }
    end_array(params);
}

// The arrays of a kind behind its keys and seqs, in the order of RETURNING's inputs.
static void add_inputs(struct params *params, const struct batch_group *group)
{
    switch (group->kind) {
    case BATCH_PUT:
    case BATCH_PUT_IF_ABSENT:
        add_values(params, group);
        add_expiries(params, group);
        break;
    case BATCH_PUT_IF_VERSION:
        add_values(params, group);
        add_expiries(params, group);
        add_if_versions(params, group);
        break;
    case BATCH_DELETE_IF_VERSION:
        add_if_versions(params, group);
        break;
    case BATCH_INCR:
        add_amounts(params, group);
        break;
    case BATCH_MERGE:
        add_values(params, group);
        break;
    case BATCH_TOUCH:
        add_expiries(params, group);
        break;
    case BATCH_DELETE:
        break;
    }
}

// ---- The queries

static void add_query(struct batch_unit *unit, struct params *params, const char *sql)
{
    struct query query = {.sql = sql, .result_format = 1};
    if (params != NULL && params->count > 0) {
        size_t count = (size_t)params->count;
        query.params_count = params->count;
        query.values = (const char *const *)arena_copy(
                           params->arena, slice_of(params->values, count * sizeof(char *)))
                           .at;
        query.lengths =
            (const int *)arena_copy(params->arena, slice_of(params->lengths, count * sizeof(int)))
                .at;
        query.formats =
            (const int *)arena_copy(params->arena, slice_of(params->formats, count * sizeof(int)))
                .at;
        params->count = 0;
    }
    unit->queries[unit->queries_count++] = query;
}

static void add_advance(struct batch_unit *unit, struct params *params, const char *sql,
                        const struct outbox_identity *identity, uint64_t from_seq, uint64_t to_seq)
{
    char number[24];
    add_text(params, identity->node);
    add_text(params, identity->incarnation);
    snprintf(number, sizeof number, "%llu", (unsigned long long)from_seq);
    add_text(params, number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)to_seq);
    add_text(params, number);
    add_query(unit, params, sql);
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare((*(struct batch_op *const *)a)->key, (*(struct batch_op *const *)b)->key);
}

// One statement that inserts takes its rows in the order of its keys by itself.
static bool wants_lock(const struct batch *batch)
{
    for (size_t i = 0; i < batch->groups_count; i++) {
        enum batch_kind kind = batch->groups[i].kind;
        if (kind != BATCH_PUT && kind != BATCH_DELETE && kind != BATCH_INCR) {
            return true;
        }
    }
    return batch->entries[0]->is_guarded ||
           (batch_keys_count(batch) > 1 &&
            (batch->groups_count > 1 || batch->groups[0].kind == BATCH_DELETE));
}

static void add_lock(struct batch_unit *unit, struct params *params, struct batch *batch,
                     const char *sql)
{
    size_t size = batch->ops_count * sizeof *batch->ops;
    struct batch_op **sorted = arena_alloc(&batch->arena, size);
    memcpy(sorted, batch->ops, size);
    qsort(sorted, batch->ops_count, sizeof *sorted, compare_keys);
    begin_array(params, PG_OID_TEXT);
    for (size_t i = 0; i < batch->ops_count; i++) {
        if (i == 0 || !slice_equal(sorted[i]->key, sorted[i - 1]->key)) {
            pg_array_text(&params->array, sorted[i]->key);
        }
    }
    end_array(params);
    add_query(unit, params, sql);
}

// What a guarded entry expects of its keys.
static void add_guard(struct batch_unit *unit, struct params *params,
                      const struct batch_entry *entry, const char *sql)
{
    begin_array(params, PG_OID_TEXT);
    for (size_t i = 0; i < entry->ops_count; i++) {
        pg_array_text(&params->array, entry->ops[i]->key);
    }
    end_array(params);
    begin_array(params, PG_OID_INT8);
    struct slice guards = entry->guards;
    struct guard guard;
    while (entry_next_guard(&guards, &guard)) {
        if (guard.present) {
            pg_array_int8(&params->array, guard.version);
        } else {
            pg_array_null(&params->array);
        }
    }
    end_array(params);
    add_query(unit, params, sql);
}

static void add_group(struct batch_unit *unit, struct params *params, const struct batch_sql *sql,
                      const struct batch_group *group, const char *node)
{
    if (group->returns) {
        add_text(params, node);
        add_keys(params, group);
        add_seqs(params, group);
        add_inputs(params, group);
        add_query(unit, params, sql->returning[group->kind]);
        return;
    }
    CHECK_VALUES(group->kind == BATCH_PUT || group->kind == BATCH_DELETE, "kind %d",
                 (int)group->kind);
    add_keys(params, group);
    add_inputs(params, group);
    if (group->kind == BATCH_DELETE) {
        add_query(unit, params, sql->delete_plain);
    } else {
        add_query(unit, params, unit->is_checked ? sql->put_checked : sql->put_plain);
    }
}

struct batch_unit batch_unit_make(const struct batch_sql *sql, struct batch *batch,
                                  const struct outbox_identity *identity, uint64_t from_seq,
                                  bool check_rows)
{
    CHECK(batch->is_sealed);
    enum { FRAME_QUERIES = 8 };
    struct batch_unit unit = {.is_checked = check_rows};
    struct params params = {.arena = &batch->arena};
    unit.queries =
        arena_alloc(&batch->arena, (batch->groups_count + FRAME_QUERIES) * sizeof *unit.queries);
    add_query(&unit, NULL, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
    add_advance(&unit, &params, sql->advance, identity, from_seq, batch_to_seq(batch));
    bool has_groups = batch->groups_count > 0;
    if (has_groups && sql->open != NULL) {
        add_query(&unit, NULL, sql->open);
    } else if (has_groups && wants_lock(batch)) {
        add_lock(&unit, &params, batch, sql->lock);
    }
    if (has_groups && batch->entries[0]->is_guarded) {
        add_guard(&unit, &params, batch->entries[0], sql->guard);
    }
    unit.first_group = unit.queries_count;
    for (size_t i = 0; i < batch->groups_count; i++) {
        add_group(&unit, &params, sql, &batch->groups[i], identity->node);
    }
    if (has_groups) {
        add_query(&unit, NULL, sql->foreign_triggers);
    }
    if (has_groups && sql->close != NULL) {
        add_query(&unit, NULL, sql->close);
    }
    add_query(&unit, NULL, "COMMIT");
    buffer_deinit(&params.bytes);
    return unit;
}

enum batch_query batch_unit_query(const struct batch_unit *unit, const struct batch *batch,
                                  size_t index, const struct batch_group **group)
{
    size_t groups_end = unit->first_group + batch->groups_count;
    if (index >= unit->first_group && index < groups_end) {
        *group = &batch->groups[index - unit->first_group];
        return BATCH_QUERY_GROUP;
    }
    bool is_triggers = batch->groups_count > 0 && index == groups_end;
    return is_triggers ? BATCH_QUERY_TRIGGERS : BATCH_QUERY_OTHER;
}
