// Works on canonical MessagePack, where equal documents are equal token by token.

#include "system/harness/json_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/mpack.h"
#include "json/json.h"

// Beyond what the daemon takes, so that a test can send too much.
static const struct json_limits LIMITS = {.value_bytes_max = 64u * 1024 * 1024};

void json_text_to_msgpack(const char *json, struct buffer *out)
{
    struct failure failure = {0};
    if (json_to_msgpack(slice_of_string(json), &LIMITS, out, &failure) != ERROR_NONE) {
        scenario_fail("the test's JSON is wrong: %s: %.200s", failure.message, json);
    }
}

const char *json_text_of_msgpack(struct scenario *scenario, struct slice msgpack)
{
    struct buffer text = {0};
    struct failure failure = {0};
    if (json_from_msgpack(msgpack, false, &text, &failure) != ERROR_NONE) {
        scenario_fail("the peer sent what is not JSON: %s", failure.message);
    }
    const char *copy = scenario_text(scenario, "%.*s", SLICE_FORMAT(buffer_slice(&text)));
    buffer_deinit(&text);
    return copy;
}

static bool same_token(const struct mpack_token *a, const struct mpack_token *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case MPACK_NIL:
        return true;
    case MPACK_BOOL:
        return a->boolean == b->boolean;
    case MPACK_UINT:
        return a->uint == b->uint;
    case MPACK_INT:
        return a->sint == b->sint;
    case MPACK_FLOAT:
        return memcmp(&a->real, &b->real, sizeof a->real) == 0;
    case MPACK_ARRAY:
    case MPACK_MAP:
        return a->count == b->count;
    default:
        return slice_equal(a->body, b->body);
    }
}

static bool is_wildcard(const struct mpack_token *token)
{
    return token->type == MPACK_STR && slice_equal(token->body, slice_of_string("*"));
}

// The text that the client of the tests makes of an error (rpc.h).
static bool is_error(struct slice document)
{
    struct mpack_cursor cursor = mpack_cursor_of(document);
    uint32_t count;
    struct slice key;
    return mpack_read_map(&cursor, &count) && count == 1 && mpack_read_str(&cursor, &key) &&
           slice_equal(key, slice_of_string("error"));
}

static bool same_documents(struct slice actual, struct slice expected)
{
    struct mpack_cursor have = mpack_cursor_of(actual);
    struct mpack_cursor want = mpack_cursor_of(expected);
    while (want.at < want.end) {
        struct mpack_token wanted;
        struct mpack_token token;
        if (mpack_next(&want, &wanted) != DECODE_OK) {
            return false;
        }
        if (is_wildcard(&wanted)) {
            bool is_whole = have.at == actual.at;
            if ((is_whole && is_error(actual)) || mpack_skip(&have, NULL) != DECODE_OK) {
                return false;
            }
        } else if (mpack_next(&have, &token) != DECODE_OK || !same_token(&token, &wanted)) {
            return false;
        }
    }
    return have.at == have.end;
}

bool json_matches(const char *json, const char *expected)
{
    struct buffer have = {0};
    struct buffer want = {0};
    json_text_to_msgpack(json, &have);
    json_text_to_msgpack(expected, &want);
    bool same = same_documents(buffer_slice(&have), buffer_slice(&want));
    buffer_deinit(&have);
    buffer_deinit(&want);
    return same;
}

void assert_json(const char *json, const char *expected)
{
    if (!json_matches(json, expected)) {
        scenario_fail("%.2000s instead of %.2000s", json, expected);
    }
}

// Moves to the member of the map or array that the cursor stands at.
static bool step_into(struct mpack_cursor *cursor, struct slice name)
{
    struct mpack_token token;
    if (mpack_next(cursor, &token) != DECODE_OK ||
        (token.type != MPACK_MAP && token.type != MPACK_ARRAY)) {
        return false;
    }
    uint64_t index = token.type == MPACK_ARRAY ? strtoull((const char *)name.at, NULL, 10) : 0;
    for (uint32_t i = 0; i < token.count; i++) {
        struct slice key = {0};
        bool is_it = token.type == MPACK_ARRAY
                         ? i == index
                         : mpack_read_str(cursor, &key) && slice_equal(key, name);
        if (is_it) {
            return true;
        }
        if (mpack_skip(cursor, NULL) != DECODE_OK) {
            return false;
        }
    }
    return false;
}

const char *json_at(struct scenario *scenario, const char *json, const char *path)
{
    struct buffer document = {0};
    json_text_to_msgpack(json, &document);
    struct mpack_cursor cursor = mpack_cursor_of(buffer_slice(&document));
    bool found = true;
    for (const char *name = path; found && *name != '\0';) {
        size_t len = strcspn(name, ".");
        found = step_into(&cursor, slice_of(name, len));
        name += len + (name[len] == '.' ? 1 : 0);
    }
    struct slice value;
    const char *text = NULL;
    if (found && mpack_skip(&cursor, &value) == DECODE_OK) {
        text = json_text_of_msgpack(scenario, value);
    }
    buffer_deinit(&document);
    return text;
}

int64_t json_int_at(struct scenario *scenario, const char *json, const char *path)
{
    const char *text = json_at(scenario, json, path);
    char *end = NULL;
    int64_t value = text == NULL ? 0 : strtoll(text, &end, 10);
    if (text == NULL || *end != '\0') {
        scenario_fail("there is no integer at %s of %.2000s", path, json);
    }
    return value;
}
