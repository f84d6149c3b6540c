// Any text as a path into any bytes as a value: up to the first NUL the path, behind it the value.
// What is found is one whole value that lies in it; whether a path is one depends on its text only.
#include <pgnear.h>

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/mpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    size_t path_len = strnlen((const char *)bytes, len);
    if (path_len == len) {
        return 0;
    }
    char *path = memory_string(slice_of(bytes, path_len));
    pgnear_bytes value = {.at = bytes + path_len + 1, .len = len - path_len - 1};
    pgnear_bytes part = {0};
    pgnear_error error = {0};
    static const uint8_t NIL = 0xc0;
    pgnear_code code = pgnear_path(value, path, &part, &error);
    pgnear_code alone = pgnear_path((pgnear_bytes){.at = &NIL, .len = 1}, path, NULL, &error);
    CHECK((code == PGNEAR_BAD_REQUEST) == (alone == PGNEAR_BAD_REQUEST));
    if (code == PGNEAR_OK && part.len > 0) {
        struct mpack_cursor cursor = mpack_cursor_of(slice_of(part.at, part.len));
        const uint8_t *at = part.at;
        const uint8_t *begin = value.at;
        CHECK(at >= begin && at + part.len <= begin + value.len);
        CHECK(mpack_skip(&cursor, NULL) == DECODE_OK && cursor.at == cursor.end);
    }
    free(path);
    return 0;
}
