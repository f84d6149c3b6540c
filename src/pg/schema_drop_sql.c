// The script that takes everything of ours away, as templates; see schema_sql.c.

#include "pg/schema_sql.h"

// Partitions come after their parent, whose row trigger takes its copies along.
const char SCHEMA_SQL_DROP_TRIGGERS[] =
    "\n"
    "DO $@tag@$\n"
    "DECLARE\n"
    "    found record;\n"
    "BEGIN\n"
    "    FOR found IN\n"
    "        SELECT t.tgname, t.tgrelid::regclass AS relation FROM pg_trigger t\n"
    "        LEFT JOIN pg_partition_tree(to_regclass(@table_literal@)) tree\n"
    "            ON tree.relid = t.tgrelid\n"
    "        WHERE t.tgname = ANY (@trigger_names@)\n"
    "            AND (t.tgrelid = to_regclass(@table_literal@) OR tree.relid IS NOT NULL)\n"
    "        ORDER BY coalesce(tree.level, 0)\n"
    "    LOOP\n"
    "        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', found.tgname, found.relation);\n"
    "    END LOOP;\n"
    "END\n"
    "$@tag@$;\n";

// Values change unseen from here on, so no version may stay that a cache could still know. The
// function is an earlier release's, whose nodes call it as long as there are any.
const char SCHEMA_SQL_DROP_TABLE_PARTS[] =
    "\n"
    "DO $@tag@$\n"
    "BEGIN\n"
    "    IF to_regclass(@table_literal@) IS NOT NULL THEN\n"
    "        ALTER TABLE @table@ DROP COLUMN IF EXISTS version;\n"
    "    END IF;\n"
    "    IF to_regclass(@node_table_literal@) IS NOT NULL THEN\n"
    "        DELETE FROM @node_table@ WHERE table_name = @table_literal@;\n"
    "    END IF;\n"
    "END\n"
    "$@tag@$;\n"
    "DROP INDEX IF EXISTS @qualified_index@;\n"
    "DROP INDEX IF EXISTS @qualified_expiry_index@;\n"
    "DROP SEQUENCE IF EXISTS @sequence@;\n"
    "DROP FUNCTION IF EXISTS @reap_function@(integer);\n";

// The other tables of the schema are known by their triggers; @drop_functions@ are those of the
// schema.
const char SCHEMA_SQL_DROP_SCHEMA_PARTS[] =
    "\n"
    "DO $@tag@$\n"
    "BEGIN\n"
    "    IF NOT EXISTS (\n"
    "        SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid\n"
    "        WHERE t.tgname = 'pgnear_truncate'\n"
    "            AND c.relnamespace = to_regnamespace(@schema_literal@)\n"
    "    ) THEN\n"
    "        DROP TABLE IF EXISTS @node_table@;\n"
    "@drop_functions@"
    "    END IF;\n"
    "END\n"
    "$@tag@$;\n";
