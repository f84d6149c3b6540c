// Decodes params by a table of what each method takes. A parameter that is missing, of the wrong
// type or too many is a BAD_REQUEST naming it; values leave here canonical (json/json.h).

#include "server/rpc_decode.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/words.h"
#include "server/rpc_opts.h"
#include "server/rules.h"
#include "json/json.h"

enum { PARAMS_MAX = 2, VALUES_KEEP_BYTES = 1 << 16, PAIRS_KEEP = 256 };

enum param {
    PARAM_NONE,
    PARAM_CLIENT_NAME, // may be left out
    PARAM_KEY,
    PARAM_KEY_OR_ALL, // may be left out
    PARAM_KEYS,
    PARAM_KEY_OR_KEYS,
    PARAM_PAIRS,
    PARAM_VALUE,
    PARAM_BY,
    PARAM_PATCH,
    PARAM_TTL_MS,
    PARAM_PREFIX,
    PARAM_SEQ,
    PARAM_TABLE,
    PARAM_DAYS, // may be left out
};

static const char *const PARAM_NAMES[] = {
    [PARAM_NONE] = "",         [PARAM_CLIENT_NAME] = "client_name",
    [PARAM_KEY] = "key",       [PARAM_KEY_OR_ALL] = "key",
    [PARAM_KEYS] = "keys",     [PARAM_KEY_OR_KEYS] = "key",
    [PARAM_PAIRS] = "pairs",   [PARAM_VALUE] = "value",
    [PARAM_BY] = "by",         [PARAM_PATCH] = "patch",
    [PARAM_TTL_MS] = "ttl_ms", [PARAM_PREFIX] = "prefix",
    [PARAM_SEQ] = "seq",       [PARAM_TABLE] = "table",
    [PARAM_DAYS] = "days",
};

// What stands in front of the options.
static const enum param PARAMS[METHOD_COUNT][PARAMS_MAX] = {
    [METHOD_HELLO] = {PARAM_CLIENT_NAME},
    [METHOD_GET] = {PARAM_KEY},
    [METHOD_MGET] = {PARAM_KEYS},
    [METHOD_TTL] = {PARAM_KEY},
    [METHOD_HISTORY] = {PARAM_KEY},
    [METHOD_SET] = {PARAM_KEY, PARAM_VALUE},
    [METHOD_MSET] = {PARAM_PAIRS},
    [METHOD_DELETE] = {PARAM_KEY_OR_KEYS},
    [METHOD_INCR] = {PARAM_KEY, PARAM_BY},
    [METHOD_MERGE] = {PARAM_KEY, PARAM_PATCH},
    [METHOD_TOUCH] = {PARAM_KEY, PARAM_TTL_MS},
    [METHOD_INVALIDATE] = {PARAM_KEY_OR_ALL},
    [METHOD_RESTORE] = {PARAM_TABLE},
    [METHOD_CLEANUP_BACKUPS] = {PARAM_DAYS},
    [METHOD_WATCH] = {PARAM_PREFIX},
    [METHOD_UNWATCH] = {PARAM_PREFIX},
    [METHOD_RETRY_DEAD_LETTER] = {PARAM_SEQ},
    [METHOD_DISCARD_DEAD_LETTER] = {PARAM_SEQ},
};

struct decoding {
    struct rpc_decoder *decoder;
    struct mpack_cursor cursor;
    struct call *call;
    struct failure *failure;
};

static enum error decode_params(struct decoding *decoding);
static void reserve_pairs(struct decoding *decoding, size_t count);

void rpc_decoder_deinit(struct rpc_decoder *decoder)
{
    free(decoder->pairs);
    decoder->pairs = NULL;
    decoder->pairs_capacity = 0;
    buffer_deinit(&decoder->values);
}

static enum error unknown_method(struct slice name, struct failure *failure)
{
    return failure_set(failure, ERROR_UNKNOWN_METHOD, "there is no method %s",
                       quote_key(name).text);
}

// Memory that one large request took is not kept for all the small ones after it.
static void forget_last_call(struct rpc_decoder *decoder)
{
    buffer_clear(&decoder->values, VALUES_KEEP_BYTES);
    if (decoder->pairs_capacity > PAIRS_KEEP) {
        free(decoder->pairs);
        decoder->pairs = NULL;
        decoder->pairs_capacity = 0;
    }
}

static void begin_call(struct rpc_decoder *decoder, enum method method, struct call *call)
{
    forget_last_call(decoder);
    *call = (struct call){
        .method = method,
        .ack = decoder->ack,
        .timeout_ms = decoder->timeout_ms,
        .limit = SCAN_ITEMS_MAX,
        .days = CLEANUP_DAYS_DEFAULT,
    };
}

enum error rpc_decode_get(struct rpc_decoder *decoder, struct slice key, struct call *call,
                          struct failure *failure)
{
    begin_call(decoder, METHOD_GET, call);
    enum error error = check_key(METHOD_GET, key, failure);
    if (error == ERROR_NONE) {
        struct decoding decoding = {.decoder = decoder, .call = call};
        reserve_pairs(&decoding, 1);
        call->pairs[0] = (struct pair){.key = key};
        call->pairs_count = 1;
    }
    return error;
}

