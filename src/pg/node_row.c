#include "pg/node_row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"

void node_row_deinit(struct node_row *row)
{
    buffer_deinit(&row->results);
    *row = (struct node_row){0};
}

void node_row_sql(const struct schema_names *names, struct buffer *sql)
{
    buffer_printf(sql,
                  "SELECT applied_seq::text, incarnation::text, results::text FROM %s"
                  " WHERE node = $1::uuid FOR UPDATE",
                  names->node_table);
}

// The row's xmax is whoever has it locked. What ends a backend must see no other: so the ones found
// are materialized first. In the midst of a transaction ClientRead awaits the rest of a batch, and
// ClientWrite somebody who takes the answers.
void node_row_free_sql(const struct schema_names *names, struct buffer *sql)
{
    buffer_printf(sql,
                  "WITH stranded AS MATERIALIZED (SELECT a.pid FROM %s AS n"
                  " JOIN pg_catalog.pg_locks l ON l.locktype = 'transactionid' AND l.granted"
                  " AND l.transactionid = n.xmax"
                  " JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
                  " WHERE n.node = $1::uuid AND a.pid <> pg_backend_pid()"
                  " AND a.usename = current_user AND a.wait_event IN ('ClientRead', 'ClientWrite')"
                  " AND a.application_name = current_setting('application_name'))"
                  " SELECT pid, pg_terminate_backend(pid) FROM stranded",
                  names->node_table);
}

void node_row_note_freed(const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        LOG_WARNING("stranded batch ended",
                    LOG_INT("backend", strtoll(PQgetvalue(result, i, 0), NULL, 10)));
    }
}

void node_row_take(struct node_row *row, const PGresult *result)
{
    node_row_deinit(row);
    if (PQntuples(result) == 0) {
        return;
    }
    CHECK(PQntuples(result) == 1 && PQnfields(result) == 3);
    row->is_found = true;
    row->applied_seq = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    snprintf(row->incarnation, sizeof row->incarnation, "%s", PQgetvalue(result, 0, 1));
    buffer_append(&row->results, PQgetvalue(result, 0, 2), (size_t)PQgetlength(result, 0, 2));
}

enum node_verdict node_row_judge(const struct node_row *row, const struct outbox_identity *identity,
                                 const struct outbox_port *outbox, uint64_t applied_seq)
{
    if (!row->is_found) {
        return NODE_ROW_MISSING;
    }
    if (strcmp(row->incarnation, identity->incarnation) != 0 &&
        !outbox->knows_incarnation(outbox->outbox, row->incarnation)) {
        return NODE_ROW_STRANGER;
    }
    if (row->applied_seq == applied_seq) {
        return NODE_ROW_SAME;
    }
    return row->applied_seq > applied_seq ? NODE_ROW_AHEAD : NODE_ROW_BEHIND;
}
