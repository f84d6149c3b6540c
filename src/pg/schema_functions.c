// The functions in PostgreSQL. The first comment of a body carries the number by which a script
// knows whether the function is older than its own; whoever changes a body raises SCHEMA_VERSION.

#include "pg/schema_sql.h"

// Drawing must not need rights on the sequence, hence SECURITY DEFINER; who else may call it is
// nobody, and all it could do there is to waste a number. The WHEN clause of the trigger keeps it
// away from the flush's own rows, whose statement draws, but not from those that a trigger of
// others writes meanwhile.
static const char CREATE_VERSION[] =
    "        CREATE OR REPLACE FUNCTION @version_function@() RETURNS trigger\n"
    "        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: draws the version of a row that others than pgneard write.\n"
    "BEGIN\n"
    "    NEW.version := nextval(@sequence_literal@::regclass);\n"
    "    IF TG_OP = 'UPDATE' THEN\n"
    "        NEW.updated_at := now();\n"
    "    END IF;\n"
    "    RETURN NEW;\n"
    "END\n"
    "$@tag@_body$;\n"
    "        REVOKE EXECUTE ON FUNCTION @version_function@() FROM PUBLIC;\n";

// One cursor over what changed, cut into payloads of less than 8000 bytes (the server's limit,
// beyond which pg_notify fails and the user's statement with it). Nothing is sent before it is
// known that 64 suffice. The number of rows is looked at only once a payload is full, so that a
// statement of few rows does not pay for it: 75,000 entries of the least size, ["",0] and a
// comma, are more than 64 payloads carry.
//
// A row whose key changed is announced as deleted under the old one. EXCEPT sorts or hashes, never
// loops: the plan is made for the first statement of a session and must bear the largest.
static const char CREATE_NOTIFY[] =
    "        CREATE OR REPLACE FUNCTION @notify_function@() RETURNS trigger\n"
    "        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: announces the keys that a statement changed.\n"
    "DECLARE\n"
    "    channel CONSTANT text := @channel_literal@;\n"
    "    own CONSTANT regclass := to_regclass(@table_literal@);\n"
    "    origin text := coalesce(current_setting('pgnear.origin', true), '');\n"
    "    head text;\n"
    "    handed jsonb; -- versions of deletions that the flush has drawn\n"
    "    changes refcursor;\n"
    "    entry text;\n"
    "    payload text := '';\n"
    "    payloads text[] := '{}';\n"
    "    bulk boolean := false;\n"
    "    drawn bigint;\n"
    "BEGIN\n"
    "    -- Not for a table that was renamed away, nor for any other.\n"
    "    IF own IS DISTINCT FROM TG_RELID::regclass\n"
    "        AND own IS DISTINCT FROM pg_partition_root(TG_RELID) THEN\n"
    "        RETURN NULL;\n"
    "    END IF;\n"
    "    -- What a trigger of somebody's does in the midst of a flush is not the flush's.\n"
    "    IF octet_length(origin) > 64 OR pg_trigger_depth() > 1 THEN\n"
    "        origin := '';\n"
    "    END IF;\n"
    "    head := '[' || to_json(origin)::text || ',';\n"
    "    CASE TG_OP\n"
    "    WHEN 'INSERT' THEN\n"
    "@keep_sets@"
    "        OPEN changes FOR\n"
    "            SELECT '[' || to_json(n.key)::text || ',' || n.version || ']'\n"
    "            FROM pgnear_new n WHERE octet_length(n.key) <= 511;\n"
    "    WHEN 'UPDATE' THEN\n"
    "@keep_sets@@keep_left@"
    "        OPEN changes FOR\n"
    "            SELECT '[' || to_json(n.key)::text || ',' || n.version || ']'\n"
    "            FROM pgnear_new n WHERE octet_length(n.key) <= 511\n"
    "            UNION ALL\n"
    "            SELECT '[' || to_json(gone.key)::text || ','\n"
    "                || @deleted_version@ || ',1]'\n"
    "            FROM (SELECT o.key FROM pgnear_old o WHERE octet_length(o.key) <= 511\n"
    "                  EXCEPT SELECT n.key FROM pgnear_new n) gone;\n"
    "    WHEN 'DELETE' THEN\n"
    "        IF origin <> '' THEN\n"
    "            handed := nullif(current_setting('pgnear.deleted', true), '')::jsonb;\n"
    "            PERFORM set_config('pgnear.deleted', '', true);\n"
    "        END IF;\n"
    "@keep_deletes@"
    "        OPEN changes FOR\n"
    "            SELECT '[' || to_json(gone.key)::text || ','\n"
    "                || coalesce((handed ->> gone.key)::bigint, @deleted_version@) || ',1]'\n"
    "            FROM pgnear_old gone WHERE octet_length(gone.key) <= 511;\n"
    "    ELSE\n"
    "@keep_truncate@"
    "        PERFORM pg_notify(channel, head || '\"truncate\"]');\n"
    "        RETURN NULL;\n"
    "    END CASE;\n"
    "    LOOP\n"
    "        FETCH changes INTO entry;\n"
    "        EXIT WHEN NOT FOUND;\n"
    "        IF octet_length(head) + octet_length(payload) + octet_length(entry) > 7990 THEN\n"
    "            payloads := payloads || payload;\n"
    "            payload := '';\n"
    "            IF cardinality(payloads) = 1 THEN\n"
    "                IF TG_OP = 'DELETE' THEN\n"
    "                    bulk := EXISTS (SELECT FROM pgnear_old OFFSET 75000);\n"
    "                ELSE\n"
    "                    bulk := EXISTS (SELECT FROM pgnear_new OFFSET 75000);\n"
    "                END IF;\n"
    "            END IF;\n"
    "            IF bulk OR cardinality(payloads) = 64 THEN\n"
    "                PERFORM pg_notify(channel, head || '\"sweep\"]');\n"
    "                RETURN NULL;\n"
    "            END IF;\n"
    "        END IF;\n"
    "        payload := payload || CASE WHEN payload = '' THEN '' ELSE ',' END || entry;\n"
    "    END LOOP;\n"
    "    CLOSE changes;\n"
    "    IF payload <> '' THEN\n"
    "        payloads := payloads || payload;\n"
    "    END IF;\n"
    "    FOREACH payload IN ARRAY payloads LOOP\n"
    "        PERFORM pg_notify(channel, head || '[' || payload || ']]');\n"
    "    END LOOP;\n"
    "    RETURN NULL;\n"
    "END\n"
    "$@tag@_body$;\n"
    "        REVOKE EXECUTE ON FUNCTION @notify_function@() FROM PUBLIC;\n";

