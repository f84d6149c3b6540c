// The one place that knows the TOML library (toml++, https://toml.io/en/v1.0.0): a file becomes a
// visit of its values in order, each with its dotted key and its line.
#pragma once

#include "base/error.h"
#include "base/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

enum toml_type { TOML_STRING, TOML_INTEGER, TOML_BOOLEAN, TOML_INTEGERS, TOML_TABLE, TOML_OTHER };

struct toml_value {
    const char *key; // "server.socket"
    int line;        // from 1
    enum toml_type type;
    struct slice string;
    bool boolean;
    int64_t integer;
    const int64_t *integers;
    size_t integers_count;
};

// Reads the file and calls `visit` for every value, tables included; pointers live during the
// call. Stops at the first answer other than ERROR_NONE and returns it. A file that cannot be read
// or parsed is ERROR_CONFIG with "FILE:LINE: key: ..." in the failure, the key where one stands on
// that line; where `is_secret` says so of it, the failure repeats nothing of what follows it. A
// name that is not a bare key stands in quotes in `key`. Blocks; any thread.
enum error toml_visit(const char *path,
                      enum error (*visit)(void *context, const struct toml_value *value),
                      bool (*is_secret)(const char *key), void *context, struct failure *failure);

#ifdef __cplusplus
}
#endif
