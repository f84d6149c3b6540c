#include "system/harness/document.h"

#include <string.h>

static const char SCHEMA[] =
    "CREATE TYPE session_status_enum AS ENUM ('ACTIVE', 'COMPLETED', 'EXPIRED');"
    "CREATE DOMAIN expires_at_timestamp AS timestamp with time zone;"
    "CREATE TABLE \"user\" (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text);"
    "CREATE TABLE game (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), title text);"
    "CREATE TABLE game_sessions ("
    "    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
    "    created_at timestamp with time zone DEFAULT now(),"
    "    updated_at timestamp with time zone DEFAULT now(),"
    "    version integer DEFAULT 1 NOT NULL,"
    "    is_active boolean DEFAULT true NOT NULL,"
    "    user_id uuid REFERENCES \"user\" (id) NOT NULL,"
    "    game_id uuid REFERENCES game (id),"
    "    game_name text,"
    "    status session_status_enum DEFAULT 'ACTIVE' NOT NULL,"
    "    total_wagered integer DEFAULT 0,"
    "    total_won integer DEFAULT 0,"
    "    starting_balance integer,"
    "    ending_balance integer,"
    "    duration integer DEFAULT 0,"
    "    expired_at expires_at_timestamp"
    ");"
    "INSERT INTO \"user\" (id, name) VALUES (" DOCUMENT_ID ", 'system');";

// PostgreSQL has it from 13 on; before, an extension.
static const char UUID_FUNCTION[] =
    "CREATE FUNCTION gen_random_uuid() RETURNS uuid LANGUAGE sql"
    " AS 'SELECT md5(random()::text || clock_timestamp()::text)::uuid'";

void document_make_schema(struct pg *pg)
{
    if (pg_int(pg, "SHOW server_version_num") < 130000) {
        pg_exec(pg, "%s", UUID_FUNCTION);
    }
    pg_exec(pg, "%s", SCHEMA);
    pg_exec(pg, "INSERT INTO game_sessions (id, user_id, game_name, is_active)"
                " VALUES (" DOCUMENT_ID ", " DOCUMENT_ID ", '{}', false)");
}

// A key of `config` comes instead of the same one here.
const char *document_config(struct scenario *scenario, const char *config)
{
    static const char *const LINES[] = {
        "postgres.document.table = \"game_sessions\"\n",
        "postgres.document.id_column = \"id\"\n",
        "postgres.document.id = \"00000000-0000-0000-0000-000000000000\"\n",
        "postgres.document.column = \"game_name\"\n",
    };
    const char *text = config;
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
        size_t key_len = strcspn(LINES[i], "=") + 1;
        const char *key = scenario_text(scenario, "%.*s", (int)key_len, LINES[i]);
        if (strstr(config, key) == NULL) {
            text = scenario_text(scenario, "%s%s", LINES[i], text);
        }
    }
    return text;
}

struct node *document_node(struct scenario *scenario, struct pg *pg, const char *name,
                           const char *config)
{
    const struct node_options options = {
        .name = name,
        .config = document_config(scenario, config),
    };
    return node_start(scenario, pg, &options);
}
