// The keywords and values that a connection string becomes: what the user wrote, our defaults for
// what they did not write (keepalives, so that a silent peer is found), and, where a server of
// several did not serve, the order of the servers turned so that the next attempt begins behind it.
// PQconnectStart has no time limit of its own: it is the caller's timer that gives a server up.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { CONN_PARAMS_MAX = 64 };

// In seconds, but for the count: after these a silent peer is gone. Both ends look so, this one
// unless the user's string says otherwise.
#define CONN_KEEPALIVES_IDLE     "5"
#define CONN_KEEPALIVES_INTERVAL "2"
#define CONN_KEEPALIVES_COUNT    "3"

struct conn_params {
    // For PQconnectStartParams; ends with NULL.
    const char *keywords[CONN_PARAMS_MAX + 1];
    const char *values[CONN_PARAMS_MAX + 1];
    size_t count;
    size_t hosts_count; // servers that are tried one after another, at least 1
    // What `values` may point into:
    PQconninfoOption *parsed;
    char *turned[3]; // host, hostaddr and port in the order of this attempt
    char user_timeout_ms[24];
};

// `user_timeout_us` is how long a peer may take nothing. Reads `conninfo`; its servers are turned
// left by `turn` places. ERROR_CONFIG where it is no connection string; nothing is to be freed
// then.
enum error conn_params_init(struct conn_params *params, const char *conninfo, unsigned turn,
                            int64_t user_timeout_us, struct failure *failure);
void conn_params_deinit(struct conn_params *params);

// Whether `conninfo` is a connection string. libpq's own words are kept back: they repeat parts of
// it and so may show a password.
enum error conn_params_check(const char *conninfo, struct failure *failure);

// libpq's words on one line: every run of white space becomes one blank, none at the ends. What is
// not UTF-8 becomes '?': before a session begins, a server tells in its own encoding why it does
// not.
void conn_one_line(const char *text, char *out, size_t out_bytes);
