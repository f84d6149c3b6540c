// A DO block takes no parameters and returns no rows: what goes in and what comes out stand in
// settings local to the transaction, `pgnear.*`, so that no statement is put together from names
// here. In PostgreSQL names go through format's %I. The search_path is left as it is: a restore
// fires the triggers of others.
//
// How far a copy has come is told while its one statement runs by application_name, since that is
// the one thing of a transaction under way that others see (pg_stat_activity).
#include "pg/backup_sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define HOUR_US (3600 * (int64_t)1000000)

static const char BEGIN[] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
static const char COMMIT[] = "COMMIT";

// Without row_security, a table whose policies hide rows from this role is an error rather than a
// backup of the rest, as in pg_dump.
static const char SETTINGS[] =
    "SELECT set_config('pgnear.server', $1, true), set_config('statement_timeout', $2, true),"
    " set_config('pgnear.schema', $3, true), set_config('pgnear.table', $4, true),"
    " set_config('pgnear.backup', $5, true), set_config('pgnear.age', $6, true),"
    " set_config('pgnear.mode', $7, true), set_config('pgnear.result', '[]', true),"
    " set_config('pgnear.open', $8, true), set_config('pgnear.progress', $9, true),"
    " set_config('row_security', 'off', true), set_config('lock_timeout', '0', true),"
    " CASE WHEN current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
    " THEN set_config('synchronous_commit', 'on', true) END";

static const char RESULT[] = "SELECT r.name, r.rows, r.stamp, r.wait_us"
                             " FROM jsonb_to_recordset(current_setting('pgnear.result')::jsonb)"
                             " AS r (name text, rows bigint, stamp text, wait_us bigint)";

// A stamp sorts as the time does; with a colon for its second and third dash it is RFC 3339.
#define STAMP_FORMAT "'YYYY-MM-DD\"T\"HH24-MI-SS\"Z\"'"
#define STAMP_NOW    "to_char(clock_timestamp() AT TIME ZONE 'UTC', " STAMP_FORMAT ")"

#define DECLARE                                                                                    \
    "DO $pgnear$\n"                                                                                \
    "DECLARE\n"                                                                                    \
    "    own_schema CONSTANT text := current_setting('pgnear.schema');\n"                          \
    "    own_table CONSTANT text := current_setting('pgnear.table');\n"                            \
    "    wanted CONSTANT text := current_setting('pgnear.backup');\n"                              \
    "    prefix CONSTANT text := own_table || '_backup_';\n"                                       \
    "    age CONSTANT interval := current_setting('pgnear.age');\n"                                \
    "    mode CONSTANT text := current_setting('pgnear.mode');\n"                                  \
    "    progress CONSTANT text := current_setting('pgnear.progress');\n"                          \
    "    lock_key CONSTANT bigint :=\n"                                                            \
    "        hashtextextended('pgnear backup ' || format('%I.%I', own_schema, own_table), 0);\n"   \
    "    results jsonb := '[]';\n"                                                                 \
    "    found record;\n"                                                                          \
    "    source text;\n"                                                                           \
    "    stamp text;\n"                                                                            \
    "    copied bigint;\n"

#define CHECK_SERVER                                                                               \
    "BEGIN\n"                                                                                      \
    "    IF (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text\n"            \
    "        <> current_setting('pgnear.server') OR pg_is_in_recovery() THEN\n"                    \
    "        RAISE EXCEPTION 'the connection leads to another server, or it was restarted'\n"      \
    "            USING ERRCODE = 'connection_exception';\n"                                        \
    "    END IF;\n"

// The advisory lock may be held for as long as a backup takes; other locks are waited for a little.
#define LOCK                                                                                       \
    "    PERFORM pg_advisory_xact_lock(lock_key);\n"                                               \
    "    PERFORM set_config('lock_timeout', '5s', true);\n"

#define END                                                                                        \
    "    PERFORM set_config('pgnear.result', results::text, true);\n"                              \
    "END\n"                                                                                        \
    "$pgnear$"

