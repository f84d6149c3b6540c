// What comes back on a connection: results, to the unit in flight, and notifications between them.
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/fault.h"
#include "pg/conn_params.h"
#include "pg/conn_state.h"
#include "pg/helm.h"
#include "pg/timer.h"

// The errand in flight has had its last result.
static void errand_is_over(struct conn *conn)
{
    if (conn->errand == ERRAND_PREPARE) {
        if (conn->refused) {
            struct failure failure = conn->failure;
            conn_lose(conn, &failure);
        } else {
            conn_session_is_ready(conn);
        }
        return;
    }
    if (conn->pipelined) {
        CHECK(PQexitPipelineMode(conn->pg) == 1);
    }
    if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE) {
        CHECK_VALUES(conn->errand == ERRAND_UNIT, "%s stays in a transaction", conn->options.name);
        CHECK_VALUES(conn->refused, "%s left a transaction open", conn->options.name);
        conn_start_errand(conn, ERRAND_ROLLBACK, false);
        conn_send_script(conn, "ROLLBACK");
        return;
    }
    if (conn->preludes > 0) {
        prepared_undo(&conn->prepared);
    }
    timer_disarm(conn->timer);
    conn_set_state(conn, CONN_IDLE);
    struct failure failure = conn->failure;
    bool refused = conn->refused;
    conn->refused = false;
    conn_unit_done(conn, refused ? UNIT_REFUSED : UNIT_OK, refused ? &failure : NULL);
}

static void note_refusal(struct conn *conn, const PGresult *result)
{
    if (conn->refused) {
        return;
    }
    conn->refused = true;
    conn->failure = (struct failure){0};
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    char line[FAILURE_MESSAGE_BYTES];
    conn_one_line(words != NULL ? words : PQresultErrorMessage(result), line, sizeof line);
    if (conn->options.implied != NULL && conn->options.implied->schema[0] != '\0') {
        table_name_shorten(conn->options.implied, line);
    }
    failure_note(&conn->failure, ERROR_REJECTED, "%s", line);
    snprintf(conn->failure.sqlstate, sizeof conn->failure.sqlstate, "%s",
             sqlstate == NULL ? "" : sqlstate);
}

// The result is gone afterwards.
static void take_result(struct conn *conn, PGresult *result)
{
    conn->has_had_much = conn->has_had_much || PQresultMemorySize(result) > CONN_LENT_BYTES_MAX ||
                         PQresultStatus(result) == PGRES_COPY_OUT;
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (conn->errand == ERRAND_UNIT && !conn->refused && conn->preludes == 0) {
            if (conn->unit.on_result != NULL) {
                conn->unit.on_result(conn->unit.context, conn->index, result);
            }
        }
        break;
    case PGRES_COPY_OUT:
        CHECK_VALUES(conn->errand == ERRAND_UNIT && conn->unit.on_copied != NULL,
                     "%s is sent what it did not ask for", conn->options.name);
        conn->is_copying = true;
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        note_refusal(conn, result);
    }
    PQclear(result);
}

// Takes some of what COPY sends. False where there is nothing more to take now.
static bool take_copied(struct conn *conn)
{
    unsigned life = conn->life;
    char *bytes;
    int len = PQgetCopyData(conn->pg, &bytes, 1);
    if (len > 0) {
        conn->unit.on_copied(conn->unit.context, slice_of(bytes, (size_t)len));
        PQfreemem(bytes);
    } else if (len == -1) {
        conn->is_copying = false; // a result tells how it ended
    } else if (len < -1) {
        struct failure failure = conn_broken(conn);
        conn_lose(conn, &failure);
    }
    return conn->life == life && len != 0;
}

// The connection is of no more use. A guest leaves its end to the loop.
static void break_off(struct conn *conn, const char *reason)
{
    if (helm_is_visited()) {
        conn_stop_lending(conn);
        conn_fail_later(conn);
    } else if (reason != NULL) {
        conn_fail(conn, reason);
    } else {
        struct failure failure = conn_broken(conn);
        conn_lose(conn, &failure);
    }
}

// Takes one result. False where there is nothing more to take now.
static bool process_result(struct conn *conn)
{
    if (conn->is_copying) {
        return take_copied(conn);
    }
    if (conn->errand == ERRAND_NONE || PQisBusy(conn->pg) == 1) {
        return false;
    }
    unsigned life = conn->life;
    PGresult *result = PQgetResult(conn->pg);
    if (result == NULL) {
        bool is_over = !conn->pipelined;
        if (conn->saw_result && conn->preludes > 0) {
            conn->preludes -= !conn->refused;
        } else {
            conn->index += conn->saw_result;
        }
        conn->saw_result = false;
        if (PQstatus(conn->pg) == CONNECTION_BAD) {
            return false;
        }
        if (is_over) {
            errand_is_over(conn);
        }
        return conn->life == life;
    }
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        errand_is_over(conn);
        return conn->life == life;
    }
    if (FAULT_POINT(CONN_RESULT)) {
        PQclear(result);
        break_off(conn, "fault point conn.result");
        return false;
    }
    take_result(conn, result);
    if (conn->life != life) {
        return false;
    }
    conn->saw_result = conn->pipelined;
    conn->index += !conn->pipelined;
    return true;
}

static void hear_notifications(struct conn *conn)
{
    unsigned life = conn->life;
    PGnotify *notify;
    while (conn->life == life && (notify = PQnotifies(conn->pg)) != NULL) {
        if (conn->options.on_notify != NULL) {
            conn->options.on_notify(conn->options.context, notify->relname,
                                    slice_of_string(notify->extra));
        }
        PQfreemem(notify);
    }
}

// What libpq had no room for, of a record that it took off the socket, stays with OpenSSL, and
// nobody is woken for that: libpq asks for it only where it waits itself.
static bool has_unread(const struct conn *conn)
{
    SSL *tls = PQsslStruct(conn->pg, "OpenSSL");
    return tls != NULL && SSL_pending(tls) > 0;
}

void conn_read(struct conn *conn)
{
    unsigned life = conn->life;
    unsigned unit = conn->units_count;
    bool open;
    do {
        // What came before the end of the connection is taken before the end is.
        open = PQconsumeInput(conn->pg) == 1;
        while (process_result(conn)) {
        }
    } while (open && conn->life == life && has_unread(conn));
    if (conn->life == life) {
        if (conn->units_count == unit) {
            conn_await_answer(conn);
        }
        hear_notifications(conn);
    }
    if (conn->life != life) {
        return;
    }
    if (!open || PQstatus(conn->pg) == CONNECTION_BAD) {
        break_off(conn, NULL);
        return;
    }
    conn_flush_output(conn);
}
