// Assertions that stay on in release: a broken invariant ends the process with its place and its
// values, and the supervisor starts a fresh one from durable state. For programmer errors only;
// what the world can cause is an `enum error`.
#pragma once

#include <stdbool.h>

// Ends the process with `expression` and the formatted values. Any thread.
_Noreturn void check_failed(const char *file, int line, const char *expression, const char *format,
                            ...) __attribute__((format(printf, 4, 5)));

#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, "%s", ""))

// As CHECK, with the values that explain a failure.
#define CHECK_VALUES(condition, ...)                                                               \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__))
