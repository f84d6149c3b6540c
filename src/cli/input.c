// Everything is checked here before the node is asked, so that a mistake is exit status 2 whether
// a daemon runs or not. JSON that is not valid is refused as the node would: status 4.

#include "cli/input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "config/units.h"
#include "json/json.h"

enum { READ_BYTES = 64 * 1024 };

static const struct json_limits LIMITS = {.value_bytes_max = JSON_INPUT_BYTES_MAX};

static bool read_standard_input(struct buffer *out)
{
    for (;;) {
        size_t len = fread(buffer_reserve(out, READ_BYTES), 1, READ_BYTES, stdin);
        buffer_commit(out, len);
        if (len < READ_BYTES) {
            return ferror(stdin) == 0;
        }
        if (buffer_len(out) > JSON_INPUT_BYTES_MAX) {
            errno = EFBIG;
            return false;
        }
    }
}

enum exit_status read_json(const char *text, struct buffer *out)
{
    struct buffer input = {0};
    struct slice json = slice_of_string(text);
    if (strcmp(text, "-") == 0) {
        if (!read_standard_input(&input)) {
            buffer_deinit(&input);
            return complain(EXIT_REFUSED, "cannot read standard input: %s", strerrordesc_np(errno));
        }
        json = buffer_slice(&input);
    }
    struct failure failure = {0};
    enum error error = json_to_msgpack(json, &LIMITS, out, &failure);
    buffer_deinit(&input);
    return error == ERROR_NONE ? EXIT_DONE : complain(EXIT_REFUSED, "%s", failure.message);
}

bool read_number(const char *text, struct buffer *out)
{
    struct failure failure = {0};
    struct slice json = slice_of_string(text);
    bool is_number = text[0] == '-' || (text[0] >= '0' && text[0] <= '9');
    if (!is_number || json_to_msgpack(json, &LIMITS, out, &failure) != ERROR_NONE) {
        complain_usage("%s: %s", text, is_number ? failure.message : "not a number");
        return false;
    }
    return true;
}

bool read_integer_operand(const char *what, const char *text, int64_t min, int64_t *value)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < min) {
        min == INT64_MIN
            ? complain_usage("%s %s: not an integer", what, text)
            : complain_usage("%s %s: not an integer of at least %lld", what, text, (long long)min);
        return false;
    }
    *value = number;
    return true;
}

bool read_ttl(const char *text, int64_t *ttl_ms)
{
    int64_t ttl_us;
    if (!units_duration_us(slice_of_string(text), &ttl_us) || ttl_us < CLOCK_US_PER_MS) {
        complain_usage("%s: not a time such as 500ms, 10s or 30d", text);
        return false;
    }
    *ttl_ms = ttl_us / CLOCK_US_PER_MS;
    return true;
}

bool read_time(const char *text, int64_t *time_us)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S%z", &parts);
    const struct tm said = parts;
    int64_t time_s = timegm(&parts); // which makes 2 March of 30 February
    bool is_a_day = parts.tm_mday == said.tm_mday || said.tm_sec == 60;
    if (end == NULL || *end != '\0' || !is_a_day) {
        complain_usage("%s: not a time such as 2030-01-31T12:00:00Z or 2030-01-31T13:00:00+01:00",
                       text);
        return false;
    }
    *time_us = (time_s - said.tm_gmtoff) * CLOCK_US_PER_S;
    return true;
}

static bool read_ack(const char *text, pgnear_ack *ack)
{
    static const struct {
        const char *name;
        pgnear_ack ack;
    } LEVELS[] = {{"memory", PGNEAR_ACK_MEMORY},
                  {"journal", PGNEAR_ACK_JOURNAL},
                  {"postgres", PGNEAR_ACK_POSTGRES}};
    for (size_t i = 0; i < sizeof LEVELS / sizeof LEVELS[0]; i++) {
        if (strcmp(LEVELS[i].name, text) == 0) {
            *ack = LEVELS[i].ack;
            return true;
        }
    }
    complain_usage("--ack %s: not memory, journal or postgres", text);
    return false;
}

bool read_write_options(const struct invocation *invocation, pgnear_write_options *options)
{
    const char *const *given = invocation->options;
    options->timeout_ms = invocation->timeout_ms;
    options->if_absent = given[OPTION_IF_ABSENT] != NULL;
    options->has_if_version = given[OPTION_IF_VERSION] != NULL;
    options->has_ttl = given[OPTION_TTL] != NULL;
    if (given[OPTION_ID] != NULL) {
        options->id = pgnear_text(given[OPTION_ID]);
        if (options->id.len == 0) { // an unset variable of a script, most likely
            complain_usage("--id is empty: no repeat would be recognized by it");
            return false;
        }
    }
    options->has_expires_at = given[OPTION_EXPIRES_AT] != NULL;
    if (options->has_ttl && options->has_expires_at) {
        complain_usage("--ttl and --expires-at exclude each other");
        return false;
    }
    if (options->if_absent && options->has_if_version) {
        complain_usage("--if-version and --if-absent exclude each other");
        return false;
    }
    return (given[OPTION_ACK] == NULL || read_ack(given[OPTION_ACK], &options->ack)) &&
           (given[OPTION_TTL] == NULL || read_ttl(given[OPTION_TTL], &options->ttl_ms)) &&
           (!options->has_expires_at ||
            read_time(given[OPTION_EXPIRES_AT], &options->expires_at_us)) &&
           (given[OPTION_IF_VERSION] == NULL ||
            read_integer_operand("--if-version", given[OPTION_IF_VERSION], INT64_MIN,
                                 &options->if_version));
}
