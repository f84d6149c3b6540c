// The node's row in PostgreSQL, which says how far this node's writes have been applied there, and
// what it means against what the outbox knows.
#pragma once

#include "base/ports.h"
#include "pg/conn.h"
#include "pg/schema.h"

struct node_row {
    bool is_found;
    uint64_t applied_seq;
    char incarnation[37];
    struct buffer results; // pgnear_node.results: JSON text, of the batch that ended at applied_seq
};

void node_row_deinit(struct node_row *row);

// The query that reads it, and waits for a batch that is still in flight to settle first. `sql` is
// the caller's to deinit; its one parameter ($1) is the node.
void node_row_sql(const struct schema_names *names, struct buffer *sql);
// The query before it, with the same parameter, for a batch that never will settle: the network was
// lost in the midst of it, the backend has not heard of that and waits for the rest, for two hours
// where tcp_keepalives_idle is what it comes as, with the row and the keys of the batch locked. It
// ends such backends of our own user and name. It may be refused, where pg_terminate_backend is not
// for everybody: then the one above waits.
void node_row_free_sql(const struct schema_names *names, struct buffer *sql);
// Its result, to the log.
void node_row_note_freed(const PGresult *result);
// The result of the first, into a row that may hold an earlier one.
void node_row_take(struct node_row *row, const PGresult *result);

enum node_verdict {
    NODE_ROW_SAME,
    NODE_ROW_AHEAD,  // a batch was applied whose result was lost
    NODE_ROW_BEHIND, // applied writes were lost: a failover
    NODE_ROW_MISSING,
    NODE_ROW_STRANGER, // another daemon claims to be this node
};

enum node_verdict node_row_judge(const struct node_row *row, const struct outbox_identity *identity,
                                 const struct outbox_port *outbox, uint64_t applied_seq);
