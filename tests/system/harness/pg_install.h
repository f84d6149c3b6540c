// Which PostgreSQL the tests run.
#pragma once

#include "system/harness/scenario.h"

// The path of one of PostgreSQL's programs: from $PGNEAR_TEST_PG_BINDIR, pg_config or Debian's
// newest version.
const char *pg_program(struct scenario *scenario, const char *name);
