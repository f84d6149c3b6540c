// Reads the configuration file against the table in keys.c. The defaults take the same road as a
// user's values: each row's default is parsed first, then the file's values replace them
// (values.c); then what has to agree is compared (rules.c).
//
// Runs in main, at the start and at SIGHUP. Nothing here is kept between calls.
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "config/conninfo.h"
#include "config/rules.h"
#include "config/values.h"

static bool is_section(const char *key)
{
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        if (strcmp(KEY_ROWS[i].section, key) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_secret(const char *key)
{
    const struct key_row *row = reading_find_row(key);
    return row != NULL && row->secret;
}

static enum error on_value(void *context, const struct toml_value *value)
{
    struct reading *reading = context;
    if (strcmp(value->key, "http") == 0 || strcmp(value->key, "redis") == 0) {
        return reading_wrong(reading, value->line, value->key, "reserved for a later release");
    }
    if (is_section(value->key)) {
        return value->type == TOML_TABLE
                   ? ERROR_NONE
                   : reading_wrong(reading, value->line, value->key, "must be a section");
    }
    const struct key_row *row = reading_find_row(value->key);
    if (row == NULL) {
        return reading_wrong(reading, value->line, value->key, "unknown key");
    }
    reading->lines[row - KEY_ROWS] = value->line;
    return values_store(reading, row, value);
}

// The server of `url`, which `name` calls: postgres.url or DATABASE_URL.
static enum error take_url(struct reading *reading, const char *url, const char *name)
{
    struct postgres_parts *parts = &reading->config.parts;
    if (reading_line(reading, "postgres.port") == 0) {
        parts->port = 0; // the default is for `host`
    }
    const char *contradiction = conninfo_contradiction(url, parts);
    if (contradiction != NULL) {
        char key[64];
        snprintf(key, sizeof key, "postgres.%s", contradiction);
        return reading_wrong(reading, reading_line(reading, key), key, "%s says otherwise", name);
    }
    reading->config.settings.postgres.conninfo = conninfo_of_url(url, parts);
    return ERROR_NONE;
}

// Leaves `name` of what named the server.
static enum error resolve_server(struct reading *reading, const char **name)
{
    const struct postgres_parts *parts = &reading->config.parts;
    int url_line = reading_line(reading, "postgres.url");
    if (parts->url != NULL && parts->host != NULL) {
        return reading_wrong(reading, url_line, "postgres.url",
                             "give either url or host, not both");
    }
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment
    const char *environment = getenv("DATABASE_URL");
    *name = "postgres.url";
    if (parts->url != NULL && parts->url[0] != '\0') {
        return take_url(reading, parts->url, *name);
    }
    if (parts->host != NULL && parts->host[0] != '\0') {
        reading->config.settings.postgres.conninfo = conninfo_of_parts(parts);
        *name = "postgres.host";
        return ERROR_NONE;
    }
    if (environment != NULL && environment[0] != '\0') {
        *name = "DATABASE_URL";
        return take_url(reading, environment, *name);
    }
    if (reading->checks.server_is_optional) {
        return ERROR_NONE;
    }
    if (!reading->has_file) {
        return failure_set(reading->failure, ERROR_CONFIG,
                           "no server is named: there is no %s (-c FILE reads another), and no"
                           " DATABASE_URL in the environment",
                           reading->path);
    }
    return reading_wrong(reading, url_line, "postgres.url",
                         "no server is named: set url or host, or DATABASE_URL in the environment");
}

static enum error resolve_postgres(struct reading *reading)
{
    const char *name = NULL;
    struct postgres_settings *postgres = &reading->config.settings.postgres;
    const struct postgres_parts *parts = &reading->config.parts;
    enum error error = resolve_server(reading, &name);
    if (error != ERROR_NONE || postgres->conninfo == NULL) {
        return error;
    }
    postgres->place = conninfo_place(postgres->conninfo);
    if (parts->listen_url != NULL && parts->listen_url[0] != '\0') {
        // The port is that of the pooler.
        struct postgres_parts direct = *parts;
        direct.port = 0;
        postgres->listen_conninfo = conninfo_of_url(parts->listen_url, &direct);
    }
    config_text_check check = reading->checks.conninfo;
    error = reading_check_text(reading, check, postgres->conninfo, "postgres.url", name);
    if (error == ERROR_NONE && postgres->listen_conninfo != NULL) {
        error = reading_check_text(reading, check, postgres->listen_conninfo, "postgres.listen_url",
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
    // One that may not be looked at is an error; only one that is not there is not.
    if (path == NULL && access(CONFIG_PATH_DEFAULT, F_OK) != 0 &&
        (errno == ENOENT || errno == ENOTDIR)) {
        return ERROR_NONE;
    }
    reading->has_file = true;
    return toml_visit(reading->path, on_value, is_secret, reading, reading->failure);
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
        enum error defect = values_store_default(&reading, &KEY_ROWS[i]);
        CHECK_VALUES(defect == ERROR_NONE, "default of %s.%s", KEY_ROWS[i].section,
                     KEY_ROWS[i].name);
    }
    enum error error = read_file(&reading, path);
    if (error == ERROR_NONE) {
        error = rules_check(&reading);
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
    free(settings->postgres.place);
    free(settings->postgres.table);
    free(settings->postgres.document.table);
    free(settings->postgres.document.id_column);
    free(settings->postgres.document.id);
    free(settings->postgres.document.column);
    *settings = (struct settings){0};
}
