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
// told the version that is really there. Pure: nothing is sent from here.
#pragma once

#include "base/ports.h"
#include "pg/batch.h"
#include "pg/batch_sql.h"
#include "pg/conn.h"

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
struct batch_unit batch_unit_make(const struct batch_sql *sql, struct batch *batch,
                                  const struct outbox_identity *identity, uint64_t from_seq,
                                  bool check_rows);

// What query `index` is for; `group` is set for BATCH_QUERY_GROUP.
enum batch_query batch_unit_query(const struct batch_unit *unit, const struct batch *batch,
                                  size_t index, const struct batch_group **group);
