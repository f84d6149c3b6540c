// The C door to simdjson: reads JSON text, and checks UTF-8. Any thread; each keeps a parser of its
// own for its next text, and gives large ones back at once.
#pragma once

#include "json/complaint.h"
#include "json/events.h"

#ifdef __cplusplus
extern "C" {
#endif

// Tells `builder` what the text says, which must be one JSON value. False where it is not, or where
// the builder refused: `complaint`, which is the builder's own, says why and where.
bool text_read(const uint8_t *text, size_t len, struct builder *builder,
               struct complaint *complaint);

// Whether the bytes are UTF-8: no overlong form, no surrogate, nothing beyond U+10FFFF.
bool text_is_utf8(const uint8_t *text, size_t len);

#ifdef __cplusplus
}
#endif
