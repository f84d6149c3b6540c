// Decodes the map of options. One switch reads them all, since an option means the same wherever
// it is allowed; the table says where that is. Pure.

#include "server/rpc_opts.h"

#include "base/check.h"
#include "base/words.h"
#include "server/rules.h"

#define BIT(opt) (1u << OPT_##opt)

static const char *const NAMES[OPT_COUNT] = {
#define OPT_NAME(name, wire) [OPT_##name] = (wire),
    OPT_TABLE(OPT_NAME)
#undef OPT_NAME
};

static const size_t NAME_LENS[OPT_COUNT] = {
#define OPT_LEN(name, wire) [OPT_##name] = sizeof(wire) - 1,
    OPT_TABLE(OPT_LEN)
#undef OPT_LEN
};

static const uint32_t READ_OPTS = BIT(FRESH) | BIT(MAX_AGE_MS) | BIT(MIN_VERSION) | BIT(AT_VERSION);

// Beside timeout_ms, which all take, and id, which all writes take.
static uint32_t own_opts(enum method method)
{
    switch (method) {
    case METHOD_GET:
    case METHOD_MGET:
        return READ_OPTS;
    case METHOD_SET:
        return BIT(TTL_MS) | BIT(EXPIRES_AT_US) | BIT(ACK) | BIT(IF_VERSION) | BIT(IF_ABSENT);
    case METHOD_MSET:
        return BIT(TTL_MS) | BIT(EXPIRES_AT_US) | BIT(ACK);
    case METHOD_TOUCH:
        return BIT(EXPIRES_AT_US);
    case METHOD_DELETE:
        return BIT(ACK) | BIT(IF_VERSION);
    case METHOD_SCAN:
        return BIT(PREFIX) | BIT(AFTER) | BIT(LIMIT) | BIT(EXPIRES);
    case METHOD_ALL:
        return BIT(PREFIX) | BIT(EXPIRES);
    case METHOD_FLUSH:
        return BIT(SEQ);
    case METHOD_HISTORY:
        return BIT(LIMIT) | BIT(BEFORE);
    case METHOD_DEAD_LETTERS:
        return BIT(AFTER_SEQ) | BIT(LIMIT);
    case METHOD_RETRY_DEAD_LETTER:
        return BIT(FORCE);
    case METHOD_RESTORE:
        return BIT(MODE);
    default:
        return 0;
    }
}

const char *opt_name(enum opt opt)
{
    CHECK_VALUES(opt < OPT_COUNT, "opt %d", (int)opt);
    return NAMES[opt];
}

bool opt_is_allowed(enum method method, enum opt opt)
{
    uint32_t allowed = own_opts(method) | BIT(TIMEOUT_MS);
    if (method_class(method) == METHOD_WRITE) {
        allowed |= BIT(ID);
    }
    return (allowed >> opt & 1u) != 0;
}

// 2^63 is the first double beyond int64; below it every double without a fraction is one.
static bool is_integral(double real)
{
    return real >= -0x1p63 && real < 0x1p63 && (double)(int64_t)real == real;
}

bool read_integer(struct mpack_cursor *cursor, int64_t *value)
{
    struct mpack_cursor next = *cursor;
    struct mpack_token token;
    if (mpack_read_int(cursor, value)) {
        return true;
    }
    if (mpack_next(&next, &token) != DECODE_OK || token.type != MPACK_FLOAT ||
        !is_integral(token.real)) {
        return false;
    }
    *value = (int64_t)token.real;
    *cursor = next;
    return true;
}

struct reading {
    struct mpack_cursor *cursor;
    struct call *call;
    struct failure *failure;
    enum opt opt;
};

static enum error wrong(const struct reading *reading, const char *what)
{
    return failure_set(reading->failure, ERROR_BAD_REQUEST, "%s: option \"%s\" %s",
                       method_name(reading->call->method), NAMES[reading->opt], what);
}

static enum error read_number(const struct reading *reading, int64_t min, int64_t max,
                              int64_t *value)
{
    int64_t number;
    if (read_integer(reading->cursor, &number) && number >= min && number <= max) {
        *value = number;
        return ERROR_NONE;
    }
    char what[96];
    snprintf(what, sizeof what, "must be an integer from %lld to %lld", (long long)min,
             (long long)max);
    return wrong(reading, what);
}

static enum error read_flag(const struct reading *reading, bool *flag)
{
    return mpack_read_bool(reading->cursor, flag) ? ERROR_NONE
                                                  : wrong(reading, "must be true or false");
}

static enum error read_key_part(const struct reading *reading, struct slice *part)
{
    if (!mpack_read_str(reading->cursor, part)) {
        return wrong(reading, "must be a string");
    }
    return check_key_part(reading->call->method, NAMES[reading->opt], *part, reading->failure);
}

static enum error read_id(const struct reading *reading)
{
    struct slice id;
    if (!mpack_read_str(reading->cursor, &id) || id.len < 1 || id.len > REQUEST_ID_BYTES_MAX ||
        !is_text(id)) {
        return wrong(reading, "must be a string of 1 to 64 bytes of UTF-8 without NUL");
    }
    reading->call->id = id;
    return ERROR_NONE;
}

static enum error read_ack(const struct reading *reading)
{
    static const char *const ACKS[] = {"memory", "journal", "postgres"};
    struct slice name;
    if (mpack_read_str(reading->cursor, &name)) {
        for (int ack = ACK_MEMORY; ack <= ACK_POSTGRES; ack++) {
            if (slice_equal(name, slice_of_string(ACKS[ack]))) {
                reading->call->ack = (enum ack)ack;
                return ERROR_NONE;
            }
        }
    }
    return wrong(reading, "must be \"memory\", \"journal\" or \"postgres\"");
}