// The tables that are backups by their names and columns.
#define CANDIDATES                                                                                 \
    "        SELECT c.oid, c.relname::text AS name,\n"                                             \
    "            format('%I.%I', own_schema, c.relname) AS relation,\n"                            \
    "            substr(c.relname::text, length(prefix) + 1) AS stamp,\n"                          \
    "            substring(obj_description(c.oid, 'pg_class')\n"                                   \
    "                      FROM '^pgnear: ([0-9]{1,18}) rows')::bigint AS rows\n"                  \
    "        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n"                      \
    "        WHERE n.nspname = own_schema AND c.relkind = 'r'\n"                                   \
    "            AND left(c.relname::text, length(prefix)) = prefix\n"                             \
    "            AND substr(c.relname::text, length(prefix) + 1) ~ " BACKUP_STAMP_PATTERN "\n"     \
    "            AND has_table_privilege(c.oid, 'SELECT')\n"                                       \
    "            AND " BACKUP_COLUMNS_CONDITION "\n"

// One that vanishes meanwhile, or names another source in its first row, is passed over. The time
// of a backup is that of its name or of its rows, whichever is earlier.
#define FOR_EACH                                                                                   \
    "    FOR found IN\n" CANDIDATES "            AND (wanted = '' OR c.relname::text = wanted)\n"  \
    "        ORDER BY c.relname::text\n"                                                           \
    "    LOOP\n"                                                                                   \
    "        BEGIN\n"                                                                              \
    "            EXECUTE format('SELECT b.backup_source_table,'\n"                                 \
    "                ' to_char(b.backup_created_at AT TIME ZONE ''UTC'', %L) FROM %s b LIMIT "     \
    "1',\n"                                                                                        \
    "                " STAMP_FORMAT ", found.relation) INTO source, stamp;\n"                      \
    "            GET DIAGNOSTICS copied = ROW_COUNT;\n"                                            \
    "        EXCEPTION WHEN undefined_table THEN\n"                                                \
    "            CONTINUE;\n"                                                                      \
    "        END;\n"                                                                               \
    "        IF copied = 1 AND (source IS NULL\n"                                                  \
    "            OR source NOT IN (own_table, own_schema || '.' || own_table)) THEN\n"             \
    "            CONTINUE;\n"                                                                      \
    "        END IF;\n"                                                                            \
    "        stamp := least(stamp COLLATE \"C\", found.stamp);\n"

// The condition of a copy whose rows are numbered s."row of the copy", which all of them meet; $1
// is the order's `progress`.
#define TELL_PROGRESS                                                                              \
    "'mod(s.\"row of the copy\", 16384) <> 0 OR'\n"                                                \
    "        ' set_config(''application_name'', $1 || s.\"row of the copy\", true) <> '''''"

