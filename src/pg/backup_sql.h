// The SQL of backups: each job is one transaction, run inside PostgreSQL without moving rows
// through the daemon. What may vary goes in as parameters; the statements are constants.
//
//   TABLE_backup_2025-11-01T16-35-00Z    in the schema of the table: its columns and primary key,
//       backup_created_at timestamptz DEFAULT now(), backup_source_table text
//
// A table is a backup of ours by that name, by its columns, and by the source that its first row
// names. Jobs that make, restore and drop backups of one table come one after the other, on
// whatever node they were asked for (an advisory lock).
//
// Only text is made here and only results are read; nothing talks to a server. Any thread.
#pragma once

#include "pg/conn.h"

enum backup_job {
    BACKUP_MAKE,
    BACKUP_MAKE_IF_DUE, // unless another node makes one, or the newest is younger than `age_us`
    BACKUP_LIST,
    BACKUP_MERGE,    // the rows of `backup` into the table
    BACKUP_REPLACE,  // and what is not among them is deleted
    BACKUP_CLEAN_UP, // drops those that are `age_us` old
};

enum { BACKUP_PROGRESS_BYTES = 44 }; // 63 with the number

struct backup_order {
    enum backup_job job;
    struct table_name table;               // with its schema
    char backup[IDENTIFIER_BYTES_MAX + 1]; // BACKUP_MERGE and BACKUP_REPLACE
    char open[QUALIFIED_NAME_BYTES];       // schema_names.open
    char progress[BACKUP_PROGRESS_BYTES];  // its application_name while it copies rows is this and
                                           // how many it has copied
    int64_t age_us;
    int64_t server_started_us; // the job is refused (08000) where another postmaster answers
    int64_t timeout_ms;        // for any one statement; 0: as long as it takes
};

enum { BACKUP_QUERIES_COUNT = 5, BACKUP_RESULT_QUERY = 3, BACKUP_TIME_BYTES = 24 };
enum { BACKUP_VALUES_COUNT = 9 };

// The queries of a unit for conn_send; they point into the structure and into the order.
struct backup_sql {
    struct query queries[BACKUP_QUERIES_COUNT];
    const char *values[BACKUP_VALUES_COUNT];
    char server[24];
    char timeout[24];
    char age[64];
};

// A subquery: how many tables are backups of the table $3 in the schema $2 by name and columns.
#define BACKUP_COUNT_SQL                                                                           \
    "SELECT count(c.oid) FROM pg_catalog.pg_class c"                                               \
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                                    \
    " WHERE n.nspname = $2 AND c.relkind = 'r'"                                                    \
    " AND left(c.relname::text, length($3::text) + 8) = $3::text || '_backup_'"                    \
    " AND substr(c.relname::text, length($3::text) + 9) ~ " BACKUP_STAMP_PATTERN                   \
    " AND " BACKUP_COLUMNS_CONDITION

// No other has the form of a time and is none (of days, 31 pass in every month).
#define BACKUP_STAMP_PATTERN                                                                       \
    "'^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"                                          \
    "T([01][0-9]|2[0-3])-[0-5][0-9]-([0-5][0-9]|60)Z$'"

// Of the relation c.
#define BACKUP_COLUMNS_CONDITION                                                                   \
    "(SELECT count(a.attnum) FROM pg_catalog.pg_attribute a"                                       \
    " WHERE a.attrelid = c.oid AND NOT a.attisdropped"                                             \
    " AND (a.attname, a.atttypid) IN (('key', 'text'::regtype), ('value', 'jsonb'::regtype),"      \
    " ('backup_created_at', 'timestamptz'::regtype),"                                              \
    " ('backup_source_table', 'text'::regtype))) = 4"

void backup_sql_init(struct backup_sql *sql, const struct backup_order *order);

// One row of the query BACKUP_RESULT_QUERY: a backup that was made, listed, restored or dropped.
struct backup_result {
    char name[IDENTIFIER_BYTES_MAX + 1];
    int64_t rows;
    char created_at[BACKUP_TIME_BYTES]; // RFC 3339 in UTC: "2025-11-01T16:35:00Z"
    int64_t wait_us;                    // BACKUP_MAKE_IF_DUE made none: when to look again; else 0
};

void backup_sql_take(const PGresult *result, int row, struct backup_result *taken);
