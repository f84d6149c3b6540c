#include "pg/document.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "pg/document_sql.h"
#include "pg/schema_parts.h"

static const char COMPANION[] = "pgnear_document";
static const char STATE[] = "pgnear_document_state";

// Suffixes of the partition's name, which has 32 bytes.
static const struct {
    const char *placeholder;
    const char *suffix;
} OWN_NAMES[] = {
    {"pairs", "_pairs"}, {"follow", "_follow"},   {"open", "_open"}, {"write", "_write"},
    {"guard", "_guard"}, {"changed", "_changed"}, {"lock", "_lock"}, {"publish", "_publish"},
};

static void own_name(const struct schema_options *options, const char *suffix,
                     char out[QUALIFIED_NAME_BYTES])
{
    char name[IDENTIFIER_BYTES_MAX + 1];
    int len = snprintf(name, sizeof name, "%s%s", options->table.table, suffix);
    CHECK_VALUES(len > 0 && (size_t)len < sizeof name, "%s%s", options->table.table, suffix);
    quote_qualified(options->table.schema, name, out);
}

// ---- Names

static enum error parse_column(const char *text, char out[IDENTIFIER_BYTES_MAX + 1],
                               struct failure *failure)
{
    struct table_name name;
    enum error error = table_name_parse(text, &name, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    if (name.schema[0] != '\0') {
        return failure_set(failure, ERROR_CONFIG, "%s is not the name of a column", text);
    }
    memcpy(out, name.table, sizeof name.table);
    return ERROR_NONE;
}

enum error document_options(const struct document_settings *settings,
                            struct schema_options *options, struct failure *failure)
{
    struct schema_document document = {.id = settings->id};
    enum error error = table_name_parse(settings->table, &document.table, failure);
    if (error == ERROR_NONE) {
        error = parse_column(settings->id_column, document.id_column, failure);
    }
    if (error == ERROR_NONE) {
        error = parse_column(settings->column, document.column, failure);
    }
    if (error != ERROR_NONE) {
        return error;
    }
    uint64_t hash = schema_hash(SCHEMA_HASH_BASIS, document.table.table);
    hash = schema_hash(hash, document.id_column);
    hash = schema_hash(hash, document.id);
    hash = schema_hash(hash, document.column);
    options->document = document;
    options->partitions = 0;
    snprintf(options->table.table, sizeof options->table.table, "%s_%016" PRIx64, COMPANION, hash);
    return ERROR_NONE;
}

static struct table_name *document_home(struct schema_options *options)
{
    return &options->document.table;
}

static void document_names(const struct schema_options *options, struct schema_names *names)
{
    schema_names_of(&options->table, names);
    own_name(options, "_pairs", names->pairs);
    own_name(options, "_open", names->open);
    own_name(options, "_write", names->close);
}

// ---- Scripts

// What tells documents apart, as SQL would: "public"."t"."column" WHERE "id" = 'x'.
static void add_identity(struct placeholders *placeholders, const struct schema_document *document,
                         const char *qualified)
{
    struct buffer identity = {0};
    buffer_printf(&identity, "%s.", qualified);
    quote_identifier(&identity, document->column);
    buffer_printf(&identity, " WHERE ");
    quote_identifier(&identity, document->id_column);
    buffer_printf(&identity, " = ");
    quote_literal(&identity, document->id);
    placeholders_literal(placeholders, "identity_literal", buffer_text(&identity));
    buffer_deinit(&identity);
}

static void add_document(struct placeholders *placeholders, const struct schema_document *document)
{
    char qualified[QUALIFIED_NAME_BYTES];
    quote_qualified(document->table.schema, document->table.table, qualified);
    placeholders_text(placeholders, "document", qualified);
    placeholders_literal(placeholders, "document_literal", qualified);
    add_identity(placeholders, document, qualified);
    struct buffer shown = {0};
    buffer_printf(&shown, "%s.%s", document->table.schema, document->table.table);
    placeholders_literal(placeholders, "document_shown", buffer_text(&shown));
    buffer_deinit(&shown);
    quote_identifier(placeholders_add(placeholders, "column"), document->column);
    placeholders_literal(placeholders, "column_literal", document->column);
    quote_identifier(placeholders_add(placeholders, "id_column"), document->id_column);
    placeholders_literal(placeholders, "id_column_literal", document->id_column);
    placeholders_literal(placeholders, "id_literal", document->id);
}

static void add_shared(struct placeholders *placeholders, const char *schema)
{
    char name[QUALIFIED_NAME_BYTES];
    quote_qualified(schema, COMPANION, name);
    placeholders_text(placeholders, "companion", name);
    placeholders_literal(placeholders, "companion_literal", name);
    quote_qualified(schema, "pgnear_document_refuse", name);
    placeholders_text(placeholders, "refuse", name);
    quote_qualified(schema, STATE, name);
    placeholders_text(placeholders, "state", name);
    placeholders_literal(placeholders, "state_literal", name);
}

// The signatures as literals, and as rows for the check.
static void add_functions(struct placeholders *placeholders)
{
    placeholders_expand_literal(placeholders, "@changed@()",
                                placeholders_add(placeholders, "changed_signature"));
    placeholders_expand_literal(placeholders, "@lock@()",
                                placeholders_add(placeholders, "lock_signature"));
    placeholders_expand_literal(placeholders, "@publish@()",
                                placeholders_add(placeholders, "publish_signature"));
    placeholders_expand_literal(placeholders, "@refuse@()",
                                placeholders_add(placeholders, "refuse_signature"));
    struct buffer rows = {0};
    for (size_t i = 0; i < DOCUMENT_FUNCTIONS_COUNT; i++) {
        buffer_printf(&rows, "%s(", i == 0 ? "" : ", ");
        placeholders_expand_literal(placeholders, DOCUMENT_FUNCTIONS[i].signature, &rows);
        buffer_printf(&rows, ")");
    }
    *placeholders_add(placeholders, "document_function_rows") = rows;
}

static void document_placeholders(struct placeholders *placeholders,
                                  const struct schema_options *options)
{
    schema_placeholders(placeholders, options);
    add_document(placeholders, &options->document);
    add_shared(placeholders, options->table.schema);
    placeholders_text(placeholders, "base", options->table.table);
    for (size_t i = 0; i < sizeof OWN_NAMES / sizeof OWN_NAMES[0]; i++) {
        char name[QUALIFIED_NAME_BYTES];
        own_name(options, OWN_NAMES[i].suffix, name);
        placeholders_text(placeholders, OWN_NAMES[i].placeholder, name);
    }
    // What removes expired pairs locks the document first, as everybody does; the companion's own
    // triggers write it.
    placeholders_expand(placeholders, "    PERFORM @open@();\n",
                        placeholders_add(placeholders, "reap_open"));
    add_functions(placeholders);
    placeholders_expand_literal(placeholders, "@pairs@",
                                placeholders_add(placeholders, "pairs_literal"));
}

static void document_create_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    document_placeholders(&placeholders, options);
    placeholders_expand(&placeholders, SCHEMA_SQL_BEGIN, out);
    placeholders_expand(&placeholders, DOCUMENT_SQL_COMPANION, out);
    schema_parts_create_sql(&placeholders, options, out);
    for (size_t i = 0; i < DOCUMENT_FUNCTIONS_COUNT; i++) {
        schema_function_sql(&placeholders, &DOCUMENT_FUNCTIONS[i], out);
    }
    placeholders_expand(&placeholders, DOCUMENT_SQL_PAIRS, out);
    placeholders_expand(&placeholders, DOCUMENT_SQL_TRIGGERS, out);
    placeholders_deinit(&placeholders);
}

