#include "base/error.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const struct {
    const char *wire_code;
    bool retryable;
    const char *text;
} ERRORS[ERROR_COUNT] = {
#define ERROR_ROW(name, code, retryable, text) [ERROR_##name] = {code, retryable, text},
    ERROR_TABLE(ERROR_ROW)
#undef ERROR_ROW
};

const char *error_wire_code(enum error error)
{
    CHECK_VALUES(error < ERROR_COUNT, "error %d", (int)error);
    return ERRORS[error].wire_code;
}

bool error_is_retryable(enum error error)
{
    CHECK_VALUES(error < ERROR_COUNT, "error %d", (int)error);
    return ERRORS[error].retryable;
}

const char *error_text(enum error error)
{
    CHECK_VALUES(error < ERROR_COUNT, "error %d", (int)error);
    return ERRORS[error].text;
}

// Takes off the last character of `message` where vsnprintf cut it in the middle. The lead byte of
// a character tells its length (RFC 3629, section 3).
static void cut_at_character(char *message, size_t len)
{
    size_t lead = len - 1;
    while (lead > 0 && ((unsigned char)message[lead] & 0xC0) == 0x80) {
        lead--;
    }
    unsigned char first = (unsigned char)message[lead];
    size_t character_len = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (len - lead < character_len) {
        message[lead] = '\0';
    }
}

enum error failure_set(struct failure *failure, enum error error, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    failure_note_values(failure, error, format, values);
    va_end(values);
    return error;
}

void failure_note(struct failure *failure, enum error error, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    failure_note_values(failure, error, format, values);
    va_end(values);
}

enum error failure_of_setting(struct failure *failure, enum error error, const char *setting)
{
    if (error == ERROR_NONE || failure == NULL) {
        return error;
    }
    const struct failure said = *failure;
    failure_note(failure, said.error, "%s: %s", setting, said.message);
    return error;
}

void failure_note_values(struct failure *failure, enum error error, const char *format,
                         va_list values)
{
    CHECK(error != ERROR_NONE);
    if (failure == NULL) {
        return;
    }
    *failure = (struct failure){.error = error};
    int len = vsnprintf(failure->message, sizeof failure->message, format, values);
    if (len >= (int)sizeof failure->message) {
        cut_at_character(failure->message, sizeof failure->message - 1);
    }
}