static enum error set_condition(const struct reading *reading, enum condition condition)
{
    if (reading->call->condition != CONDITION_NONE && reading->call->condition != condition) {
        return wrong(reading, "does not go with another condition");
    }
    reading->call->condition = condition;
    return ERROR_NONE;
}

static enum error read_if_version(const struct reading *reading)
{
    enum error error = read_number(reading, INT64_MIN, INT64_MAX, &reading->call->if_version);
    return error != ERROR_NONE ? error : set_condition(reading, CONDITION_IF_VERSION);
}

static enum error read_if_absent(const struct reading *reading)
{
    bool wanted;
    enum error error = read_flag(reading, &wanted);
    return error != ERROR_NONE || !wanted ? error : set_condition(reading, CONDITION_IF_ABSENT);
}

static enum error read_limit(const struct reading *reading)
{
    int64_t limit = 0;
    enum error error = read_number(reading, 1, SCAN_ITEMS_MAX, &limit);
    if (error == ERROR_NONE) {
        reading->call->limit = (uint32_t)limit;
    }
    return error;
}

static enum error read_seq(const struct reading *reading)
{
    int64_t seq = 0;
    enum error error = read_number(reading, 0, INT64_MAX, &seq);
    if (error == ERROR_NONE) {
        reading->call->has_seq = true;
        reading->call->seq = (uint64_t)seq;
    }
    return error;
}

static enum error read_after_seq(const struct reading *reading)
{
    int64_t seq = 0;
    enum error error = read_number(reading, 0, INT64_MAX, &seq);
    reading->call->after_seq = (uint64_t)seq;
    return error;
}

static enum error read_mode(const struct reading *reading)
{
    struct slice mode;
    bool good = mpack_read_str(reading->cursor, &mode);
    reading->call->replaces = good && slice_equal(mode, slice_of_string("replace"));
    good = reading->call->replaces || (good && slice_equal(mode, slice_of_string("merge")));
    return good ? ERROR_NONE : wrong(reading, "must be \"merge\" or \"replace\"");
}

static enum error read_opt(const struct reading *reading)
{
    struct call *call = reading->call;
    switch (reading->opt) {
    case OPT_TIMEOUT_MS:
        call->has_timeout = true;
        return read_number(reading, 1, TIMEOUT_MS_MAX, &call->timeout_ms);
    case OPT_ID:
        return read_id(reading);
    case OPT_FRESH:
        return read_flag(reading, &call->fresh);
    case OPT_MAX_AGE_MS:
        call->has_max_age = true;
        return read_number(reading, 0, INT64_MAX / 1000, &call->max_age_ms);
    case OPT_MIN_VERSION:
        call->has_min_version = true;
        return read_number(reading, INT64_MIN, INT64_MAX, &call->min_version);
    case OPT_AT_VERSION:
        call->has_at_version = true;
        return read_number(reading, INT64_MIN, INT64_MAX, &call->at_version);
    case OPT_BEFORE:
        call->has_before = true;
        return read_number(reading, INT64_MIN, INT64_MAX, &call->before);
    case OPT_TTL_MS:
        call->has_ttl = true;
        return read_number(reading, 1, TTL_MS_MAX, &call->ttl_ms);
    case OPT_EXPIRES_AT_US:
        call->has_expires_at = true;
        return read_number(reading, 1, EXPIRES_AT_US_MAX, &call->expires_at_us);
    case OPT_ACK:
        return read_ack(reading);
    case OPT_MODE:
        return read_mode(reading);
    case OPT_IF_VERSION:
        return read_if_version(reading);
    case OPT_IF_ABSENT:
        return read_if_absent(reading);
    case OPT_PREFIX:
        return read_key_part(reading, &call->prefix);
    case OPT_AFTER:
        return read_key_part(reading, &call->after);
    case OPT_LIMIT:
        return read_limit(reading);
    case OPT_SEQ:
        return read_seq(reading);
    case OPT_AFTER_SEQ:
        return read_after_seq(reading);
    case OPT_FORCE:
        return read_flag(reading, &call->force);
    case OPT_EXPIRES:
        return read_flag(reading, &call->expires);
    case OPT_COUNT:
        break;
    }
    CHECK_VALUES(false, "opt %d", (int)reading->opt);
    return ERROR_INTERNAL;
}

// OPT_COUNT where the method has no option of that name.
static enum opt find_opt(enum method method, struct slice name)
{
    int opt = 0;
    while (opt < OPT_COUNT && !slice_equal(name, slice_of(NAMES[opt], NAME_LENS[opt]))) {
        opt++;
    }
    return opt < OPT_COUNT && opt_is_allowed(method, (enum opt)opt) ? (enum opt)opt : OPT_COUNT;
}

enum error opts_decode(struct mpack_cursor *cursor, struct call *call, struct failure *failure)
{
    const char *method = method_name(call->method);
    uint32_t count;
    if (!mpack_read_map(cursor, &count)) {
        return failure_set(failure, ERROR_BAD_REQUEST, "%s: the options must be a map", method);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct slice name;
        if (!mpack_read_str(cursor, &name)) {
            return failure_set(failure, ERROR_BAD_REQUEST,
                               "%s: the name of an option must be a string", method);
        }
        struct reading reading = {cursor, call, failure, find_opt(call->method, name)};
        if (reading.opt == OPT_COUNT) {
            return failure_set(failure, ERROR_BAD_REQUEST, "%s: there is no option %s", method,
                               quote_key(name).text);
        }
        enum error error = read_opt(&reading);
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return ERROR_NONE;
}
