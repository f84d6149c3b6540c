// The packaged parser alone: for what our conversion costs beside it, and beside the other parsers
// (json_parse.cpp).
#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Hands out every token of a JSON text, which is one array or one object, by simdjson's on-demand
// parser: strings unescaped, numbers as they are spelled. `text` has room for `capacity` bytes, 64
// more than `len` at least. False where it is not JSON, or more than that.
bool json_visit(const char *text, size_t len, size_t capacity);

#ifdef __cplusplus
}
#endif
