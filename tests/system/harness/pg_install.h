// Which PostgreSQL the tests run, and new data directories for it.
#pragma once

#include "system/harness/scenario.h"

// The path of one of PostgreSQL's programs: from $PGNEAR_TEST_PG_BINDIR, pg_config or Debian's
// newest version.
const char *pg_program(struct scenario *scenario, const char *name);

// Makes `data` a fresh data directory, owned by the user that the server runs as. initdb runs once
// in a test's process; the rest are copies.
void pg_make_data(struct scenario *scenario, const char *data);
