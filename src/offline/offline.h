// What `schema` and `check -c FILE` do without a daemon: the settings from its file, and one
// connection of their own.
#pragma once

#include <libpq-fe.h>

#include "base/settings.h"
#include "cli/command.h"
#include "pg/layout.h"

struct offline {
    struct settings settings;
    PGconn *conn; // NULL where the server is not reached
    char why_not[FAILURE_MESSAGE_BYTES];
    struct schema_options schema; // with the schema of the table, where `has_schema`
    bool has_schema;
};

// Reads the settings of --config, or those that a daemon would find without it, and connects.
// False with *status where the settings are wrong, or name no server although one is needed; a
// server that is not reached is `why_not`.
bool offline_open(struct offline *offline, const struct invocation *invocation, bool needs_server,
                  enum exit_status *status);
void offline_close(struct offline *offline);

// A connection by the daemon's limit of time; what became of it is PQstatus's to say.
PGconn *offline_connect(const struct postgres_settings *postgres, const char *conninfo);

// Prints the SQL that makes the table, or drops all but its data.
enum exit_status offline_schema(const struct invocation *invocation);
// Examines what can be seen from here, prints what it finds as `check` does, and returns its exit
// status.
enum exit_status offline_check(struct offline *offline, const struct invocation *invocation);
