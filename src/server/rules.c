// The rules of SPEC section 3 that are not about bytes on a wire, so that every protocol keeps
// them alike. Nothing here has state.

#include "server/rules.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/words.h"

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
