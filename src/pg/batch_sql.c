// The texts are templates: @name@ is filled in once (placeholders.h), when the names in
// PostgreSQL are known.
#include "pg/batch_sql.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/placeholders.h"

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
// it can be switched on without a lock that a batch would feel. Row security passes over rows as
// they do.
static const char FOREIGN_TRIGGERS[] =
    "SELECT row_security_active(@table_literal@::regclass::oid)"
    " OR EXISTS (SELECT FROM pg_catalog.pg_trigger g"
    " LEFT JOIN pg_catalog.pg_partition_tree(@table_literal@::regclass) p ON p.relid = g.tgrelid"
    " WHERE (g.tgrelid = @table_literal@::regclass OR p.relid IS NOT NULL)"
    " AND NOT g.tgisinternal AND g.tgname NOT LIKE '%pgnear%')";

// Around the statement of a group whose results are wanted. $1 is the node, $2 the keys, $3 the
// seqs; `done` yields key, version, value, expires_at and applied. The parts of struct returning
// stand in it in their order.
#define RETURNING_FORMAT                                                                           \
    "WITH input AS (SELECT * FROM unnest($2::text[], $3::bigint[]%s) AS i (key, seq%s)),"          \
    " done AS (%s), outcome AS (SELECT i.key, i.seq, coalesce(d.applied, false) AS applied,"       \
    " CASE WHEN d.applied THEN d.version ELSE"                                                     \
    " (SELECT t.version FROM @table@ AS t WHERE t.key = i.key AND " LIVE ") END AS version,"       \
    " %s AS altered, %s AS value, d.expires_at"                                                    \
    " FROM input i LEFT JOIN done d ON d.key = i.key),"                                            \
    " recorded AS (UPDATE @node_table@ SET results = results || (SELECT jsonb_agg("                \
    "jsonb_build_array(o.seq, o.key, o.applied, o.version, o.value)) FROM outcome o)"              \
    " WHERE node = $1::uuid)"                                                                      \
    " SELECT key, applied, version, altered, value, expires_at::timestamptz FROM outcome"

// What a merge makes of a value that is there may be too large to be one of ours.
#define RESULT_WITHIN                                                                              \
    " RETURNING t.key, t.version, @within@(t.value, @value_bytes_max@) AS value, t.expires_at,"    \
    " true AS applied"
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
                     " version = " NEXT RESULT_WITHIN,
                     "false", "d.value"},
    [BATCH_TOUCH] = {", $4::timestamptz[]", ", expires_at",
                     "UPDATE @table@ AS t SET expires_at = i.expires_at, updated_at = now(),"
                     " version = " NEXT " FROM input i WHERE t.key = i.key AND " LIVE RESULT,
                     "false", "NULL::jsonb"},
};

// ---- Texts

// The text in the caller's hands, to be freed.
static char *text_of(struct buffer *buffer)
{
    char *text = memory_string(buffer_slice(buffer));
    buffer_deinit(buffer);
    return text;
}

// The template with its placeholders filled in, for the caller to free.
static char *fill_in(const struct placeholders *placeholders, const char *template)
{
    struct buffer out = {0};
    placeholders_expand(placeholders, template, &out);
    return text_of(&out);
}

static char *returning_text(const struct placeholders *placeholders, enum batch_kind kind)
{
    const struct returning *parts = &RETURNING[kind];
    struct buffer template = {0};
    buffer_printf(&template, RETURNING_FORMAT, parts->inputs, parts->columns, parts->done,
                  parts->altered, parts->value);
    char *text = fill_in(placeholders, buffer_text(&template));
    buffer_deinit(&template);
    return text;
}

// NULL where there is nothing to call.
static char *call_text(const char *function)
{
    if (function[0] == '\0') {
        return NULL;
    }
    struct buffer text = {0};
    buffer_printf(&text, "SELECT %s()", function);
    return text_of(&text);
}

void batch_sql_init(struct batch_sql *sql, const struct schema_names *names, size_t value_bytes_max)
{
    struct placeholders placeholders = {0};
    placeholders_text(&placeholders, "table", names->table);
    placeholders_literal(&placeholders, "table_literal", names->table);
    placeholders_literal(&placeholders, "sequence", names->sequence);
    placeholders_text(&placeholders, "node_table", names->node_table);
    placeholders_text(&placeholders, "advance", names->advance);
    placeholders_text(&placeholders, "merge_patch", names->merge_patch);
    placeholders_text(&placeholders, "incr_value", names->incr_value);
    placeholders_text(&placeholders, "conflict", names->conflict);
    placeholders_text(&placeholders, "within", names->within);
    buffer_printf(placeholders_add(&placeholders, "value_bytes_max"), "%zu", value_bytes_max);
    *sql = (struct batch_sql){
        .advance = fill_in(&placeholders, ADVANCE),
        .open = call_text(names->open),
        .close = call_text(names->close),
        .lock = fill_in(&placeholders, LOCK),
        .guard = fill_in(&placeholders, GUARD),
        .put_plain = fill_in(&placeholders, PUT_PLAIN),
        .put_checked = fill_in(&placeholders, PUT_CHECKED),
        .delete_plain = fill_in(&placeholders, DELETE_PLAIN),
        .foreign_triggers = fill_in(&placeholders, FOREIGN_TRIGGERS),
    };
    for (int kind = 0; kind <= BATCH_TOUCH; kind++) {
        sql->returning[kind] = returning_text(&placeholders, (enum batch_kind)kind);
    }
    placeholders_deinit(&placeholders);
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
