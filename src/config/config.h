// The configuration of a node: SPEC section 2 as one table that parses, checks, documents and
// makes config.example.toml and the manual page.
#pragma once

#include "base/buffer.h"
#include "base/settings.h"

// Says whether a text is what PostgreSQL takes. The words must not repeat a connection string,
// which may hold a password.
typedef enum error (*config_text_check)(const char *text, struct failure *failure);

// Provided by the wing that owns SQL; NULL: not checked.
struct config_checks {
    config_text_check table;    // the name of a table
    config_text_check conninfo; // a connection string
    bool server_is_optional;    // where none is named, conninfo is NULL
};

// Reads `path` (NULL: CONFIG_PATH_DEFAULT where it exists, else the defaults alone) and
// $DATABASE_URL into `settings`, which the caller frees with config_deinit. On failure the message
// is "FILE:LINE: key: what is wrong" and `settings` is untouched. Blocks; one thread at a time.
enum error config_load(const char *path, const struct config_checks *checks,
                       struct settings *settings, struct failure *failure);

void config_deinit(struct settings *settings);

// Names what `fresh` says otherwise than `running` and only a start takes, as "cache.size,
// writes.dir"; nothing where there is none. Never a value.
void config_list_unread(const struct settings *running, const struct settings *fresh,
                        struct buffer *out);

#define CONFIG_PATH_DEFAULT "/etc/pgnear/pgneard.toml"

// The documents made from the table; the tree holds their output and a test compares.
void config_write_example(struct buffer *out);
void config_write_manual(struct buffer *out);
