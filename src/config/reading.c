#include "config/reading.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { KEY_TEXT_BYTES = 64 };

enum error reading_wrong(const struct reading *reading, int line, const char *key,
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

const struct key_row *reading_find_row(const char *key)
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

int reading_line(const struct reading *reading, const char *key)
{
    return reading->lines[reading_find_row(key) - KEY_ROWS];
}

enum error reading_check_text(struct reading *reading, config_text_check check, const char *text,
                              const char *key, const char *name)
{
    struct failure why;
    if (check == NULL || check(text, &why) == ERROR_NONE) {
        return ERROR_NONE;
    }
    return reading_wrong(reading, reading_line(reading, key), name, "%s", why.message);
}
