#include "config/conninfo.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"

enum { PORT_BYTES = 12, SAID_MAX = 5 };

// What a key of [postgres] says in libpq's words.
struct said {
    const char *key;
    const char *keyword;
    const char *value; // NULL: nothing
};

static void append_quoted(struct buffer *out, const char *keyword, const char *value)
{
    if (value == NULL || value[0] == '\0') {
        return;
    }
    buffer_printf(out, "%s%s='", buffer_len(out) > 0 ? " " : "", keyword);
    for (const char *at = value; *at != '\0'; at++) {
        if (*at == '\'' || *at == '\\') {
            buffer_append(out, "\\", 1);
        }
        buffer_append(out, at, 1);
    }
    buffer_append(out, "'", 1);
}

// The rows point into `parts` and `port`.
static void list_said(const struct postgres_parts *parts, char port[static PORT_BYTES],
                      struct said said[static SAID_MAX])
{
    snprintf(port, PORT_BYTES, "%d", parts->port);
    said[0] = (struct said){"port", "port", parts->port > 0 ? port : NULL};
    said[1] = (struct said){"database", "dbname", parts->database};
    said[2] = (struct said){"user", "user", parts->user};
    said[3] = (struct said){"password", "password", parts->password};
    said[4] = (struct said){"ssl", "sslmode", parts->ssl ? "require" : NULL};
}

char *conninfo_of_parts(const struct postgres_parts *parts)
{
    char port[PORT_BYTES];
    struct said said[SAID_MAX];
    struct buffer out = {0};
    list_said(parts, port, said);
    append_quoted(&out, "host", parts->host);
    for (int i = 0; i < SAID_MAX; i++) {
        append_quoted(&out, said[i].keyword, said[i].value);
    }
    buffer_append(&out, "", 1);
    return (char *)out.bytes;
}

// NULL where nothing is said; a URL of several servers without ports has a list of none.
static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    while (options->keyword != NULL && strcmp(options->keyword, keyword) != 0) {
        options++;
    }
    const char *value = options->keyword != NULL ? options->val : NULL;
    return value != NULL && value[strspn(value, ",")] != '\0' ? value : NULL;
}

static bool is_said(const struct said *said)
{
    return said->value != NULL && said->value[0] != '\0';
}

char *conninfo_of_url(const char *url, const struct postgres_parts *parts)
{
    char port[PORT_BYTES];
    struct said said[SAID_MAX];
    struct buffer more = {0}, out = {0};
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    list_said(parts, port, said);
    for (int i = 0; options != NULL && i < SAID_MAX; i++) {
        if (option_value(options, said[i].keyword) == NULL) {
            append_quoted(&more, said[i].keyword, said[i].value);
        }
    }
    if (buffer_len(&more) == 0) {
        buffer_printf(&out, "%s", url);
    } else {
        for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
            append_quoted(&out, option->keyword, option->val);
        }
        buffer_printf(&out, " ");
        buffer_append_slice(&out, buffer_slice(&more));
    }
    buffer_append(&out, "", 1);
    buffer_deinit(&more);
    PQconninfoFree(options);
    return (char *)out.bytes;
}

// By what they begin with. A user is none: names are found on its search_path.
static bool leads_elsewhere(const char *keyword)
{
    static const char *const NEUTRAL[] = {
        "pass",       "ssl",     "gss",         "keepalives",           "connect_timeout",
        "tcp_",       "require", "application", "fallback_application", "channel_binding",
        "krbsrvname",
    };
    for (size_t i = 0; i < sizeof NEUTRAL / sizeof NEUTRAL[0]; i++) {
        if (strncmp(keyword, NEUTRAL[i], strlen(NEUTRAL[i])) == 0) {
            return false;
        }
    }
    return true;
}

char *conninfo_place(const char *conninfo)
{
    struct buffer out = {0};
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (options == NULL) {
        buffer_printf(&out, "%s", conninfo);
    }
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL;
         option++) {
        if (leads_elsewhere(option->keyword)) {
            append_quoted(&out, option->keyword, option->val);
        }
    }
    buffer_append(&out, "", 1);
    PQconninfoFree(options);
    return (char *)out.bytes;
}

// Modes stricter than the one that ssl = true asks for are fine.
static bool mode_may_be_plain(const char *sslmode)
{
    return strcmp(sslmode, "disable") == 0 || strcmp(sslmode, "allow") == 0 ||
           strcmp(sslmode, "prefer") == 0;
}

const char *conninfo_contradiction(const char *url, const struct postgres_parts *parts)
{
    char port[PORT_BYTES];
    struct said said[SAID_MAX];
    const char *found = NULL;
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    list_said(parts, port, said);
    for (int i = 0; options != NULL && found == NULL && i < SAID_MAX; i++) {
        const char *value = option_value(options, said[i].keyword);
        if (!is_said(&said[i]) || value == NULL) {
            continue;
        }
        bool is_ssl = strcmp(said[i].key, "ssl") == 0;
        bool contradicts = is_ssl ? mode_may_be_plain(value) : strcmp(value, said[i].value) != 0;
        found = contradicts ? said[i].key : NULL;
    }
    PQconninfoFree(options);
    return found;
}
