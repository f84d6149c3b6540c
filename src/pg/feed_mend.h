// Mends what came about behind the back of whoever did it. A partition that is made or attached has
// no triggers of ours, since those of a statement are not inherited. ALTER TABLE ... DISABLE
// TRIGGER and ENABLE TRIGGER after it (pg_restore --disable-triggers does both) leave triggers that
// do not always fire: changes made under session_replication_role = replica pass them by. Triggers
// that are off, or gone where others of ours are, stay so: somebody wants it, and is perhaps in the
// midst of it. The pg worker's thread.
#pragma once

struct feed;

// Has the control connection, which is idle, run the script of the schema, where the settings let
// the daemon run it at all; for a table that has not changed since not again soon. The next look at
// the table tells the rest.
void feed_mend_triggers(struct feed *feed);
