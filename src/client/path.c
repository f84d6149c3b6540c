// Paths into a value: a step at a time, without recursion and without allocation; siblings are
// stepped over by their lengths.

#include <limits.h>

#include "client/handle.h"

enum { NAME_BYTES_MAX = 512, INDEX_DIGITS_MAX = 10 };

struct step {
    bool is_name;
    int64_t index;
    uint8_t name[NAME_BYTES_MAX];
    size_t name_len;
};

static bool add_to_name(struct step *step, char byte)
{
    if (step->name_len == sizeof step->name) {
        return false;
    }
    step->name[step->name_len++] = (uint8_t)byte;
    return true;
}

// .name: up to the next step.
static bool read_name(const char **at, struct step *step)
{
    while (**at != '\0' && **at != '.' && **at != '[') {
        if (!add_to_name(step, *(*at)++)) {
            return false;
        }
    }
    return step->name_len > 0;
}

// ["name"], behind the bracket; the name may be empty.
static bool read_quoted(const char **at, struct step *step)
{
    char quote = *(*at)++;
    while (**at != quote) {
        if (**at == '\\' && ((*at)[1] == quote || (*at)[1] == '\\')) {
            ++*at;
        }
        if (**at == '\0' || !add_to_name(step, *(*at)++)) {
            return false;
        }
    }
    ++*at;
    return *(*at)++ == ']';
}

// [n], behind the bracket.
static bool read_index(const char **at, struct step *step)
{
    bool negative = **at == '-';
    *at += negative;
    int digits = 0;
    while (**at >= '0' && **at <= '9' && digits < INDEX_DIGITS_MAX) {
        step->index = step->index * 10 + (*(*at)++ - '0');
        digits++;
    }
    step->index = negative ? -step->index : step->index;
    return digits > 0 && *(*at)++ == ']';
}

// The step at *at, which moves behind it. False where it is none.
static bool read_step(const char **at, struct step *step)
{
    step->index = 0;
    step->name_len = 0;
    char first = *(*at)++;
    step->is_name = first == '.' || **at == '"' || **at == '\'';
    if (first == '.') {
        return read_name(at, step);
    }
    if (first != '[') {
        return false;
    }
    return step->is_name ? read_quoted(at, step) : read_index(at, step);
}

// ---- where it leads

enum way { WAY_FOUND, WAY_NOWHERE, WAY_BAD };

static bool skip(struct mpack_cursor *cursor, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (mpack_skip(cursor, NULL) != DECODE_OK) {
            return false;
        }
    }
    return true;
}

// What is there is no map, or no array, if it is MessagePack at all.
static enum way beside(struct mpack_cursor cursor)
{
    struct mpack_token token;
    return mpack_next(&cursor, &token) == DECODE_OK ? WAY_NOWHERE : WAY_BAD;
}

static enum way enter_map(struct mpack_cursor *cursor, const struct step *step)
{
    uint32_t count;
    if (!mpack_read_map(cursor, &count)) {
        return beside(*cursor);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct slice name;
        if (!mpack_read_str(cursor, &name)) {
            return WAY_BAD;
        }
        if (slice_equal(name, slice_of(step->name, step->name_len))) {
            return WAY_FOUND;
        }
        if (!skip(cursor, 1)) {
            return WAY_BAD;
        }
    }
    return WAY_NOWHERE;
}

static enum way enter_array(struct mpack_cursor *cursor, const struct step *step)
{
    uint32_t count;
    if (!mpack_read_array(cursor, &count)) {
        return beside(*cursor);
    }
    int64_t index = step->index < 0 ? step->index + count : step->index;
    if (index < 0 || index >= count) {
        return WAY_NOWHERE;
    }
    return skip(cursor, (uint64_t)index) ? WAY_FOUND : WAY_BAD;
}

static pgnear_code bad_path(const char *path, const char *at, pgnear_error *error)
{
    return outcome_set(error, PGNEAR_BAD_REQUEST, "\"%.200s\" is not a path: see byte %td", path,
                       at - path);
}

pgnear_code pgnear_path(pgnear_bytes value, const char *path, pgnear_bytes *part,
                        pgnear_error *error)
{
    struct mpack_cursor cursor = mpack_cursor_of(slice_of_bytes(value));
    enum way way = WAY_FOUND;
    const char *at = path;
    if (*at++ != '$') {
        return bad_path(path, path, error);
    }
    // The rest of a path that leads nowhere is read all the same: a wrong one is always told.
    while (*at != '\0') {
        struct step step;
        const char *begin = at;
        if (!read_step(&at, &step)) {
            return bad_path(path, begin, error);
        }
        if (way == WAY_FOUND) {
            way = step.is_name ? enter_map(&cursor, &step) : enter_array(&cursor, &step);
        }
    }
    struct slice found = {0};
    if (way == WAY_FOUND && mpack_skip(&cursor, &found) != DECODE_OK) {
        way = WAY_BAD;
    }
    if (way == WAY_BAD) {
        return outcome_set(error, PGNEAR_INVALID_VALUE, "the value is not MessagePack of JSON");
    }
    if (part != NULL) {
        *part = bytes_of_slice(found);
    }
    return PGNEAR_OK;
}
