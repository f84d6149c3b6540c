// Fills the templates of schema_sql.h with the names of one table. Owns nothing; any thread.
//
// A value is put in once and never looked at again, so a name may contain what looks like a
// placeholder; and the dollar tag that encloses the text is one that no name contains.

#include "pg/schema.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "pg/schema_parts.h"

// First key of our advisory locks: "pgnr". The second tells them apart.
static const char LOCK_CLASS[] = "1885826674";
// Of the locks that nodes take turns by; the second key is a hash of the table's name.
static const char REAP_CLASS[] = "1885826675";
static const char TRIM_CLASS[] = "1885826676";

static const char TRIGGER_NAMES[] =
    "ARRAY['zz_pgnear_version', 'pgnear_insert', 'pgnear_update', 'pgnear_delete', "
    "'pgnear_truncate', 'pgnear_replicated']";

enum { NUMBER_BYTES = 24 };

uint64_t schema_hash(uint64_t hash, const char *text)
{
    // With its NUL, so that ("a", "bc") and ("ab", "c") differ.
    for (const char *at = text;; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
        if (*at == '\0') {
            return hash;
        }
    }
}

// `table` and `suffix` together, or as much of `table` as leaves room for a hash of it.
static void derive_name(const char *table, const char *suffix, char out[IDENTIFIER_BYTES_MAX + 1])
{
    size_t table_len = strlen(table);
    size_t suffix_len = strlen(suffix);
    char hash[NUMBER_BYTES] = "";
    if (table_len + suffix_len > IDENTIFIER_BYTES_MAX) {
        snprintf(hash, sizeof hash, "_%08" PRIx32, (uint32_t)schema_hash(SCHEMA_HASH_BASIS, table));
        table_len = IDENTIFIER_BYTES_MAX - suffix_len - strlen(hash);
        while (((unsigned char)table[table_len] & 0xC0) == 0x80) {
            table_len--; // not in the middle of a character
        }
    }
    int len =
        snprintf(out, IDENTIFIER_BYTES_MAX + 1, "%.*s%s%s", (int)table_len, table, hash, suffix);
    CHECK_VALUES(len > 0 && len <= IDENTIFIER_BYTES_MAX, "%s%s", table, suffix);
}

static void derive_qualified(const struct table_name *table, const char *suffix,
                             char out[QUALIFIED_NAME_BYTES])
{
    char name[IDENTIFIER_BYTES_MAX + 1];
    derive_name(table->table, suffix, name);
    quote_qualified(table->schema, name, out);
}

void schema_names_of(const struct table_name *table, struct schema_names *names)
{
    const char *schema = table->schema;
    CHECK_VALUES(schema[0] != '\0' && table->table[0] != '\0', "%s", table->table);
    char quoted[QUALIFIED_NAME_BYTES];
    quote_qualified("", schema, quoted);
    memcpy(names->schema, quoted, sizeof names->schema);
    quote_qualified(schema, table->table, names->table);
    derive_qualified(table, "_version_seq", names->sequence);
    derive_qualified(table, "_pgnear_version", names->version_function);
    derive_qualified(table, "_pgnear_notify", names->notify_function);
    derive_qualified(table, "_history", names->history);
    derive_qualified(table, "_pgnear_reap", names->reap_function);
    derive_qualified(table, "_pgnear_trim", names->trim_function);
    quote_qualified(schema, "pgnear_node", names->node_table);
    quote_qualified(schema, "pgnear_advance", names->advance);
    quote_qualified(schema, "pgnear_merge_patch", names->merge_patch);
    quote_qualified(schema, "pgnear_incr_value", names->incr_value);
    quote_qualified(schema, "pgnear_within", names->within);
    quote_qualified(schema, "pgnear_conflict", names->conflict);
    quote_qualified(schema, "pgnear_lift_versions", names->lift_versions);
    memcpy(names->pairs, names->table, sizeof names->pairs);
    names->open[0] = '\0';
    names->close[0] = '\0';
    schema_channel(table, names->channel);
}

