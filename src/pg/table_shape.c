// Rows of the catalogs are replaced when what they describe is altered, and ANALYZE and VACUUM
// leave these alone: so the transactions that made them are a fingerprint. Pure.
#include "pg/table_shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A partitioned table and its leaves have triggers of different numbers, and so have the document's
// table and that of its pairs: the least of all would hide what the others lose. The document's
// table may have those of other documents besides.
//
// A partition that was made or attached since has at most a copy of the row trigger for versions:
// it is bare, and counted apart from those that had triggers and lost them.
const char TABLE_SHAPE_SQL[] =
    "WITH RECURSIVE own (oid, place, is_part) AS ("
    "SELECT to_regclass(name)::oid, place, false"
    " FROM unnest(ARRAY[$1, $2]) WITH ORDINALITY AS named (name, place) WHERE place = 1 OR $1 <> $2"
    " UNION SELECT inhrelid, place, place = 1"
    " FROM pg_catalog.pg_inherits JOIN own ON inhparent = own.oid"
    "), ours AS ("
    "SELECT t.oid, t.xmin::text AS made_by, t.tgrelid, t.tgname, t.tgenabled"
    " FROM own JOIN pg_catalog.pg_trigger t ON t.tgrelid = own.oid"
    " WHERE t.tgname LIKE '%pgnear%' AND (own.place = 1 OR starts_with(t.tgname, $3 || '_')))"
    " SELECT md5(string_agg(shape, ' ' ORDER BY place, oid)),"
    " coalesce(min(triggers) FILTER (WHERE place = 1 AND relkind = 'r' AND NOT is_bare), -1),"
    " coalesce(min(triggers) FILTER (WHERE place = 1 AND relkind = 'p' AND NOT is_bare), -1),"
    " coalesce(min(triggers) FILTER (WHERE place = 2 AND relkind = 'r'), -1),"
    " coalesce(min(triggers) FILTER (WHERE place = 2 AND relkind = 'p'), -1),"
    " coalesce(min(replicated) FILTER (WHERE place = 1 AND relkind = 'r' AND NOT is_bare), -1),"
    " bool_or(EXISTS (SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid = shapes.oid)),"
    " coalesce(string_agg(states, ''), ''), count(*) FILTER (WHERE is_bare)"
    " FROM ("
    "SELECT c.oid, own.place, c.relkind,"
    " own.is_part AND c.relispartition AND c.relkind IN ('r', 'p') AND NOT EXISTS ("
    "SELECT FROM ours t WHERE t.tgrelid = c.oid AND starts_with(t.tgname, 'pgnear_')) AS is_bare,"
    " (SELECT count(*) FROM ours t WHERE t.tgrelid = c.oid"
    " AND t.tgenabled = 'A' AND t.tgname <> 'pgnear_replicated') AS triggers,"
    " (SELECT count(*) FROM ours t WHERE t.tgrelid = c.oid AND t.tgenabled IN ('A', 'R')"
    " AND t.tgname = 'pgnear_replicated') AS replicated,"
    " (SELECT string_agg(t.tgenabled::text, '') FROM ours t WHERE t.tgrelid = c.oid) AS states,"
    " concat_ws(' ', c.oid, (SELECT string_agg(a.xmin::text, ',' ORDER BY a.attnum)"
    " FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),"
    " (SELECT string_agg(t.made_by, ',' ORDER BY t.oid) FROM ours t"
    " WHERE t.tgrelid = c.oid)) AS shape"
    " FROM own JOIN pg_catalog.pg_class c ON c.oid = own.oid) AS shapes";

static int64_t count_at(const PGresult *result, int column)
{
    return strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

void table_shape_take(struct table_shape *shape, const PGresult *result)
{
    snprintf(shape->digest, sizeof shape->digest, "%s", PQgetvalue(result, 0, 0));
    for (int i = 0; i < TABLE_SHAPE_KINDS; i++) {
        shape->triggers[i] = count_at(result, 1 + i);
    }
    shape->replicated = count_at(result, 1 + TABLE_SHAPE_KINDS);
    shape->is_subscribed = *PQgetvalue(result, 0, 2 + TABLE_SHAPE_KINDS) == 't';
    const char *states = PQgetvalue(result, 0, 3 + TABLE_SHAPE_KINDS);
    shape->has_disabled = strchr(states, 'D') != NULL;
    shape->is_demoted = strchr(states, 'O') != NULL && !shape->has_disabled;
    shape->bare = count_at(result, 4 + TABLE_SHAPE_KINDS);
}

static bool is_fewer(int64_t found, int64_t known)
{
    return found >= 0 && found < known;
}

// Some that were there are not, or are off.
static bool has_fewer(const struct table_shape *found, const struct table_shape *known)
{
    bool is_less = found->digest[0] == '\0' ||
                   (found->is_subscribed && is_fewer(found->replicated, known->replicated));
    for (int i = 0; i < TABLE_SHAPE_KINDS; i++) {
        is_less = is_less || is_fewer(found->triggers[i], known->triggers[i]);
    }
    return is_less;
}

bool table_shape_lost_triggers(const struct table_shape *found, const struct table_shape *known)
{
    return found->bare > known->bare || has_fewer(found, known);
}

bool table_shape_lacks_for_bare(const struct table_shape *found, const struct table_shape *known)
{
    return found->bare > 0 && !found->has_disabled && !has_fewer(found, known);
}