// The first statement of a batch: whoever does not find the row as expected must not write.
static const char CREATE_ADVANCE[] =
    "        CREATE OR REPLACE FUNCTION @advance@(node uuid, incarnation uuid,\n"
    "            applied_from bigint, applied_to bigint) RETURNS void\n"
    "        LANGUAGE plpgsql\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: opens a batch of a node.\n"
    "BEGIN\n"
    "    UPDATE @node_table@ AS row\n"
    "    SET applied_seq = pgnear_advance.applied_to, results = '[]',\n"
    "        seen_at = clock_timestamp()\n"
    "    WHERE row.node = pgnear_advance.node\n"
    "        AND row.incarnation = pgnear_advance.incarnation\n"
    "        AND row.applied_seq = pgnear_advance.applied_from;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'node %, incarnation % is not at %', pgnear_advance.node,\n"
    "            pgnear_advance.incarnation, pgnear_advance.applied_from\n"
    "            USING ERRCODE = 'PN001',\n"
    "            DETAIL = coalesce((SELECT format('incarnation %s is at %s', row.incarnation,\n"
    "                                             row.applied_seq)\n"
    "                               FROM @node_table@ AS row\n"
    "                               WHERE row.node = pgnear_advance.node),\n"
    "                              'the node is not known');\n"
    "    END IF;\n"
    "    PERFORM set_config('pgnear.origin', pgnear_advance.node::text, true);\n"
    "    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN\n"
    "        PERFORM set_config('synchronous_commit', 'on', true);\n"
    "    END IF;\n"
    "END\n"
    "$@tag@_body$;\n";

