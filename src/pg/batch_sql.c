// The texts are templates: @name@ is replaced once, when the names in PostgreSQL are known.
#include "pg/batch_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/pg_array.h"
#include "json/json.h"

static const char ADVANCE[] = "SELECT @advance@($1::uuid, $2::uuid, $3::bigint, $4::bigint)";

static const char LOCK[] = "SELECT count(*) FROM (SELECT key FROM @table@"
                           " WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE) locked";

static const char GUARD[] =
    "SELECT @conflict@(i.key, t.version) FROM unnest($1::text[], $2::bigint[]) AS i (key, version)"
    " LEFT JOIN @table@ AS t ON t.key = i.key WHERE t.version IS DISTINCT FROM i.version LIMIT 1";

#define LIVE "(t.expires_at IS NULL OR t.expires_at > statement_timestamp())"
#define NEXT "nextval(@sequence@::regclass)"
#define OVERWRITE                                                                                  \
    " value = EXCLUDED.value, expires_at = EXCLUDED.expires_at, updated_at = now(),"               \
    " version = " NEXT
#define INSERT_PUT                                                                                 \
    "INSERT INTO @table@ AS t (key, value, expires_at, version)"                                   \
    " SELECT i.key, i.value, i.expires_at, " NEXT " FROM "

static const char PUT_PLAIN[] =
    INSERT_PUT "unnest($1::text[], $2::jsonb[], $3::timestamptz[]) AS i (key, value, expires_at)"
               " ON CONFLICT (key) DO UPDATE SET" OVERWRITE " RETURNING t.key, t.version";

static const char PUT_CHECKED[] =
    "WITH input AS (SELECT * FROM unnest($1::text[], $2::jsonb[], $3::timestamptz[])"
    " AS i (key, value, expires_at)),"
    " done AS (" INSERT_PUT "input i ON CONFLICT (key) DO UPDATE SET" OVERWRITE
    " RETURNING t.key, t.version, t.value, t.expires_at)"
    " SELECT d.key, d.version, d.value IS DISTINCT FROM i.value"
    " OR d.expires_at IS DISTINCT FROM i.expires_at FROM input i JOIN done d ON d.key = i.key";

static const char DELETE_PLAIN[] = "DELETE FROM @table@ WHERE key = ANY ($1::text[])";

