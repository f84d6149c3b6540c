// Any bytes as a client's MessagePack: the canonical form of what is accepted is its own canonical
// form, and it is what reading its JSON text yields; what json_canonicalize accepts can be printed.
#include "base/check.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_same(struct slice canonical, const struct buffer *again, enum error error,
                       const struct failure *failure)
{
    CHECK_VALUES(error == ERROR_NONE, "%s", failure->message);
    CHECK(slice_equal(canonical, buffer_slice(again)));
}

static void check_canonical(struct slice canonical, const struct json_limits *limits)
{
    struct buffer again = {0};
    struct buffer text = {0};
    struct buffer read = {0};
    struct failure failure;
    enum error error = json_canonicalize(canonical, limits, &again, &failure);
    check_same(canonical, &again, error, &failure);
    error = json_from_msgpack(canonical, false, &text, &failure);
    CHECK_VALUES(error == ERROR_NONE, "%s", failure.message);
    error = json_to_msgpack(buffer_slice(&text), limits, &read, &failure);
    check_same(canonical, &read, error, &failure);
    buffer_deinit(&again);
    buffer_deinit(&text);
    buffer_deinit(&read);
}

static void check_printable(struct slice msgpack)
{
    struct buffer text = {0};
    struct failure failure;
    enum error error = json_from_msgpack(msgpack, true, &text, &failure);
    CHECK_VALUES(error == ERROR_NONE, "%s", failure.message);
    buffer_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct buffer canonical = {0};
    struct buffer number = {0};
    struct failure failure;
    struct slice msgpack = slice_of(bytes, len);
    enum error error = json_canonicalize(msgpack, &limits, &canonical, &failure);
    if (error == ERROR_NONE) {
        check_printable(msgpack);
        check_canonical(buffer_slice(&canonical), &limits);
    } else {
        CHECK(error == ERROR_INVALID_VALUE || error == ERROR_TOO_LARGE);
        CHECK(buffer_len(&canonical) == 0);
    }
    if (json_number_text(msgpack, &number, &failure) != ERROR_NONE) {
        CHECK(buffer_len(&number) == 0);
    }
    buffer_deinit(&canonical);
    buffer_deinit(&number);
    return 0;
}
