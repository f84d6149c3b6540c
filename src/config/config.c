// Reads the configuration file against the table in keys.c. The defaults take the same road as a
// user's values: each row's default is parsed first, then the file's values replace them.
//
// Runs in main, at the start and at SIGHUP. Nothing here is kept between calls.
#include "config/config.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "config/conninfo.h"
#include "config/keys.h"
#include "config/toml.h"
#include "config/units.h"

enum { KEY_TEXT_BYTES = 64 };

struct reading {
    const char *path;
    struct config config;
    struct failure *failure;
    struct config_checks checks;
    int *lines; // of each row, 0 where the file does not name it
};

// "FILE:LINE: key: what is wrong"
static enum error wrong(const struct reading *reading, int line, const char *key,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));
static enum error wrong(const struct reading *reading, int line, const char *key,
                        const char *format, ...)
{
    char what[256];
    va_list values;
    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    if (line > 0) {
        return failure_set(reading->failure, ERROR_CONFIG, "%s:%d: %s: %s", reading->path, line,
                           key, what);
    }
    return failure_set(reading->failure, ERROR_CONFIG, "%s: %s: %s", reading->path, key, what);
}

static const struct key_row *find_row(const char *key)
{
    char name[KEY_TEXT_BYTES];
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        snprintf(name, sizeof name, "%s.%s", KEY_ROWS[i].section, KEY_ROWS[i].name);
        if (strcmp(name, key) == 0) {
            return &KEY_ROWS[i];
        }
    }
    return NULL;
}

static bool is_section(const char *key)
{
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        if (strcmp(KEY_ROWS[i].section, key) == 0) {
            return true;
        }
    }
    return false;
}

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
        return wrong(reading, value->line, value->key, "holds a NUL character");
    }
    if (is_path && !(text.len == 0 ? may_be_empty : text.at[0] == '/')) {
        return wrong(reading, value->line, value->key, "must be an absolute path");
    }
    if (is_path && text.len >= PATH_MAX) {
        return wrong(reading, value->line, value->key, "is too long for a path");
    }
    set_text(field, text);
    return ERROR_NONE;
}

