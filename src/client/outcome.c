// Codes and their names in one table; what the node says takes precedence over it. Pure.

#include "client/outcome.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    pgnear_code code;
    bool retryable;
} CODES[] = {
#define CODE_ROW(name, wire_code, retryable, text) {wire_code, PGNEAR_##name, retryable},
    ERROR_WIRE_TABLE(CODE_ROW)
#undef CODE_ROW
    // What the library finds by itself.
    {"UNREACHABLE", PGNEAR_UNREACHABLE, true},
    {"PROTOCOL", PGNEAR_PROTOCOL, false},
    {"FORKED", PGNEAR_FORKED, false},
    {"OTHER", PGNEAR_OTHER, false},
};

enum { CODES_COUNT = sizeof CODES / sizeof CODES[0] };

static pgnear_code code_of_name(struct slice name)
{
    for (size_t i = 0; i < CODES_COUNT; i++) {
        if (slice_equal(name, slice_of_string(CODES[i].name))) {
            return CODES[i].code;
        }
    }
    return PGNEAR_OTHER;
}

static void set_code(pgnear_error *error, pgnear_code code)
{
    *error = (pgnear_error){.code = code};
    for (size_t i = 0; i < CODES_COUNT; i++) {
        if (CODES[i].code == code) {
            snprintf(error->name, sizeof error->name, "%s", CODES[i].name);
            error->retryable = CODES[i].retryable;
        }
    }
}

pgnear_code outcome_set(pgnear_error *error, pgnear_code code, const char *format, ...)
{
    if (error != NULL) {
        set_code(error, code);
        va_list values;
        va_start(values, format);
        vsnprintf(error->message, sizeof error->message, format, values);
        va_end(values);
    }
    return code;
}

static void copy_text(char *out, size_t out_bytes, struct slice text)
{
    size_t len = text.len < out_bytes - 1 ? text.len : out_bytes - 1;
    memcpy(out, text.at, len);
    out[len] = '\0';
}

static bool read_text(struct mpack_cursor *cursor, char *out, size_t out_bytes)
{
    struct slice text;
    if (!mpack_read_str(cursor, &text)) {
        return false;
    }
    copy_text(out, out_bytes, text);
    return true;
}

// One member of the map; one that is not known is stepped over. False where it is malformed.
static bool read_member(struct mpack_cursor *cursor, pgnear_error *error)
{
    struct slice name;
    if (!mpack_read_str(cursor, &name)) {
        return false;
    }
    if (slice_equal(name, slice_of_string("code"))) {
        struct slice code;
        if (!mpack_read_str(cursor, &code)) {
            return false;
        }
        error->code = code_of_name(code);
        copy_text(error->name, sizeof error->name, code);
        return true;
    }
    if (slice_equal(name, slice_of_string("message"))) {
        return read_text(cursor, error->message, sizeof error->message);
    }
    if (slice_equal(name, slice_of_string("sqlstate"))) {
        return read_text(cursor, error->sqlstate, sizeof error->sqlstate);
    }
    if (slice_equal(name, slice_of_string("retryable"))) {
        return mpack_read_bool(cursor, &error->retryable);
    }
    if (slice_equal(name, slice_of_string("version"))) {
        error->has_version = mpack_read_int(cursor, &error->version);
        return error->has_version || mpack_read_nil(cursor);
    }
    if (slice_equal(name, slice_of_string("seq"))) {
        error->has_seq = mpack_read_uint(cursor, &error->seq);
        return error->has_seq || mpack_read_nil(cursor);
    }
    return mpack_skip(cursor, NULL) == DECODE_OK;
}

pgnear_code outcome_of_response(struct slice map, pgnear_error *error)
{
    pgnear_error read = {.code = PGNEAR_OK};
    struct mpack_cursor cursor = mpack_cursor_of(map);
    uint32_t count;
    bool good = mpack_read_map(&cursor, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        good = read_member(&cursor, &read);
    }
    if (!good || read.code == PGNEAR_OK) {
        return outcome_set(error, PGNEAR_PROTOCOL, "the node sent an error without a code");
    }
    if (error != NULL) {
        *error = read;
    }
    return read.code;
}

pgnear_code outcome_of_failure(const struct failure *failure, pgnear_error *error)
{
    const char *name = error_wire_code(failure->error);
    return outcome_set(error, code_of_name(slice_of_string(name)), "%s", failure->message);
}
