#include "pg/sqlstate.h"

#include <stddef.h>
#include <string.h>

// Prefixes, the longest first where two match (PostgreSQL, appendix A). Every class that PostgreSQL
// has is here.
static const struct {
    const char *prefix;
    enum sqlstate_class class;
} TABLE[] = {
    // Single codes that differ from their class.
    {"57014", SQLSTATE_CONNECTION}, // query_canceled: a timeout or a pg_cancel_backend
    {"53300", SQLSTATE_CONNECTION}, // too_many_connections
    {"55P03", SQLSTATE_CONNECTION}, // lock_not_available
    {"PN001", SQLSTATE_CONNECTION}, // pgnear_advance: the node's row is looked at again
    {"PN002", SQLSTATE_ROW},        // pgnear_conflict: a guarded write is not to be done
    {"PN003", SQLSTATE_ROW},        // pgnear_within: what a merge makes is too large
    // Classes.
    {"08", SQLSTATE_CONNECTION}, // connection exception
    {"40", SQLSTATE_CONNECTION}, // serialization failure, deadlock
    {"57", SQLSTATE_CONNECTION}, // operator intervention: shutting down, starting up
    {"09", SQLSTATE_ROW},        // triggered action exception
    {"21", SQLSTATE_ROW},        // cardinality violation
    {"22", SQLSTATE_ROW},        // data exception
    {"23", SQLSTATE_ROW},        // integrity constraint violation
    {"27", SQLSTATE_ROW},        // triggered data change violation
    {"38", SQLSTATE_ROW},        // external routine exception
    {"39", SQLSTATE_ROW},        // external routine invocation exception
    {"44", SQLSTATE_ROW},        // WITH CHECK OPTION violation
    {"54", SQLSTATE_ROW},        // program limit exceeded: a row or an index entry too large
    {"P0", SQLSTATE_ROW},        // PL/pgSQL: RAISE and its like
    {"00", SQLSTATE_OPERATOR},
    {"01", SQLSTATE_OPERATOR},
    {"02", SQLSTATE_OPERATOR},
    {"03", SQLSTATE_OPERATOR},
    {"0A", SQLSTATE_OPERATOR},
    {"0B", SQLSTATE_OPERATOR},
    {"0F", SQLSTATE_OPERATOR},
    {"0L", SQLSTATE_OPERATOR},
    {"0P", SQLSTATE_OPERATOR},
    {"0Z", SQLSTATE_OPERATOR},
    {"20", SQLSTATE_OPERATOR},
    {"24", SQLSTATE_OPERATOR},
    {"25", SQLSTATE_OPERATOR}, // invalid transaction state: a read-only server
    {"26", SQLSTATE_OPERATOR},
    {"28", SQLSTATE_OPERATOR},
    {"2B", SQLSTATE_OPERATOR},
    {"2D", SQLSTATE_OPERATOR},
    {"2F", SQLSTATE_OPERATOR},
    {"34", SQLSTATE_OPERATOR},
    {"3B", SQLSTATE_OPERATOR},
    {"3D", SQLSTATE_OPERATOR},
    {"3F", SQLSTATE_OPERATOR},
    {"42", SQLSTATE_OPERATOR}, // no such table, no right
    {"53", SQLSTATE_OPERATOR}, // insufficient resources: disk full
    {"55", SQLSTATE_OPERATOR},
    {"58", SQLSTATE_OPERATOR},
    {"72", SQLSTATE_OPERATOR},
    {"F0", SQLSTATE_OPERATOR},
    {"HV", SQLSTATE_OPERATOR},
    {"XX", SQLSTATE_OPERATOR},
};

enum sqlstate_class sqlstate_classify(const char *sqlstate)
{
    if (sqlstate[0] == '\0') {
        return SQLSTATE_CONNECTION;
    }
    for (size_t i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        if (strncmp(sqlstate, TABLE[i].prefix, strlen(TABLE[i].prefix)) == 0) {
            return TABLE[i].class;
        }
    }
    return SQLSTATE_ROW;
}

// Constraints and triggers that were deferred speak of rows here as well. What exceeds a limit here
// is no row but the notifications of whatever transaction comes (asyncQueueAddEntries: "too many
// notifications in the NOTIFY queue"), until the listener that holds them up has gone.
enum sqlstate_class sqlstate_classify_commit(const char *sqlstate)
{
    return strcmp(sqlstate, SQLSTATE_LIMIT_EXCEEDED) == 0 ? SQLSTATE_OPERATOR
                                                          : sqlstate_classify(sqlstate);
}
