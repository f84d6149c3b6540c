// The log's lines in both forms, read back from a pipe that takes the place of standard error.

#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { OUTPUT_BYTES = 4096 };

static int pipe_read_end = -1;
static int true_stderr = -1;

static int catch_stderr(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    pipe_read_end = ends[0];
    true_stderr = dup(STDERR_FILENO);
    assert_true(true_stderr >= 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    return 0;
}

static int release_stderr(void **state)
{
    (void)state;
    dup2(true_stderr, STDERR_FILENO);
    close(true_stderr);
    close(pipe_read_end);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    return 0;
}

// All that was logged since the last call, as a string. A line is one write(), so it is all there.
static const char *logged(void)
{
    static char output[OUTPUT_BYTES];
    ssize_t len = read(pipe_read_end, output, sizeof output - 1);
    output[len > 0 ? len : 0] = '\0';
    return output;
}

static const char *after(const char *text, const char *prefix)
{
    assert_memory_equal(text, prefix, strlen(prefix));
    return text + strlen(prefix);
}

// Checks that `text` begins with a moment between `earliest` and now, and returns what follows it.
static const char *after_time(const char *text, time_t earliest)
{
    struct tm utc = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    assert_non_null(rest);
    time_t moment = timegm(&utc);
    // Not time(), which goes by the last tick and may be in the second before.
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    assert_true(moment >= earliest && moment <= now.tv_sec);
    assert_int_equal(strspn(after(rest, "."), "0123456789"), 6);
    return after(rest + 1 + 6, "Z");
}

static void logfmt_line_has_time_level_event_and_fields(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    time_t start = time(NULL);
    LOG_WARNING("listen lost", LOG_TEXT("reason", "server closed"), LOG_INT("pid", -42),
                LOG_SLICE("key", slice_of("a\nb", 3)), LOG_TEXT("none", NULL));
    const char *rest = after_time(after(logged(), "time="), start);
    assert_string_equal(rest,
                        " level=warning event=\"listen lost\" reason=\"server closed\" pid=-42"
                        " key=\"a\\u000ab\" none=\"\"\n");
}

static void json_line_is_one_object(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    time_t start = time(NULL);
    LOG_ERROR("flush failed", LOG_TEXT("message", "say \"no\" \\ \t"), LOG_INT("seq", INT64_MAX));
    const char *rest = after_time(after(logged(), "{\"time\":\""), start);
    assert_string_equal(rest, "\",\"level\":\"error\",\"event\":\"flush failed\","
                              "\"message\":\"say \\\"no\\\" \\\\ \\u0009\","
                              "\"seq\":9223372036854775807}\n");
}

static void levels_below_the_configured_one_are_silent(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_LOGFMT);
    LOG_DEBUG("unseen", LOG_INT("n", 1));
    LOG_INFO("unseen", LOG_INT("n", 2));
    assert_string_equal(logged(), "");
    LOG_WARNING("seen", LOG_INT("n", 3));
    assert_non_null(strstr(logged(), "event=\"seen\" n=3\n"));
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_LOGFMT);
    LOG_DEBUG("seen", LOG_INT("n", 4));
    assert_non_null(strstr(logged(), "level=debug event=\"seen\" n=4\n"));
}

// A key may hold any UTF-8; a line of JSON must stay JSON and a line must stay one line.
static void no_byte_of_a_field_breaks_the_line(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    uint8_t controls[0x20];
    for (size_t i = 0; i < sizeof controls; i++) {
        controls[i] = (uint8_t)i;
    }
    LOG_INFO("bytes", LOG_SLICE("all", slice_of(controls, sizeof controls)));
    const char *line = logged();
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_non_null(strstr(line, "\"all\":\"\\u0000\\u0001\\u0002"));
    assert_non_null(strstr(line, "\\u001e\\u001f\"}\n"));
    LOG_INFO("bytes", LOG_TEXT("path", "/a\xff/\xc3\xa4/\xe2\x82"));
    assert_non_null(strstr(logged(), "\"path\":\"/a\\ufffd/\xc3\xa4/\\ufffd\\ufffd\"}\n"));
}

static void event_may_have_no_fields(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_event(LOG_LEVEL_INFO, "started", NULL, 0);
    assert_non_null(strstr(logged(), " level=info event=\"started\"\n"));
}

// A client can make as many as it likes.
static void what_clients_cause_is_logged_once_a_minute(void **state)
{
    (void)state;
    const int64_t minute_us = 60000000;
    int64_t logged_boot_us = 0;
    assert_true(log_is_due(&logged_boot_us, 5));
    assert_false(log_is_due(&logged_boot_us, 5 + minute_us - 1));
    assert_true(log_is_due(&logged_boot_us, 5 + minute_us));
    assert_false(log_is_due(&logged_boot_us, 5 + minute_us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(logfmt_line_has_time_level_event_and_fields, catch_stderr,
                                        release_stderr),
        cmocka_unit_test_setup_teardown(json_line_is_one_object, catch_stderr, release_stderr),
        cmocka_unit_test_setup_teardown(levels_below_the_configured_one_are_silent, catch_stderr,
                                        release_stderr),
        cmocka_unit_test_setup_teardown(no_byte_of_a_field_breaks_the_line, catch_stderr,
                                        release_stderr),
        cmocka_unit_test_setup_teardown(event_may_have_no_fields, catch_stderr, release_stderr),
        cmocka_unit_test(what_clients_cause_is_logged_once_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