enum error rpc_decode_call(struct rpc_decoder *decoder, struct slice method, struct slice params,
                           struct call *call, struct failure *failure)
{
    begin_call(decoder, method_of_name(method), call);
    if (call->method == METHOD_COUNT) {
        return unknown_method(method, failure);
    }
    struct decoding decoding = {decoder, mpack_cursor_of(params), call, failure};
    enum error error = decode_params(&decoding);
    call->all = call->method == METHOD_ALL;
    return error != ERROR_NONE ? error : check_call(call, failure);
}

static enum error wrong(const struct decoding *decoding, enum param param, const char *what)
{
    return failure_set(decoding->failure, ERROR_BAD_REQUEST, "%s: parameter \"%s\" %s",
                       method_name(decoding->call->method), PARAM_NAMES[param], what);
}

static void reserve_pairs(struct decoding *decoding, size_t count)
{
    struct rpc_decoder *decoder = decoding->decoder;
    if (decoder->pairs_capacity < count) {
        decoder->pairs = memory_resize(decoder->pairs, count * sizeof *decoder->pairs);
        decoder->pairs_capacity = count;
    }
    decoding->call->pairs = decoder->pairs;
}

static enum error read_key(struct decoding *decoding, enum param param)
{
    struct call *call = decoding->call;
    struct slice key;
    if (!mpack_read_str(&decoding->cursor, &key)) {
        return wrong(decoding, param, "must be a string");
    }
    enum error error = check_key(call->method, key, decoding->failure);
    if (error == ERROR_NONE) {
        reserve_pairs(decoding, call->pairs_count + 1);
        call->pairs[call->pairs_count++] = (struct pair){.key = key};
    }
    return error;
}

