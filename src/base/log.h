// One line an event on standard error, in logfmt or JSON: time, level, the event's name and its
// fields. An error is logged once, where it is handled. Never a password, never a value of a user.
// Any thread: a line is one write().
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

// Sets the level and the form of every later line. Any thread; SIGHUP calls it again.
void log_configure(enum log_level level, enum log_format format);

struct log_field {
    const char *name;
    enum { LOG_FIELD_TEXT, LOG_FIELD_SLICE, LOG_FIELD_INT } type;
    union {
        const char *text; // NULL prints as ""
        struct slice slice;
        int64_t integer;
    };
};

#define LOG_TEXT(field, value)                                                                     \
    (struct log_field)                                                                             \
    {                                                                                              \
        .name = (field), .type = LOG_FIELD_TEXT, .text = (value)                                   \
    }
#define LOG_SLICE(field, value)                                                                    \
    (struct log_field)                                                                             \
    {                                                                                              \
        .name = (field), .type = LOG_FIELD_SLICE, .slice = (value)                                 \
    }
#define LOG_INT(field, value)                                                                      \
    (struct log_field)                                                                             \
    {                                                                                              \
        .name = (field), .type = LOG_FIELD_INT, .integer = (int64_t)(value)                        \
    }

// `event` is a fixed phrase such as "listen lost"; what varies goes into fields.
void log_event(enum log_level level, const char *event, const struct log_field *fields,
               int fields_count);

// For what a client can cause at will: whether it is a minute since the line before, and takes note
// of this one. `logged_boot_us` is the caller's, 0 before the first line.
bool log_is_due(int64_t *logged_boot_us, int64_t now_boot_us);

#define LOG_EVENT(level, event, ...)                                                               \
    log_event((level), (event), (const struct log_field[]){__VA_ARGS__},                           \
              (int)(sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)))
#define LOG_DEBUG(event, ...)   LOG_EVENT(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define LOG_INFO(event, ...)    LOG_EVENT(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define LOG_WARNING(event, ...) LOG_EVENT(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define LOG_ERROR(event, ...)   LOG_EVENT(LOG_LEVEL_ERROR, event, __VA_ARGS__)
