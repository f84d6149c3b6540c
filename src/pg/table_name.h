// The name of the table as the settings write it, by SQL's rules for identifiers, and the writing
// of names and texts into SQL. Pure functions; any thread.
#pragma once

#include "base/buffer.h"
#include "base/error.h"

// NAMEDATALEN - 1 of every ordinary build of PostgreSQL.
enum { IDENTIFIER_BYTES_MAX = 63 };

// A quoted identifier with every byte a quote, and a schema-qualified one; both with their NUL.
enum {
    QUOTED_IDENTIFIER_BYTES = 2 * IDENTIFIER_BYTES_MAX + 3,
    QUALIFIED_NAME_BYTES = 2 * QUOTED_IDENTIFIER_BYTES
};

// Names as the catalogs hold them: folded, without quotes.
struct table_name {
    char schema[IDENTIFIER_BYTES_MAX + 1]; // "": not given, the search_path decides
    char table[IDENTIFIER_BYTES_MAX + 1];
};

// Reads `kv_store`, `app.kv` or `"My App"."Kv store"`: what is not quoted folds to lower case
// (ASCII only, as PostgreSQL does in UTF-8), what is quoted stays and writes a quote as "". Blanks
// around the names are allowed; key words need no quotes, as in a regclass. ERROR_CONFIG with a
// message that says what is wrong; PostgreSQL would cut a name that is too long, we refuse it.
enum error table_name_parse(const char *text, struct table_name *name, struct failure *failure);

// Appends `identifier` in double quotes, whatever bytes it has: PQescapeIdentifier without a
// connection.
void quote_identifier(struct buffer *out, const char *identifier);

// Appends `text` as a literal that means the same with standard_conforming_strings on and off:
// PQescapeLiteral without a connection.
void quote_literal(struct buffer *out, const char *text);

// PostgreSQL's messages name a relation as our SQL does, with its schema. Where the schema is not
// the user's own word, turns each `"schema.table"` of `message` into `"table"`.
void table_name_shorten(const struct table_name *name, char *message);

// Writes "schema"."name", or "name" where `schema` is empty, with a NUL.
void quote_qualified(const char *schema, const char *name, char out[QUALIFIED_NAME_BYTES]);
