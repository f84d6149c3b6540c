// Data directories for PostgreSQL servers: initdb takes a second and makes a thousand files, so
// that it is done once, and what a server has done with is made as new and used again.
#pragma once

#include "system/harness/scenario.h"

// Makes `data` a fresh data directory, owned by the user that the server runs as.
void pg_data_make(struct scenario *scenario, const char *data);

// Gives one up whose server has ended, with all of its processes. `data` is not there any more
// where it could be kept for another server.
void pg_data_retire(const char *data);
