// What can go wrong outside the program. Every function that may fail returns an `enum error`;
// libraries' codes (errno, MDB_*, SQLSTATE) are translated once, in the module that owns the
// library. The table below is also the table of codes in docs/protocol.md.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Before the name of an enum: to ignore a result of this type is a warning, and so an error. What
// need not be looked at says so by (void).
#ifdef __clang__
#define MUST_CHECK __attribute__((warn_unused_result))
#else
#define MUST_CHECK [[nodiscard]]
#endif

// What clients see by its own name. X(name, wire code, retryable, text)
#define ERROR_WIRE_TABLE(X)                                                                        \
    X(BAD_REQUEST, "BAD_REQUEST", false, "the request is malformed")                               \
    X(UNKNOWN_METHOD, "UNKNOWN_METHOD", false, "there is no such method")                          \
    X(INVALID_KEY, "INVALID_KEY", false, "a key is 1 to 511 bytes of UTF-8 without NUL")           \
    X(INVALID_VALUE, "INVALID_VALUE", false, "the value is not one that JSONB stores")             \
    X(TOO_LARGE, "TOO_LARGE", false, "the value or the request is beyond a limit")                 \
    X(CONFLICT, "CONFLICT", false, "the condition does not hold")                                  \
    X(UNAVAILABLE, "UNAVAILABLE", true, "no connection to PostgreSQL")                             \
    X(TIMEOUT, "TIMEOUT", true, "not done in time; nothing was done")                              \
    X(OUTCOME_UNKNOWN, "OUTCOME_UNKNOWN", false, "queued; wait for it with flush")                 \
    X(OVERLOADED, "OVERLOADED", true, "the outbox or the disk is full")                            \
    X(REJECTED, "REJECTED", false, "PostgreSQL refused the write")                                 \
    X(DENIED, "DENIED", false, "not allowed on this connection")                                   \
    X(INTERNAL, "INTERNAL", false, "a fault of pgnear")

#define ERROR_TABLE(X)                                                                             \
    X(NONE, "", false, "no error")                                                                 \
    ERROR_WIRE_TABLE(X)                                                                            \
    X(NOT_FOUND, "INTERNAL", false, "not found")                                                   \
    X(FULL, "OVERLOADED", true, "the map or the disk is full")                                     \
    X(CORRUPT, "INTERNAL", false, "the files are damaged")                                         \
    X(IN_USE, "INTERNAL", false, "in use by another process")                                      \
    X(SYSTEM, "INTERNAL", false, "the operating system refused")                                   \
    X(CONFIG, "INTERNAL", false, "the configuration is wrong")

enum MUST_CHECK error {
#define ERROR_ENUM(name, code, retryable, text) ERROR_##name,
    ERROR_TABLE(ERROR_ENUM)
#undef ERROR_ENUM
        ERROR_COUNT
};

// "BAD_REQUEST" and the like, as clients see it. Static.
const char *error_wire_code(enum error error);
bool error_is_retryable(enum error error);
const char *error_text(enum error error);

enum { FAILURE_MESSAGE_BYTES = 512, SQLSTATE_BYTES = 6 };

// An error with its particulars, in the caller's memory.
struct failure {
    enum error error;
    bool has_version;
    bool has_seq;
    char sqlstate[SQLSTATE_BYTES]; // "" where PostgreSQL had no part in it
    int64_t version;               // CONFLICT: the current version
    uint64_t seq;                  // OUTCOME_UNKNOWN: the write to wait for
    char message[FAILURE_MESSAGE_BYTES];
};

// Fills `failure` (which may be NULL) and returns `error`, so that a decoder can
// `return failure_set(failure, ERROR_BAD_REQUEST, "...")`. A message too long is cut at a UTF-8
// border.
enum error failure_set(struct failure *failure, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The same for who has nobody to return it to.
void failure_note(struct failure *failure, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Puts the setting in front of the words about what it names, "cache.dir: cannot ...", where
// `error` is one, and returns it.
enum error failure_of_setting(struct failure *failure, enum error error, const char *setting);
void failure_note_values(struct failure *failure, enum error error, const char *format,
                         va_list values) __attribute__((format(printf, 3, 0)));

#ifdef __cplusplus
}
#endif
