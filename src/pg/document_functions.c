// The functions of the layout "document". Whoever changes a body raises SCHEMA_VERSION.
//
// All of them meet on the lock of the document's row: whoever holds it may change the document, its
// part of the companion table and its row of the state, and nobody else does. The digest in the
// state is that of the document as the companion knows it, so that the two are compared at the cost
// of reading the text, and a change that came while triggers were off is found before anything is
// written over it.

#include "pg/document_sql.h"

// Brings the companion up to the document: what differs is deleted, inserted or updated there, by
// somebody else's hand as far as versions and announcements are concerned, even where a flush finds
// it. Keys that an index of PostgreSQL may not hold are kept apart and written back as they are.
static const char CREATE_FOLLOW[] =
    "        CREATE OR REPLACE FUNCTION @follow@(content text) RETURNS text\n"
    "        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: follows a change of the document; says what is wrong with it.\n"
    "DECLARE\n"
    "    origin CONSTANT text := coalesce(current_setting('pgnear.origin', true), '');\n"
    "    found_digest CONSTANT bigint :=\n"
    "        hashtextextended(coalesce(content, '') COLLATE \"C\", 0);\n"
    "    known record;\n"
    "    pairs jsonb;\n"
    "    wrong text;\n"
    "BEGIN\n"
    "    SELECT s.* INTO known FROM @state@ s WHERE s.document = @identity_literal@;\n"
    "    IF known.digest = found_digest THEN\n"
    "        RETURN known.fault;\n"
    "    END IF;\n"
    "    BEGIN\n"
    "        pairs := CASE WHEN coalesce(content, '') ~ '^\\s*$' THEN '{}'\n"
    "                      ELSE content::jsonb END;\n"
    "        IF jsonb_typeof(pairs) <> 'object' THEN\n"
    "            wrong := format('it is of type %s', jsonb_typeof(pairs));\n"
    "        END IF;\n"
    "    EXCEPTION WHEN OTHERS THEN\n"
    "        wrong := SQLERRM;\n"
    "    END;\n"
    "    IF wrong IS NOT NULL THEN\n"
    "        UPDATE @state@ SET digest = found_digest, is_ours = false, fault = wrong\n"
    "        WHERE document = @identity_literal@;\n"
    "        PERFORM pg_notify(@channel_literal@, '[\"\",\"truncate\"]');\n"
    "        RETURN wrong;\n"
    "    END IF;\n"
    "    PERFORM set_config('pgnear.origin', '', true), set_config('pgnear.document', 'f', true);\n"
    "    DELETE FROM @table@ t WHERE NOT EXISTS (\n"
    "        SELECT FROM jsonb_object_keys(pairs) k (key) WHERE k.key = t.key);\n"
    "    INSERT INTO @table@ AS t (key, value, version)\n"
    "        SELECT e.key, e.value, nextval(@sequence_literal@::regclass)\n"
    "        FROM jsonb_each(pairs) e LEFT JOIN @table@ o ON o.key = e.key\n"
    "        WHERE octet_length(e.key) <= 2000 AND (o.key IS NULL OR o.value <> e.value)\n"
    "        ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now(),\n"
    "            version = nextval(@sequence_literal@::regclass),\n"
    "            expires_at = CASE WHEN t.expires_at > statement_timestamp()\n"
    "                              THEN t.expires_at END;\n"
    "    UPDATE @state@ SET digest = found_digest, is_ours = false, fault = NULL,\n"
    "        kept = coalesce((SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(pairs) e\n"
    "                         WHERE octet_length(e.key) > 2000), '{}')\n"
    "    WHERE document = @identity_literal@;\n"
    "    PERFORM set_config('pgnear.origin', origin, true),\n"
    "        set_config('pgnear.document', '', true);\n"
    "    RETURN NULL;\n"
    "END\n"
    "$@tag@_body$;\n";