// Triggers that are not ours, on the table or on one of its partitions. A switched-off one counts:
// it can be switched on without a lock that a batch would feel.
static const char FOREIGN_TRIGGERS[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger g"
    " LEFT JOIN pg_catalog.pg_partition_tree(@table_literal@::regclass) p ON p.relid = g.tgrelid"
    " WHERE (g.tgrelid = @table_literal@::regclass OR p.relid IS NOT NULL)"
    " AND NOT g.tgisinternal AND g.tgname NOT LIKE '%pgnear%')";

// Around the statement of a group whose results are wanted. $1 is the node, $2 the keys, $3 the
// seqs; `done` yields key, version, value, expires_at and applied.
static const char RETURNING_HEAD[] = "WITH input AS (SELECT * FROM unnest($2::text[], $3::bigint[]";
static const char RETURNING_DONE[] = ")), done AS (";
static const char RETURNING_TAIL[] =
    "), outcome AS (SELECT i.key, i.seq, coalesce(d.applied, false) AS applied,"
    " CASE WHEN d.applied THEN d.version ELSE"
    " (SELECT t.version FROM @table@ AS t WHERE t.key = i.key AND " LIVE ") END AS version,"
    " @altered@ AS altered, @value@ AS value, d.expires_at"
    " FROM input i LEFT JOIN done d ON d.key = i.key),"
    " recorded AS (UPDATE @node_table@ SET results = results || (SELECT jsonb_agg("
    "jsonb_build_array(o.seq, o.key, o.applied, o.version, o.value)) FROM outcome o)"
    " WHERE node = $1::uuid)"
    " SELECT key, applied, version, altered, value, expires_at::timestamptz FROM outcome";

#define RESULT " RETURNING t.key, t.version, t.value, t.expires_at, true AS applied"
// A row that is deleted has no place for the version of its deletion, which the trigger announces:
// it takes it from a setting where one is left for it there.
#define DRAWN                                                                                      \
    "WITH drawn AS MATERIALIZED (SELECT set_config('pgnear.deleted',"                              \
    " coalesce(jsonb_object_agg(i.key, " NEXT "), '{}')::text, true)::jsonb AS versions"           \
    " FROM input i) "
#define DRAWN_VERSION "(drawn.versions ->> t.key)::bigint AS version"
#define ALTERED                                                                                    \
    "coalesce(d.value IS DISTINCT FROM i.value"                                                    \
    " OR d.expires_at IS DISTINCT FROM i.expires_at, true)"

struct returning {
    const char *inputs;  // further arrays of unnest
    const char *columns; // and their names
    const char *done;
    const char *altered;
    const char *value; // NULL: the result has none
};

static const struct returning RETURNING[] = {
    [BATCH_PUT] = {", $4::jsonb[], $5::timestamptz[]", ", value, expires_at",
                   INSERT_PUT "input i ON CONFLICT (key) DO UPDATE SET" OVERWRITE RESULT, ALTERED,
                   "NULL::jsonb"},
    [BATCH_DELETE] = {"", "",
                      DRAWN "DELETE FROM @table@ AS t USING input i, drawn WHERE t.key = i.key"
                            " RETURNING t.key, " DRAWN_VERSION ", t.value, t.expires_at, " LIVE
                            " AS applied",
                      "false", "NULL::jsonb"},
    [BATCH_PUT_IF_ABSENT] = {", $4::jsonb[], $5::timestamptz[]", ", value, expires_at",
                             INSERT_PUT
                             "input i ON CONFLICT (key) DO UPDATE SET created_at = now()," OVERWRITE
                             " WHERE NOT " LIVE RESULT,
                             ALTERED, "NULL::jsonb"},
    [BATCH_PUT_IF_VERSION] = {", $4::jsonb[], $5::timestamptz[], $6::bigint[]",
                              ", value, expires_at, if_version",
                              "UPDATE @table@ AS t SET value = i.value, expires_at = i.expires_at,"
                              " updated_at = now(), version = " NEXT " FROM input i"
                              " WHERE t.key = i.key AND t.version = i.if_version AND " LIVE RESULT,
                              ALTERED, "NULL::jsonb"},
    [BATCH_DELETE_IF_VERSION] = {", $4::bigint[]", ", if_version",
                                 DRAWN "DELETE FROM @table@ AS t USING input i, drawn"
                                       " WHERE t.key = i.key AND t.version = i.if_version AND " LIVE
                                       " RETURNING t.key, " DRAWN_VERSION
                                       ", t.value, t.expires_at, true AS applied",
                                 "false", "NULL::jsonb"},
    [BATCH_INCR] = {", $4::text[]", ", amount",
                    "INSERT INTO @table@ AS t (key, value, version) SELECT i.key,"
                    " @incr_value@(NULL, i.amount::numeric), " NEXT " FROM input i"
                    " ON CONFLICT (key) DO UPDATE SET value = @incr_value@(CASE WHEN " LIVE
                    " THEN t.value END, EXCLUDED.value::numeric),"
                    " expires_at = CASE WHEN " LIVE " THEN t.expires_at END, updated_at = now(),"
                    " version = " NEXT RESULT,
                    "false", "d.value"},
    // EXCLUDED holds the patch as merged into nothing; the patch itself is looked up by its key.
    [BATCH_MERGE] = {", $4::jsonb[]", ", patch",
                     "INSERT INTO @table@ AS t (key, value, version) SELECT i.key,"
                     " @merge_patch@(NULL, i.patch), " NEXT " FROM input i"
                     " ON CONFLICT (key) DO UPDATE SET value = @merge_patch@(CASE WHEN " LIVE
                     " THEN t.value END, ($4::jsonb[])[array_position($2::text[], t.key)]),"
                     " expires_at = CASE WHEN " LIVE " THEN t.expires_at END, updated_at = now(),"
                     " version = " NEXT RESULT,
                     "false", "d.value"},
    [BATCH_TOUCH] = {", $4::timestamptz[]", ", expires_at",
                     "UPDATE @table@ AS t SET expires_at = i.expires_at, updated_at = now(),"
                     " version = " NEXT " FROM input i WHERE t.key = i.key AND " LIVE RESULT,
                     "false", "NULL::jsonb"},
};

// ---- Texts

struct placeholder {
    const char *name;
    char *text;
};

enum { PLACEHOLDERS_COUNT = 8 };

// The template with its placeholders filled in, for the caller to free.
static char *fill_in(const struct placeholder *placeholders, const char *template)
{
    struct buffer out = {0};
    for (const char *at = template; *at != '\0';) {
        size_t i = 0, length = 0;
        while (i < PLACEHOLDERS_COUNT) {
            length = strlen(placeholders[i].name);
            if (strncmp(at, placeholders[i].name, length) == 0) {
                break;
            }
            i++;
        }
        if (i < PLACEHOLDERS_COUNT) {
            buffer_append(&out, placeholders[i].text, strlen(placeholders[i].text));
            at += length;
        } else {
            CHECK_VALUES(*at != '@', "%s", at);
            buffer_append(&out, at, 1);
            at++;
        }
    }
    buffer_append(&out, "", 1);
    char *text = strdup((const char *)buffer_slice(&out).at);
    CHECK(text != NULL);
    buffer_deinit(&out);
    return text;
}

static char *literal(const char *name)
{
    struct buffer out = {0};
    quote_literal(&out, name);
    buffer_append(&out, "", 1);
    char *text = strdup((const char *)buffer_slice(&out).at);
    CHECK(text != NULL);
    buffer_deinit(&out);
    return text;
}

static char *returning_text(const struct placeholder *placeholders, enum batch_kind kind)
{
    const struct returning *parts = &RETURNING[kind];
    struct buffer template = {0};
    buffer_printf(&template, "%s%s) AS i (key, seq%s%s%s", RETURNING_HEAD, parts->inputs,
                  parts->columns, RETURNING_DONE, parts->done);
    // The tail's own two holes depend on the kind.
    for (const char *at = RETURNING_TAIL; *at != '\0';) {
        if (strncmp(at, "@altered@", 9) == 0) {
            buffer_printf(&template, "%s", parts->altered);
            at += 9;
        } else if (strncmp(at, "@value@", 7) == 0) {
            buffer_printf(&template, "%s", parts->value);
            at += 7;
        } else {
            buffer_append(&template, at, 1);
            at++;
        }
    }
    buffer_append(&template, "", 1);
    char *text = fill_in(placeholders, (const char *)buffer_slice(&template).at);
    buffer_deinit(&template);
    return text;
}

// NULL where there is nothing to call.
static char *call_text(const char *function)
{
    if (function[0] == '\0') {
        return NULL;
    }
    char text[QUALIFIED_NAME_BYTES + sizeof "SELECT ()"];
    snprintf(text, sizeof text, "SELECT %s()", function);
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

void batch_sql_init(struct batch_sql *sql, const struct schema_names *names)
{
    char *table_literal = literal(names->table), *sequence = literal(names->sequence);
    const struct placeholder placeholders[PLACEHOLDERS_COUNT] = {
        {"@table@", (char *)names->table},
        {"@table_literal@", table_literal},
        {"@sequence@", sequence},
        {"@node_table@", (char *)names->node_table},
        {"@advance@", (char *)names->advance},
        {"@merge_patch@", (char *)names->merge_patch},
        {"@incr_value@", (char *)names->incr_value},
        {"@conflict@", (char *)names->conflict},
    };
    *sql = (struct batch_sql){
        .advance = fill_in(placeholders, ADVANCE),
        .open = call_text(names->open),
        .close = call_text(names->close),
        .lock = fill_in(placeholders, LOCK),
        .guard = fill_in(placeholders, GUARD),
        .put_plain = fill_in(placeholders, PUT_PLAIN),
        .put_checked = fill_in(placeholders, PUT_CHECKED),
        .delete_plain = fill_in(placeholders, DELETE_PLAIN),
        .foreign_triggers = fill_in(placeholders, FOREIGN_TRIGGERS),
    };
    for (int kind = 0; kind <= BATCH_TOUCH; kind++) {
        sql->returning[kind] = returning_text(placeholders, (enum batch_kind)kind);
    }
    free(table_literal);
    free(sequence);
}

void batch_sql_deinit(struct batch_sql *sql)
{
    free(sql->advance);
    free(sql->open);
    free(sql->close);
    free(sql->lock);
    free(sql->guard);
    free(sql->put_plain);
    free(sql->put_checked);
    free(sql->delete_plain);
    free(sql->foreign_triggers);
    for (int kind = 0; kind <= BATCH_TOUCH; kind++) {
        free(sql->returning[kind]);
    }
    *sql = (struct batch_sql){0};
}

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

// ---- The unit

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

struct batch_unit batch_sql_unit(const struct batch_sql *sql, struct batch *batch,
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
