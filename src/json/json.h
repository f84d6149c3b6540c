// JSON text <-> MessagePack without a loss, and the canonical form of a value.
//
// The canonical form is what reading a value back from jsonb yields, so that its bytes are the same
// while its write is pending, once it is cached and after it was fetched:
//  - an object's keys are unique (the last one wins) and in jsonb's order: by length in bytes, then
//    bytewise; an array keeps its order;
//  - an integral number within int64 or uint64 is an int, however it was spelled (1.0, 1e2, -0);
//  - another number is a float64 where the double's shortest round-trip decimal equals it;
//  - any other is ext type 1, whose body is its decimal text in one spelling: no zero in front of
//  or
//    behind its digits, and with an exponent where it would take more than a few zeros to do
//    without (12345678901234567890123, 1.00000000000000000001, 1e131071);
//  - everything is in the shortest encoding that MessagePack has for it.
//
// What jsonb refuses is refused here: bad UTF-8, \u0000, lone surrogates, numbers beyond numeric's
// range (131072 digits in front of the point, 16383 behind it), NaN and Infinity. So are, in
// MessagePack, bin, other ext types and keys that are not strings.
//
// Any thread, no lock. A thread keeps up to half a MiB of working memory for its next text.
#pragma once

#include "base/buffer.h"
#include "base/error.h"

enum {
    JSON_DEPTH_MAX = 128, // of arrays and objects in each other; a scalar is 0 deep
    JSON_AROUND_MAX = 4, // levels around a value in what is printed of it, such as a line of a scan
    JSON_EXT_DECIMAL = 1, // MessagePack's ext type of a number that is neither int nor float64
    JSON_INPUT_BYTES_MAX = 256 * 1024 * 1024 // what jsonb itself can hold
};

struct json_limits {
    // Of the canonical form. jsonb prints every number in full, 131072 digits for 1e131071; what
    // the long numbers of a value take so printed may come to 8 times this, or to 256 KiB.
    size_t value_bytes_max;
};

#define JSON_LIMITS_DEFAULT ((struct json_limits){.value_bytes_max = (size_t)1024 * 1024})

// Appends the canonical MessagePack of one JSON text (RFC 8259). Appends nothing on failure:
// ERROR_INVALID_VALUE with the reason and the byte offset in the message, ERROR_TOO_LARGE where the
// value is beyond `limits` or JSON_DEPTH_MAX.
enum error json_to_msgpack(struct slice text, const struct json_limits *limits, struct buffer *out,
                           struct failure *failure);

// Appends the JSON text of one MessagePack value, canonical or any that json_canonicalize accepts
// but for its limits; JSON_AROUND_MAX levels may stand around it. `pretty` breaks lines and indents
// by 2. Appends nothing on failure; the errors are json_canonicalize's.
enum error json_from_msgpack(struct slice msgpack, bool pretty, struct buffer *out,
                             struct failure *failure);

// Checks the bytes of a client, which must be exactly one value, and appends its canonical form.
// Fails as json_to_msgpack does.
enum error json_canonicalize(struct slice msgpack, const struct json_limits *limits,
                             struct buffer *out, struct failure *failure);

// Appends the decimal text of a number (int, float or ext 1), as JSON and PostgreSQL's numeric read
// it. ERROR_INVALID_VALUE where the value is not a number that JSONB stores.
enum error json_number_text(struct slice msgpack, struct buffer *out, struct failure *failure);