static enum error read_keys(struct decoding *decoding, enum param param)
{
    uint32_t count;
    if (!mpack_read_array(&decoding->cursor, &count)) {
        return wrong(decoding, param, "must be an array of strings");
    }
    if (count > KEYS_MAX) {
        return failure_set(decoding->failure, ERROR_TOO_LARGE, "%s: %u keys are more than %d",
                           method_name(decoding->call->method), count, KEYS_MAX);
    }
    reserve_pairs(decoding, count);
    for (uint32_t i = 0; i < count; i++) {
        enum error error = read_key(decoding, param);
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return ERROR_NONE;
}

static enum error read_key_or_keys(struct decoding *decoding, enum param param)
{
    struct mpack_cursor ahead = decoding->cursor;
    uint32_t count;
    if (mpack_read_array(&ahead, &count)) {
        return read_keys(decoding, param);
    }
    return read_key(decoding, param);
}

// Appends the canonical form of the value at the cursor to the decoder's values. Only its length
// is noted in the pair: the values may still move, see place_values.
static enum error read_value(struct decoding *decoding, enum param param)
{
    struct rpc_decoder *decoder = decoding->decoder;
    struct pair *pair = &decoding->call->pairs[decoding->call->pairs_count - 1];
    struct slice value;
    if (mpack_skip(&decoding->cursor, &value) != DECODE_OK) {
        return wrong(decoding, param, "is cut off");
    }
    struct json_limits limits = {.value_bytes_max = decoder->value_bytes_max};
    struct failure why;
    size_t len_before = buffer_len(&decoder->values);
    enum error error = json_canonicalize(value, &limits, &decoder->values, &why);
    if (error != ERROR_NONE) {
        return failure_set(decoding->failure, error, "Failed to %s key %s: %s",
                           method_name(decoding->call->method), quote_key(pair->key).text,
                           why.message);
    }
    pair->value.len = buffer_len(&decoder->values) - len_before;
    return ERROR_NONE;
}

static void place_values(struct decoding *decoding)
{
    const uint8_t *at = buffer_slice(&decoding->decoder->values).at;
    for (size_t i = 0; i < decoding->call->pairs_count; i++) {
        struct slice *value = &decoding->call->pairs[i].value;
        if (value->len > 0) {
            value->at = at;
            at += value->len;
        }
    }
}

static enum error read_by(struct decoding *decoding, enum param param)
{
    struct mpack_cursor ahead = decoding->cursor;
    struct mpack_token token;
    if (mpack_next(&ahead, &token) != DECODE_OK ||
        (token.type != MPACK_UINT && token.type != MPACK_INT && token.type != MPACK_FLOAT &&
         (token.type != MPACK_EXT || token.ext_type != JSON_EXT_DECIMAL))) {
        return wrong(decoding, param, "must be a number");
    }
    return read_value(decoding, param);
}

static enum error read_pair(struct decoding *decoding, enum param param)
{
    uint32_t fields;
    if (!mpack_read_array(&decoding->cursor, &fields) || fields != 2) {
        return wrong(decoding, param, "must be an array of [key, value]");
    }
    enum error error = read_key(decoding, param);
    return error != ERROR_NONE ? error : read_value(decoding, param);
}

static enum error read_pairs(struct decoding *decoding, enum param param)
{
    uint32_t count;
    if (!mpack_read_array(&decoding->cursor, &count)) {
        return wrong(decoding, param, "must be an array of [key, value]");
    }
    if (count > KEYS_MAX) {
        return failure_set(decoding->failure, ERROR_TOO_LARGE, "mset: %u pairs are more than %d",
                           count, KEYS_MAX);
    }
    reserve_pairs(decoding, count);
    for (uint32_t i = 0; i < count; i++) {
        enum error error = read_pair(decoding, param);
        if (error != ERROR_NONE) {
            return error;
        }
    }
    return ERROR_NONE;
}

static enum error read_ttl_ms(struct decoding *decoding, enum param param)
{
    struct call *call = decoding->call;
    if (mpack_read_nil(&decoding->cursor)) {
        return ERROR_NONE;
    }
    call->has_ttl = true;
    if (!read_integer(&decoding->cursor, &call->ttl_ms) || call->ttl_ms < 1 ||
        call->ttl_ms > TTL_MS_MAX) {
        return wrong(decoding, param, "must be nil or an integer from 1 to a hundred years");
    }
    return ERROR_NONE;
}

static enum error read_seq(struct decoding *decoding, enum param param)
{
    int64_t seq;
    if (!read_integer(&decoding->cursor, &seq) || seq < 1) {
        return wrong(decoding, param, "must be a positive integer");
    }
    decoding->call->seq = (uint64_t)seq;
    return ERROR_NONE;
}

static enum error read_text(struct decoding *decoding, enum param param)
{
    struct slice text;
    if (!mpack_read_str(&decoding->cursor, &text)) {
        return wrong(decoding, param, "must be a string");
    }
    if (param == PARAM_PREFIX) {
        decoding->call->prefix = text;
        return check_key_part(decoding->call->method, PARAM_NAMES[param], text, decoding->failure);
    }
    if (param == PARAM_TABLE) {
        if (text.len == 0 || text.len > TABLE_NAME_BYTES_MAX || !is_text(text)) {
            return wrong(decoding, param, "must be the name of a backup, 1 to 63 bytes");
        }
        decoding->call->table = text;
    }
    return ERROR_NONE;
}

static enum error read_days(struct decoding *decoding, enum param param)
{
    int64_t *days = &decoding->call->days;
    if (!read_integer(&decoding->cursor, days) || *days < 0 || *days > CLEANUP_DAYS_MAX) {
        return wrong(decoding, param, "must be an integer from 0 to 36500");
    }
    return ERROR_NONE;
}

static enum error read_param(struct decoding *decoding, enum param param)
{
    switch (param) {
    case PARAM_KEY_OR_ALL:
        decoding->call->has_key = true;
        return read_key(decoding, param);
    case PARAM_KEY:
        return read_key(decoding, param);
    case PARAM_KEYS:
        return read_keys(decoding, param);
    case PARAM_KEY_OR_KEYS:
        return read_key_or_keys(decoding, param);
    case PARAM_PAIRS:
        return read_pairs(decoding, param);
    case PARAM_VALUE:
    case PARAM_PATCH:
        return read_value(decoding, param);
    case PARAM_BY:
        return read_by(decoding, param);
    case PARAM_TTL_MS:
        return read_ttl_ms(decoding, param);
    case PARAM_SEQ:
        return read_seq(decoding, param);
    case PARAM_DAYS:
        return read_days(decoding, param);
    case PARAM_CLIENT_NAME:
    case PARAM_PREFIX:
    case PARAM_TABLE:
        return read_text(decoding, param);
    case PARAM_NONE:
        break;
    }
    CHECK_VALUES(false, "param %d", (int)param);
    return ERROR_INTERNAL;
}

static bool may_be_left_out(enum param param)
{
    return param == PARAM_CLIENT_NAME || param == PARAM_KEY_OR_ALL || param == PARAM_DAYS;
}

static bool is_at_map(struct mpack_cursor ahead)
{
    uint32_t pairs;
    return mpack_read_map(&ahead, &pairs);
}

static enum error decode_params(struct decoding *decoding)
{
    struct call *call = decoding->call;
    uint32_t left;
    if (!mpack_read_array(&decoding->cursor, &left)) {
        return failure_set(decoding->failure, ERROR_BAD_REQUEST, "%s: the params must be an array",
                           method_name(call->method));
    }
    for (int i = 0; i < PARAMS_MAX && PARAMS[call->method][i] != PARAM_NONE; i++) {
        enum param param = PARAMS[call->method][i];
        if (may_be_left_out(param) && (left == 0 || is_at_map(decoding->cursor))) {
            continue;
        }
        if (left == 0) {
            return wrong(decoding, param, "is missing");
        }
        enum error error = read_param(decoding, param);
        if (error != ERROR_NONE) {
            return error;
        }
        left--;
    }
    place_values(decoding);
    if (left > 1) {
        return failure_set(decoding->failure, ERROR_BAD_REQUEST, "%s: %u parameters too many",
                           method_name(call->method), left - 1);
    }
    return left == 1 ? opts_decode(&decoding->cursor, call, decoding->failure) : ERROR_NONE;
}
