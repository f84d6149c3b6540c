// The SQL of the layout "document" that document.c fills in, beside that of schema_sql.h.
// Constant; any thread.
#pragma once

#include "pg/schema_sql.h"

enum { DOCUMENT_FUNCTIONS_COUNT = 8 };
extern const struct schema_function DOCUMENT_FUNCTIONS[DOCUMENT_FUNCTIONS_COUNT];

// In place of SCHEMA_SQL_TABLE: what the document must be, and the document's part of the
// companion table.
extern const char DOCUMENT_SQL_COMPANION[];
// After the functions: the view that is read, and the triggers on both sides.
extern const char DOCUMENT_SQL_PAIRS[];
extern const char DOCUMENT_SQL_TRIGGERS[];

// Takes all of it away; the document stays as it is.
extern const char DOCUMENT_SQL_DROP[];
// What no document of the schema needs any more.
extern const char DOCUMENT_SQL_DROP_SHARED[];

// Looks at the document and leaves what is wrong with it in a setting of the transaction, for the
// check: it fails on nothing.
extern const char DOCUMENT_SQL_PROBE[];
// Rows as those of SCHEMA_SQL_CHECK.
extern const char DOCUMENT_SQL_CHECK[];
