#include "config/conninfo.h"

#include <string.h>

#include "base/buffer.h"

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

char *conninfo_of_parts(const struct postgres_parts *parts)
{
    struct buffer out = {0};
    append_quoted(&out, "host", parts->host);
    buffer_printf(&out, " port='%d'", parts->port);
    append_quoted(&out, "dbname", parts->database);
    append_quoted(&out, "user", parts->user);
    append_quoted(&out, "password", parts->password);
    if (parts->ssl) {
        append_quoted(&out, "sslmode", "require");
    }
    buffer_append(&out, "", 1);
    return (char *)out.bytes;
}

static bool is_uri(const char *text)
{
    return strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0;
}

char *conninfo_of_url(const char *url, const struct postgres_parts *parts)
{
    struct buffer out = {0};
    buffer_printf(&out, "%s", url);
    if (parts->ssl && strstr(url, "sslmode") == NULL) {
        if (!is_uri(url)) {
            append_quoted(&out, "sslmode", "require");
        } else {
            buffer_printf(&out, "%csslmode=require", strchr(url, '?') != NULL ? '&' : '?');
        }
    }
    buffer_append(&out, "", 1);
    return (char *)out.bytes;
}
