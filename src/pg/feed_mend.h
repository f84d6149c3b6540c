// Mends triggers of ours that are enabled and do not always fire: ALTER TABLE ... DISABLE TRIGGER
// and ENABLE TRIGGER after it (pg_restore --disable-triggers does both) leave them so, and then
// changes made under session_replication_role = replica pass them by. Triggers that are off or gone
// stay so: somebody wants it, and is perhaps in the midst of it. The pg worker's thread.
#pragma once

struct feed;

// Has the control connection, which is idle, run the script of the schema, where the settings let
// the daemon run it at all, and not again soon. The next look at the table tells the rest.
void feed_mend_triggers(struct feed *feed);
