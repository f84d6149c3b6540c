#include "base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/words.h"

static _Atomic int configured_level = LOG_LEVEL_INFO;
static _Atomic int configured_format = LOG_FORMAT_LOGFMT;

static const char *const LEVEL_NAMES[] = {"debug", "info", "warning", "error"};

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&configured_level, (int)level);
    atomic_store(&configured_format, (int)format);
}

// JSON's escapes (RFC 8259 section 7) serve logfmt's quoted values as well. What is not UTF-8, as a
// path may be, becomes U+FFFD: a line is text, whatever it tells of.
static void append_quoted(struct buffer *line, struct slice text)
{
    buffer_append(line, "\"", 1);
    while (text.len > 0) {
        uint8_t byte = text.at[0];
        size_t len = character_len(text);
        if (byte == '"' || byte == '\\') {
            buffer_printf(line, "\\%c", byte);
        } else if (byte < 0x20 || len == 0) {
            buffer_printf(line, "\\u%04x", len == 0 ? 0xfffd : byte);
        } else {
            buffer_append(line, text.at, len);
        }
        len = len == 0 ? 1 : len;
        text = slice_of(text.at + len, text.len - len);
    }
    buffer_append(line, "\"", 1);
}

static void append_field(struct buffer *line, bool json, const struct log_field *field)
{
    buffer_printf(line, json ? ",\"%s\":" : " %s=", field->name);
    if (field->type == LOG_FIELD_INT) {
        buffer_printf(line, "%" PRId64, field->integer);
        return;
    }
    struct slice text = field->type == LOG_FIELD_SLICE ? field->slice
                        : field->text == NULL          ? slice_of("", 0)
                                                       : slice_of_string(field->text);
    append_quoted(line, text);
}

static void append_time(struct buffer *line)
{
    int64_t now_us = clock_real_us();
    time_t now_s = (time_t)(now_us / CLOCK_US_PER_S);
    struct tm utc;
    gmtime_r(&now_s, &utc);
    char text[sizeof "2025-11-01T16:35:00"];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    buffer_printf(line, "%s.%06" PRId64 "Z", text, now_us % CLOCK_US_PER_S);
}

void log_event(enum log_level level, const char *event, const struct log_field *fields,
               int fields_count)
{
    if ((int)level < atomic_load_explicit(&configured_level, memory_order_relaxed)) {
        return;
    }
    bool json = atomic_load_explicit(&configured_format, memory_order_relaxed) == LOG_FORMAT_JSON;
    struct buffer line = {0};
    buffer_printf(&line, json ? "{\"time\":\"" : "time=");
    append_time(&line);
    buffer_printf(&line,
                  json ? "\",\"level\":\"%s\",\"event\":" : " level=%s event=", LEVEL_NAMES[level]);
    append_quoted(&line, slice_of_string(event));
    for (int i = 0; i < fields_count; i++) {
        append_field(&line, json, &fields[i]);
    }
    buffer_printf(&line, json ? "}\n" : "\n");
    // A log that cannot be written has nowhere to complain to.
    ssize_t written = write(STDERR_FILENO, line.bytes, buffer_len(&line));
    (void)written;
    buffer_deinit(&line);
}

bool log_is_due(int64_t *logged_boot_us, int64_t now_boot_us)
{
    const int64_t every_us = 60ll * CLOCK_US_PER_S;
    if (*logged_boot_us != 0 && now_boot_us - *logged_boot_us < every_us) {
        return false;
    }
    *logged_boot_us = now_boot_us;
    return true;
}
