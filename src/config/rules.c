#include "config/rules.h"

#include <string.h>

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
        line =
            reading_line(reading, keys[i].key) > line ? reading_line(reading, keys[i].key) : line;
    }
    if (line == 0) {
        return ERROR_NONE;
    }
    if (missing_count > 0) {
        return reading_wrong(reading, line, keys[missing].key,
                             "missing: a document needs all four keys");
    }
    if (reading_line(reading, "postgres.table") > 0) {
        return reading_wrong(reading, reading_line(reading, "postgres.table"), "postgres.table",
                             "give either table or [postgres.document], not both");
    }
    enum error error = ERROR_NONE;
    for (size_t i = 0; error == ERROR_NONE && i < KEYS_COUNT; i++) {
        if (strcmp(keys[i].key, "postgres.document.id") != 0) {
            error = reading_check_text(reading, reading->checks.table, keys[i].value, keys[i].key,
                                       keys[i].key);
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

enum error rules_check(struct reading *reading)
{
    const struct settings *settings = &reading->config.settings;
    if (lies_in(settings->writes.dir, settings->cache.dir)) {
        int line = reading_line(reading, "writes.dir");
        return reading_wrong(reading, line > 0 ? line : reading_line(reading, "cache.dir"),
                             "writes.dir",
                             "must lie outside of cache.dir, which is wiped where it is damaged");
    }
    if (settings->cache.size_bytes <= settings->writes.outbox_bytes) {
        int line = reading_line(reading, "cache.size");
        return reading_wrong(reading, line > 0 ? line : reading_line(reading, "writes.outbox_size"),
                             "cache.size",
                             "must exceed writes.outbox_size: pending writes live in both");
    }
    if (strcmp(settings->server.socket, settings->server.read_only_socket) == 0) {
        return reading_wrong(reading, reading_line(reading, "server.read_only_socket"),
                             "server.read_only_socket", "must differ from server.socket");
    }
    enum error error = reading_check_text(reading, reading->checks.table, settings->postgres.table,
                                          "postgres.table", "postgres.table");
    return error != ERROR_NONE ? error : check_document(reading);
}
