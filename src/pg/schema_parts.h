// What the layouts share in making their scripts. Pure functions; any thread.
#pragma once

#include "pg/placeholders.h"
#include "pg/schema.h"
#include "pg/schema_sql.h"

// FNV-1a, 64 bits, over the text and its NUL, so that ("a", "bc") and ("ab", "c") differ.
#define SCHEMA_HASH_BASIS UINT64_C(0xcbf29ce484222325)
uint64_t schema_hash(uint64_t hash, const char *text);

// The values of the templates of schema_sql.h, for placeholders_deinit; `options` outlives them.
void schema_placeholders(struct placeholders *placeholders, const struct schema_options *options);

// Creates the function where there is none, one of a lower number, or one of this number that
// keeps history where it should not, or the other way round.
void schema_function_sql(const struct placeholders *placeholders,
                         const struct schema_function *function, struct buffer *out);

// Of the script that creates, all that comes after the table.
void schema_parts_create_sql(const struct placeholders *placeholders,
                             const struct schema_options *options, struct buffer *out);
// Of the script that drops, all that comes after its opening.
void schema_parts_drop_sql(const struct placeholders *placeholders, struct buffer *out);
