// What a file that is read again says anew and cannot have before the next start.
#include "config/config.h"
#include "config/keys.h"

#include <string.h>

static bool texts_differ(const char *one, const char *other)
{
    return one == NULL || other == NULL ? one != other : strcmp(one, other) != 0;
}

static bool values_differ(const struct key_row *row, const void *one, const void *other)
{
    switch (row->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_PATH_OR_NOT:
        return texts_differ(*(char *const *)one, *(char *const *)other);
    case KEY_BOOLEAN:
        return *(const bool *)one != *(const bool *)other;
    case KEY_DURATION:
    case KEY_DURATION_OR_NOT:
        return *(const int64_t *)one != *(const int64_t *)other;
    case KEY_SIZE:
        return *(const size_t *)one != *(const size_t *)other;
    case KEY_MODE:
        return *(const mode_t *)one != *(const mode_t *)other;
    default:
        return *(const int *)one != *(const int *)other;
    }
}

static void name_key(struct buffer *out, const char *section, const char *name)
{
    buffer_printf(out, "%s%s.%s", buffer_len(out) > 0 ? ", " : "", section, name);
}

void config_list_unread(const struct settings *running, const struct settings *fresh,
                        struct buffer *out)
{
    for (size_t i = 0; i < KEY_ROWS_COUNT; i++) {
        const struct key_row *row = &KEY_ROWS[i];
        bool is_part = row->offset >= offsetof(struct config, parts);
        if (!row->reread && !is_part &&
            values_differ(row, (const char *)running + row->offset,
                          (const char *)fresh + row->offset)) {
            name_key(out, row->section, row->name);
        }
    }
    // The parts of [postgres] are one string by now, which is secret.
    if (texts_differ(running->postgres.conninfo, fresh->postgres.conninfo)) {
        name_key(out, "postgres", "url (or host, port, database, user, password, ssl)");
    }
    if (texts_differ(running->postgres.listen_conninfo, fresh->postgres.listen_conninfo)) {
        name_key(out, "postgres", "listen_url");
    }
}