static enum error store_uids(struct reading *reading, const struct toml_value *value)
{
    struct server_settings *server = &reading->config.settings.server;
    if (value->integers_count > ALLOW_UIDS_MAX) {
        return wrong(reading, value->line, value->key, "holds more than %d ids", ALLOW_UIDS_MAX);
    }
    for (size_t i = 0; i < value->integers_count; i++) {
        if (value->integers[i] < 0 || value->integers[i] >= UINT32_MAX) {
            return wrong(reading, value->line, value->key, "%lld is not a user id",
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
    if (row->type == KEY_DURATION || row->type == KEY_DURATION_OR_NOT) {
        bool whole = bound % 1000000 == 0;
        snprintf(text, bytes, "%lld%s", (long long)(whole ? bound / 1000000 : bound / 1000),
                 whole ? "s" : "ms");
    } else if (row->type == KEY_SIZE) {
        snprintf(text, bytes, "%lldKiB", (long long)(bound >> 10));
    } else {
        snprintf(text, bytes,
                 row->type == KEY_MODE      ? "0%llo"
                 : row->type == KEY_PERCENT ? "%lld%%"
                                            : "%lld",
                 (long long)bound);
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
        return wrong(reading, value->line, value->key, "must be %s", expected_of(row));
    }
    if (number < row->min || number > row->max) {
        char min[32], max[32];
        return wrong(reading, value->line, value->key, "must be from %s to %s",
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
        return wrong(reading, value->line, value->key, "must be one of %s", row->choices);
    }
    *(int *)field = choice;
    return ERROR_NONE;
}

static bool asks_for_nothing(const struct key_row *row, const struct toml_value *value)
{
    if (row->off == NULL) {
        return false;
    }
    switch (value->type) {
    case TOML_STRING:
        return slice_equal(value->string, slice_of_string(row->off));
    case TOML_BOOLEAN:
        return strcmp(row->off, value->boolean ? "true" : "false") == 0;
    case TOML_INTEGER:
        return strcmp(row->off, "0") == 0 && value->integer == 0;
    default:
        return false;
    }
}

static enum error store(struct reading *reading, const struct key_row *row,
                        const struct toml_value *value)
{
    void *field = (char *)&reading->config + row->offset;
    switch (row->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_PATH_OR_NOT:
        if (value->type != TOML_STRING) {
            return wrong(reading, value->line, value->key, "must be %s", expected_of(row));
        }
        return store_text(reading, row, value, field);
    case KEY_BOOLEAN:
        if (value->type != TOML_BOOLEAN) {
            return wrong(reading, value->line, value->key, "must be %s", expected_of(row));
        }
        *(bool *)field = value->boolean;
        return ERROR_NONE;
    case KEY_UIDS:
        if (value->type != TOML_INTEGERS) {
            return wrong(reading, value->line, value->key, "must be %s", expected_of(row));
        }
        return store_uids(reading, value);
    case KEY_CHOICE:
        return store_choice(reading, row, value, field);
    case KEY_LATER:
        if (!asks_for_nothing(row, value)) {
            return wrong(reading, value->line, value->key, "not available yet");
        }
        return ERROR_NONE;
    default:
        return store_number(reading, row, value, field);
    }
}

static enum error on_value(void *context, const struct toml_value *value)
{
    struct reading *reading = context;
    if (strcmp(value->key, "http") == 0 || strcmp(value->key, "redis") == 0) {
        return wrong(reading, value->line, value->key, "reserved for a later release");
    }
    if (is_section(value->key)) {
        return value->type == TOML_TABLE
                   ? ERROR_NONE
                   : wrong(reading, value->line, value->key, "must be a section");
    }
    const struct key_row *row = find_row(value->key);
    if (row == NULL) {
        return wrong(reading, value->line, value->key, "unknown key");
    }
    reading->lines[row - KEY_ROWS] = value->line;
    return store(reading, row, value);
}

// The default of a row as if the file had said it.
static enum error store_default(struct reading *reading, const struct key_row *row)
{
    if (row->value == NULL || row->type == KEY_LATER) {
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
    return store(reading, row, &value);
}

static int line_of(const struct reading *reading, const char *key)
{
    return reading->lines[find_row(key) - KEY_ROWS];
}

// `name` is what the message calls what stands at `key`.
static enum error check_text(struct reading *reading, config_text_check check, const char *text,
                             const char *key, const char *name)
{
    struct failure why;
    if (check == NULL || check(text, &why) == ERROR_NONE) {
        return ERROR_NONE;
    }
    return wrong(reading, line_of(reading, key), name, "%s", why.message);
}

// All four keys or none, and then no other table.
static enum error check_document(struct reading *reading)
{
    const struct document_settings *document = &reading->config.settings.postgres.document;
    const struct {
        const char *key;
        const char *value;
    } keys[] = {
        {"postgres.document.table", document->table},
        {"postgres.document.id_column", document->id_column},
        {"postgres.document.id", document->id},
        {"postgres.document.column", document->column},
    };
    int line = 0;
    size_t missing = 0, missing_count = 0;
    enum { KEYS_COUNT = sizeof keys / sizeof keys[0] };
    for (size_t i = KEYS_COUNT; i-- > 0;) {
        if (keys[i].value == NULL || keys[i].value[0] == '\0') {
            missing = i;
            missing_count++;
        }
        line = line_of(reading, keys[i].key) > line ? line_of(reading, keys[i].key) : line;
    }
    if (line == 0) {
        return ERROR_NONE;
    }
    if (missing_count > 0) {
        return wrong(reading, line, keys[missing].key, "missing: a document needs all four keys");
    }
    if (line_of(reading, "postgres.table") > 0) {
        return wrong(reading, line_of(reading, "postgres.table"), "postgres.table",
                     "give either table or [postgres.document], not both");
    }
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < KEYS_COUNT; i++) {
        if (strcmp(keys[i].key, "postgres.document.id") != 0) {
            error =
                check_text(reading, reading->checks.table, keys[i].value, keys[i].key, keys[i].key);
        }
    }
    return error;
}

static size_t length_without_slashes(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    return len;
}

// As the paths are written; links are not followed.
static bool lies_in(const char *path, const char *directory)
{
    size_t len = length_without_slashes(directory);
    return length_without_slashes(path) >= len && strncmp(path, directory, len) == 0 &&
           (path[len] == '\0' || path[len] == '/' || directory[len - 1] == '/');
}

static enum error check_together(struct reading *reading)
{
    const struct settings *settings = &reading->config.settings;
    if (lies_in(settings->writes.dir, settings->cache.dir)) {
        int line = line_of(reading, "writes.dir");
        return wrong(reading, line > 0 ? line : line_of(reading, "cache.dir"), "writes.dir",
                     "must lie outside of cache.dir, which is wiped where it is damaged");
    }
    if (settings->cache.size_bytes <= settings->writes.outbox_bytes) {
        int line = line_of(reading, "cache.size");
        return wrong(reading, line > 0 ? line : line_of(reading, "writes.outbox_size"),
                     "cache.size", "must exceed writes.outbox_size: pending writes live in both");
    }
    if (strcmp(settings->server.socket, settings->server.read_only_socket) == 0) {
        return wrong(reading, line_of(reading, "server.read_only_socket"),
                     "server.read_only_socket", "must differ from server.socket");
    }
    enum error error = check_text(reading, reading->checks.table, settings->postgres.table,
                                  "postgres.table", "postgres.table");
    return error != ERROR_NONE ? error : check_document(reading);
}

static enum error resolve_postgres(struct reading *reading)
{
    const struct postgres_parts *parts = &reading->config.parts;
    struct postgres_settings *postgres = &reading->config.settings.postgres;
    int url_line = line_of(reading, "postgres.url");
    if (parts->url != NULL && parts->host != NULL) {
        return wrong(reading, url_line, "postgres.url", "give either url or host, not both");
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment
    const char *environment = getenv("DATABASE_URL");
    const char *name = "postgres.url";
    if (parts->url != NULL && parts->url[0] != '\0') {
        postgres->conninfo = conninfo_of_url(parts->url, parts);
    } else if (parts->host != NULL && parts->host[0] != '\0') {
        postgres->conninfo = conninfo_of_parts(parts);
        name = "postgres.host";
    } else if (environment != NULL && environment[0] != '\0') {
        postgres->conninfo = conninfo_of_url(environment, parts);
        name = "DATABASE_URL";
    } else if (reading->checks.server_is_optional) {
        return ERROR_NONE;
    } else {
        return wrong(reading, url_line, "postgres.url",
                     "no server is named: set url or host, or DATABASE_URL in the environment");
    }
    if (parts->listen_url != NULL && parts->listen_url[0] != '\0') {
        postgres->listen_conninfo = conninfo_of_url(parts->listen_url, parts);
    }
    config_text_check check = reading->checks.conninfo;
    enum error error = check_text(reading, check, postgres->conninfo, "postgres.url", name);
    if (error == ERROR_NONE && postgres->listen_conninfo != NULL) {
        error = check_text(reading, check, postgres->listen_conninfo, "postgres.listen_url",
                           "postgres.listen_url");
    }
    return error;
}

static void free_parts(struct postgres_parts *parts)
{
    free(parts->url);
    free(parts->listen_url);
    free(parts->host);
    free(parts->database);
    free(parts->user);
    free(parts->password);
}

static enum error read_file(struct reading *reading, const char *path)
{
    if (path == NULL && access(CONFIG_PATH_DEFAULT, F_OK) != 0) {
        return ERROR_NONE;
    }
    return toml_visit(reading->path, on_value, reading, reading->failure);
}

enum error config_load(const char *path, const struct config_checks *checks,
                       struct settings *settings, struct failure *failure)
{
    struct reading reading = {
        .checks = checks != NULL ? *checks : (struct config_checks){0},
        .path = path != NULL ? path : CONFIG_PATH_DEFAULT,
        .failure = failure,
        .lines = memory_zeroed(KEY_ROWS_COUNT, sizeof *reading.lines),
    };
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        enum error defect = store_default(&reading, &KEY_ROWS[i]);
        CHECK_VALUES(defect == ERROR_NONE, "default of %s.%s", KEY_ROWS[i].section,
                     KEY_ROWS[i].name);
    }
    enum error error = read_file(&reading, path);
    if (error == ERROR_NONE) {
        error = check_together(&reading);
    }
    if (error == ERROR_NONE) {
        error = resolve_postgres(&reading);
    }
    free(reading.lines);
    free_parts(&reading.config.parts);
    if (error != ERROR_NONE) {
        config_deinit(&reading.config.settings);
        return error;
    }
    *settings = reading.config.settings;
    return ERROR_NONE;
}

void config_deinit(struct settings *settings)
{
    free(settings->server.socket);
    free(settings->server.read_only_socket);
    free(settings->cache.dir);
    free(settings->writes.dir);
    free(settings->postgres.conninfo);
    free(settings->postgres.listen_conninfo);
    free(settings->postgres.table);
    free(settings->postgres.document.table);
    free(settings->postgres.document.id_column);
    free(settings->postgres.document.id);
    free(settings->postgres.document.column);
    *settings = (struct settings){0};
}
