// The options that a method takes as its last parameter (SPEC section 3), as one table: their
// names, and which method knows which.
#pragma once

#include "base/mpack.h"
#include "base/request.h"

// X(name, wire name)
#define OPT_TABLE(X)                                                                               \
    X(TIMEOUT_MS, "timeout_ms")                                                                    \
    X(ID, "id")                                                                                    \
    X(FRESH, "fresh")                                                                              \
    X(MAX_AGE_MS, "max_age_ms")                                                                    \
    X(MIN_VERSION, "min_version")                                                                  \
    X(AT_VERSION, "at_version")                                                                    \
    X(TTL_MS, "ttl_ms")                                                                            \
    X(ACK, "ack")                                                                                  \
    X(IF_VERSION, "if_version")                                                                    \
    X(IF_ABSENT, "if_absent")                                                                      \
    X(PREFIX, "prefix")                                                                            \
    X(AFTER, "after")                                                                              \
    X(LIMIT, "limit")                                                                              \
    X(SEQ, "seq")                                                                                  \
    X(EXPIRES, "expires")                                                                          \
    X(AFTER_SEQ, "after_seq")                                                                      \
    X(FORCE, "force")                                                                              \
    X(MODE, "mode")                                                                                \
    X(BEFORE, "before")                                                                            \
    X(EXPIRES_AT_US, "expires_at_us")

enum opt {
#define OPT_ENUM(name, wire) OPT_##name,
    OPT_TABLE(OPT_ENUM)
#undef OPT_ENUM
        OPT_COUNT
};

const char *opt_name(enum opt opt);

// Whether `method` takes `opt`.
bool opt_is_allowed(enum method method, enum opt opt);

// Reads the map of options at the cursor into the call, whose method is set and whose defaults
// stand. Slices point into the input. ERROR_BAD_REQUEST names the option.
enum error opts_decode(struct mpack_cursor *cursor, struct call *call, struct failure *failure);

// An integer however it was sent: an int, or a float64 without a fraction. Moves on success only.
bool read_integer(struct mpack_cursor *cursor, int64_t *value);