// RFC 7396, section 2. Members of null go first and the others replace what they name, each in one
// step however many there are. The recursion is bounded by the nesting of the patch.
static const char CREATE_MERGE_PATCH[] =
    "        CREATE OR REPLACE FUNCTION @merge_patch@(target jsonb, patch jsonb)\n"
    "        RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: JSON merge patch, RFC 7396.\n"
    "DECLARE\n"
    "    base jsonb := target;\n"
    "BEGIN\n"
    "    IF jsonb_typeof(patch) IS DISTINCT FROM 'object' THEN\n"
    "        RETURN patch;\n"
    "    END IF;\n"
    "    IF jsonb_typeof(base) IS DISTINCT FROM 'object' THEN\n"
    "        base := '{}';\n"
    "    END IF;\n"
    "    RETURN (base - ARRAY(SELECT member.key FROM jsonb_each(patch) member\n"
    "                         WHERE jsonb_typeof(member.value) = 'null'))\n"
    "        || coalesce((SELECT jsonb_object_agg(member.key,\n"
    "                         CASE WHEN jsonb_typeof(member.value) = 'object'\n"
    "                              THEN @merge_patch@(base -> member.key, member.value)\n"
    "                              ELSE member.value END)\n"
    "                     FROM jsonb_each(patch) member\n"
    "                     WHERE jsonb_typeof(member.value) <> 'null'), '{}');\n"
    "END\n"
    "$@tag@_body$;\n";

static const char CREATE_INCR_VALUE[] =
    "        CREATE OR REPLACE FUNCTION @incr_value@(old jsonb, amount numeric)\n"
    "        RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: the sum; an absent value counts as 0.\n"
    "BEGIN\n"
    "    IF old IS NULL THEN\n"
    "        RETURN to_jsonb(amount);\n"
    "    END IF;\n"
    "    IF jsonb_typeof(old) <> 'number' THEN\n"
    "        RAISE EXCEPTION 'the value is not a number (type %)', jsonb_typeof(old)\n"
    "            USING ERRCODE = 'invalid_parameter_value';\n"
    "    END IF;\n"
    "    RETURN to_jsonb(old::numeric + amount);\n"
    "END\n"
    "$@tag@_body$;\n";

// As large as the daemon's MessagePack of the value, but for numbers that no double holds, which
// count for a little more. Most values are passed without a walk through them, by two bounds: jsonb
// says more of each element than MessagePack; and so does its text but for reals, of which there
// are no more than points, and for the separator that is not behind the last one. Both say less of
// a string of more than 65535 bytes; that is within a 64th. The walk is not jsonb_path_query's:
// that takes the square of the elements.
static const char CREATE_WITHIN[] =
    "        CREATE OR REPLACE FUNCTION @within@(value jsonb, bytes_max bigint)\n"
    "        RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: the value, where its MessagePack is no larger.\n"
    "DECLARE\n"
    "    passed bigint := bytes_max - bytes_max / 64;\n"
    "    spelled text;\n"
    "    bytes bigint;\n"
    "BEGIN\n"
    "    IF pg_column_size(value) <= passed THEN\n"
    "        RETURN value;\n"
    "    END IF;\n"
    "    spelled := value::text;\n"
    "    IF octet_length(spelled) + 2 + 4 * (octet_length(spelled)\n"
    "            - octet_length(replace(spelled, '.', ''))) <= passed THEN\n"
    "        RETURN value;\n"
    "    END IF;\n"
    "    WITH RECURSIVE walk (node, kind) AS (\n"
    "        SELECT value, jsonb_typeof(value)\n"
    "        UNION ALL\n"
    "        SELECT inner_node, jsonb_typeof(inner_node) FROM walk CROSS JOIN LATERAL (\n"
    "            SELECT each.value FROM jsonb_each(CASE kind WHEN 'object' THEN node END) each\n"
    "            UNION ALL\n"
    "            SELECT jsonb_array_elements(CASE kind WHEN 'array' THEN node END)\n"
    "        ) inside (inner_node)\n"
    "    ), sized (node, kind, scalar) AS MATERIALIZED (\n"
    "        SELECT node, kind, CASE WHEN kind IN ('number', 'string') THEN node #>> '{}' END\n"
    "        FROM walk\n"
    "    )\n"
    "    SELECT sum(CASE kind\n"
    "        WHEN 'number' THEN (SELECT CASE\n"
    "            WHEN n = trunc(n) AND n BETWEEN -9223372036854775808 AND 18446744073709551615\n"
    "            THEN CASE WHEN n BETWEEN -32 AND 127 THEN 1 WHEN n BETWEEN -128 AND 255 THEN 2\n"
    "                WHEN n BETWEEN -32768 AND 65535 THEN 3\n"
    "                WHEN n BETWEEN -2147483648 AND 4294967295 THEN 5 ELSE 9 END\n"
    "            WHEN abs(n) BETWEEN 1e-300 AND 1e308 AND n::float8::text::numeric = n THEN 9\n"
    "            ELSE 16 + length(trim(BOTH '0' FROM translate(scalar, '-.', ''))) END\n"
    "            FROM (SELECT scalar::numeric) number (n))\n"
    "        WHEN 'string' THEN octet_length(scalar)\n"
    "            + CASE WHEN octet_length(scalar) < 32 THEN 1\n"
    "                WHEN octet_length(scalar) < 256 THEN 2\n"
    "                WHEN octet_length(scalar) < 65536 THEN 3 ELSE 5 END\n"
    "        WHEN 'array' THEN CASE WHEN jsonb_array_length(node) < 16 THEN 1\n"
    "            WHEN jsonb_array_length(node) < 65536 THEN 3 ELSE 5 END\n"
    "        WHEN 'object' THEN (SELECT CASE WHEN count(*) < 16 THEN 1\n"
    "                WHEN count(*) < 65536 THEN 3 ELSE 5 END\n"
    "            + coalesce(sum(octet_length(member) + CASE WHEN octet_length(member) < 32 THEN 1\n"
    "                WHEN octet_length(member) < 256 THEN 2\n"
    "                WHEN octet_length(member) < 65536 THEN 3 ELSE 5 END), 0)\n"
    "            FROM jsonb_object_keys(node) member)\n"
    "        ELSE 1 END) INTO bytes FROM sized;\n"
    "    IF bytes > bytes_max THEN\n"
    "        RAISE EXCEPTION 'the value would take % bytes, and may take % (server.max_value)',\n"
    "            bytes, bytes_max USING ERRCODE = 'PN003';\n"
    "    END IF;\n"
    "    RETURN value;\n"
    "END\n"
    "$@tag@_body$;\n";

