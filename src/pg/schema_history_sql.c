// History and expiry in PostgreSQL, as templates; see schema_sql.h. What keeps history is a few
// lines more in the function that announces changes, so that versioning is turned on and off
// without a lock on the table, and a deletion has one version in its announcement and in its
// history.
//
// Keys beyond 511 bytes have no history: they may not fit into an index with a second column, and
// a user's statement must not fail on that. For the same reason a version that is there already
// (drawn twice, after a crash without synchronous_commit) is left as it is.

#include "pg/schema_sql.h"

const char SCHEMA_SQL_HISTORY[] =
    "\n"
    "-- The history.\n"
    "DO $@tag@$\n"
    "BEGIN\n"
    "    IF to_regclass(@history_literal@) IS NULL THEN\n"
    "        CREATE TABLE @history@ (\n"
    "            key text COLLATE \"C\" NOT NULL,\n"
    "            version bigint NOT NULL,\n"
    "            value jsonb,\n"
    "            op text NOT NULL CHECK (op IN ('set', 'delete')),\n"
    "            changed_at timestamptz NOT NULL DEFAULT now(),\n"
    "            node text,\n"
    "            PRIMARY KEY (key, version)\n"
    "        );\n"
    "        CREATE INDEX @history_index@ ON @history@ USING brin (changed_at);\n"
    "    ELSIF (SELECT count(*) FROM pg_attribute a\n"
    "           JOIN (VALUES ('key', 'text'), ('version', 'bigint'), ('value', 'jsonb'),\n"
    "                        ('op', 'text'), ('changed_at', 'timestamptz'), ('node', 'text')\n"
    "           ) want (name, type) ON a.attname = want.name\n"
    "               AND a.atttypid = want.type::regtype AND NOT a.attisdropped\n"
    "           WHERE a.attrelid = to_regclass(@history_literal@)) < 6 THEN\n"
    "        RAISE EXCEPTION 'table % is not a history', @history_literal@\n"
    "            USING ERRCODE = 'datatype_mismatch';\n"
    "    END IF;\n"
    "END\n"
    "$@tag@$;\n";

// Rows that expire are few among many that do not; a partial index costs the others nothing.
const char SCHEMA_SQL_EXPIRY[] =
    "\n"
    "-- What finds expired rows.\n"
    "DO $@tag@$\n"
    "BEGIN\n"
    "    IF NOT EXISTS (\n"
    "        SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid\n"
    "            AND a.attnum = i.indkey[0]\n"
    "        WHERE i.indrelid = to_regclass(@table_literal@) AND a.attname = 'expires_at'\n"
    "    ) THEN\n"
    "        CREATE INDEX @expiry_index@ ON @table@ (expires_at) WHERE expires_at IS NOT NULL;\n"
    "    END IF;\n"
    "END\n"
    "$@tag@$;\n";

// ---- Parts of the notify function

const char SCHEMA_SQL_KEEP_SETS[] =
    "        -- pgnear history\n"
    "        INSERT INTO @history@ (key, version, value, op, changed_at, node)\n"
    "        SELECT n.key, n.version, n.value, 'set', clock_timestamp(), nullif(origin, '')\n"
    "        FROM pgnear_new n WHERE octet_length(n.key) <= 511\n"
    "        ON CONFLICT DO NOTHING;\n";

// An UPDATE that changed keys.
const char SCHEMA_SQL_KEEP_LEFT[] =
    "        drawn := nextval(@sequence_literal@::regclass);\n"
    "        INSERT INTO @history@ (key, version, op, changed_at, node)\n"
    "        SELECT left_key.key, nextval(@sequence_literal@::regclass), 'delete',\n"
    "            clock_timestamp(), nullif(origin, '')\n"
    "        FROM (SELECT o.key FROM pgnear_old o WHERE octet_length(o.key) <= 511\n"
    "              EXCEPT SELECT n.key FROM pgnear_new n) left_key\n"
    "        ON CONFLICT DO NOTHING;\n";

const char SCHEMA_SQL_KEEP_DELETES[] =
    "        drawn := nextval(@sequence_literal@::regclass);\n"
    "        INSERT INTO @history@ (key, version, op, changed_at, node)\n"
    "        SELECT o.key,\n"
    "            coalesce((handed ->> o.key)::bigint, nextval(@sequence_literal@::regclass)),\n"
    "            'delete', clock_timestamp(), nullif(origin, '')\n"
    "        FROM pgnear_old o WHERE octet_length(o.key) <= 511\n"
    "        ON CONFLICT DO NOTHING;\n";