void schema_channel(const struct table_name *table, char out[SCHEMA_CHANNEL_BYTES])
{
    CHECK_VALUES(table->schema[0] != '\0' && table->table[0] != '\0', "%s", table->table);
    uint64_t hash = schema_hash(schema_hash(SCHEMA_HASH_BASIS, table->schema), table->table);
    snprintf(out, SCHEMA_CHANNEL_BYTES, "pgnear_%016" PRIx64, hash);
}

void schema_resolve_sql(const struct table_name *table, struct buffer *out)
{
    if (table->schema[0] != '\0') {
        buffer_printf(out, "SELECT ");
        quote_literal(out, table->schema);
        buffer_printf(out, "::text");
        return;
    }
    char quoted[QUALIFIED_NAME_BYTES];
    quote_qualified("", table->table, quoted);
    buffer_printf(out, "SELECT coalesce((SELECT n.nspname FROM pg_catalog.pg_class c"
                       " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                       " WHERE c.oid = to_regclass(");
    quote_literal(out, quoted);
    buffer_printf(out, ")), current_schema())::text");
}

static bool has_tag(const struct schema_options *options, const char *tag)
{
    const struct schema_document *document = &options->document;
    return strstr(options->table.table, tag) != NULL ||
           strstr(options->table.schema, tag) != NULL ||
           strstr(document->table.table, tag) != NULL || strstr(document->id_column, tag) != NULL ||
           strstr(document->column, tag) != NULL ||
           (document->id != NULL && strstr(document->id, tag) != NULL);
}

static void add_tag(struct placeholders *placeholders, const struct schema_options *options)
{
    char tag[NUMBER_BYTES] = "pgnear";
    for (int i = 1; has_tag(options, tag); i++) {
        snprintf(tag, sizeof tag, "pgnear%d", i);
    }
    placeholders_text(placeholders, "tag", tag);
}

static void add_index(struct placeholders *placeholders, const struct schema_options *options)
{
    static const char *const METHODS[] = {
        [UPDATED_AT_BTREE] = "btree", [UPDATED_AT_BRIN] = "brin", [UPDATED_AT_NONE] = ""};
    char name[IDENTIFIER_BYTES_MAX + 1];
    derive_name(options->table.table, "_updated_at_idx", name);
    quote_identifier(placeholders_add(placeholders, "index"), name);
    char qualified[QUALIFIED_NAME_BYTES];
    quote_qualified(options->table.schema, name, qualified);
    placeholders_text(placeholders, "qualified_index", qualified);
    placeholders_text(placeholders, "index_method", METHODS[options->updated_at_index]);
    placeholders_text(placeholders, "wants_index",
                      options->updated_at_index == UPDATED_AT_NONE ? "false" : "true");
}

static void add_derived(struct placeholders *placeholders, const struct table_name *table,
                        const char *name, const char *suffix)
{
    char derived[IDENTIFIER_BYTES_MAX + 1];
    derive_name(table->table, suffix, derived);
    quote_identifier(placeholders_add(placeholders, name), derived);
}

static void add_expansion(struct placeholders *placeholders, const char *name, const char *text)
{
    struct buffer expanded = {0};
    placeholders_expand(placeholders, text, &expanded);
    *placeholders_add(placeholders, name) = expanded;
}

// History, expiry, and who does away with them.
static void add_history(struct placeholders *placeholders, const struct schema_options *options,
                        const struct schema_names *names)
{
    static const struct {
        const char *name;
        const char *text; // without versioning nothing
    } PARTS[] = {
        {"keep_sets", SCHEMA_SQL_KEEP_SETS},       {"keep_left", SCHEMA_SQL_KEEP_LEFT},
        {"keep_deletes", SCHEMA_SQL_KEEP_DELETES}, {"keep_truncate", SCHEMA_SQL_KEEP_TRUNCATE},
        {"keep_row", SCHEMA_SQL_KEEP_ROW},
    };
    placeholders_text(placeholders, "history", names->history);
    placeholders_literal(placeholders, "history_literal", names->history);
    placeholders_text(placeholders, "reap_function", names->reap_function);
    placeholders_text(placeholders, "trim_function", names->trim_function);
    placeholders_text(placeholders, "reap_class", REAP_CLASS);
    placeholders_text(placeholders, "trim_class", TRIM_CLASS);
    add_derived(placeholders, &options->table, "history_index", "_history_changed_at_idx");
    add_derived(placeholders, &options->table, "expiry_index", "_expires_at_idx");
    char qualified[QUALIFIED_NAME_BYTES];
    derive_qualified(&options->table, "_expires_at_idx", qualified);
    placeholders_text(placeholders, "qualified_expiry_index", qualified);
    placeholders_text(placeholders, "versioning", options->versioning ? "true" : "false");
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        add_expansion(placeholders, PARTS[i].name, options->versioning ? PARTS[i].text : "");
    }
    if (options->document.table.table[0] == '\0') { // else its layout says it
        placeholders_text(placeholders, "reap_open", "");
    }
    add_expansion(placeholders, "deleted_version",
                  options->versioning ? SCHEMA_SQL_KEPT_VERSION : SCHEMA_SQL_DRAWN_VERSION);
}

static void add_partitions(struct placeholders *placeholders, const struct schema_options *options)
{
    placeholders_text(placeholders, "partition_by",
                      options->partitions > 0 ? " PARTITION BY HASH (key)" : "");
    struct buffer *statements = placeholders_add(placeholders, "create_partitions");
    for (int i = 0; i < options->partitions; i++) {
        char suffix[NUMBER_BYTES];
        snprintf(suffix, sizeof suffix, "_p%d", i);
        char partition[QUALIFIED_NAME_BYTES];
        derive_qualified(&options->table, suffix, partition);
        char parent[QUALIFIED_NAME_BYTES];
        quote_qualified(options->table.schema, options->table.table, parent);
        buffer_printf(statements,
                      "        CREATE TABLE %s PARTITION OF %s\n"
                      "            FOR VALUES WITH (MODULUS %d, REMAINDER %d);\n",
                      partition, parent, options->partitions, i);
    }
}

// What is made of the signatures of the functions needs the names to be there.
static void add_functions(struct placeholders *placeholders)
{
    placeholders_expand_literal(placeholders, "@version_function@()",
                                placeholders_add(placeholders, "version_signature"));
    placeholders_expand_literal(placeholders, "@notify_function@()",
                                placeholders_add(placeholders, "notify_signature"));
    struct buffer rows = {0};
    struct buffer drops = {0};
    for (size_t i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        const struct schema_function *function = &SCHEMA_FUNCTIONS[i];
        buffer_printf(&rows, "%s(", i == 0 ? "" : ", ");
        placeholders_expand_literal(placeholders, function->signature, &rows);
        buffer_printf(&rows, ", %s, %s)", function->is_trigger ? "true" : "false",
                      function->keeps_history ? "true" : "false");
        if (function->of_schema) {
            buffer_printf(&drops, "        DROP FUNCTION IF EXISTS ");
            placeholders_expand(placeholders, function->signature, &drops);
            buffer_printf(&drops, ";\n");
        }
    }
    *placeholders_add(placeholders, "function_rows") = rows;
    *placeholders_add(placeholders, "drop_functions") = drops;
}

void schema_placeholders(struct placeholders *placeholders, const struct schema_options *options)
{
    *placeholders = (struct placeholders){.count = 0};
    struct schema_names names;
    schema_names_of(&options->table, &names);
    add_tag(placeholders, options);
    buffer_printf(placeholders_add(placeholders, "version"), "%d", SCHEMA_VERSION);
    placeholders_text(placeholders, "lock_class", LOCK_CLASS);
    placeholders_text(placeholders, "trigger_names", TRIGGER_NAMES);
    placeholders_text(placeholders, "schema", names.schema);
    placeholders_literal(placeholders, "schema_literal", names.schema);
    placeholders_text(placeholders, "table", names.table);
    placeholders_literal(placeholders, "table_literal", names.table);
    placeholders_text(placeholders, "sequence", names.sequence);
    placeholders_literal(placeholders, "sequence_literal", names.sequence);
    placeholders_text(placeholders, "node_table", names.node_table);
    placeholders_literal(placeholders, "node_table_literal", names.node_table);
    placeholders_text(placeholders, "version_function", names.version_function);
    placeholders_text(placeholders, "notify_function", names.notify_function);
    placeholders_text(placeholders, "advance", names.advance);
    placeholders_text(placeholders, "merge_patch", names.merge_patch);
    placeholders_text(placeholders, "incr_value", names.incr_value);
    placeholders_text(placeholders, "within", names.within);
    placeholders_text(placeholders, "conflict", names.conflict);
    placeholders_text(placeholders, "lift_versions", names.lift_versions);
    placeholders_literal(placeholders, "channel_literal", names.channel);
    add_history(placeholders, options, &names);
    add_index(placeholders, options);
    add_partitions(placeholders, options);
    add_functions(placeholders);
}

void schema_function_sql(const struct placeholders *placeholders,
                         const struct schema_function *function, struct buffer *out)
{
    placeholders_expand(
        placeholders,
        "\n"
        "DO $@tag@$\n"
        "BEGIN\n"
        "    IF coalesce((SELECT substring(p.prosrc FROM 'pgnear schema ([0-9]+)')::int",
        out);
    if (function->keeps_history) {
        placeholders_expand(placeholders,
                            "\n                 - ((p.prosrc LIKE '%pgnear history%')"
                            " <> @versioning@"
                            " AND p.prosrc LIKE '%pgnear schema @version@:%')::int",
                            out);
    }
    placeholders_expand(placeholders,
                        "\n                 FROM pg_proc p WHERE p.oid = to_regprocedure(", out);
    placeholders_expand_literal(placeholders, function->signature, out);
    placeholders_expand(placeholders, ")), 0) < @version@ THEN\n", out);
    placeholders_expand(placeholders, function->create, out);
    placeholders_expand(placeholders, "    END IF;\nEND\n$@tag@$;\n", out);
}

void schema_parts_create_sql(const struct placeholders *placeholders,
                             const struct schema_options *options, struct buffer *out)
{
    placeholders_expand(placeholders, SCHEMA_SQL_COLUMNS, out);
    placeholders_expand(placeholders, SCHEMA_SQL_VERSIONS, out);
    if (options->updated_at_index != UPDATED_AT_NONE) {
        placeholders_expand(placeholders, SCHEMA_SQL_INDEX, out);
    }
    placeholders_expand(placeholders, SCHEMA_SQL_EXPIRY, out);
    if (options->versioning) {
        placeholders_expand(placeholders, SCHEMA_SQL_HISTORY, out);
    }
    placeholders_expand(placeholders, SCHEMA_SQL_NODE, out);
    buffer_printf(out, "\n-- The functions.");
    for (size_t i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        schema_function_sql(placeholders, &SCHEMA_FUNCTIONS[i], out);
    }
    placeholders_expand(placeholders, SCHEMA_SQL_TRIGGERS, out);
}

void schema_create_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    schema_placeholders(&placeholders, options);
    placeholders_expand(&placeholders, SCHEMA_SQL_BEGIN, out);
    placeholders_expand(&placeholders, SCHEMA_SQL_TABLE, out);
    schema_parts_create_sql(&placeholders, options, out);
    placeholders_deinit(&placeholders);
}

void schema_parts_drop_sql(const struct placeholders *placeholders, struct buffer *out)
{
    placeholders_expand(placeholders, SCHEMA_SQL_DROP_TRIGGERS, out);
    placeholders_expand(placeholders, SCHEMA_SQL_DROP_TABLE_PARTS, out);
    for (size_t i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        if (!SCHEMA_FUNCTIONS[i].of_schema) {
            buffer_printf(out, "DROP FUNCTION IF EXISTS ");
            placeholders_expand(placeholders, SCHEMA_FUNCTIONS[i].signature, out);
            buffer_printf(out, ";\n");
        }
    }
    placeholders_expand(placeholders, SCHEMA_SQL_DROP_SCHEMA_PARTS, out);
}

void schema_drop_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    schema_placeholders(&placeholders, options);
    placeholders_expand(&placeholders, SCHEMA_SQL_BEGIN, out);
    schema_parts_drop_sql(&placeholders, out);
    placeholders_deinit(&placeholders);
}

void schema_check_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    schema_placeholders(&placeholders, options);
    placeholders_expand(&placeholders, SCHEMA_SQL_CHECK, out);
    placeholders_deinit(&placeholders);
}
