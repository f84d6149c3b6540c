// The statements that write a batch, as texts: what batch_unit.h puts in order and gives
// parameters.
//
// A group whose results are wanted appends them to the node's row as well: where the answer to
// COMMIT is lost, they can still be read from there.
//
// Triggers of others may change what is written. Where there were any at the last look, the rows
// are compared with what was asked for; and since the table is locked against CREATE TRIGGER once a
// row was written, the look at the end of a batch holds for the whole of it. Pure; any thread.
#pragma once

#include "pg/batch.h"
#include "pg/schema.h"

// The statements for one table; owned, freed by batch_sql_deinit.
struct batch_sql {
    char *advance;
    char *open; // NULL where the layout has nothing to open or close
    char *close;
    char *lock;
    char *guard;       // fails where a key is not as expected
    char *put_plain;   // nothing wanted but the version
    char *put_checked; // nothing wanted, triggers of others about
    char *delete_plain;
    char *foreign_triggers;
    char *returning[BATCH_TOUCH + 1]; // by kind
};

// Larger values than `value_bytes_max` are not made by a merge.
void batch_sql_init(struct batch_sql *sql, const struct schema_names *names,
                    size_t value_bytes_max);
void batch_sql_deinit(struct batch_sql *sql);