// Whatever stands in the way of the row or in its text is for the operator to mend: the class of
// 55000 stops the flush with nothing parked.
static const char CREATE_OPEN[] =
    "        CREATE OR REPLACE FUNCTION @open@() RETURNS void\n"
    "        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: locks the document's row, making it where there is none.\n"
    "DECLARE\n"
    "    content text;\n"
    "    wrong text;\n"
    "BEGIN\n"
    "    SELECT d.@column@::text INTO content FROM @document@ d\n"
    "    WHERE d.@id_column@ = @id_literal@ FOR NO KEY UPDATE;\n"
    "    IF NOT FOUND THEN\n"
    "        BEGIN\n"
    "            INSERT INTO @document@ (@id_column@, @column@) VALUES (@id_literal@, '{}')\n"
    "            ON CONFLICT DO NOTHING;\n"
    "        EXCEPTION WHEN integrity_constraint_violation OR data_exception\n"
    "            OR insufficient_privilege OR generated_always OR raise_exception\n"
    "            OR with_check_option_violation THEN\n"
    "            RAISE EXCEPTION 'the document''s row does not exist and cannot be made: %',\n"
    "                SQLERRM USING ERRCODE = 'object_not_in_prerequisite_state',\n"
    "                HINT = format('Insert the row of \"%s\" whose \"%s\" is %L.',\n"
    "                              @document_shown@, @id_column_literal@, @id_literal@);\n"
    "        END;\n"
    "        SELECT d.@column@::text INTO content FROM @document@ d\n"
    "        WHERE d.@id_column@ = @id_literal@ FOR NO KEY UPDATE;\n"
    "        IF NOT FOUND THEN\n"
    "            RAISE EXCEPTION 'the document''s row does not exist and cannot be made'\n"
    "                USING ERRCODE = 'object_not_in_prerequisite_state';\n"
    "        END IF;\n"
    "    END IF;\n"
    "    wrong := @follow@(content);\n"
    "    IF wrong IS NOT NULL THEN\n"
    "        RAISE EXCEPTION 'column \"%\" of the document''s row in \"%\" is not a JSON object: "
    "%',\n"
    "            @column_literal@, @document_shown@, wrong\n"
    "            USING ERRCODE = 'object_not_in_prerequisite_state';\n"
    "    END IF;\n"
    "END\n"
    "$@tag@_body$;\n";

// A text of others' spelling is not touched where it already says the same.
static const char CREATE_WRITE[] =
    "        CREATE OR REPLACE FUNCTION @write@() RETURNS void\n"
    "        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: writes the pairs into the document, whose row is locked.\n"
    "DECLARE\n"
    "    known record;\n"
    "    pairs jsonb;\n"
    "    content text;\n"
    "    new_digest bigint;\n"
    "BEGIN\n"
    "    SELECT s.* INTO known FROM @state@ s WHERE s.document = @identity_literal@;\n"
    "    pairs := known.kept || coalesce((SELECT jsonb_object_agg(t.key, t.value) FROM @table@ "
    "t),\n"
    "                                    '{}');\n"
    "    content := pairs::text;\n"
    "    new_digest := hashtextextended(content COLLATE \"C\", 0);\n"
    "    IF known.digest = new_digest THEN\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    IF NOT known.is_ours AND EXISTS (\n"
    "        SELECT FROM @document@ d WHERE d.@id_column@ = @id_literal@ AND pairs =\n"
    "            CASE WHEN coalesce(d.@column@::text, '') ~ '^\\s*$' THEN '{}'::jsonb\n"
    "                 ELSE d.@column@::text::jsonb END\n"
    "    ) THEN\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    UPDATE @state@ SET digest = new_digest, is_ours = true\n"
    "    WHERE document = @identity_literal@;\n"
    "    CASE known.kind\n"
    "    WHEN 'jsonb' THEN\n"
    "        UPDATE @document@ SET @column@ = pairs WHERE @id_column@ = @id_literal@;\n"
    "    WHEN 'json' THEN\n"
    "        UPDATE @document@ SET @column@ = content::json WHERE @id_column@ = @id_literal@;\n"
    "    ELSE\n"
    "        UPDATE @document@ SET @column@ = content WHERE @id_column@ = @id_literal@;\n"
    "    END CASE;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION 'the document''s row in \"%\" cannot be updated', @document_shown@\n"
    "            USING ERRCODE = 'object_not_in_prerequisite_state';\n"
    "    END IF;\n"
    "END\n"
    "$@tag@_body$;\n";

static const char CREATE_GUARD[] =
    "        CREATE OR REPLACE FUNCTION @guard@() RETURNS boolean\n"
    "        LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER\n"
    "        SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: true, or an error where the document is not to be read.\n"
    "DECLARE\n"
    "    known record;\n"
    "BEGIN\n"
    "    SELECT s.* INTO known FROM @state@ s WHERE s.document = @identity_literal@;\n"
    "    IF known.fault IS NOT NULL THEN\n"
    "        RAISE EXCEPTION 'column \"%\" of the document''s row in \"%\" is not a JSON object: "
    "%',\n"
    "            @column_literal@, @document_shown@, known.fault\n"
    "            USING ERRCODE = 'object_not_in_prerequisite_state';\n"
    "    END IF;\n"
    "    IF known.digest IS NULL THEN\n"
    "        RAISE EXCEPTION 'the document''s row in \"%\" has not been read yet', "
    "@document_shown@\n"
    "            USING ERRCODE = 'object_not_in_prerequisite_state';\n"
    "    END IF;\n"
    "    RETURN true;\n"
    "END\n"
    "$@tag@_body$;\n";

