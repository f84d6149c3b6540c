#include "pg/agreement.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/handshake.h"

enum { STRAYS_MAX = 2 };

const char AGREEMENT_SQL[] =
    "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"
    " CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) "
    "END";

void agreement_ask(struct agreement *agreement)
{
    agreement->holds = false;
    agreement->is_primary = false;
}

void agreement_take(struct agreement *agreement, const struct worker *worker,
                    const PGresult *result)
{
    CHECK(PQntuples(result) == 1 && PQnfields(result) == 2);
    const char *timeline = PQgetvalue(result, 0, 1);
    agreement->is_primary = timeline[0] != '\0';
    agreement->holds =
        strtoll(PQgetvalue(result, 0, 0), NULL, 10) == worker->server.start.started_us &&
        strcmp(timeline, worker->server.start.timeline) == 0;
    if (agreement->holds) {
        agreement->strays = 0;
    }
}

void agreement_leave(struct agreement *agreement, struct worker *worker, struct conn *conn)
{
    static const char WORDS[] = "the connection leads to another server, or it was restarted";
    CHECK(!agreement->holds);
    agreement->strays += agreement->is_primary;
    if (agreement->strays < STRAYS_MAX) {
        conn_fail(conn, WORDS);
        return;
    }
    agreement->strays = 0;
    handshake_restart(worker->handshake, WORDS);
}
