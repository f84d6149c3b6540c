// How the pairs lie in PostgreSQL: in a table of ours (schema.h), or in one JSON object of somebody
// else's row (document.h). What differs is what stands there and what it is called; the statements
// that read and write are the same. Pure functions; any thread.
#pragma once

#include "base/settings.h"
#include "pg/schema.h"

struct layout {
    // The table that has to be found first: everything of ours lies in its schema.
    struct table_name *(*home)(struct schema_options *options);
    void (*names)(const struct schema_options *options, struct schema_names *names);
    // As schema_create_sql and its like.
    void (*create_sql)(const struct schema_options *options, struct buffer *out);
    void (*drop_sql)(const struct schema_options *options, struct buffer *out);
    // A statement to be run in one transaction with the check and before it; NULL: none.
    void (*probe_sql)(const struct schema_options *options, struct buffer *out);
    void (*check_sql)(const struct schema_options *options, struct buffer *out);
};

const struct layout *layout_of(const struct schema_options *options);

// What the settings ask for; `settings` outlives `options`. ERROR_CONFIG with a message.
enum error layout_options(const struct postgres_settings *settings, struct schema_options *options,
                          struct failure *failure);

// Appends the script that makes what is missing, as one transaction for conn_run_script.
void layout_create_script(const struct schema_options *options, struct buffer *out);

// Puts the schema that schema_resolve_sql found for the home into `options`.
void layout_settle(struct schema_options *options, const char *schema);
