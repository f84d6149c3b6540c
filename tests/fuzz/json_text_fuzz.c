// Any bytes as JSON text: what is accepted must survive the way through MessagePack and back, to
// the same bytes.
#include "base/check.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_fixpoint(struct slice msgpack, const struct json_limits *limits, bool pretty)
{
    struct buffer text = {0};
    struct buffer again = {0};
    struct failure failure;
    enum error error = json_from_msgpack(msgpack, pretty, &text, &failure);
    CHECK_VALUES(error == ERROR_NONE, "%s", failure.message);
    error = json_to_msgpack(buffer_slice(&text), limits, &again, &failure);
    CHECK_VALUES(error == ERROR_NONE, "%s", failure.message);
    CHECK(slice_equal(msgpack, buffer_slice(&again)));
    buffer_deinit(&text);
    buffer_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct buffer msgpack = {0};
    struct failure failure;
    enum error error = json_to_msgpack(slice_of(bytes, len), &limits, &msgpack, &failure);
    if (error == ERROR_NONE) {
        CHECK(buffer_len(&msgpack) <= limits.value_bytes_max);
        check_fixpoint(buffer_slice(&msgpack), &limits, false);
        check_fixpoint(buffer_slice(&msgpack), &limits, true);
    } else {
        CHECK(error == ERROR_INVALID_VALUE || error == ERROR_TOO_LARGE);
        CHECK(buffer_len(&msgpack) == 0);
    }
    buffer_deinit(&msgpack);
    return 0;
}