// The rows are gone: what the history knows as set and the table does not hold was deleted. That
// is right for a partition as well, and fired a second time it finds nothing.
const char SCHEMA_SQL_KEEP_TRUNCATE[] =
    "        INSERT INTO @history@ (key, version, op, changed_at, node)\n"
    "        SELECT newest.key, nextval(@sequence_literal@::regclass), 'delete',\n"
    "            clock_timestamp(), nullif(origin, '')\n"
    "        FROM (SELECT DISTINCT ON (h.key) h.key, h.op FROM @history@ h\n"
    "              ORDER BY h.key, h.version DESC) newest\n"
    "        WHERE newest.op = 'set'\n"
    "            AND NOT EXISTS (SELECT FROM @table@ t WHERE t.key = newest.key)\n"
    "        ON CONFLICT DO NOTHING;\n";

// Of the one row of a row trigger, as in KEEP_SETS and KEEP_DELETES.
const char SCHEMA_SQL_KEEP_ROW[] =
    "        INSERT INTO @history@ (key, version, value, op, changed_at)\n"
    "        SELECT kept.* FROM (VALUES\n"
    "            (CASE WHEN TG_OP <> 'DELETE' THEN NEW.key END, NEW.version, NEW.value, 'set',\n"
    "             clock_timestamp()),\n"
    "            (CASE WHEN is_gone THEN OLD.key END, drawn, NULL, 'delete', clock_timestamp())\n"
    "        ) kept (key, version, value, op, changed_at) WHERE octet_length(kept.key) <= 511\n"
    "        ON CONFLICT DO NOTHING;\n";

// The version of a deletion: drawn now, or the one that the history has. A subquery, so that no
// plan reads the whole history for a few keys.
const char SCHEMA_SQL_DRAWN_VERSION[] = "nextval(@sequence_literal@::regclass)";
const char SCHEMA_SQL_KEPT_VERSION[] =
    "(SELECT h.version FROM @history@ h WHERE h.key = gone.key AND h.version > drawn\n"
    "                    ORDER BY h.version DESC LIMIT 1)";

// ---- Functions

// Removes expired rows, at most so many, and tells how many; -1 where another node is at it. What
// others hold locked is left for the next time, so that this waits for nobody. Who may delete from
// the table may call it.
//
// A row that PostgreSQL refuses to delete (a foreign key, a RAISE) costs itself alone. Ordinarily
// there is one statement, in one subtransaction. Where that fails, the same rows are tried in order
// again, so many at a time: half as many after each failure, twice as many after each success, so
// that few refused rows cost few statements, and many hardly more than one each. Where one alone
// fails it is left, the first of them is told of, and passed_at and passed_key become its place in
// the order: who hands that in again gets what is behind it. What fails for no row's sake (a
// deadlock, a full disk) fails the whole.
//
// The rows are locked by the subtransaction that deletes them: locked outside it, each would need a
// multixact. What is deferred would fail the COMMIT, where no row can be told from the others.
#define REAP_DUE                                                                                   \
    "t.expires_at <= statement_timestamp()\n"                                                      \
    "            AND t.expires_at >= passed_at\n"                                                  \
    "            AND (t.expires_at > passed_at OR (t.key > passed_key) IS NOT FALSE)"

