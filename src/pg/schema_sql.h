// The SQL text that schema.c fills in: @name@ stands for a value of its table of placeholders.
// Constant; any thread.
#pragma once

#include <stdbool.h>

struct schema_function {
    const char *signature; // as to_regprocedure reads it
    const char *create;    // a statement of a DO block
    bool of_schema;        // shared by the tables of a schema
    bool is_trigger;       // called by triggers only
    bool keeps_history;    // with versioning: its text differs
};

enum { SCHEMA_FUNCTIONS_COUNT = 10 };
extern const struct schema_function SCHEMA_FUNCTIONS[SCHEMA_FUNCTIONS_COUNT];

// The parts of the script that creates, in order; the functions stand between the last two.
extern const char SCHEMA_SQL_BEGIN[]; // shared with the script that drops
extern const char SCHEMA_SQL_TABLE[];
extern const char SCHEMA_SQL_COLUMNS[];
extern const char SCHEMA_SQL_VERSIONS[];
extern const char SCHEMA_SQL_NODE[];
extern const char SCHEMA_SQL_TRIGGERS[];

// An index on updated_at, for the script that creates.
extern const char SCHEMA_SQL_INDEX[];

// The index that finds expired rows; the table of the history, where versioning is on.
extern const char SCHEMA_SQL_EXPIRY[];
extern const char SCHEMA_SQL_HISTORY[];

// Parts of the notify function; schema_history_sql.c. The last two are versions of a deletion.
extern const char SCHEMA_SQL_KEEP_SETS[];
extern const char SCHEMA_SQL_KEEP_LEFT[];
extern const char SCHEMA_SQL_KEEP_DELETES[];
extern const char SCHEMA_SQL_KEEP_TRUNCATE[];
extern const char SCHEMA_SQL_KEEP_ROW[];
extern const char SCHEMA_SQL_DRAWN_VERSION[];
extern const char SCHEMA_SQL_KEPT_VERSION[];

// Functions made there.
extern const char SCHEMA_SQL_CREATE_REAP[];
extern const char SCHEMA_SQL_CREATE_TRIM[];

// Takes away what belongs to the table, and then what no table of the schema needs any more; the
// functions are dropped after each.
extern const char SCHEMA_SQL_DROP_TRIGGERS[];
extern const char SCHEMA_SQL_DROP_TABLE_PARTS[];
extern const char SCHEMA_SQL_DROP_SCHEMA_PARTS[];

// The query of schema_check_sql.
extern const char SCHEMA_SQL_CHECK[];
