// A batch as one unit of queries:
//
//      BEGIN; pgnear_advance(...); [open or lock the rows, by key]; [are they as expected?];
//      one statement a group; are there triggers of others?; [close]; COMMIT
//
// A layout that keeps the pairs elsewhere as well (document.h) has a function that opens the batch,
// under whose lock all else happens, and one that closes it.
//
// Rows are locked in the order of their keys before anything that could take them in another
// order, so that nodes cannot deadlock over rows that exist, and so that a condition that fails is
// told the version that is really there. A group whose results are wanted appends them to the
// node's row as well: where the answer to COMMIT is lost, they can still be read from there.
//
// Triggers of others may change what is written. Where there were any at the last look, the rows
// are compared with what was asked for; and since the table is locked against CREATE TRIGGER once a
// row was written, the look at the end of a batch holds for the whole of it.
#pragma once

#include "base/ports.h"
#include "pg/batch.h"
#include "pg/conn.h"
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

void batch_sql_init(struct batch_sql *sql, const struct schema_names *names);
void batch_sql_deinit(struct batch_sql *sql);

enum batch_query { BATCH_QUERY_OTHER, BATCH_QUERY_GROUP, BATCH_QUERY_TRIGGERS };

// Everything lives in the batch's arena.
struct batch_unit {
    struct query *queries;
    size_t queries_count;
    size_t first_group; // the query of the batch's first group; the others follow it
    bool is_checked;    // rows were compared with what was asked for
};

// `from_seq` is where PostgreSQL has to stand; the batch is sealed. `check_rows`: triggers of
// others are known of.
struct batch_unit batch_sql_unit(const struct batch_sql *sql, struct batch *batch,
                                 const struct outbox_identity *identity, uint64_t from_seq,
                                 bool check_rows);

// What query `index` is for; `group` is set for BATCH_QUERY_GROUP.
enum batch_query batch_unit_query(const struct batch_unit *unit, const struct batch *batch,
                                  size_t index, const struct batch_group **group);
