// SQL of a test, on the server's own connection for the main thread, and backends by their process.

#include "system/harness/pg.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/harness/deadline.h"

// Only for the time of a call: the formatted SQL, to be free()d.
static char *format_sql(const char *format, va_list values)
{
    char *sql = NULL;
    if (vasprintf(&sql, format, values) < 0) {
        scenario_fail("out of memory");
    }
    return sql;
}

static PGresult *execute(struct pg *pg, const char *sql)
{
    if (pg->conn == NULL) {
        pg->conn = pg_connect(pg);
    }
    PGresult *result = PQexec(pg->conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN) {
        scenario_fail("%.200s: %s", sql, PQerrorMessage(pg->conn));
    }
    return result;
}

// As pg_value; takes the SQL over.
static const char *value_of(struct pg *pg, char *sql)
{
    PGresult *result = execute(pg, sql);
    const char *value = NULL;
    if (PQntuples(result) > 0 && !PQgetisnull(result, 0, 0)) {
        value = scenario_text(pg->scenario, "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    free(sql);
    return value;
}

void pg_exec(struct pg *pg, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *sql = format_sql(format, values);
    va_end(values);
    PQclear(execute(pg, sql));
    free(sql);
}

const char *pg_value(struct pg *pg, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *sql = format_sql(format, values);
    va_end(values);
    return value_of(pg, sql);
}

int64_t pg_int(struct pg *pg, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *sql = format_sql(format, values);
    va_end(values);
    const char *value = value_of(pg, sql);
    char *end = NULL;
    int64_t number = value == NULL ? 0 : strtoll(value, &end, 10);
    if (value == NULL || *value == '\0' || *end != '\0') {
        scenario_fail("\"%s\" is not an integer", value == NULL ? "null" : value);
    }
    return number;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static const char *shown(const char *value)
{
    return value == NULL ? "null" : value;
}

void assert_pg_value(struct pg *pg, const char *expected, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *sql = format_sql(format, values);
    va_end(values);
    const char *said = scenario_text(pg->scenario, "%s", sql);
    const char *value = value_of(pg, sql);
    if (!same_text(value, expected)) {
        scenario_fail("%s: %s instead of %s", said, shown(value), shown(expected));
    }
}

void pg_await_value(struct pg *pg, const char *expected, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *sql = format_sql(format, values);
    va_end(values);
    const char *said = scenario_text(pg->scenario, "%s", sql);
    free(sql);
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *value;
    while (!same_text(value = pg_value(pg, "%s", said), expected)) {
        if (!deadline_again(&deadline)) {
            scenario_fail("%s: still %s instead of %s", said, shown(value), shown(expected));
        }
    }
}

void pg_copy_in(struct pg *pg, const char *copy_sql, struct slice rows)
{
    PQclear(execute(pg, copy_sql));
    bool sent = PQputCopyData(pg->conn, (const char *)rows.at, (int)rows.len) == 1 &&
                PQputCopyEnd(pg->conn, NULL) == 1;
    PGresult *result = PQgetResult(pg->conn);
    if (!sent || PQresultStatus(result) != PGRES_COMMAND_OK) {
        scenario_fail("%s: %s", copy_sql, PQerrorMessage(pg->conn));
    }
    PQclear(result);
    PQclear(PQgetResult(pg->conn));
}

pid_t pg_backend(struct pg *pg, const char *condition)
{
    struct deadline deadline = deadline_in(DEADLINE_MS);
    const char *pids;
    while ((pids = pg_value(pg,
                            "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity "
                            "WHERE pid <> pg_backend_pid() AND (%s)",
                            condition)) == NULL) {
        if (!deadline_again(&deadline)) {
            scenario_fail("no backend has %s", condition);
        }
    }
    char *end = NULL;
    long pid = strtol(pids, &end, 10);
    if (*end != '\0') {
        scenario_fail("several backends have %s: %s", condition, pids);
    }
    return (pid_t)pid;
}

void pg_hold(struct pg *pg, pid_t backend)
{
    for (size_t i = 0; i < PG_HELD_MAX; i++) {
        if (pg->held[i] == 0) {
            pg->held[i] = backend;
            if (kill(backend, SIGSTOP) != 0) {
                scenario_fail("cannot stop backend %d: %s", (int)backend, strerror(errno));
            }
            return;
        }
    }
    scenario_fail("more than PG_HELD_MAX backends are stopped");
}

void pg_release(struct pg *pg, pid_t backend)
{
    for (size_t i = 0; i < PG_HELD_MAX; i++) {
        if (pg->held[i] == backend) {
            pg->held[i] = 0;
            kill(backend, SIGCONT);
            return;
        }
    }
    scenario_fail("backend %d was not stopped by pg_hold", (int)backend);
}
