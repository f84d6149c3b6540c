#include "config/values.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/units.h"

static void set_text(char **field, struct slice text)
{
    free(*field);
    *field = memory_string(text);
}

// The index of `text` in "a|b|c", or -1.
static int find_choice(const char *choices, struct slice text)
{
    int index = 0;
    for (const char *at = choices; *at != '\0'; index++) {
        size_t len = strcspn(at, "|");
        if (slice_equal(slice_of(at, len), text)) {
            return index;
        }
        at += len + (at[len] == '|');
    }
    return -1;
}

static bool parse_octal(struct slice text, int64_t *mode)
{
    *mode = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '7' || text.len > 5) {
            return false;
        }
        *mode = *mode * 8 + (text.at[i] - '0');
    }
    return text.len > 0;
}

static const char *expected_of(const struct key_row *row)
{
    switch (row->type) {
    case KEY_INTEGER:
        return "an integer";
    case KEY_BOOLEAN:
        return "true or false";
    case KEY_DURATION:
    case KEY_DURATION_OR_NOT:
        return "a duration such as \"250ms\", \"2s\" or \"30d\"";
    case KEY_PERCENT:
        return "a percentage such as \"10%\"";
    case KEY_SIZE:
        return "a size such as \"64KiB\" or \"1GiB\"";
    case KEY_MODE:
        return "permissions in octal such as \"0660\"";
    case KEY_UIDS:
        return "an array of user ids";
    case KEY_PATH:
    case KEY_PATH_OR_NOT:
        return "an absolute path";
    default:
        return "a string";
    }
}

static enum error store_text(struct reading *reading, const struct key_row *row,
                             const struct toml_value *value, void *field)
{
    struct slice text = value->string;
    bool is_path = row->type == KEY_PATH || row->type == KEY_PATH_OR_NOT;
    bool may_be_empty = row->type != KEY_PATH;
    if (memchr(text.at, '\0', text.len) != NULL) {
        return reading_wrong(reading, value->line, value->key, "holds a NUL character");
    }
    if (is_path && !(text.len == 0 ? may_be_empty : text.at[0] == '/')) {
        return reading_wrong(reading, value->line, value->key, "must be an absolute path");
    }
    if (is_path && text.len >= PATH_MAX) {
        return reading_wrong(reading, value->line, value->key, "is too long for a path");
    }
    if (is_path && row->max > 0 && text.len > (size_t)row->max) {
        return reading_wrong(reading, value->line, value->key,
                             "must have at most %lld bytes, as the path of every Unix socket",
                             (long long)row->max);
    }
    set_text(field, text);
    return ERROR_NONE;
}

static enum error store_uids(struct reading *reading, const struct toml_value *value)
{
    struct server_settings *server = &reading->config.settings.server;
    if (value->integers_count > ALLOW_UIDS_MAX) {
        return reading_wrong(reading, value->line, value->key, "holds more than %d ids",
                             ALLOW_UIDS_MAX);
    }
    for (size_t i = 0; i < value->integers_count; i++) {
        if (value->integers[i] < 0 || value->integers[i] >= UINT32_MAX) {
            return reading_wrong(reading, value->line, value->key, "%lld is not a user id",
                                 (long long)value->integers[i]);
        }
        server->allow_uids[i] = (uid_t)value->integers[i];
    }
    server->allow_uids_count = value->integers_count;
    return ERROR_NONE;
}

// The number of a value that is stored as one; false where it is not of the row's type.
static bool number_of(const struct key_row *row, const struct toml_value *value, int64_t *number)
{
    if (row->type == KEY_INTEGER) {
        *number = value->integer;
        return value->type == TOML_INTEGER;
    }
    if (value->type != TOML_STRING) {
        return false;
    }
    switch (row->type) {
    case KEY_DURATION:
    case KEY_DURATION_OR_NOT:
        return units_duration_us(value->string, number);
    case KEY_PERCENT:
        return units_percent(value->string, number);
    case KEY_SIZE:
        return units_size_bytes(value->string, number);
    default:
        return parse_octal(value->string, number);
    }
}

