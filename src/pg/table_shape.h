// What shows that somebody changed the table itself rather than its rows: dropped it and made it
// anew, put another in its place, changed a column, turned triggers off. No trigger announces that.
#pragma once

#include <stdint.h>

#include <libpq-fe.h>

enum { TABLE_SHAPE_BYTES = 40 };

struct table_shape {
    // Of the table with its partitions, its columns and our triggers: another one after every
    // change of them. "": there is no such table.
    char digest[TABLE_SHAPE_BYTES];
    // How many triggers of ours always fire on that of these tables which has the fewest.
    int64_t triggers;
};

// One row, for table_shape_take. $1 and $2 are names of tables, or twice the same. It takes no lock
// of them, so that nobody's DDL holds it up.
extern const char TABLE_SHAPE_SQL[];

void table_shape_take(struct table_shape *shape, const PGresult *result);
