// The checks that need no daemon, each a function that says what it found in words. What follows
// from one that failed is not examined.

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/clock.h"
#include "cli/check.h"
#include "offline/offline.h"
#include "pg/conn_params.h"
#include "pg/notify_queue.h"

enum { SERVER_VERSION_MIN = 120000, NOTIFY_WAIT_MS = 2000 };

struct checking {
    struct offline *offline;
    const struct invocation *invocation;
    enum exit_status status; // the worst so far
};

static bool report(struct checking *checking, const char *item, bool ok, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool report(struct checking *checking, const char *item, bool ok, const char *format, ...)
{
    char message[FAILURE_MESSAGE_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    const pgnear_check_item found = {pgnear_text(item), pgnear_text(message), ok};
    enum exit_status status = print_check_item(checking->invocation, &found);
    checking->status = status != EXIT_DONE ? status : checking->status;
    return ok;
}

static bool check_reach(struct checking *checking)
{
    const struct offline *offline = checking->offline;
    if (offline->conn == NULL) {
        return report(checking, "connection", false, "%s", offline->why_not);
    }
    return report(checking, "connection", true, "connected to database %s as %s",
                  PQdb(offline->conn), PQuser(offline->conn));
}

static bool check_version(struct checking *checking)
{
    PGconn *conn = checking->offline->conn;
    const char *version = PQparameterStatus(conn, "server_version");
    return report(checking, "version", PQserverVersion(conn) >= SERVER_VERSION_MIN,
                  "PostgreSQL %s%s", version,
                  PQserverVersion(conn) >= SERVER_VERSION_MIN ? "" : "; 12 or later is needed");
}

static void check_primary(struct checking *checking)
{
    PGresult *result = PQexec(checking->offline->conn, "SELECT pg_is_in_recovery()");
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        report(checking, "primary", false, "%s",
               PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    } else {
        bool is_standby = PQgetvalue(result, 0, 0)[0] == 't';
        report(checking, "primary", !is_standby, "%s",
               is_standby ? "the server is a standby, which takes no writes" : "takes writes");
    }
    PQclear(result);
}

// Whether the notification comes before the deadline; a transaction pooler in between loses it.
static bool hears_notification(PGconn *conn)
{
    int64_t deadline_us = clock_boot_us() + NOTIFY_WAIT_MS * (int64_t)CLOCK_US_PER_MS;
    for (;;) {
        PQconsumeInput(conn);
        PGnotify *heard = PQnotifies(conn);
        if (heard != NULL) {
            PQfreemem(heard);
            return true;
        }
        int64_t left_us = deadline_us - clock_boot_us();
        struct pollfd entry = {.fd = PQsocket(conn), .events = POLLIN};
        if (left_us <= 0 || PQstatus(conn) != CONNECTION_OK ||
            poll(&entry, 1, (int)(left_us / CLOCK_US_PER_MS) + 1) == 0) {
            return false;
        }
    }
}

// Runs `sql`; false where it did not work, with the reason on one line.
static bool run_command(PGconn *conn, const char *sql, char *why, size_t why_bytes)
{
    // A command on a connection that was not made would have words of its own.
    PGresult *result = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, sql) : NULL;
    bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    conn_one_line(done ? "" : PQerrorMessage(conn), why, why_bytes);
    return done;
}

// In a session of the server itself, LISTEN and NOTIFY in two transactions meet.
static void check_notify(struct checking *checking)
{
    const struct postgres_settings *postgres = &checking->offline->settings.postgres;
    bool has_url = postgres->listen_conninfo != NULL;
    PGconn *listen =
        offline_connect(postgres, has_url ? postgres->listen_conninfo : postgres->conninfo);
    char channel[64], sql[128], why[FAILURE_MESSAGE_BYTES];
    snprintf(channel, sizeof channel, "pgnear_check_%d_%lld", (int)getpid(),
             (long long)clock_boot_us());
    snprintf(sql, sizeof sql, "LISTEN %s", channel);
    bool done = run_command(listen, sql, why, sizeof why);
    snprintf(sql, sizeof sql, "NOTIFY %s", channel);
    done = done && run_command(checking->offline->conn, sql, why, sizeof why);
    if (!done) {
        report(checking, "notify", false, "LISTEN and NOTIFY do not work%s: %s",
               has_url ? " by postgres.listen_url" : "", why);
    } else if (hears_notification(listen)) {
        report(checking, "notify", true, "a NOTIFY came back");
    } else {
        report(checking, "notify", false,
               "a NOTIFY did not come back within %d ms: is there a transaction pooler in between? "
               "Set postgres.listen_url to the server itself",
               NOTIFY_WAIT_MS);
    }
    PQfinish(listen);
}

// What SQL says in rows of (item, ok, message).
static void check_by_sql(struct checking *checking, const char *sql)
{
    PGresult *result = PQexec(checking->offline->conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        report(checking, "schema", false, "%s",
               PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    }
    for (int i = 0; i < PQntuples(result); i++) {
        report(checking, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1)[0] == 't', "%s",
               PQgetvalue(result, i, 2));
    }
    PQclear(result);
}

// Table, triggers, functions and rights.
static void check_schema(struct checking *checking)
{
    struct offline *offline = checking->offline;
    if (!offline->has_schema) {
        report(checking, "table", false, "the search_path names no schema that exists");
        return;
    }
    struct buffer sql = {0};
    const struct layout *layout = layout_of(&offline->schema);
    if (layout->probe_sql != NULL) {
        layout->probe_sql(&offline->schema, &sql);
        buffer_printf(&sql, ";\n");
    }
    layout->check_sql(&offline->schema, &sql);
    check_by_sql(checking, buffer_text(&sql));
    buffer_deinit(&sql);
}

static bool is_in_memory(const struct statfs *file_system)
{
    return file_system->f_type == TMPFS_MAGIC || file_system->f_type == RAMFS_MAGIC;
}

// As the user who runs this command sees it, which need not be the daemon. A directory that is not
// there yet is made in the nearest that is.
static void check_directory(struct checking *checking, const char *item, const char *path,
                            bool is_outbox)
{
    char nearest[PATH_MAX];
    struct statfs file_system;
    snprintf(nearest, sizeof nearest, "%s", path);
    while (statfs(nearest, &file_system) != 0) {
        char *slash = strrchr(nearest, '/');
        if (errno != ENOENT || slash == NULL) {
            report(checking, item, false, "%s: %s", path, strerrordesc_np(errno));
            return;
        }
        slash[slash == nearest ? 1 : 0] = '\0';
    }
    unsigned long long free_mib =
        (unsigned long long)file_system.f_bavail * (unsigned long long)file_system.f_bsize >> 20;
    if (access(nearest, W_OK) != 0) {
        report(checking, item, false, "%s: %s", nearest, strerrordesc_np(errno));
    } else if (is_outbox && is_in_memory(&file_system)) {
        report(checking, item, false, "%s is in memory, where acknowledged writes would be lost",
               path);
    } else {
        report(checking, item, true, "%s has %llu MiB free", path, free_mib);
    }
}

enum exit_status offline_check(struct offline *offline, const struct invocation *invocation)
{
    struct checking checking = {offline, invocation, EXIT_DONE};
    if (check_reach(&checking) && check_version(&checking)) {
        check_primary(&checking);
        check_notify(&checking);
        check_by_sql(&checking, NOTIFY_QUEUE_CHECK_SQL);
        check_schema(&checking);
    }
    check_directory(&checking, "cache.dir", offline->settings.cache.dir, false);
    check_directory(&checking, "writes.dir", offline->settings.writes.dir, true);
    return checking.status;
}