// A bound as the user would write it.
static const char *bound_text(const struct key_row *row, int64_t bound, char *text, size_t bytes)
{
    switch (row->type) {
    case KEY_DURATION:
    case KEY_DURATION_OR_NOT:
        units_duration_text(bound, text, bytes);
        break;
    case KEY_SIZE:
        units_size_text(bound, text, bytes);
        break;
    case KEY_MODE:
        snprintf(text, bytes, "%04llo", (long long)bound);
        break;
    default:
        snprintf(text, bytes, "%lld%s", (long long)bound, row->type == KEY_PERCENT ? "%" : "");
        break;
    }
    return text;
}

static enum error store_number(struct reading *reading, const struct key_row *row,
                               const struct toml_value *value, void *field)
{
    int64_t number;
    if (row->type == KEY_DURATION_OR_NOT && value->type == TOML_STRING && value->string.len == 0) {
        *(int64_t *)field = 0;
        return ERROR_NONE;
    }
    if (!number_of(row, value, &number)) {
        return reading_wrong(reading, value->line, value->key, "must be %s", expected_of(row));
    }
    if (number < row->min || number > row->max) {
        char min[32], max[32];
        return reading_wrong(reading, value->line, value->key, "must be from %s to %s",
                             bound_text(row, row->min, min, sizeof min),
                             bound_text(row, row->max, max, sizeof max));
    }
    switch (row->type) {
    case KEY_DURATION:
    case KEY_DURATION_OR_NOT:
        *(int64_t *)field = number;
        break;
    case KEY_SIZE:
        *(size_t *)field = (size_t)number;
        break;
    case KEY_MODE:
        *(mode_t *)field = (mode_t)number;
        break;
    default:
        *(int *)field = (int)number;
        break;
    }
    return ERROR_NONE;
}

static enum error store_choice(struct reading *reading, const struct key_row *row,
                               const struct toml_value *value, void *field)
{
    int choice = value->type == TOML_STRING ? find_choice(row->choices, value->string) : -1;
    if (choice < 0) {
        return reading_wrong(reading, value->line, value->key, "must be one of %s", row->choices);
    }
    *(int *)field = choice;
    return ERROR_NONE;
}

enum error values_store(struct reading *reading, const struct key_row *row,
                        const struct toml_value *value)
{
    void *field = (char *)&reading->config + row->offset;
    switch (row->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_PATH_OR_NOT:
        if (value->type != TOML_STRING) {
            return reading_wrong(reading, value->line, value->key, "must be %s", expected_of(row));
        }
        return store_text(reading, row, value, field);
    case KEY_BOOLEAN:
        if (value->type != TOML_BOOLEAN) {
            return reading_wrong(reading, value->line, value->key, "must be %s", expected_of(row));
        }
        *(bool *)field = value->boolean;
        return ERROR_NONE;
    case KEY_UIDS:
        if (value->type != TOML_INTEGERS) {
            return reading_wrong(reading, value->line, value->key, "must be %s", expected_of(row));
        }
        return store_uids(reading, value);
    case KEY_CHOICE:
        return store_choice(reading, row, value, field);
    default:
        return store_number(reading, row, value, field);
    }
}

enum error values_store_default(struct reading *reading, const struct key_row *row)
{
    if (row->value == NULL) {
        return ERROR_NONE;
    }
    struct toml_value value = {.key = row->name};
    struct slice text = slice_of_string(row->value);
    if (text.at[0] == '"') {
        value.type = TOML_STRING;
        value.string = slice_of(text.at + 1, text.len - 2);
    } else if (text.at[0] == '[') {
        value.type = TOML_INTEGERS;
    } else if (text.at[0] == 't' || text.at[0] == 'f') {
        value.type = TOML_BOOLEAN;
        value.boolean = text.at[0] == 't';
    } else {
        value.type = TOML_INTEGER;
        value.integer = strtoll(row->value, NULL, 10);
    }
    return values_store(reading, row, &value);
}
