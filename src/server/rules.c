// The rules of SPEC section 3 that are not about bytes on a wire, so that every protocol keeps
// them alike. Nothing here has state.

#include "server/rules.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

enum { QUOTED_CHARACTER_BYTES_MAX = 4 };

// The length of the first character of a text that is not empty; 0 where it is not UTF-8. The
// second byte's bounds keep out overlong forms, surrogates and what lies beyond U+10FFFF.
static size_t character_len(struct slice text)
{
    uint8_t first = text.at[0];
    if (first < 0x80) {
        return 1;
    }
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.len < len) {
        return 0;
    }
    uint8_t second_min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t second_max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text.at[1] < second_min || text.at[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((text.at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

// How many bytes in front, in whole words, are ASCII without a NUL: of most keys, all but the last
// few. The borrow of the subtraction reaches a byte's highest bit where the byte was 0; where it
// ran on from the byte before, that one was 0 too.
static size_t ascii_len(struct slice text)
{
    const uint64_t ones = 0x0101010101010101ull;
    const uint64_t highs = 0x8080808080808080ull;
    size_t at = 0;
    uint64_t word;
    while (text.len - at >= sizeof word) {
        memcpy(&word, text.at + at, sizeof word);
        if (((word | (word - ones)) & highs) != 0) {
            break;
        }
        at += sizeof word;
    }
    return at;
}

bool is_text(struct slice text)
{
    size_t skipped = text.len == 0 ? 0 : ascii_len(text);
    text = text.len == 0 ? text : slice_of(text.at + skipped, text.len - skipped);
    while (text.len > 0) {
        size_t len = text.at[0] == 0 ? 0 : character_len(text);
        if (len == 0) {
            return false;
        }
        text = slice_of(text.at + len, text.len - len);
    }
    return true;
}

struct quoted quote_key(struct slice key)
{
    static const char CUT[] = "...\"";
    struct quoted quoted;
    char *out = quoted.text;
    const char *end = quoted.text + sizeof quoted.text - sizeof CUT;
    *out++ = '"';
    while (key.len > 0 && out + QUOTED_CHARACTER_BYTES_MAX <= end) {
        size_t len = character_len(key);
        if (len == 0 || key.at[0] < 0x20 || key.at[0] == 0x7f) {
            len = 1;
            out += snprintf(out, (size_t)(end - out) + 1, "\\x%02x", key.at[0]);
        } else {
            memcpy(out, key.at, len);
            out += len;
        }
        key = slice_of(key.at + len, key.len - len);
    }
    snprintf(out, sizeof CUT, "%s", key.len > 0 ? CUT : "\"");
    return quoted;
}

enum error check_key(enum method method, struct slice key, struct failure *failure)
{
    if (key.len >= 1 && key.len <= KEY_BYTES_MAX && is_text(key)) {
        return ERROR_NONE;
    }
    return failure_set(failure, ERROR_INVALID_KEY, "Failed to %s key %s: %s", method_name(method),
                       quote_key(key).text, error_text(ERROR_INVALID_KEY));
}

enum error check_key_part(enum method method, const char *name, struct slice part,
                          struct failure *failure)
{
    if (part.len <= PREFIX_BYTES_MAX && is_text(part)) {
        return ERROR_NONE;
    }
    return failure_set(failure, ERROR_INVALID_KEY,
                       "%s: \"%s\" must be at most %d bytes of UTF-8 without NUL",
                       method_name(method), name, PREFIX_BYTES_MAX);
}

// By key, and where the keys are equal by place.
static int compare_places(const void *a, const void *b, void *pairs)
{
    uint32_t one = *(const uint32_t *)a;
    uint32_t other = *(const uint32_t *)b;
    int order = slice_compare(((struct pair *)pairs)[one].key, ((struct pair *)pairs)[other].key);
    return order != 0 ? order : (one > other) - (one < other);
}

// Keeps the last pair of each key, in the order they stand in: PostgreSQL's upsert takes a key
// once. A dropped pair is marked by a key that points nowhere.
static void drop_repeats(struct call *call)
{
    size_t count = call->pairs_count;
    if (count < 2) {
        return;
    }
    struct pair *pairs = call->pairs;
    uint32_t *places = memory_zeroed(count, sizeof *places);
    for (uint32_t i = 0; i < count; i++) {
        places[i] = i;
    }
    qsort_r(places, count, sizeof *places, compare_places, pairs);
    for (size_t i = 0; i + 1 < count; i++) {
        if (slice_equal(pairs[places[i]].key, pairs[places[i + 1]].key)) {
            pairs[places[i]].key.at = NULL;
        }
    }
    free(places);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].key.at != NULL) {
            pairs[kept++] = pairs[i];
        }
    }
    call->pairs_count = kept;
}

static enum error check_count(const struct call *call, struct failure *failure)
{
    const char *name = method_name(call->method);
    if (call->pairs_count == 0 && (call->method == METHOD_MSET || call->method == METHOD_DELETE)) {
        return failure_set(failure, ERROR_BAD_REQUEST, "%s: names no key", name);
    }
    if (call->pairs_count > KEYS_MAX) {
        return failure_set(failure, ERROR_TOO_LARGE, "%s: %zu keys are more than %d", name,
                           call->pairs_count, KEYS_MAX);
    }
    return ERROR_NONE;
}

enum error check_call(struct call *call, struct failure *failure)
{
    enum error error = check_count(call, failure);
    if (error != ERROR_NONE) {
        return error;
    }
    if (call->method == METHOD_MSET || call->method == METHOD_DELETE) {
        drop_repeats(call);
    }
    if (call->has_ttl && call->has_expires_at) {
        return failure_set(failure, ERROR_BAD_REQUEST,
                           "%s: a time to live does not go with \"expires_at_us\"",
                           method_name(call->method));
    }
    if (call->condition == CONDITION_IF_VERSION && call->pairs_count != 1) {
        return failure_set(failure, ERROR_BAD_REQUEST, "%s: \"if_version\" goes with one key only",
                           method_name(call->method));
    }
    return ERROR_NONE;
}