// Two within a second: the later one waits for the next. A name that is too long is refused before
// it is looked for: PostgreSQL would cut it, and find the table itself.
#define COPY                                                                                       \
    "    LOOP\n"                                                                                   \
    "        made := clock_timestamp();\n"                                                         \
    "        stamp := to_char(made AT TIME ZONE 'UTC', " STAMP_FORMAT ");\n"                       \
    "        name_bytes_max := current_setting('max_identifier_length')::int;\n"                   \
    "        IF octet_length(prefix || stamp) > name_bytes_max THEN\n"                             \
    "            RAISE EXCEPTION 'the name \"%\" would have % bytes, more than %: a table with'\n" \
    "                ' backups has a name of at most % bytes', prefix || stamp,\n"                 \
    "                octet_length(prefix || stamp), name_bytes_max,\n"                             \
    "                name_bytes_max - octet_length(prefix || stamp) + octet_length(own_table)\n"   \
    "                USING ERRCODE = 'name_too_long';\n"                                           \
    "        END IF;\n"                                                                            \
    "        EXIT WHEN to_regclass(format('%I.%I', own_schema, prefix || stamp)) IS NULL;\n"       \
    "        PERFORM pg_sleep(extract(epoch FROM\n"                                                \
    "            date_trunc('second', made) + interval '1 second' - made));\n"                     \
    "    END LOOP;\n"                                                                              \
    "    backup := format('%I.%I', own_schema, prefix || stamp);\n"                                \
    "    EXECUTE format('CREATE TABLE %s (LIKE %I.%I,'\n"                                          \
    "        ' backup_created_at timestamptz DEFAULT now(), backup_source_table text)',\n"         \
    "        backup, own_schema, own_table);\n"                                                    \
    "    SELECT string_agg(format('s.%I', a.attname), ', ' ORDER BY a.attnum) INTO columns\n"      \
    "    FROM pg_attribute a WHERE a.attrelid = format('%I.%I', own_schema, "                      \
    "own_table)::regclass\n"                                                                       \
    "        AND a.attnum > 0 AND NOT a.attisdropped;\n"                                           \
    "    EXECUTE format('INSERT INTO %s SELECT %s, $2, $3 FROM (SELECT t.*, row_number() OVER "    \
    "()'\n"                                                                                        \
    "        ' AS \"row of the copy\" FROM %I.%I t) s WHERE '\n"                                   \
    "        " TELL_PROGRESS ",\n"                                                                 \
    "        backup, columns, own_schema, own_table) USING progress, made, own_table;\n"           \
    "    GET DIAGNOSTICS copied = ROW_COUNT;\n"                                                    \
    "    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place) INTO key_columns\n"      \
    "    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, place), pg_attribute a\n" \
    "    WHERE i.indrelid = format('%I.%I', own_schema, own_table)::regclass\n"                    \
    "        AND i.indisprimary AND k.place <= i.indnkeyatts\n"                                    \
    "        AND a.attrelid = i.indrelid AND a.attnum = k.attnum;\n"                               \
    "    IF key_columns IS NOT NULL THEN\n"                                                        \
    "        EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (%s)', backup, key_columns);\n"        \
    "    END IF;\n"                                                                                \
    "    EXECUTE format('COMMENT ON TABLE %s IS %L', backup,\n"                                    \
    "                   format('pgnear: %s rows of %s', copied, own_table));\n"                    \
    "    results := jsonb_build_array(jsonb_build_object('name', prefix || stamp,\n"               \
    "                                                    'rows', copied, 'stamp', stamp));\n"

#define DECLARE_COPY                                                                               \
    "    made timestamptz;\n"                                                                      \
    "    backup text;\n"                                                                           \
    "    columns text;\n"                                                                          \
    "    key_columns text;\n"                                                                      \
    "    name_bytes_max int;\n"

static const char MAKE[] = DECLARE DECLARE_COPY CHECK_SERVER LOCK COPY END;

// A name whose stamp is no time is not waited for longer than a minute.
static const char MAKE_IF_DUE[] = DECLARE DECLARE_COPY
    "    waiting interval := '1 second';\n"
    "    is_due boolean := false;\n" CHECK_SERVER
    "    IF pg_try_advisory_xact_lock(lock_key) THEN\n"
    "        SELECT max(candidate.stamp COLLATE \"C\") INTO stamp FROM (\n" CANDIDATES
    "        ) candidate WHERE candidate.stamp COLLATE \"C\" <= " STAMP_NOW ";\n"
    "        is_due := stamp IS NULL OR stamp COLLATE \"C\"\n"
    "            <= to_char((clock_timestamp() - age) AT TIME ZONE 'UTC', " STAMP_FORMAT ");\n"
    "        IF NOT is_due THEN\n"
    "            BEGIN\n"
    "                waiting := (left(stamp, 10) || ' ' || replace(substr(stamp, 12, 8), '-', "
    "':')\n"
    "                    || '+00')::timestamptz + age - clock_timestamp();\n"
    "            EXCEPTION WHEN data_exception THEN\n"
    "                waiting := '1 minute';\n"
    "            END;\n"
    "        END IF;\n"
    "    END IF;\n"
    "    IF NOT is_due THEN\n"
    "        results := jsonb_build_array(jsonb_build_object('wait_us',\n"
    "            greatest(1, (extract(epoch FROM waiting) * 1000000)::bigint)));\n"
    "        PERFORM set_config('pgnear.result', results::text, true);\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    PERFORM set_config('lock_timeout', '5s', true);\n" COPY END;

