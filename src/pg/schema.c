// Fills the templates of schema_sql.h with the names of one table. Owns nothing; any thread.
//
// A value is put in once and never looked at again, so a name may contain what looks like a
// placeholder; and the dollar tag that encloses the text is one that no name contains.

#include "pg/schema.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "pg/schema_sql.h"

// First key of our advisory locks: "pgnr". The second tells them apart.
static const char LOCK_CLASS[] = "1885826674";

static const char TRIGGER_NAMES[] =
    "ARRAY['zz_pgnear_version', 'pgnear_insert', 'pgnear_update', 'pgnear_delete', "
    "'pgnear_truncate']";

enum { PLACEHOLDERS_MAX = 40, NUMBER_BYTES = 24 };

struct placeholder {
    const char *name;
    struct buffer value;
};

struct placeholders {
    struct placeholder rows[PLACEHOLDERS_MAX];
    size_t count;
};

static uint64_t fnv1a(uint64_t hash, const char *text)
{
    // With its NUL, so that ("a", "bc") and ("ab", "c") differ.
    for (const char *at = text;; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
        if (*at == '\0') {
            return hash;
        }
    }
}

static const uint64_t FNV1A_BASIS = UINT64_C(0xcbf29ce484222325);

// `table` and `suffix` together, or as much of `table` as leaves room for a hash of it.
static void derive_name(const char *table, const char *suffix, char out[IDENTIFIER_BYTES_MAX + 1])
{
    size_t table_len = strlen(table);
    size_t suffix_len = strlen(suffix);
    char hash[NUMBER_BYTES] = "";
    if (table_len + suffix_len > IDENTIFIER_BYTES_MAX) {
        snprintf(hash, sizeof hash, "_%08" PRIx32, (uint32_t)fnv1a(FNV1A_BASIS, table));
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
    quote_qualified(schema, "pgnear_node", names->node_table);
    quote_qualified(schema, "pgnear_advance", names->advance);
    quote_qualified(schema, "pgnear_merge_patch", names->merge_patch);
    quote_qualified(schema, "pgnear_incr_value", names->incr_value);
    quote_qualified(schema, "pgnear_conflict", names->conflict);
    quote_qualified(schema, "pgnear_lift_versions", names->lift_versions);
    schema_channel(table, names->channel);
}

void schema_channel(const struct table_name *table, char out[SCHEMA_CHANNEL_BYTES])
{
    CHECK_VALUES(table->schema[0] != '\0' && table->table[0] != '\0', "%s", table->table);
    uint64_t hash = fnv1a(fnv1a(FNV1A_BASIS, table->schema), table->table);
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

static struct buffer *add_placeholder(struct placeholders *placeholders, const char *name)
{
    CHECK_VALUES(placeholders->count < PLACEHOLDERS_MAX, "%s", name);
    struct placeholder *row = &placeholders->rows[placeholders->count++];
    *row = (struct placeholder){.name = name};
    return &row->value;
}

static void add_text(struct placeholders *placeholders, const char *name, const char *value)
{
    buffer_append_slice(add_placeholder(placeholders, name), slice_of_string(value));
}

static void add_literal(struct placeholders *placeholders, const char *name, const char *value)
{
    quote_literal(add_placeholder(placeholders, name), value);
}

static void placeholders_deinit(struct placeholders *placeholders)
{
    for (size_t i = 0; i < placeholders->count; i++) {
        buffer_deinit(&placeholders->rows[i].value);
    }
}

static struct slice value_of(const struct placeholders *placeholders, const char *name, size_t len)
{
    for (size_t i = 0; i < placeholders->count; i++) {
        const struct placeholder *row = &placeholders->rows[i];
        if (strlen(row->name) == len && memcmp(row->name, name, len) == 0) {
            return buffer_slice(&row->value);
        }
    }
    CHECK_VALUES(false, "no placeholder %.*s", (int)len, name);
    return slice_of(NULL, 0);
}

static void expand(const struct placeholders *placeholders, const char *text, struct buffer *out)
{
    for (;;) {
        const char *opening = strchr(text, '@');
        if (opening == NULL) {
            break;
        }
        const char *closing = strchr(opening + 1, '@');
        CHECK_VALUES(closing != NULL, "%s", opening);
        buffer_append(out, text, (size_t)(opening - text));
        size_t len = (size_t)(closing - opening - 1);
        buffer_append_slice(out, value_of(placeholders, opening + 1, len));
        text = closing + 1;
    }
    buffer_append_slice(out, slice_of_string(text));
}

// The expansion of `text` as a literal.
static void expand_literal(const struct placeholders *placeholders, const char *text,
                           struct buffer *out)
{
    struct buffer expanded = {0};
    expand(placeholders, text, &expanded);
    buffer_append(&expanded, "", 1);
    quote_literal(out, (const char *)buffer_slice(&expanded).at);
    buffer_deinit(&expanded);
}

static void add_tag(struct placeholders *placeholders, const struct table_name *table)
{
    char tag[NUMBER_BYTES] = "pgnear";
    for (int i = 1; strstr(table->table, tag) != NULL || strstr(table->schema, tag) != NULL; i++) {
        snprintf(tag, sizeof tag, "pgnear%d", i);
    }
    add_text(placeholders, "tag", tag);
}

static void add_index(struct placeholders *placeholders, const struct schema_options *options)
{
    static const char *const METHODS[] = {
        [UPDATED_AT_BTREE] = "btree", [UPDATED_AT_BRIN] = "brin", [UPDATED_AT_NONE] = ""};
    char name[IDENTIFIER_BYTES_MAX + 1];
    derive_name(options->table.table, "_updated_at_idx", name);
    quote_identifier(add_placeholder(placeholders, "index"), name);
    char qualified[QUALIFIED_NAME_BYTES];
    quote_qualified(options->table.schema, name, qualified);
    add_text(placeholders, "qualified_index", qualified);
    add_text(placeholders, "index_method", METHODS[options->updated_at_index]);
    add_text(placeholders, "wants_index",
             options->updated_at_index == UPDATED_AT_NONE ? "false" : "true");
}

static void add_partitions(struct placeholders *placeholders, const struct schema_options *options)
{
    add_text(placeholders, "partition_by",
             options->partitions > 0 ? " PARTITION BY HASH (key)" : "");
    struct buffer *statements = add_placeholder(placeholders, "create_partitions");
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
    expand_literal(placeholders, "@version_function@()",
                   add_placeholder(placeholders, "version_signature"));
    expand_literal(placeholders, "@notify_function@()",
                   add_placeholder(placeholders, "notify_signature"));
    struct buffer rows = {0};
    struct buffer drops = {0};
    for (size_t i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        const struct schema_function *function = &SCHEMA_FUNCTIONS[i];
        buffer_printf(&rows, "%s(", i == 0 ? "" : ", ");
        expand_literal(placeholders, function->signature, &rows);
        buffer_printf(&rows, ", %s)", function->of_schema ? "false" : "true");
        if (function->of_schema) {
            buffer_printf(&drops, "        DROP FUNCTION IF EXISTS ");
            expand(placeholders, function->signature, &drops);
            buffer_printf(&drops, ";\n");
        }
    }
    *add_placeholder(placeholders, "function_rows") = rows;
    *add_placeholder(placeholders, "drop_functions") = drops;
}

static void placeholders_init(struct placeholders *placeholders,
                              const struct schema_options *options)
{
    *placeholders = (struct placeholders){.count = 0};
    struct schema_names names;
    schema_names_of(&options->table, &names);
    add_tag(placeholders, &options->table);
    buffer_printf(add_placeholder(placeholders, "version"), "%d", SCHEMA_VERSION);
    add_text(placeholders, "lock_class", LOCK_CLASS);
    add_text(placeholders, "trigger_names", TRIGGER_NAMES);
    add_text(placeholders, "schema", names.schema);
    add_literal(placeholders, "schema_literal", names.schema);
    add_text(placeholders, "table", names.table);
    add_literal(placeholders, "table_literal", names.table);
    add_text(placeholders, "sequence", names.sequence);
    add_literal(placeholders, "sequence_literal", names.sequence);
    add_text(placeholders, "node_table", names.node_table);
    add_literal(placeholders, "node_table_literal", names.node_table);
    add_text(placeholders, "version_function", names.version_function);
    add_text(placeholders, "notify_function", names.notify_function);
    add_text(placeholders, "advance", names.advance);
    add_text(placeholders, "merge_patch", names.merge_patch);
    add_text(placeholders, "incr_value", names.incr_value);
    add_text(placeholders, "conflict", names.conflict);
    add_text(placeholders, "lift_versions", names.lift_versions);
    add_literal(placeholders, "channel_literal", names.channel);
    add_index(placeholders, options);
    add_partitions(placeholders, options);
    add_functions(placeholders);
}

// Creates the function where there is none, or one of a lower number.
static void create_function(const struct placeholders *placeholders,
                            const struct schema_function *function, struct buffer *out)
{
    expand(placeholders,
           "\n"
           "DO $@tag@$\n"
           "BEGIN\n"
           "    IF coalesce((SELECT substring(p.prosrc FROM 'pgnear schema ([0-9]+)')::int\n"
           "                 FROM pg_proc p WHERE p.oid = to_regprocedure(",
           out);
    expand_literal(placeholders, function->signature, out);
    expand(placeholders, ")), 0) < @version@ THEN\n", out);
    expand(placeholders, function->create, out);
    expand(placeholders, "    END IF;\nEND\n$@tag@$;\n", out);
}

void schema_create_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    placeholders_init(&placeholders, options);
    expand(&placeholders, SCHEMA_SQL_BEGIN, out);
    expand(&placeholders, SCHEMA_SQL_TABLE, out);
    expand(&placeholders, SCHEMA_SQL_COLUMNS, out);
    expand(&placeholders, SCHEMA_SQL_VERSIONS, out);
    if (options->updated_at_index != UPDATED_AT_NONE) {
        expand(&placeholders, SCHEMA_SQL_INDEX, out);
    }
    expand(&placeholders, SCHEMA_SQL_NODE, out);
    buffer_printf(out, "\n-- The functions.");
    for (size_t i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        create_function(&placeholders, &SCHEMA_FUNCTIONS[i], out);
    }
    expand(&placeholders, SCHEMA_SQL_TRIGGERS, out);
    placeholders_deinit(&placeholders);
}

void schema_drop_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    placeholders_init(&placeholders, options);
    expand(&placeholders, SCHEMA_SQL_BEGIN, out);
    expand(&placeholders, SCHEMA_SQL_DROP_TRIGGERS, out);
    expand(&placeholders, SCHEMA_SQL_DROP_TABLE_PARTS, out);
    for (size_t i = 0; i < SCHEMA_FUNCTIONS_COUNT; i++) {
        if (!SCHEMA_FUNCTIONS[i].of_schema) {
            buffer_printf(out, "DROP FUNCTION IF EXISTS ");
            expand(&placeholders, SCHEMA_FUNCTIONS[i].signature, out);
            buffer_printf(out, ";\n");
        }
    }
    expand(&placeholders, SCHEMA_SQL_DROP_SCHEMA_PARTS, out);
    placeholders_deinit(&placeholders);
}

void schema_check_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    placeholders_init(&placeholders, options);
    expand(&placeholders, SCHEMA_SQL_CHECK, out);
    placeholders_deinit(&placeholders);
}
