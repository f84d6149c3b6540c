// One row for each key of the configuration file.
#pragma once

#include "base/settings.h"

enum key_type {
    KEY_TEXT,
    KEY_PATH,        // absolute, not empty
    KEY_PATH_OR_NOT, // absolute, or empty
    KEY_INTEGER,
    KEY_BOOLEAN,
    KEY_DURATION,        // stored as int64_t microseconds
    KEY_DURATION_OR_NOT, // the same, or empty: 0
    KEY_PERCENT,         // "10%", stored as an int
    KEY_SIZE,            // stored as size_t bytes
    KEY_MODE,            // octal digits in a string
    KEY_CHOICE,          // stored as the index into `choices`
    KEY_UIDS,
};

// What [postgres] says before it becomes one conninfo.
struct postgres_parts {
    char *url;
    char *listen_url;
    char *host;
    int port;
    char *database;
    char *user;
    char *password;
    bool ssl;
};

struct config {
    struct settings settings;
    struct postgres_parts parts;
};

struct key_row {
    const char *section; // "server", "postgres.document"
    const char *name;
    enum key_type type;
    const char *value; // the default as TOML; NULL: unset
    size_t offset;     // of the field in struct config
    int64_t min;
    int64_t max;         // of integers, microseconds, bytes, the length of a path (0: PATH_MAX)
    const char *choices; // "memory|journal|postgres"
    bool reread;         // SIGHUP takes a new value
    bool secret;         // never printed
    const char *help;    // one or two sentences
};

extern const struct key_row KEY_ROWS[];
extern const size_t KEY_ROWS_COUNT;

// One or two sentences on a section.
const char *section_help(const char *section);
