// Random JSON texts for tests: extremes of numbers, Unicode and escapes,
// nesting to beyond the limit, duplicate keys, whitespace; and damage to a text, after which it may
// or may not be JSON.
#pragma once

#include "base/buffer.h"
#include "system/harness/random.h"

// Appends one text that RFC 8259 accepts. Not always one that JSONB stores: it may hold \u0000, a
// lone surrogate or a number beyond numeric.
void json_generate(struct random *random, struct buffer *out);

// Changes one to three places of a text.
void json_damage(struct random *random, struct buffer *text);
