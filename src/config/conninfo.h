// One connection string for libpq out of the [postgres] settings.
#pragma once

#include "base/error.h"
#include "config/keys.h"

// Keyword=value pairs, each value quoted (PostgreSQL manual, 34.1.1.1). The caller frees it.
char *conninfo_of_parts(const struct postgres_parts *parts);

// The URL, or keyword string, with what `parts` say and it does not. The caller frees it. What is
// no connection string is given back as it stands. A port of 0 says nothing.
char *conninfo_of_url(const char *url, const struct postgres_parts *parts);

// What of it says which data it leads to, in one spelling: nothing of passwords, TLS, timeouts and
// names for the log. The caller frees it. What is no connection string is given back as it stands.
char *conninfo_place(const char *conninfo);

// The key of [postgres] that says something else than the URL ("user", "ssl", ...); NULL where they
// agree.
const char *conninfo_contradiction(const char *url, const struct postgres_parts *parts);