// On the document. The statement of the user must not fail for us: what goes wrong here makes the
// next flush, which holds the same lock, look again and say it.
static const char CREATE_CHANGED[] =
    "        CREATE OR REPLACE FUNCTION @changed@() RETURNS trigger\n"
    "        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: the document's row was changed.\n"
    "DECLARE\n"
    "    own CONSTANT regclass := to_regclass(@document_literal@);\n"
    "    content text;\n"
    "BEGIN\n"
    "    -- Not for a table that was renamed away.\n"
    "    IF own IS DISTINCT FROM TG_RELID::regclass\n"
    "        AND own IS DISTINCT FROM pg_partition_root(TG_RELID) THEN\n"
    "        RETURN NULL;\n"
    "    END IF;\n"
    "    SELECT d.@column@::text INTO content FROM @document@ d\n"
    "    WHERE d.@id_column@ = @id_literal@;\n"
    "    PERFORM @follow@(content);\n"
    "    RETURN NULL;\n"
    "EXCEPTION\n"
    "    WHEN transaction_rollback OR operator_intervention OR lock_not_available THEN\n"
    "        RAISE;\n"
    "    WHEN OTHERS THEN\n"
    "        RAISE WARNING 'pgnear cannot follow \"%\": %', @document_shown@, SQLERRM;\n"
    "        IF to_regclass(@state_literal@) IS NOT NULL THEN\n"
    "            UPDATE @state@ SET digest = NULL, is_ours = false, fault = SQLERRM\n"
    "            WHERE document = @identity_literal@;\n"
    "        END IF;\n"
    "        PERFORM pg_notify(@channel_literal@, '[\"\",\"truncate\"]');\n"
    "        RETURN NULL;\n"
    "END\n"
    "$@tag@_body$;\n"
    "        REVOKE EXECUTE ON FUNCTION @changed@() FROM PUBLIC;\n";

static const char CREATE_LOCK[] =
    "        CREATE OR REPLACE FUNCTION @lock@() RETURNS trigger\n"
    "        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: others write into the companion: the document is locked first.\n"
    "BEGIN\n"
    "    PERFORM @open@();\n"
    "    RETURN NULL;\n"
    "END\n"
    "$@tag@_body$;\n"
    "        REVOKE EXECUTE ON FUNCTION @lock@() FROM PUBLIC;\n";

static const char CREATE_PUBLISH[] =
    "        CREATE OR REPLACE FUNCTION @publish@() RETURNS trigger\n"
    "        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: others wrote into the companion: the document follows.\n"
    "BEGIN\n"
    "    PERFORM @write@();\n"
    "    RETURN NULL;\n"
    "END\n"
    "$@tag@_body$;\n"
    "        REVOKE EXECUTE ON FUNCTION @publish@() FROM PUBLIC;\n";

// A statement that names the companion as a whole fires none of the triggers of its parts: it would
// come between a document and its part.
static const char CREATE_REFUSE[] =
    "        CREATE OR REPLACE FUNCTION @refuse@() RETURNS trigger\n"
    "        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp\n"
    "        AS $@tag@_body$\n"
    "-- pgnear schema @version@: the companion is written part by part.\n"
    "BEGIN\n"
    "    RAISE EXCEPTION 'write to the document itself, or to its part of %', TG_RELID::regclass\n"
    "        USING ERRCODE = 'feature_not_supported',\n"
    "        HINT = 'tableoid::regclass names the part of a row.';\n"
    "END\n"
    "$@tag@_body$;\n";

const struct schema_function DOCUMENT_FUNCTIONS[DOCUMENT_FUNCTIONS_COUNT] = {
    {"@follow@(text)", CREATE_FOLLOW, .of_schema = false},
    {"@open@()", CREATE_OPEN, .of_schema = false},
    {"@write@()", CREATE_WRITE, .of_schema = false},
    {"@guard@()", CREATE_GUARD, .of_schema = false},
    {"@changed@()", CREATE_CHANGED, .of_schema = false},
    {"@lock@()", CREATE_LOCK, .of_schema = false},
    {"@publish@()", CREATE_PUBLISH, .of_schema = false},
    {"@refuse@()", CREATE_REFUSE, .of_schema = true},
};
