// What a reader of JSON says to the builder of its canonical form, one call a token, in the order
// of the input. The builder knows the canonical form and nothing of the input's syntax; that the
// tokens make one well-formed value is the reader's to see to. Each but builder_close is false
// where the token cannot be: the builder's complaint says why, its offset left to the reader, and
// the value is lost.
//
// Readable from C++.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENTS_DEPTH_MAX = 128 }; // JSON_DEPTH_MAX, for readers; what is deeper is refused

#ifdef __cplusplus
extern "C" {
#endif

struct builder;

bool builder_null(struct builder *builder);
bool builder_bool(struct builder *builder, bool value);

bool builder_uint(struct builder *builder, uint64_t value);

// The text of a JSON number, still to be checked.
bool builder_number_text(struct builder *builder, const void *text, size_t len);

// UTF-8 without a NUL, checked by the reader.
bool builder_string(struct builder *builder, const void *text, size_t len);

// As builder_string, and the value comes next.
bool builder_key(struct builder *builder, const void *text, size_t len);

// `count_hint` elements or pairs are likely to come; 0 where that is not known.
bool builder_open_array(struct builder *builder, uint32_t count_hint);
bool builder_open_map(struct builder *builder, uint32_t count_hint);

// Ends what was opened last.
void builder_close(struct builder *builder);

#ifdef __cplusplus
}
#endif
