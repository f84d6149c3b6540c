// The statements that one connection has prepared at its server, by name. A statement is prepared
// with its first use, in the same pipeline, and anew every so often: a plan that was made for a
// small table must not outlive its growth.
//
// A pooler that gives each transaction another server connection leads to servers that do not know
// the name, or know it from somebody else. A name is made of the statement's own text, so that
// whoever prepared it meant the same; and where it is missing or taken, PostgreSQL refuses the unit
// with a code that prepared_is_refusal knows, and its owner sends it again without a name.
//
// Pure but for libpq's output buffer. The pg worker's thread.
#pragma once

#include "pg/conn.h"

enum { PREPARED_STATEMENTS_MAX = 8, PREPARED_NAME_BYTES = 32 };

struct prepared_statement {
    char name[PREPARED_NAME_BYTES];
    int64_t since_boot_us;
};

// {0} is empty: what a new connection starts with.
struct prepared {
    struct prepared_statement statements[PREPARED_STATEMENTS_MAX];
    size_t count;
    size_t last; // the one that was sent last
};

// The name for `sql`, whose parameters are of `types`.
void prepared_name(const char *sql, const Oid *types, size_t types_count,
                   char name[PREPARED_NAME_BYTES]);

// Sends the query, which has a name, in pipeline mode, after what prepares it where that is due.
// Sets `preludes` to the number of results that come before the query's own. False where libpq
// refuses.
bool prepared_send(struct prepared *prepared, PGconn *pg, const struct query *query,
                   int64_t now_boot_us, unsigned *preludes);

// What prepared the statement that was sent last was refused: it will be prepared anew.
void prepared_undo(struct prepared *prepared);

// Whether PostgreSQL refused a named statement for its name or for a plan that cannot be used any
// more, so that the same query without a name may well succeed.
bool prepared_is_refusal(const char *sqlstate);