static const char LIST[] = DECLARE CHECK_SERVER FOR_EACH
    "        IF found.rows IS NULL THEN\n"
    "            EXECUTE format('SELECT count(*) FROM %s', found.relation) INTO found.rows;\n"
    "        END IF;\n"
    "        results := results || jsonb_build_object('name', found.name, 'rows', found.rows,\n"
    "                                                 'stamp', stamp);\n"
    "    END LOOP;\n" END;

// One that cannot be dropped does not keep the others; where nothing else is left, it is told.
static const char CLEAN_UP[] = DECLARE
    "    kept_code text;\n"
    "    kept_why text;\n" CHECK_SERVER LOCK FOR_EACH "        IF stamp COLLATE \"C\"\n"
    "            <= to_char((clock_timestamp() - age) AT TIME ZONE 'UTC', " STAMP_FORMAT ") THEN\n"
    "            BEGIN\n"
    "                EXECUTE format('DROP TABLE %s', found.relation);\n"
    "                results := results || jsonb_build_object('name', found.name, 'stamp', "
    "stamp);\n"
    "            EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege\n"
    "                OR lock_not_available THEN\n"
    "                GET STACKED DIAGNOSTICS kept_code = RETURNED_SQLSTATE,\n"
    "                    kept_why = MESSAGE_TEXT;\n"
    "            END;\n"
    "        END IF;\n"
    "    END LOOP;\n"
    "    IF results = '[]' AND kept_code IS NOT NULL THEN\n"
    "        RAISE EXCEPTION USING ERRCODE = kept_code, MESSAGE = kept_why;\n"
    "    END IF;\n" END;

// The lock keeps writers waiting and readers not. It is stronger than the one of SELECT FOR
// UPDATE, with which a batch begins: a batch that has locked rows would wait for the restore, and
// the restore for those rows. A layout that opens its batches has a lock that all who write take
// first, and it is enough (document.h). Versions are not restored: the triggers draw new ones.
static const char RESTORE[] = DECLARE
    "    own regclass;\n"
    "    backup text;\n"
    "    columns text;\n"
    "    assignments text;\n" CHECK_SERVER LOCK FOR_EACH "        backup := found.relation;\n"
    "    END LOOP;\n"
    "    IF backup IS NULL THEN\n"
    "        IF to_regclass(format('%I.%I', own_schema, wanted)) IS NULL THEN\n"
    "            RAISE EXCEPTION 'relation \"%\" does not exist', wanted\n"
    "                USING ERRCODE = 'undefined_table';\n"
    "        END IF;\n"
    "        RAISE EXCEPTION '\"%\" is not a backup of this table', wanted\n"
    "            USING ERRCODE = 'wrong_object_type';\n"
    "    END IF;\n"
    "    IF current_setting('pgnear.open') = '' THEN\n"
    "        EXECUTE format('LOCK TABLE %I.%I IN EXCLUSIVE MODE', own_schema, own_table);\n"
    "    ELSE\n"
    "        EXECUTE format('SELECT %s()', current_setting('pgnear.open'));\n"
    "    END IF;\n"
    "    own := format('%I.%I', own_schema, own_table)::regclass;\n"
    "    SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum),\n"
    "        string_agg(format('%1$I = EXCLUDED.%1$I', t.attname), ', ' ORDER BY t.attnum)\n"
    "            FILTER (WHERE t.attname <> 'key' AND t.attidentity <> 'a')\n"
    "    INTO columns, assignments\n"
    "    FROM pg_attribute t JOIN pg_attribute b ON b.attname = t.attname\n"
    "        AND b.attrelid = backup::regclass AND b.attnum > 0 AND NOT b.attisdropped\n"
    "    WHERE t.attrelid = own AND t.attnum > 0 AND NOT t.attisdropped\n"
    "        AND t.attgenerated = '' AND t.attname NOT IN ('version', 'updated_at');\n"
    "    IF mode = 'replace' THEN\n"
    "        EXECUTE format('DELETE FROM %s t'\n"
    "            ' WHERE NOT EXISTS (SELECT FROM %s b WHERE b.key = t.key)', own, backup);\n"
    "    END IF;\n"
    "    EXECUTE format('INSERT INTO %1$s AS t (%2$s) OVERRIDING SYSTEM VALUE'\n"
    "        ' SELECT %2$s FROM (SELECT b.*, row_number() OVER (ORDER BY b.key)'\n"
    "        ' AS \"row of the copy\" FROM %3$s b) s WHERE ('\n"
    "        " TELL_PROGRESS "\n"
    "        ') ORDER BY s.key ON CONFLICT (key) DO UPDATE SET %4$s',\n"
    "        own, columns, backup, assignments) USING progress;\n"
    "    GET DIAGNOSTICS copied = ROW_COUNT;\n"
    "    results := jsonb_build_array(jsonb_build_object('name', wanted, 'rows', copied));\n" END;

