// The cluster's NOTIFY queue: PostgreSQL keeps in it what some listener, of whatever database, has
// not read, and a listener reads only between transactions. Once it is full, whoever writes to the
// table fails at COMMIT, until that transaction ends.
#pragma once

// Of the queue, as an int8.
#define NOTIFY_QUEUE_PERCENT_SQL "round(pg_notification_queue_usage() * 100)::int8"

// One row of (item, ok, message), for `check`. A session that only reads may ask. Whose
// transactions are the oldest is seen by a member of pg_read_all_stats.
#define NOTIFY_QUEUE_CHECK_SQL                                                                     \
    "SELECT 'notification queue', usage < 25, round(usage::numeric, 1) || ' % full' || CASE"       \
    " WHEN usage < 25 THEN ''"                                                                     \
    " ELSE ': a session that listens stays in a transaction, and once it is full every write to"   \
    " the table fails; the oldest transactions are of the processes '"                             \
    " || coalesce(pids, 'that the server''s log names') END"                                       \
    " FROM (SELECT pg_notification_queue_usage() * 100) AS queue (usage),"                         \
    " (SELECT string_agg(pid::text, ', ') FROM (SELECT pid FROM pg_catalog.pg_stat_activity"       \
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"                           \
    " AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 3) AS oldest)"                          \
    " AS sessions (pids)"