static const char CREATE_CONFLICT[] =
    "        CREATE OR REPLACE FUNCTION @conflict@(key text, version bigint) RETURNS void\n"
    "        LANGUAGE plpgsql\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: a guarded write met a key that has changed.\n"
    "BEGIN\n"
    "    IF pgnear_conflict.version IS NULL THEN\n"
    "        RAISE EXCEPTION 'key \"%\" has been deleted since', pgnear_conflict.key\n"
    "            USING ERRCODE = 'PN002';\n"
    "    END IF;\n"
    "    RAISE EXCEPTION 'key \"%\" has changed since, to version %', pgnear_conflict.key,\n"
    "        pgnear_conflict.version USING ERRCODE = 'PN002';\n"
    "END\n"
    "$@tag@_body$;\n";

// A sequence starts at the microseconds since 1970 and is lifted to them after a failover: nobody
// draws a million versions a second for long, so what was drawn before is always less.
static const char CREATE_LIFT_VERSIONS[] =
    "        CREATE OR REPLACE FUNCTION @lift_versions@(sequence regclass)\n"
    "        RETURNS bigint LANGUAGE plpgsql\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: moves a sequence past every version that was ever drawn from it.\n"
    "DECLARE\n"
    "    beyond bigint;\n"
    "BEGIN\n"
    "    PERFORM pg_advisory_xact_lock(@lock_class@, 2);\n"
    "    beyond := extract(epoch FROM clock_timestamp()) * 1000000;\n"
    "    IF coalesce(pg_sequence_last_value(sequence), 0) < beyond THEN\n"
    "        RETURN setval(sequence, beyond);\n"
    "    END IF;\n"
    "    RETURN pg_sequence_last_value(sequence);\n"
    "END\n"
    "$@tag@_body$;\n";

const struct schema_function SCHEMA_FUNCTIONS[SCHEMA_FUNCTIONS_COUNT] = {
    {"@version_function@()", CREATE_VERSION, .is_trigger = true},
    {"@notify_function@()", CREATE_NOTIFY, .is_trigger = true, .keeps_history = true},
    {"@reap_function@(integer)", SCHEMA_SQL_CREATE_REAP, .of_schema = false},
    {"@trim_function@(interval, integer)", SCHEMA_SQL_CREATE_TRIM, .of_schema = false},
    {"@advance@(uuid, uuid, bigint, bigint)", CREATE_ADVANCE, .of_schema = true},
    {"@merge_patch@(jsonb, jsonb)", CREATE_MERGE_PATCH, .of_schema = true},
    {"@incr_value@(jsonb, numeric)", CREATE_INCR_VALUE, .of_schema = true},
    {"@within@(jsonb, bigint)", CREATE_WITHIN, .of_schema = true},
    {"@conflict@(text, bigint)", CREATE_CONFLICT, .of_schema = true},
    {"@lift_versions@(regclass)", CREATE_LIFT_VERSIONS, .of_schema = true},
};