const char SCHEMA_SQL_CREATE_REAP[] =
    "        CREATE OR REPLACE FUNCTION @reap_function@(rows_max integer,\n"
    "            INOUT passed_at timestamptz, INOUT passed_key text, OUT removed integer,\n"
    "            OUT refused integer, OUT refused_key text, OUT refused_sqlstate text,\n"
    "            OUT refused_message text)\n"
    "        LANGUAGE plpgsql\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: removes expired rows.\n"
    "DECLARE\n"
    "    no_row_is_why CONSTANT text := '^(25|40|53|55P03|57|58|XX)';\n"
    "    keys text[];\n"
    "    places timestamptz[];\n"
    "    done integer := 0;\n"
    "    at_once integer;\n"
    "    taken integer;\n"
    "BEGIN\n"
    "    removed := 0;\n"
    "    refused := 0;\n"
    "    IF NOT pg_try_advisory_xact_lock(@reap_class@, hashtext(@table_literal@)) THEN\n"
    "        removed := -1;\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    IF NOT EXISTS (SELECT FROM @table@ t\n"
    "        WHERE " REAP_DUE ") THEN\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    SET CONSTRAINTS ALL IMMEDIATE;\n"
    "@reap_open@"
    "    BEGIN\n"
    "        WITH expired AS (\n"
    "            SELECT t.key FROM @table@ t\n"
    "            WHERE " REAP_DUE "\n"
    "            ORDER BY t.expires_at LIMIT rows_max FOR UPDATE SKIP LOCKED\n"
    "        ), gone AS (\n"
    "            DELETE FROM @table@ t USING expired WHERE t.key = expired.key RETURNING t.key\n"
    "        )\n"
    "        SELECT count(*) INTO removed FROM gone;\n"
    "        RETURN;\n"
    "    EXCEPTION WHEN OTHERS THEN\n"
    "        NULL; -- tried again below\n"
    "    END;\n"
    "    SELECT array_agg(due.key ORDER BY due.expires_at, due.key),\n"
    "        array_agg(due.expires_at ORDER BY due.expires_at, due.key)\n"
    "    INTO keys, places\n"
    "    FROM (SELECT t.key, t.expires_at FROM @table@ t\n"
    "        WHERE " REAP_DUE "\n"
    "        ORDER BY t.expires_at, t.key LIMIT rows_max) due;\n"
    "    at_once := greatest(1, cardinality(keys) / 2);\n"
    "    WHILE done < cardinality(keys) LOOP\n"
    "        BEGIN\n"
    "            WITH expired AS (\n"
    "                SELECT t.key FROM @table@ t\n"
    "                WHERE t.key = ANY (keys[done + 1:done + at_once])\n"
    "                    AND t.expires_at <= statement_timestamp() FOR UPDATE SKIP LOCKED\n"
    "            ), gone AS (\n"
    "                DELETE FROM @table@ t USING expired WHERE t.key = expired.key\n"
    "                RETURNING t.key\n"
    "            )\n"
    "            SELECT count(*) INTO taken FROM gone;\n"
    "            removed := removed + taken;\n"
    "            done := done + at_once;\n"
    "            at_once := at_once * 2;\n"
    "        EXCEPTION WHEN OTHERS THEN\n"
    "            IF SQLSTATE ~ no_row_is_why THEN\n"
    "                RAISE;\n"
    "            END IF;\n"
    "            IF at_once = 1 THEN\n"
    "                done := done + 1;\n"
    "                refused := refused + 1;\n"
    "                passed_at := places[done];\n"
    "                passed_key := keys[done];\n"
    "                IF refused = 1 THEN\n"
    "                    refused_key := left(passed_key, 511);\n"
    "                    refused_sqlstate := SQLSTATE;\n"
    "                    refused_message := left(SQLERRM, 511);\n"
    "                END IF;\n"
    "            ELSE\n"
    "                at_once := at_once / 2;\n"
    "            END IF;\n"
    "        END;\n"
    "    END LOOP;\n"
    "END\n"
    "$@tag@_body$;\n";

const char SCHEMA_SQL_CREATE_TRIM[] =
    "        CREATE OR REPLACE FUNCTION @trim_function@(keep interval, rows_max integer)\n"
    "        RETURNS integer\n"
    "        LANGUAGE plpgsql\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: removes history older than an age.\n"
    "DECLARE\n"
    "    removed integer;\n"
    "BEGIN\n"
    "    IF NOT pg_try_advisory_xact_lock(@trim_class@, hashtext(@table_literal@)) THEN\n"
    "        RETURN -1;\n"
    "    END IF;\n"
    "    DELETE FROM @history@ h WHERE h.ctid = ANY (ARRAY(\n"
    "        SELECT old.ctid FROM @history@ old\n"
    "        WHERE old.changed_at < statement_timestamp() - keep LIMIT rows_max));\n"
    "    GET DIAGNOSTICS removed = ROW_COUNT;\n"
    "    RETURN removed;\n"
    "END\n"
    "$@tag@_body$;\n";
