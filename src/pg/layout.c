#include "pg/layout.h"

#include <string.h>

#include "base/check.h"
#include "pg/document.h"

static struct table_name *table_home(struct schema_options *options)
{
    return &options->table;
}

static void table_names(const struct schema_options *options, struct schema_names *names)
{
    schema_names_of(&options->table, names);
}

static const struct layout LAYOUT_TABLE = {
    .home = table_home,
    .names = table_names,
    .create_sql = schema_create_sql,
    .drop_sql = schema_drop_sql,
    .check_sql = schema_check_sql,
};

const struct layout *layout_of(const struct schema_options *options)
{
    return options->document.table.table[0] != '\0' ? &LAYOUT_DOCUMENT : &LAYOUT_TABLE;
}

enum error layout_options(const struct postgres_settings *settings, struct schema_options *options,
                          struct failure *failure)
{
    *options = (struct schema_options){
        .partitions = settings->partitions,
        .updated_at_index = settings->updated_at_index,
        .versioning = settings->versioning,
    };
    return settings->document.table != NULL
               ? document_options(&settings->document, options, failure)
               : table_name_parse(settings->table, &options->table, failure);
}

void layout_create_script(const struct schema_options *options, struct buffer *out)
{
    buffer_printf(out, "BEGIN ISOLATION LEVEL READ COMMITTED;\n");
    layout_of(options)->create_sql(options, out);
    buffer_printf(out, "\nCOMMIT");
}

void layout_settle(struct schema_options *options, const char *schema)
{
    struct table_name *home = layout_of(options)->home(options);
    CHECK_VALUES(strlen(schema) <= IDENTIFIER_BYTES_MAX, "%s", schema);
    char copy[IDENTIFIER_BYTES_MAX + 1]; // `schema` may be the home's own
    strcpy(copy, schema);
    memcpy(home->schema, copy, sizeof copy);
    memcpy(options->table.schema, copy, sizeof copy);
}
