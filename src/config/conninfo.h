// One connection string for libpq out of the [postgres] settings.
#pragma once

#include "config/keys.h"

// Keyword=value pairs, each value quoted (PostgreSQL manual, 34.1.1.1). The caller frees it.
char *conninfo_of_parts(const struct postgres_parts *parts);

// The URL, with sslmode=require added where ssl = true and it names no sslmode. The caller frees
// it.
char *conninfo_of_url(const char *url, const struct postgres_parts *parts);
