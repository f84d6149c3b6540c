// What stands in PostgreSQL: the SQL that makes it, examines it and takes it away, and the names
// in it. Everything lives in the schema of the table:
//
//   TABLE                        the pairs (SPEC, section 4), plain or PARTITION BY HASH (key)
//   TABLE_history                every version, where versioning is on; stays when it is not
//   TABLE_version_seq            where versions come from
//   TABLE_pgnear_version()       trigger function: draws the version of a foreign row
//   TABLE_pgnear_notify()        trigger function: announces what a statement changed, and keeps
//                                its history where versioning is on
//   TABLE_pgnear_reap(...)       removes expired rows
//   TABLE_pgnear_trim(...)       removes history of a certain age
//   pgnear_node                  one row a daemon
//   pgnear_advance(...)          the first statement of every batch
//   pgnear_merge_patch(...)      RFC 7396
//   pgnear_incr_value(...)       the sum, or an error that says why not
//   pgnear_within(...)           the value, or an error where it is larger than a value may be
//   pgnear_conflict(...)         the error of a guarded write whose key has changed
//   pgnear_lift_versions(...)    moves the sequence past all that was ever drawn
//
// Names that do not fit 63 bytes are cut and carry a hash of the whole.
//
// Only text is made here; nothing talks to a server. All functions want the schema of the table to
// be known: where the settings do not name it, run schema_resolve_sql first. Any thread.
#pragma once

#include "base/settings.h"
#include "pg/table_name.h"

// The number in the functions' text. A daemon replaces functions of a lower number and leaves
// those of a higher one alone, so that nodes of two releases do not undo each other.
enum { SCHEMA_VERSION = 6 };

enum { SCHEMA_CHANNEL_BYTES = 64 };

// ERRCODE of pgnear_advance where the node's row is not as the batch expects it.
#define SCHEMA_SQLSTATE_NOT_ADVANCED "PN001"

// ERRCODE of pgnear_conflict; its message ends with the version where the key exists.
#define SCHEMA_SQLSTATE_CONFLICT "PN002"

// ERRCODE of pgnear_within.
#define SCHEMA_SQLSTATE_TOO_LARGE "PN003"

// The setting that names the node on whose behalf a transaction writes; '' or unset is foreign.
#define SCHEMA_ORIGIN_SETTING "pgnear.origin"

// Where the pairs are, in the layout "document" (document.h).
struct schema_document {
    struct table_name table; // with its schema; no name: the layout is "table"
    char id_column[IDENTIFIER_BYTES_MAX + 1];
    char column[IDENTIFIER_BYTES_MAX + 1];
    const char *id; // of the settings
};

struct schema_options {
    struct table_name table; // with its schema
    struct schema_document document;
    int partitions; // hash partitions of a table to be made; 0: none
    enum updated_at_index updated_at_index;
    bool versioning; // keep history
};

// Names ready to stand in SQL: quoted and schema-qualified, but for the first.
struct schema_names {
    char schema[QUOTED_IDENTIFIER_BYTES];
    char table[QUALIFIED_NAME_BYTES];
    char sequence[QUALIFIED_NAME_BYTES]; // for nextval, as a literal: quote_literal
    char node_table[QUALIFIED_NAME_BYTES];
    char version_function[QUALIFIED_NAME_BYTES];
    char notify_function[QUALIFIED_NAME_BYTES];
    char history[QUALIFIED_NAME_BYTES];
    char reap_function[QUALIFIED_NAME_BYTES]; // (rows_max int, passed_at timestamptz, passed_key
                                              // text); one row, see reap_pass.c
    char trim_function[QUALIFIED_NAME_BYTES]; // (keep interval, rows_max int) RETURNS int
    char advance[QUALIFIED_NAME_BYTES];       // (node uuid, incarnation uuid, from int8, to int8)
    char merge_patch[QUALIFIED_NAME_BYTES];   // (target jsonb, patch jsonb) RETURNS jsonb
    char incr_value[QUALIFIED_NAME_BYTES]; // (old jsonb, by numeric) RETURNS jsonb; old may be NULL
    char within[QUALIFIED_NAME_BYTES];     // (value jsonb, bytes_max bigint) RETURNS jsonb
    char conflict[QUALIFIED_NAME_BYTES];   // (key text, version bigint); fails
    char lift_versions[QUALIFIED_NAME_BYTES]; // (sequence regclass) RETURNS bigint
    char pairs[QUALIFIED_NAME_BYTES];         // what is read: the table, or a view on it
    char open[QUALIFIED_NAME_BYTES];          // () to be called before a batch writes; "": nothing
    char close[QUALIFIED_NAME_BYTES];         // () when it has written; "": nothing
    char channel[SCHEMA_CHANNEL_BYTES];       // needs no quotes
};

void schema_names_of(const struct table_name *table, struct schema_names *names);

// Appends a query whose one row is the schema (text) in which the table lies, or in which CREATE
// TABLE would make it; NULL where the search_path names no schema that exists.
void schema_resolve_sql(const struct table_name *table, struct buffer *out);

// Appends the script that creates or upgrades everything; running it again changes nothing and
// takes no lock that a writer of the table would feel. Run it inside
// BEGIN ISOLATION LEVEL READ COMMITTED ... COMMIT, so that it sees what the node before it made.
// It waits for other nodes that run it (an advisory lock), and at most 5 s for a lock on the table
// (55P03: try again later). It sets search_path, statement_timeout and lock_timeout for its
// transaction.
void schema_create_sql(const struct schema_options *options, struct buffer *out);

// Appends the script that takes everything of ours away and leaves the pairs with their times and
// expiry, and the history: the version column goes, since versions without triggers would lie. To
// be run like the one above. What other tables of the schema need stays.
void schema_drop_sql(const struct schema_options *options, struct buffer *out);

// Appends a query with the rows (item text, ok boolean, message text), as current_user sees it.
// It fails on nothing that is missing; 42501 only where current_user may not look into the schema.
void schema_check_sql(const struct schema_options *options, struct buffer *out);

// The channel of NOTIFY: "pgnear_" and 16 hexadecimal digits.
void schema_channel(const struct table_name *table, char out[SCHEMA_CHANNEL_BYTES]);
