#include "pg/conn_params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/words.h"

// The options that list one value a server, parallel to each other.
static const char *const LISTS[] = {"host", "hostaddr", "port"};
enum { LISTS_COUNT = 3 };

static void add(struct conn_params *params, const char *keyword, const char *value)
{
    CHECK(params->count < CONN_PARAMS_MAX);
    params->keywords[params->count] = keyword;
    params->values[params->count] = value;
    params->count++;
}

static size_t list_length(const char *list)
{
    size_t length = 1;
    for (const char *at = list; *at != '\0'; at++) {
        length += *at == ',';
    }
    return length;
}

// The list with its first `turn` members moved to the end, for the caller to free.
static char *turn_list(const char *list, size_t turn)
{
    const char *rest = list;
    for (size_t i = 0; i < turn; i++) {
        rest = strchr(rest, ',') + 1;
    }
    size_t bytes = strlen(list) + 2;
    char *turned = memory_zeroed(1, bytes);
    if (rest == list) {
        snprintf(turned, bytes, "%s", list);
    } else {
        snprintf(turned, bytes, "%s,%.*s", rest, (int)(rest - list) - 1, list);
    }
    return turned;
}

static int list_index(const char *keyword)
{
    for (int i = 0; i < LISTS_COUNT; i++) {
        if (strcmp(keyword, LISTS[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static size_t count_hosts(const PQconninfoOption *options)
{
    size_t count = 1;
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        int index = option->val == NULL ? -1 : list_index(option->keyword);
        if (index >= 0 && list_length(option->val) > count) {
            count = list_length(option->val);
        }
    }
    return count;
}

// What the user wrote comes after our defaults: of a keyword given twice the last value counts.
static void add_parsed(struct conn_params *params, size_t turn)
{
    for (const PQconninfoOption *option = params->parsed; option->keyword != NULL; option++) {
        if (option->val == NULL) {
            continue;
        }
        int index = list_index(option->keyword);
        // A single port goes for all servers.
        if (index < 0 || list_length(option->val) < params->hosts_count) {
            add(params, option->keyword, option->val);
        } else {
            params->turned[index] = turn_list(option->val, turn);
            add(params, option->keyword, params->turned[index]);
        }
    }
}

enum error conn_params_init(struct conn_params *params, const char *conninfo, unsigned turn,
                            int64_t user_timeout_us, struct failure *failure)
{
    // libpq's own words may quote a piece of the string, which may be the password.
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);
    if (parsed == NULL) {
        return failure_set(failure, ERROR_CONFIG, "the connection string is not one of libpq's");
    }
    *params = (struct conn_params){.parsed = parsed, .hosts_count = count_hosts(parsed)};
    snprintf(params->user_timeout_ms, sizeof params->user_timeout_ms, "%lld",
             (long long)(user_timeout_us / CLOCK_US_PER_MS));
    add(params, "application_name", "pgnear");
    add(params, "keepalives_idle", CONN_KEEPALIVES_IDLE);
    add(params, "keepalives_interval", CONN_KEEPALIVES_INTERVAL);
    add(params, "keepalives_count", CONN_KEEPALIVES_COUNT);
    add(params, "tcp_user_timeout", params->user_timeout_ms);
    // Of what it has decrypted and not given out yet libpq tells nobody, so the rest of an answer
    // may lie there and no event come: not by itself, where a Kerberos ticket is at hand.
    add(params, "gssencmode", "disable");
    add_parsed(params, turn % params->hosts_count);
    add(params, "client_encoding", "UTF8");
    return ERROR_NONE;
}

void conn_params_deinit(struct conn_params *params)
{
    for (int i = 0; i < LISTS_COUNT; i++) {
        free(params->turned[i]);
    }
    PQconninfoFree(params->parsed);
    *params = (struct conn_params){0};
}

enum error conn_params_check(const char *conninfo, struct failure *failure)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (options == NULL) {
        return failure_set(failure, ERROR_CONFIG,
                           "must be a URL such as postgresql://user@host:5432/database, or"
                           " keyword=value pairs as libpq takes them");
    }
    PQconninfoFree(options);
    return ERROR_NONE;
}

void conn_one_line(const char *text, char *out, size_t out_bytes)
{
    size_t len = 0;
    for (struct slice left = slice_of_string(text); left.len > 0;) {
        char first = (char)left.at[0];
        bool is_blank = first == '\n' || first == '\t' || first == ' ';
        size_t character = character_len(left), taken = character > 0 ? character : 1;
        if (len + taken >= out_bytes) {
            break;
        }
        if (character == 0) {
            out[len++] = '?';
        } else if (!is_blank) {
            memcpy(out + len, left.at, character);
            len += character;
        } else if (len > 0 && out[len - 1] != ' ') {
            out[len++] = ' ';
        }
        left = slice_of(left.at + taken, left.len - taken);
    }
    while (len > 0 && out[len - 1] == ' ') {
        len--;
    }
    out[len] = '\0';
}
