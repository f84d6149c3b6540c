// The settings are read by the daemon's own code, so that both mean the same table. libpq's
// blocking calls are right here: there is nothing else to do meanwhile.

#include "offline/offline.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "config/config.h"
#include "pg/conn_params.h"

static enum error table_is_valid(const char *table, struct failure *failure)
{
    struct table_name name;
    return table_name_parse(table, &name, failure);
}

PGconn *offline_connect(const struct postgres_settings *postgres, const char *conninfo)
{
    char timeout_s[24];
    snprintf(timeout_s, sizeof timeout_s, "%lld",
             (long long)((postgres->connect_timeout_us + CLOCK_US_PER_S - 1) / CLOCK_US_PER_S));
    const char *const keywords[] = {"dbname", "application_name", "connect_timeout", NULL};
    const char *const values[] = {conninfo, "pgnear", timeout_s, NULL};
    return PQconnectdbParams(keywords, values, 1);
}

static void connect_to_server(struct offline *offline)
{
    const struct postgres_settings *postgres = &offline->settings.postgres;
    if (postgres->conninfo == NULL) {
        snprintf(offline->why_not, sizeof offline->why_not, "no server is named");
        return;
    }
    offline->conn = offline_connect(postgres, postgres->conninfo);
    if (PQstatus(offline->conn) != CONNECTION_OK) {
        conn_one_line(PQerrorMessage(offline->conn), offline->why_not, sizeof offline->why_not);
        PQfinish(offline->conn);
        offline->conn = NULL;
    }
}

// Asks the server in which schema the table is, where the settings do not say.
static void resolve_schema(struct offline *offline)
{
    struct table_name *table = layout_of(&offline->schema)->home(&offline->schema);
    offline->has_schema = table->schema[0] != '\0';
    if (offline->has_schema) {
        layout_settle(&offline->schema, table->schema);
    }
    if (offline->has_schema || offline->conn == NULL) {
        return;
    }
    struct buffer sql = {0};
    schema_resolve_sql(table, &sql);
    PGresult *result = PQexec(offline->conn, buffer_text(&sql));
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        !PQgetisnull(result, 0, 0)) {
        layout_settle(&offline->schema, PQgetvalue(result, 0, 0));
        offline->has_schema = true;
    }
    PQclear(result);
    buffer_deinit(&sql);
}

bool offline_open(struct offline *offline, const struct invocation *invocation, bool needs_server,
                  enum exit_status *status)
{
    *offline = (struct offline){0};
    struct failure failure = {0};
    const struct config_checks checks = {
        .table = table_is_valid,
        .conninfo = conn_params_check,
        .server_is_optional = !needs_server,
    };
    if (config_load(invocation->options[OPTION_CONFIG], &checks, &offline->settings, &failure) !=
        ERROR_NONE) {
        *status = complain(EXIT_USAGE, "%s", failure.message);
        return false;
    }
    if (layout_options(&offline->settings.postgres, &offline->schema, &failure) != ERROR_NONE) {
        config_deinit(&offline->settings);
        *status = complain(EXIT_USAGE, "%s", failure.message);
        return false;
    }
    connect_to_server(offline);
    resolve_schema(offline);
    return true;
}

void offline_close(struct offline *offline)
{
    PQfinish(offline->conn);
    config_deinit(&offline->settings);
}

enum exit_status offline_schema(const struct invocation *invocation)
{
    struct offline offline;
    enum exit_status status;
    if (!offline_open(&offline, invocation, false, &status)) {
        return status;
    }
    if (!offline.has_schema) {
        complain(EXIT_DONE, "the schema of table %s is not known, taking \"public\": %s",
                 settings_table(&offline.settings.postgres),
                 offline.conn == NULL ? offline.why_not : "the search_path names none that exists");
        layout_settle(&offline.schema, "public");
    }
    struct buffer sql = {0};
    if (option_is_given(invocation, OPTION_DROP)) {
        layout_of(&offline.schema)->drop_sql(&offline.schema, &sql);
    } else {
        layout_of(&offline.schema)->create_sql(&offline.schema, &sql);
    }
    struct slice script = buffer_slice(&sql);
    printf("BEGIN ISOLATION LEVEL READ COMMITTED;\n%.*s\nCOMMIT;\n", SLICE_FORMAT(script));
    buffer_deinit(&sql);
    offline_close(&offline);
    return EXIT_DONE;
}