static const char *const JOBS[] = {
    [BACKUP_MAKE] = MAKE,     [BACKUP_MAKE_IF_DUE] = MAKE_IF_DUE, [BACKUP_LIST] = LIST,
    [BACKUP_MERGE] = RESTORE, [BACKUP_REPLACE] = RESTORE,         [BACKUP_CLEAN_UP] = CLEAN_UP,
};

void backup_sql_init(struct backup_sql *sql, const struct backup_order *order)
{
    bool names_backup = order->job == BACKUP_MERGE || order->job == BACKUP_REPLACE;
    CHECK_VALUES(order->table.schema[0] != '\0', "%s", order->table.table);
    CHECK_VALUES(names_backup == (order->backup[0] != '\0'), "job %d", (int)order->job);
    snprintf(sql->server, sizeof sql->server, "%" PRId64, order->server_started_us);
    snprintf(sql->timeout, sizeof sql->timeout, "%" PRId64, order->timeout_ms);
    // PostgreSQL 12 takes no field of an interval beyond 32 bits.
    snprintf(sql->age, sizeof sql->age, "%" PRId64 " hours %" PRId64 " milliseconds",
             order->age_us / HOUR_US, order->age_us % HOUR_US / 1000);
    const char *values[] = {
        sql->server,
        sql->timeout,
        order->table.schema,
        order->table.table,
        order->backup,
        sql->age,
        order->job == BACKUP_REPLACE ? "replace" : "merge",
        order->open,
        order->progress,
    };
    memcpy(sql->values, values, sizeof values);
    const struct query queries[BACKUP_QUERIES_COUNT] = {
        {.sql = BEGIN},
        {.sql = SETTINGS, .params_count = BACKUP_VALUES_COUNT, .values = sql->values},
        {.sql = JOBS[order->job]},
        [BACKUP_RESULT_QUERY] = {.sql = RESULT},
        {.sql = COMMIT},
    };
    memcpy(sql->queries, queries, sizeof queries);
}

static int64_t integer_at(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10); // 0 where NULL
}

void backup_sql_take(const PGresult *result, int row, struct backup_result *taken)
{
    enum { NAME, ROWS, STAMP, WAIT_US, COLUMNS_COUNT };
    enum { MINUTE_DASH = 13, SECOND_DASH = 16 };
    CHECK_VALUES(PQnfields(result) == COLUMNS_COUNT, "%d columns", PQnfields(result));
    *taken = (struct backup_result){
        .rows = integer_at(result, row, ROWS),
        .wait_us = integer_at(result, row, WAIT_US),
    };
    snprintf(taken->name, sizeof taken->name, "%s", PQgetvalue(result, row, NAME));
    snprintf(taken->created_at, sizeof taken->created_at, "%s", PQgetvalue(result, row, STAMP));
    if (strlen(taken->created_at) > SECOND_DASH) {
        taken->created_at[MINUTE_DASH] = ':';
        taken->created_at[SECOND_DASH] = ':';
    }
}