static void document_drop_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    document_placeholders(&placeholders, options);
    placeholders_expand(&placeholders, SCHEMA_SQL_BEGIN, out);
    placeholders_expand(&placeholders, DOCUMENT_SQL_DROP, out);
    for (size_t i = 0; i < DOCUMENT_FUNCTIONS_COUNT; i++) {
        if (!DOCUMENT_FUNCTIONS[i].of_schema) {
            buffer_printf(out, "DROP FUNCTION IF EXISTS ");
            placeholders_expand(&placeholders, DOCUMENT_FUNCTIONS[i].signature, out);
            buffer_printf(out, ";\n");
        }
    }
    schema_parts_drop_sql(&placeholders, out);
    placeholders_expand(&placeholders, DOCUMENT_SQL_DROP_SHARED, out);
    placeholders_deinit(&placeholders);
}

static void document_check_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    document_placeholders(&placeholders, options);
    buffer_printf(out, "SELECT * FROM (");
    placeholders_expand(&placeholders, SCHEMA_SQL_CHECK, out);
    buffer_printf(out, ") pairs UNION ALL SELECT * FROM (");
    placeholders_expand(&placeholders, DOCUMENT_SQL_CHECK, out);
    buffer_printf(out, ") document");
    placeholders_deinit(&placeholders);
}

static void document_probe_sql(const struct schema_options *options, struct buffer *out)
{
    struct placeholders placeholders;
    document_placeholders(&placeholders, options);
    placeholders_expand(&placeholders, DOCUMENT_SQL_PROBE, out);
    placeholders_deinit(&placeholders);
}

const struct layout LAYOUT_DOCUMENT = {
    .home = document_home,
    .names = document_names,
    .create_sql = document_create_sql,
    .drop_sql = document_drop_sql,
    .probe_sql = document_probe_sql,
    .check_sql = document_check_sql,
};
